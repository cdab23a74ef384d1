"""The report: complete, self-contained, well-formed, and safe with whatever labels hold."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.evaluation.conftest import Arrays
from tf_ssgn.common import atomic
from tf_ssgn.common.cli import jsonable
from tf_ssgn.config import LEADING_FAMILY
from tf_ssgn.evaluation import hashing, inspection, protocol
from tf_ssgn.evaluation.report import charts, pictures, tables
from tf_ssgn.evaluation.report import page as report
from tf_ssgn.evaluation.report.pictures import Grid, Picture

NASTY = '<script>alert("x")</script>&\'é'


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that what is opened is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.stack: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href", "srcset", "data")]
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in ("meta", "img"):
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text += data


def image(colour: str | tuple[int, ...], size=(300, 200), kind: str = "PNG", mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def metrics(arrays: Arrays):
    labels = [np.where(names == "bat", NASTY, names) for names in (arrays.query_labels, arrays.gallery_labels)]
    sides: tuple[Any, Any, Any, Any] = (arrays.queries, labels[0], arrays.gallery, labels[1])
    found = protocol.evaluate_zero_shot(*sides, (5, 20), resamples=50).metrics
    found |= {"dataset": NASTY, "split": {"name": "sketchy-21", "checksum": "0"}, "views": 7, "seed": 0}
    found |= {"notes": [f"trained on {NASTY}"], "stages": {"untrained": found["families"]}}
    found["generalized"] = protocol.generalized(*sides, [NASTY], 5)
    found["binary"] = {"16": protocol.evaluate_binary(hashing.fit_itq(arrays.gallery, 16), *sides, 5)["families"]}
    found["transductive"] = {"10": found["families"]}
    found["fine_grained"] = protocol.fine_grained(
        arrays.queries, labels[0], ["a"] * 40, arrays.gallery, labels[1], ["a"] * 150
    )
    return jsonable(found)


def test_report_holds_everything_and_asks_for_nothing(tmp_path, metrics, arrays: Arrays):
    photo = tmp_path / f"{NASTY.replace('/', '')}.jpg"
    photo.write_bytes(image("red", kind="JPEG"))
    answers = [pictures.Picture(photo, NASTY, True), pictures.Picture(b"not an image", "broken", False)]
    grids = [pictures.Grid(f"best {NASTY}", [(pictures.Picture(image("white"), NASTY), answers)])]
    path = tmp_path / "report.html"
    report.write_report(path, metrics, grids, title=NASTY, points=inspection.code_map(*arrays))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert all(source.startswith("data:image/") for source in page.sources) and len(page.sources) == 3
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", text)
    assert page.tags.count("svg") == 4
    for word in (
        *metrics["families"],
        "Yelamarthi",
        "mAP@all",
        "P@20",
        "pessimistic",
        "sketchy-21",
        "acc@10",
        NASTY,
        "✓",
        "✗",
    ):
        assert word in page.text
    for family, values in metrics["families"].items():
        assert all(f"{value:.4f}" in page.text for value in values.values()), family
    assert "prefers-color-scheme: dark" in text


def test_one_family_leads_on_the_page_and_in_the_terminal(tmp_path, metrics):
    report.write_report(tmp_path / "report.html", metrics)
    page = Page((tmp_path / "report.html").read_text()).text
    assert f"mAP@all by the {LEADING_FAMILY} definition" in page
    assert page.count(f"By the {LEADING_FAMILY} definition") == 4  # generalized, binary, transductive, stages
    assert "upper bound" not in page


def test_cut_offs_beyond_the_gallery_stay_out_of_the_tables(tmp_path, metrics):
    metrics["counts"]["gallery"] = 12
    assert "mAP@20" not in tables.format_table(metrics) and "P@5" in tables.format_table(metrics)
    report.write_report(tmp_path / "report.html", metrics)
    page = Page((tmp_path / "report.html").read_text()).text
    assert "mAP@20" not in page and "mAP@5" in page
    assert page.count("k = 20: larger than the gallery of 12, so left out of the tables") == 1


def test_every_part_has_a_line_in_the_terminal(metrics):
    text = tables.variants(metrics, "zse")
    lines = text.splitlines()
    assert "mAP@5" in lines[0] and "P@5" in lines[0] and "@20" not in lines[0]
    parts = [line.split()[0] for line in lines[2:]]
    assert parts == ["stages", "generalized", "generalized", "generalized", "binary", "transductive", "fine-grained,"]
    assert f"{metrics['binary']['16']['zse']['map_all']:.4f}" in lines[6]
    assert f"acc@10 {metrics['fine_grained']['acc_at_10']:.4f}" in lines[-1]
    assert tables.variants({"counts": {"gallery": 3}, "families": metrics["families"]}, "zse") == ""


def test_charts_are_files_of_their_own(tmp_path, metrics, arrays: Arrays):
    files = charts.write_figures(tmp_path / "figures", metrics, inspection.code_map(*arrays))
    drawn = sorted(files)
    assert [file.name for file in drawn] == ["classes.svg", "confusion.svg", "curve.svg", "map.svg"]
    for file in drawn:
        assert "var(" not in file.read_text() and "hsl(" not in file.read_text()  # drawing programs do not know these
        root = ElementTree.parse(file).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "script" not in {element.tag.split("}")[1] for element in root.iter()}


def test_split_duplicates_and_comparison_are_printed(tmp_path, metrics):
    from tf_ssgn.evaluation import statistics

    found = metrics | {"duplicates": True, "split": {"name": "sketchy-25", "checksum": "0123456789abcdef" * 4}}
    entry = {"difference": -0.25, "low": -0.5, "high": 0.125, "p": 0.0312}
    against = {family: {name: entry for name in values} for family, values in metrics["families"].items()}
    report.write_report(tmp_path / "r.html", found | {"against": {"name": NASTY, "families": against}})
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "split sketchy-25 (sha256 0123456789abcdef)" in text and "duplicate photos yes" in text
    assert f"Against {NASTY}" in text and "-0.2500" in text and "p 0.0312" in text and "+0.1250" in text
    assert "duplicate photos: no" in tables.format_table(found | {"duplicates": False})
    line = tables.comparison(against).splitlines()[2]
    assert line.split() == ["sake", "map_all", "-0.2500", "-0.5000", "+0.1250", "0.0312"]
    least = {"sake": {"map_all": entry | {"p": 1 / (statistics.SIGN_FLIPS + 1)}}}
    assert tables.comparison(least).split()[-1] == "≤0.0002" and "no less than 0.0002" in text
    assert "difference = ours minus" in text and "above 0 where ours is better" in text
    runs = [metrics["families"], metrics["families"]]
    assert "0.0000" in tables.spread(statistics.across_seeds(runs)).splitlines()[2]


def test_undefined_figures_and_missing_parts(tmp_path):
    """A gallery without any of the query classes, and an object with nothing but its families."""
    metrics = protocol.evaluate_zero_shot([[1.0]], ["cat"], [[1.0]], ["dog"], 1, resamples=5).metrics
    for entry in (metrics, jsonable(metrics), {"families": jsonable(metrics)["families"]}):
        report.write_report(tmp_path / "r.html", entry)
        text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
        assert "nan" not in text.lower() and "None" not in text and "–" in text
        assert "–" in tables.format_table(entry) and "nan" not in tables.format_table(entry)
    assert "queries without a photo of their class: 1" in tables.format_table(metrics)


def test_table_for_the_terminal(metrics):
    lines = tables.format_table(metrics).splitlines()
    assert lines[0].split() == ["family", "mAP@all", "mAP@5", "P@5", "R@5", "mAP@20", "P@20", "R@20"]
    assert len({len(line) for line in lines[:17]}) == 1
    assert [line.split()[0] for line in lines[2:6]] == ["sake", "95%", "to", "zse"]
    low, high = metrics["intervals"]["sake"]["map_all"]
    assert lines[3].split()[:3] == ["95%", "from", f"{low:.4f}"] and lines[4].split()[:2] == ["to", f"{high:.4f}"]
    sake = dict(zip(lines[0].split(), lines[2].split(), strict=True))
    assert sake["family"] == "sake" and sake["P@20"] == f"{metrics['families']['sake']['precision_at_20']:.4f}"
    cvae = next(line for line in lines if line.startswith("cvae"))
    assert cvae.split()[1] == "–"
    assert "queries: 40" in lines[-2] and "pessimistic" in lines[-1]


@pytest.mark.parametrize("label", ["\udcff", "\ud800x", "a\x01\x1b[31mb", "\x7f\x85\ufffe", "a\nb"])
def test_labels_that_xml_and_utf8_have_no_place_for(tmp_path, arrays: Arrays, label: str):
    labels = [np.where(names == "bat", label, names) for names in (arrays.query_labels, arrays.gallery_labels)]
    sides: tuple[Any, Any, Any, Any] = (arrays.queries, labels[0], arrays.gallery, labels[1])
    found = protocol.evaluate_zero_shot(*sides, 5, resamples=5).metrics
    atomic.write_json(tmp_path / "metrics.json", jsonable(found))
    points = inspection.code_map(*sides)
    report.write_report(tmp_path / "report.html", found, title=label, points=points)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not set(page) & {*map(chr, range(9)), "\x1b", "\x7f", "\x85", "\ufffe"}
    for file in charts.write_figures(tmp_path, found, points):
        if file.suffix == ".svg":
            ElementTree.parse(file)


def opened(uri: str):
    assert uri.startswith("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_thumbnails(tmp_path, monkeypatch):
    from tf_ssgn.data.images import picture

    small = opened(pictures.thumbnail(image("blue")))
    assert max(small.size) == pictures.SIDE and small.getpixel((5, 5))[2] > 200
    clear = opened(pictures.thumbnail(image((0, 0, 0, 0), mode="RGBA")))
    assert min(clear.getpixel((5, 5))) > 250  # transparency shows as paper, not ink
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new("RGB", (80, 40)).save(buffer, "JPEG", exif=exif)
    assert opened(pictures.thumbnail(buffer.getvalue())).size == (40, 80)
    for broken in (b"", b"\x89PNG\r\n\x1a\n" + bytes(50), image("red")[:60], tmp_path, tmp_path / "missing.png"):
        assert pictures.thumbnail(broken) == pictures.UNREADABLE
    monkeypatch.setattr(picture, "PHOTO_LIMITS", type(picture.PHOTO_LIMITS)(pixels=100))
    assert pictures.thumbnail(image("red")) == pictures.UNREADABLE


def test_a_page_of_answers_holds_its_pictures_and_names_what_it_cannot_show(tmp_path):
    photo = tmp_path / "large.jpg"
    photo.write_bytes(image("red", (1000, 500), "JPEG"))
    answers = [
        Picture(photo, "1. a 0.5000"),
        Picture(image("blue", (48, 48)), "2. b"),
        Picture(None, "photo/cat/1.jpg"),
    ]
    grid = Grid("", [(Picture(image("white", (64, 64)), "the query"), answers)])
    report.write_answers(tmp_path / "out" / "page.html", "Photos", grid, ["a note"])
    text = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert [max(opened(source).size) for source in page.sources[:3]] == [64, report.ANSWER_SIDE, 48]
    assert page.sources[3:] == [pictures.UNREADABLE] and "photo/cat/1.jpg" in page.text
    assert "0.5000" in page.text and "a note" in page.text
    assert "default-src 'none'" in text and not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["page.html"]
    report.write_answers(tmp_path / "word.html", "Photos", Grid("", [(None, answers)]))
    assert len(Page((tmp_path / "word.html").read_text(encoding="utf-8")).sources) == 3


@settings(max_examples=60, deadline=None)
@given(st.text(), st.text(st.characters(exclude_categories=())))
def test_no_text_becomes_markup(title: str, item: str):
    hostile = f"<script>{item}</script>\"'><img src=x onerror=alert(1)>"
    body = pictures.grid_html(Grid(title + hostile, [(None, [Picture(None, hostile)])]))
    body.encode("utf-8")
    page = Page(body)
    assert set(page.tags) == {"section", "h3", "div", "figure", "img", "figcaption"}
    assert page.sources == [pictures.UNREADABLE]


def test_a_sheet_shows_pictures_as_they_stand_and_frames_the_answers(tmp_path):
    upright = Image.new("RGB", (60, 120), "red")
    upright.paste("blue", (0, 60, 60, 120))
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    answers = [Picture(tmp_path / "lying.png", hit=True), Picture(b"broken", hit=False)]
    sheet = np.asarray(pictures.sheet(Grid("", [(Picture(tmp_path / "upright.png"), answers)]), 80))
    assert sheet.shape == (88, 3 * 88, 3)
    query, right, wrong = (sheet[:, x : x + 88] for x in (0, 88, 176))
    np.testing.assert_array_equal(query[4:-4, 4:-4], right[4:-4, 4:-4])
    assert query[20, 44].tolist() == [255, 0, 0] and query[-20, 44].tolist() == [0, 0, 255]
    corners = [f"#{bytes(cell[0, 0].tolist()).hex()}" for cell in (query, right, wrong)]
    assert corners == ["#ffffff", pictures.RIGHT, pictures.WRONG] and set(wrong[44, 4:-4].ravel()) == {128}


def test_report_is_replaced_whole_or_not_at_all(tmp_path, metrics):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(KeyError):
        report.write_report(path, {})
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
