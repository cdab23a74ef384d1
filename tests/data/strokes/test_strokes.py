"""Strokes to rasters: QuickDraw's ndjson, SVG paths, and the renderings that exist of the same drawings."""

from __future__ import annotations

import gzip
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tf_ssgn.data.strokes import raster as raster_module
from tf_ssgn.data.strokes.folder import write_rasters
from tf_ssgn.data.strokes.raster import Drawing, read_ndjson, render
from tf_ssgn.data.strokes.svg import render_svg
from tf_ssgn.errors import UserError
from tf_ssgn.settings import DRAWINGS, Raster


def ink(drawing: Drawing, raster: Raster | None = None) -> np.ndarray:
    image = render(drawing, raster or Raster())
    assert image.mode == "L"
    return np.asarray(image) < 128


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def strokes(*lines: list[tuple[float, float]]) -> Drawing:
    return Drawing("k", "w", tuple(np.array(line, float) for line in lines))


@pytest.mark.parametrize("raster", [Raster(), Raster(100, 3.0, 10), Raster(32, 1.0, 0)])
def test_a_drawing_fills_the_raster_less_its_padding(raster: Raster) -> None:
    mask = ink(strokes([(0, 0), (255, 0), (255, 100), (0, 100), (0, 0)]), raster)
    left, top, right, bottom = box(mask)
    assert mask.shape == (raster.size, raster.size)
    assert abs(left - raster.padding) <= 2 and abs(raster.size - 1 - right - raster.padding) <= 2
    assert abs(top - (raster.size - 1 - bottom)) <= 1  # the shorter side is centred
    assert (bottom - top) / (right - left) == pytest.approx(100 / 255, abs=0.05)


def test_line_width_is_in_pixels() -> None:
    for width in (1.0, 2.0, 4.0, 8.0):
        column = 255 - np.asarray(render(strokes([(0, 0), (100, 0)]), Raster(line_width=width)), float)[:, 128]
        assert column.sum() / 255 == pytest.approx(width, abs=0.51)


def test_strokes_are_not_joined_and_a_dot_is_a_dot() -> None:
    mask = ink(strokes([(0, 0), (0, 100)], [(100, 0), (100, 100)]))
    assert not mask[:, 100:156].any()
    assert box(ink(strokes([(5, 5)]))) == (127, 127, 128, 128)


@pytest.mark.parametrize("raster", [Raster(size=0), Raster(padding=128), Raster(line_width=0), Raster(padding=-1),
                                    Raster(line_width=float("nan")), Raster(line_width=float("inf")),
                                    Raster(size=100_000), Raster(line_width=257)])  # fmt: skip
def test_impossible_rasters(raster: Raster) -> None:
    with pytest.raises(UserError, match="a padding from 0 to below half"):
        render(strokes([(0, 0), (1, 1)]), raster)


def test_ndjson(tmp_path: Path) -> None:
    rows = [
        {"word": "cat", "key_id": "1", "recognized": True, "drawing": [[[0, 10], [0, 20]], [[5], [5]]]},
        {"word": "cat", "key_id": "2", "drawing": [[[0.5, 10], [0, 20], [0, 17]]]},  # raw: with times
    ]
    path = tmp_path / "cat.ndjson"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    one, two = read_ndjson(path, pytest.fail)
    assert (one.key, one.word, len(one.strokes)) == ("1", "cat", 2)
    np.testing.assert_array_equal(one.strokes[0], [[0, 0], [10, 20]])
    np.testing.assert_array_equal(two.strokes[0], [[0.5, 0], [10, 20]])


def test_what_a_line_leaves_open(tmp_path: Path) -> None:
    """A byte-order mark, lines of Windows, empty ones, a byte that is no UTF-8, null for what is not known."""
    stroke = b'"drawing": [[[0, 9], [0, 9]]]'
    nfd = unicodedata.normalize("NFD", "caf\u00e9").encode()
    heads = (b'"word": null, "key_id": null, "recognized": null, ', b'"word": "caf\xe9", ', b'"word": "' + nfd + b'", ',
             b'"word": "caf\xc3\xa9", ')  # fmt: skip
    lines = [b"\xef\xbb\xbf{" + stroke + b"}", b"", *(b"{" + head + stroke + b"}" for head in heads), b"\t"]
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "cow.ndjson").write_bytes(b"\r\n".join(lines))
    (tmp_path / "source" / "dog.ndjson").mkdir()  # that cannot be read
    written = write_rasters(tmp_path / "source", tmp_path / "sketch", recognized=True)
    assert written.counts == {"cow": 2, "caf\u00e9": 2} and written.unrecognized == 0
    assert len(written.faults) == 2 and "line 4" in written.faults[0] and "dog.ndjson" in written.faults[1]
    assert sorted(path.name for path in (tmp_path / "sketch" / "cow").iterdir()) == ["1.png", "3.png"]


