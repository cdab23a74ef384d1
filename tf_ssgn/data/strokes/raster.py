"""Drawings kept as strokes to rasters: QuickDraw's simplified `.ndjson` and simple `.svg` files (TU-Berlin)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from tf_ssgn.common.names import printable
from tf_ssgn.errors import UserError
from tf_ssgn.settings import LARGEST_RASTER, RASTER, Raster

SUPERSAMPLING = 4  # Pillow's lines are hard-edged; drawn this much larger and averaged they have 16 grey levels
MAX_LINE_BYTES = 4 * 2**20  # a simplified drawing has a few kilobytes
MAX_POINTS = 200_000
MAX_COORDINATE = 1e6  # beyond it a drawing is a mistake, and sums of squares lose their digits


@dataclass(frozen=True)
class Drawing:
    """One drawing: each stroke float64 `[N, 2]`, x to the right, y down, in any unit.

    Attributes:
        key: names the file it becomes; QuickDraw's `key_id`, or the stem of an SVG.
        word: the class as the source names it, "" where it does not.
        frame: left, top, width and height of the canvas it was drawn on, where that is known.
    """

    key: str
    word: str
    strokes: tuple[np.ndarray, ...]
    frame: tuple[float, float, float, float] | None = None


def check_raster(raster: Raster) -> None:
    """UserError for sizes that leave no room to draw in, or that would take the memory of the machine."""
    size, padding, width = raster.size, raster.padding, raster.line_width
    if not (1 <= size <= LARGEST_RASTER and 0 <= 2 * padding < size and 0 < width <= size):
        raise UserError(
            f"raster of {size} pixels, padding {padding}, line width {width}: expected 1 to {LARGEST_RASTER:,} pixels, "
            "a padding from 0 to below half of that, and a line width above 0 and at most the size"
        )


def render(drawing: Drawing, raster: Raster = RASTER) -> Image.Image:
    """Black strokes on white, mode L, `[size, size]`.

    The longer side of the drawing fills the size less the padding, the shorter one is centred. A drawing with a frame
    keeps its place in it, and the frame fills the whole size: it has a margin of its own.

    Raises:
        UserError: no points, or as `check_raster`.
    """
    check_raster(raster)
    inner = raster.size - 2 * raster.padding
    if not drawing.strokes:
        raise UserError(f"drawing {printable(drawing.key)} has no strokes; expected at least one")
    points = np.concatenate(drawing.strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    if drawing.frame:
        low = np.array(drawing.frame[:2])
        high, inner = low + drawing.frame[2:], raster.size
    extent = float(max(high - low)) or 1.0  # a single dot has none
    scale = inner / extent * SUPERSAMPLING
    offset = raster.size * SUPERSAMPLING / 2 - (low + high) / 2 * scale
    canvas = Image.new("L", (raster.size * SUPERSAMPLING,) * 2, 255)
    pen = ImageDraw.Draw(canvas)
    width = raster.line_width * SUPERSAMPLING
    for stroke in drawing.strokes:
        _draw(pen, stroke * scale + offset, width)
    return canvas.reduce(SUPERSAMPLING)


def _draw(pen: ImageDraw.ImageDraw, points: np.ndarray, width: float) -> None:
    """A polyline with round joints and ends; a single point is a dot."""
    path = [(float(x), float(y)) for x, y in points]
    if len(path) > 1:
        pen.line(path, fill=0, width=max(1, round(width)))
    radius = width / 2
    if radius >= 1:
        for x, y in path:
            pen.ellipse((x - radius, y - radius, x + radius - 1, y + radius - 1), fill=0)


def read_ndjson(path: str | os.PathLike[str]) -> Iterator[Drawing]:
    """Yields the drawings of a QuickDraw file, simplified (`[[x...], [y...]]`) or raw (`[[x...], [y...], [t...]]`).

    Raises:
        UserError: no such file, or a line that is not a drawing; it names the line.
    """
    where = printable(os.fspath(path))
    number = 0
    try:
        with open(path, "rb") as handle:
            while line := handle.readline(MAX_LINE_BYTES):
                number += 1
                if line.strip():
                    yield _parse(json.loads(line), number)
    except OSError as error:
        raise UserError(f"drawings {where}: {error.strerror or error}; expected a readable .ndjson file") from None
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"drawings {where}, line {number}: not a QuickDraw drawing ({error}); expected JSON with `drawing`, "
            f"a list of strokes [[x, ...], [y, ...]]"
        ) from None


def _parse(row: dict, number: int) -> Drawing:
    strokes = tuple(_stroke(stroke) for stroke in row["drawing"])
    if not strokes or sum(map(len, strokes)) > MAX_POINTS:
        raise ValueError(f"{sum(map(len, strokes)):,} points")
    return Drawing(str(row.get("key_id", number)), str(row.get("word", "")), strokes)


def _stroke(stroke: Sequence[Sequence[float]]) -> np.ndarray:
    points = np.array([stroke[0], stroke[1]], np.float64).T
    check_points(points)
    return points


def check_points(points: np.ndarray) -> None:
    """Refuses what cannot be drawn: a stroke must be `[N, 2]`, N at least 1, with plausible coordinates."""
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError("a stroke without points")
    if not (np.abs(points) <= MAX_COORDINATE).all():
        raise ValueError(f"a coordinate that is not between -{MAX_COORDINATE:,.0f} and {MAX_COORDINATE:,.0f}")
