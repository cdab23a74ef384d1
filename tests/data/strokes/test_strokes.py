"""Strokes to rasters: QuickDraw's ndjson, SVG paths, and the renderings that exist of the same drawings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tf_ssgn.data.strokes.folder import find_drawings, write_rasters
from tf_ssgn.data.strokes.raster import Drawing, read_ndjson, render
from tf_ssgn.data.strokes.svg import parse_path, read_svg
from tf_ssgn.errors import UserError
from tf_ssgn.settings import Raster


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
    one, two = read_ndjson(path)
    assert (one.key, one.word, len(one.strokes)) == ("1", "cat", 2)
    np.testing.assert_array_equal(one.strokes[0], [[0, 0], [10, 20]])
    np.testing.assert_array_equal(two.strokes[0], [[0.5, 0], [10, 20]])


FAULTY_LINES = (
    *("{", "[]", "{}", "[" * 50_000, '{"drawing": []}', '{"drawing": 3}', '{"drawing": [[[1], [1, 2]]]}'),
    *('{"drawing": [[[]]]}', '{"drawing": [[["a"], ["b"]]]}', '{"drawing": [[[], []]]}'),
    *('{"drawing": [[[NaN], [1]]]}', '{"drawing": [[[1e999], [1]]]}', '{"drawing": [[[1e7], [1]]]}'),
)


@pytest.mark.parametrize("line", FAULTY_LINES)
def test_faulty_ndjson_names_the_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "cat.ndjson"
    path.write_text('{"drawing": [[[0, 1], [0, 1]]]}\n' + line + "\n")
    with pytest.raises(UserError, match="line 2: not a QuickDraw drawing"):
        list(read_ndjson(path))


VALUES = st.none() | st.integers() | st.floats() | st.text(max_size=3)


@settings(deadline=None)  # other work on the machine must not fail a test
@given(st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("drawing"), inner)))
def test_any_json_gives_drawings_or_one_line(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.ndjson"
    path.write_text(json.dumps({"drawing": value}))
    try:
        for drawing in read_ndjson(path):
            render(drawing, Raster(size=16, padding=2))
    except UserError:
        pass


def test_path_commands() -> None:
    (square,) = parse_path("M 0 0 L10,0 v 10 H0 z")
    np.testing.assert_array_equal(square, [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]])
    first, second = parse_path("m1 1 2 0 0 2m5,5-1-1")
    np.testing.assert_array_equal(first, [[1, 1], [3, 1], [3, 3]])
    np.testing.assert_array_equal(second, [[8, 8], [7, 7]])
    _, after = parse_path("M0 0h4v4z l1 1")
    np.testing.assert_array_equal(after, [[0, 0], [1, 1]])
    (dense,) = parse_path("M1.5.5-2e1.25")
    np.testing.assert_array_equal(dense, [[1.5, 0.5], [-20, 0.25]])


def test_curves_agree_with_their_formulas() -> None:
    t = np.linspace(0, 1, 17)[:, None]
    p = [np.array(point, float) for point in ((0, 0), (0, 10), (10, 10), (10, 0))]
    cubic = (1 - t) ** 3 * p[0] + 3 * (1 - t) ** 2 * t * p[1] + 3 * (1 - t) * t**2 * p[2] + t**3 * p[3]
    np.testing.assert_allclose(parse_path("M0 0C0 10 10 10 10 0")[0], cubic, atol=1e-12)
    np.testing.assert_allclose(parse_path("M5 5c0 10 10 10 10 0")[0], cubic + 5, atol=1e-12)
    quadratic = (1 - t) ** 2 * p[0] + 2 * (1 - t) * t * p[1] + t**2 * p[2]
    np.testing.assert_allclose(parse_path("M0 0Q0 10 10 10")[0], quadratic, atol=1e-12)
    smooth = parse_path("M0 0C0 10 10 10 10 0S20-10 20 0")[0]
    np.testing.assert_allclose(smooth, parse_path("M0 0C0 10 10 10 10 0C10-10 20-10 20 0")[0], atol=1e-12)
    np.testing.assert_allclose(
        parse_path("M0 0Q5 5 10 0T20 0")[0], parse_path("M0 0Q5 5 10 0Q15-5 20 0")[0], atol=1e-12
    )
    np.testing.assert_allclose(parse_path("M0 0L5 5S8 8 9 0")[0][1:], parse_path("M5 5C5 5 8 8 9 0")[0], atol=1e-12)


@pytest.mark.parametrize(
    "data", ["L1 1", "M1", "M0 0 C1 2 3", "M0 0 A1 1 0 0 0 2 2", "5 5", "M0 0z 1 1", "M0 0 L#", "M M"]
)
def test_faulty_paths(data: str) -> None:
    with pytest.raises(ValueError):
        parse_path(data)


@settings(deadline=None)  # other work on the machine must not fail a test
@given(st.text("MmLlCcZzSsQqTtHhVv 0123.-eE,", max_size=40))
def test_any_path_gives_strokes_or_a_value_error(data: str) -> None:
    try:
        assert all(stroke.ndim == 2 and stroke.shape[1] == 2 and len(stroke) for stroke in parse_path(data))
    except ValueError:
        pass


def svg(path: Path, body: str, attributes: str = 'viewBox="0 0 800 800"') -> Path:
    path.write_text(f'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" {attributes}>{body}</svg>')
    return path


def test_svg_groups_and_transforms(tmp_path: Path) -> None:
    body = """<defs><path d="M0 0L800 800"/></defs>
      <g fill="none" transform="translate(100,50) scale(2)"><g transform="rotate(90)"><path d="M0 0 L10 0"/></g>
      <line x1="0" y1="0" x2="5" y2="5"/><polyline points="0,0 1,1 2,0"/></g>
      <polygon points="0 0 4 0 4 4" transform="matrix(1 0 0 1 10 20)"/>"""
    drawing = read_svg(svg(tmp_path / "7.svg", body))
    assert drawing.key == "7" and drawing.frame == (0, 0, 800, 800) and len(drawing.strokes) == 4
    np.testing.assert_allclose(drawing.strokes[0], [[100, 50], [100, 70]], atol=1e-9)
    np.testing.assert_allclose(drawing.strokes[1], [[100, 50], [110, 60]])
    np.testing.assert_allclose(drawing.strokes[3], [[10, 20], [14, 20], [14, 24], [10, 20]])


def test_an_svg_keeps_its_place_on_its_canvas(tmp_path: Path) -> None:
    drawing = read_svg(svg(tmp_path / "a.svg", '<path d="M200 200H600V600H200Z"/>'))
    assert box(ink(drawing, Raster(size=80, line_width=2)))[0] == pytest.approx(20, abs=1)
    free = read_svg(svg(tmp_path / "b.svg", '<path d="M200 200H600V600H200Z"/>', ""))
    assert box(ink(free, Raster(size=80, line_width=2, padding=8)))[0] == pytest.approx(8, abs=1)


@pytest.mark.parametrize(
    "content",
    [
        "", "<svg", "<svg></svg>", '<svg><path d="M0 0 A1 1 0 0 0 2 2"/></svg>', '<svg><path d="M0 0 L1e999 0"/></svg>',
        '<!DOCTYPE x [<!ENTITY a "b">]><svg><path d="M0 0L1 1"/>&a;</svg>', '<svg><line x1="a"/></svg>',
        '<svg><g transform="matrix(1 2)"><path d="M0 0L1 1"/></g></svg>',
        '<svg><g transform="scale()"><path d="M0 0L1 1"/></g></svg>',
    ],
)  # fmt: skip
def test_faulty_svg(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.svg"
    path.write_text(content)
    with pytest.raises(UserError, match="a.svg: .*expected an SVG"):
        read_svg(path)


def test_deeply_nested_svg(tmp_path: Path) -> None:
    depth = 5000
    path = svg(tmp_path / "deep.svg", "<g>" * depth + '<path d="M0 0L1 1"/>' + "</g>" * depth)
    assert len(read_svg(path).strokes) == 1


def test_folders_of_drawings(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "hot air balloon").mkdir(parents=True)
    svg(source / "hot air balloon" / "1.svg", '<path d="M0 0L1 1"/>')
    rows = [{"key_id": key, "drawing": [[[0, 9], [0, 9]]]} for key in ("5", "../../evil", "6")]
    (source / "cat.ndjson").write_text("\n".join(map(json.dumps, rows)))
    assert write_rasters(source, tmp_path / "sketch") == {"cat": 3, "hot air balloon": 1}
    written = sorted(str(path.relative_to(tmp_path / "sketch")) for path in (tmp_path / "sketch").rglob("*.*"))
    assert written == ["cat/5.png", "cat/6.png", "cat/drawing-2.png", "hot air balloon/1.png"]
    assert Image.open(tmp_path / "sketch" / "cat" / "5.png").size == (256, 256)
    assert [name for name, _ in find_drawings(source, per_class=1)] == ["cat", "hot air balloon"]
    with pytest.raises(UserError, match="no drawings; expected <class>.ndjson"):
        write_rasters(tmp_path / "sketch", tmp_path / "other")


def test_drawings_of_one_key_are_kept_apart(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "sketch"
    (source / "cat").mkdir(parents=True)
    svg(source / "cat" / "7.svg", '<path d="M0 0L1 1"/>')
    keys = ("7", "7", "7_2", "A", "a", "7")
    rows = [{"key_id": key, "drawing": [[[0, 9], [0, 9]]]} for key in keys]
    (source / "cat.ndjson").write_text("\n".join(map(json.dumps, rows)))
    (source / "dog.ndjson").write_text(json.dumps(rows[0]))
    assert write_rasters(source, target) == {"cat": 7, "dog": 1}
    written = sorted(str(path.relative_to(target)) for path in target.rglob("*.png"))
    assert written == [*(f"cat/{key}.png" for key in ("7", "7_2", "7_2_2", "7_3", "7_4", "A", "a_2")), "dog/7.png"]
    assert write_rasters(source, target) == {"cat": 7, "dog": 1}  # again: the same files
    assert sum(1 for _ in target.rglob("*.png")) == 8
    assert [name for name, _ in find_drawings(source, per_class=2)] == ["cat", "cat", "dog"]


@pytest.mark.shared
def test_real_quickdraw_looks_as_its_png(shared: Path) -> None:
    folder = shared / "data" / "quickdraw_for_sketchy"
    overlaps, errors = [], []
    for name in ("airplane", "cat", "giraffe", "violin", "zebra"):
        for drawing in list(read_ndjson(folder / "strokes" / f"{name}.ndjson"))[:10]:
            reference = np.asarray(Image.open(folder / "sketch" / name / f"{drawing.key}.png").convert("L"), float)
            ours = np.asarray(render(drawing), float)
            both, either = (ours < 128) & (reference < 128), (ours < 128) | (reference < 128)
            overlaps.append(both.sum() / either.sum())
            errors.append(np.abs(ours - reference).mean())
    assert np.mean(overlaps) > 0.75 and min(overlaps) > 0.6  # lines two pixels wide: half a pixel off costs a third
    assert np.mean(errors) < 2.5