FAULTY_LINES = (
    *("{", "[]", "{}", "[" * 50_000, '{"drawing": []}', '{"drawing": 3}', '{"drawing": [[[1], [1, 2]]]}'),
    *('{"drawing": [[[]]]}', '{"drawing": [[["a"], ["b"]]]}', '{"drawing": [[[], []]]}'),
    *('{"drawing": [[[NaN], [1]]]}', '{"drawing": [[[1e999], [1]]]}', '{"drawing": [[[1e7], [1]]]}'),
)


@pytest.mark.parametrize("line", FAULTY_LINES)
def test_faulty_ndjson_names_the_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "cat.ndjson"
    path.write_text('{"drawing": [[[0, 1], [0, 1]]]}\n' + line + "\n")
    faults: list[str] = []
    assert len(list(read_ndjson(path, faults.append))) == 1
    assert len(faults) == 1 and "line 2: not a QuickDraw drawing" in faults[0]


VALUES = st.none() | st.integers() | st.floats() | st.text(max_size=3)


@settings(deadline=None)  # other work on the machine must not fail a test
@given(st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("drawing"), inner)))
def test_any_json_gives_drawings_or_one_line(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.ndjson"
    path.write_text(json.dumps({"drawing": value}))
    try:
        for drawing in read_ndjson(path, lambda fault: None):
            render(drawing, Raster(size=16, padding=2))
    except UserError:
        pass


def svg(path: Path, body: str, attributes: str = 'viewBox="0 0 800 800"') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" {attributes}>{body}</svg>')
    return path


RASTER_80 = Raster(size=80, line_width=2, padding=8)
PEN = 'fill="none" stroke="black" stroke-width="20"'


def svg_box(path: Path) -> tuple[int, int, int, int]:
    picture = render_svg(path, RASTER_80)
    assert (picture.mode, picture.size) == ("L", (80, 80))
    return box(np.asarray(picture) < 128)


SQUARE = f'<path d="M200 200H600V600H200Z" {PEN}/>'
AT = {
    "groups and transforms": (f'<g transform="translate(100,0) scale(2)"><path d="M100 200H300" {PEN} '
                              f'transform="rotate(90 200 200)"/></g>', (48, 20, 51, 59)),
    "a circle": (f'<circle cx="400" cy="400" r="200" {PEN}/>', (19, 19, 60, 60)),
    "an ellipse": (f'<ellipse cx="400" cy="400" rx="200" ry="100" {PEN}/>', (19, 29, 60, 50)),
    "a rectangle": (f'<rect x="200" y="200" width="400" height="100" {PEN}/>', (19, 19, 60, 30)),
    "an arc": (f'<path d="M200 400A200 200 0 0 1 600 400" {PEN}/>', (19, 19, 60, 39)),
    "use of a symbol": (f'<symbol id="s">{SQUARE}</symbol><use href="#s" x="100"/>', (29, 19, 70, 60)),
    "use of what is defined": (f'<defs><g id="d">{SQUARE}</g></defs><use href="#d" y="100"/>', (19, 29, 60, 70)),
    "skew": (f'<g transform="skewX(45)"><path d="M100 100V600" {PEN}/></g>', (20, 10, 70, 59)),
    "an svg within": (f'<svg x="400" width="400" height="400" viewBox="0 0 800 800">{SQUARE}</svg>', (49, 9, 70, 30)),
    "a style sheet": ("<style>.pen {stroke: black; stroke-width: 20; fill: none}</style>"
                      '<path class="pen" d="M200 200H600V600H200Z"/>', (19, 19, 60, 60)),
}  # fmt: skip


@pytest.mark.parametrize("body,expected", AT.values(), ids=AT)
def test_an_svg_is_drawn_as_a_browser_shows_it(tmp_path: Path, body: str, expected: tuple[int, ...]) -> None:
    assert svg_box(svg(tmp_path / "a.svg", body)) == pytest.approx(expected, abs=1)


HIDDEN = (
    *('style="display:none"', 'display="none"', 'visibility="hidden"', 'opacity="0"', 'style="stroke:none"'),
    *('stroke="none"', 'stroke-opacity="0"', 'stroke="white"'),
)


@pytest.mark.parametrize("how", HIDDEN)
def test_what_is_hidden_is_not_drawn(tmp_path: Path, how: str) -> None:
    over = f'<path d="M0 0L800 800" fill="none" stroke="black" stroke-width="20" {how}/>'
    if "stroke=" in how:
        over = over.replace('stroke="black"', "", 1)
    assert svg_box(svg(tmp_path / "a.svg", f"{SQUARE}<g {how if 'stroke' not in how else ''}>{over}</g>")) == (
        pytest.approx((19, 19, 60, 60), abs=1)
    )


def test_an_svg_without_a_canvas_fills_the_raster_less_its_padding(tmp_path: Path) -> None:
    left, top, right, bottom = svg_box(svg(tmp_path / "b.svg", SQUARE, ""))
    assert (left, top) == pytest.approx((8, 8), abs=1) and (right, bottom) == pytest.approx((71, 71), abs=1)


@pytest.mark.parametrize("size", ["80mm", "8cm", "3in", "200pt", "100%", "20em"])
def test_a_canvas_in_any_unit(tmp_path: Path, size: str) -> None:
    attributes = f'width="{size}" height="{size}" viewBox="0 0 800 800"'
    assert svg_box(svg(tmp_path / "a.svg", SQUARE, attributes)) == pytest.approx((19, 19, 60, 60), abs=1)


def test_an_svg_reaches_no_other_file(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 0).save(tmp_path / "secret.png")
    places = [f"{tmp_path}/secret.png", f"file://{tmp_path}/secret.png", "secret.png"]
    images = "".join(f'<image href="{place}" width="800" height="800"/>' for place in places)
    assert svg_box(svg(tmp_path / "a.svg", images + SQUARE)) == pytest.approx((19, 19, 60, 60), abs=1)


def tower(levels: int) -> str:
    """Each level uses the one below ten times."""
    defined = "".join(f'<g id="l{n + 1}">' + f'<use href="#l{n}"/>' * 10 + "</g>" for n in range(levels))
    return f'<defs><path id="l0" d="M0 0L9 9"/>{defined}</defs><use href="#l{levels}"/>'


FAULTY = {
    "": "no element found", "<svg": "unclosed token", "<svg/>": "", "<svg></svg>": "",
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"/>': "nothing is drawn",
    '<!DOCTYPE x [<!ENTITY a "b">]><svg><path d="M0 0"/>&a;</svg>': "entities",
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{tower(9)}</svg>': "more than 100,000 elements",
    '<svg xmlns="http://www.w3.org/2000/svg"><g id="a"><use href="#a"/></g></svg>': "refers to itself",
    '<?xml version="1.0" encoding="klingon"?><svg/>': "unknown encoding",
    '<svg xmlns="http://www.w3.org/2000/svg">' + "<g>" * 5000 + "</g>" * 5000 + "</svg>": "",
}  # fmt: skip


@pytest.mark.parametrize("content,says", FAULTY.items(), ids=map(str, range(len(FAULTY))))
def test_faulty_svg(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "a.svg").write_text(content)
    with pytest.raises(UserError, match=f"a.svg: .*{says}.*expected an SVG"):
        render_svg(tmp_path / "a.svg", RASTER_80)


def test_a_bad_drawing_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    svg(tmp_path / "source" / "cat" / "1.svg", SQUARE)
    svg(tmp_path / "source" / "cat" / "2.svg", "")
    svg(tmp_path / "source" / "cat" / "3.SVG", SQUARE)
    cow = {"word": "cow", "drawing": [[[0, 9], [0, 9]]]}
    lines = [cow, cow | {"drawing": 3}, cow | {"recognized": False}, cow | {"word": "../evil"}, cow]
    (tmp_path / "source" / "full_simplified_cow.ndjson").write_text("\n".join(map(json.dumps, lines)))
    written = write_rasters(tmp_path / "source", tmp_path / "sketch", recognized=True)
    assert dict(written.counts) == {"cat": 2, "cow": 2} and written.unrecognized == 1
    assert sorted(path.name for path in (tmp_path / "sketch" / "cat").iterdir()) == ["1.png", "3.png"]
    said = "\n".join(written.faults)
    assert len(written.faults) == 3 and "2.svg: nothing is drawn" in said and "line 2" in said and "../evil" in said


def test_a_packed_file_is_read_and_a_damaged_one_as_far_as_it_goes(tmp_path: Path) -> None:
    content = b"\n".join(json.dumps({"word": "cow", "drawing": [[[0, n], [0, 9]]]}).encode() for n in range(2000))
    (tmp_path / "x.ndjson.gz").write_bytes(gzip.compress(content))
    assert len(list(read_ndjson(tmp_path / "x.ndjson.gz", pytest.fail))) == 2000
    (tmp_path / "x.ndjson.gz").write_bytes(gzip.compress(content)[:-200])
    faults: list[str] = []
    assert 0 < len(list(read_ndjson(tmp_path / "x.ndjson.gz", faults.append))) < 2000
    assert len(faults) == 1 and "damaged archive" in faults[0]


def test_a_packed_bomb_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster_module, "DRAWINGS", DRAWINGS._replace(unpacked_bytes=2**20, line_bytes=2**16))
    (tmp_path / "x.ndjson.gz").write_bytes(gzip.compress(b"[" * 2**24))
    faults: list[str] = []
    assert list(read_ndjson(tmp_path / "x.ndjson.gz", faults.append)) == [] and faults


def test_folders_of_drawings(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "hot air balloon").mkdir(parents=True)
    svg(source / "hot air balloon" / "1.svg", SQUARE)
    rows = [{"key_id": key, "drawing": [[[0, 9], [0, 9]]]} for key in ("5", "../../evil", "6")]
    (source / "cat.ndjson").write_text("\n".join(map(json.dumps, rows)))
    assert write_rasters(source, tmp_path / "sketch").counts == {"cat": 3, "hot air balloon": 1}
    written = sorted(str(path.relative_to(tmp_path / "sketch")) for path in (tmp_path / "sketch").rglob("*.*"))
    assert written == ["cat/5.png", "cat/6.png", "cat/drawing-2.png", "hot air balloon/1.png"]
    assert Image.open(tmp_path / "sketch" / "cat" / "5.png").size == (256, 256)
    assert write_rasters(source, tmp_path / "few", per_class=1).counts == {"cat": 1, "hot air balloon": 1}
    with pytest.raises(UserError, match="no drawings; expected"):
        write_rasters(tmp_path / "sketch", tmp_path / "other")


def test_drawings_of_one_key_are_kept_apart(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "sketch"
    (source / "cat").mkdir(parents=True)
    svg(source / "cat" / "7.svg", SQUARE)
    keys = ("7", "7", "7_2", "A", "a", "7")
    rows = [{"key_id": key, "drawing": [[[0, 9], [0, 9]]]} for key in keys]
    (source / "cat.ndjson").write_text("\n".join(map(json.dumps, rows)))
    (source / "dog.ndjson").write_text(json.dumps(rows[0]))
    assert write_rasters(source, target).counts == {"cat": 7, "dog": 1}
    written = sorted(str(path.relative_to(target)) for path in target.rglob("*.png"))
    assert written == [*(f"cat/{key}.png" for key in ("7", "7_2", "7_2_2", "7_3", "7_4", "A", "a_2")), "dog/7.png"]
    assert write_rasters(source, target).counts == {"cat": 7, "dog": 1}  # again: the same files
    assert sum(1 for _ in target.rglob("*.png")) == 8


@pytest.mark.shared
def test_real_quickdraw_looks_as_its_png(shared: Path) -> None:
    folder = shared / "data" / "quickdraw_for_sketchy"
    overlaps, errors = [], []
    for name in ("airplane", "cat", "giraffe", "violin", "zebra"):
        for drawing in list(read_ndjson(folder / "strokes" / f"{name}.ndjson", pytest.fail))[:10]:
            reference = np.asarray(Image.open(folder / "sketch" / name / f"{drawing.key}.png").convert("L"), float)
            ours = np.asarray(render(drawing), float)
            both, either = (ours < 128) & (reference < 128), (ours < 128) | (reference < 128)
            overlaps.append(both.sum() / either.sum())
            errors.append(np.abs(ours - reference).mean())
    assert np.mean(overlaps) > 0.75 and min(overlaps) > 0.6  # lines two pixels wide: half a pixel off costs a third
    assert np.mean(errors) < 2.5
