"""Drawings kept as strokes to rasters: QuickDraw's `.ndjson` files."""

import gzip
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from tf_ssgn.common.names import printable
from tf_ssgn.errors import UserError
from tf_ssgn.settings import DRAWINGS, LARGEST_RASTER, RASTER, Raster

SUPERSAMPLING = 4  # Pillow's lines are hard-edged; drawn this much larger and averaged they have 16 grey levels


@dataclass(frozen=True)
class Drawing:
    """One drawing: each stroke float64 `[N, 2]`, x to the right, y down, in any unit.

    `key` names the file it becomes (QuickDraw's `key_id`), `word` its class, "" where the source has none; `recognized`
    tells whether the game's classifier knew it, and is True where the source does not say.
    """

    key: str
    word: str
    strokes: tuple[np.ndarray, ...]
    recognized: bool = True


def check_raster(raster: Raster) -> None:
    """UserError for sizes that leave no room to draw in, or that would take the memory of the machine."""
    size, padding, width = raster.size, raster.padding, raster.line_width
    if not (1 <= size <= LARGEST_RASTER and 0 <= 2 * padding < size and 0 < width <= size):
        raise UserError(
            f"raster of {size} pixels, padding {padding}, line width {width}: expected 1 to {LARGEST_RASTER:,} pixels, "
            "a padding from 0 to below half of that, and a line width above 0 and at most the size"
        )


def render(drawing: Drawing, raster: Raster = RASTER) -> Image.Image:
    """Black strokes on white, mode L, `[size, size]`: the longer side of the drawing fills the size less the padding,
    the shorter one is centred. UserError: no points, or as `check_raster`."""
    check_raster(raster)
    inner = raster.size - 2 * raster.padding
    if not drawing.strokes:
        raise UserError(f"drawing {printable(drawing.key)} has no strokes; expected at least one")
    points = np.concatenate(drawing.strokes)
    low, high = points.min(axis=0), points.max(axis=0)
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


def read_ndjson(path: str | os.PathLike[str], fault: Callable[[str], None]) -> Iterator[Drawing]:
    """Yields the drawings of a QuickDraw file, simplified (`[[x...], [y...]]`) or raw (`[[x...], [y...], [t...]]`),
    perhaps packed as `.ndjson.gz`. `fault` is told of each line that is not a drawing, and of an archive that breaks
    off; the rest goes on. UserError: no such file."""
    where = printable(os.fspath(path))
    packed = os.fspath(path).lower().endswith(".gz")
    number = unpacked = 0
    try:
        with gzip.open(path, "rb") if packed else open(path, "rb") as handle:
            while line := handle.readline(DRAWINGS.line_bytes):
                number += 1
                unpacked += len(line)
                whole = True
                most = DRAWINGS.unpacked_bytes if packed else math.inf
                while len(line) == DRAWINGS.line_bytes and not line.endswith(b"\n") and unpacked <= most:
                    line, whole = handle.readline(DRAWINGS.line_bytes), False  # the rest of what is too long
                    unpacked += len(line)
                if unpacked > most:
                    fault(f"{where}: more than {DRAWINGS.unpacked_bytes:,} bytes when unpacked; the rest is left out")
                    return
                if not whole:
                    fault(f"{where}, line {number}: longer than {DRAWINGS.line_bytes:,} bytes")
                    continue
                try:
                    drawing = _parse(json.loads(line), number) if line.strip() else None
                except (ValueError, LookupError, TypeError, OverflowError, RecursionError, AttributeError) as error:
                    fault(
                        f"{where}, line {number}: not a QuickDraw drawing ({error}); expected JSON with `drawing`, a "
                        "list of strokes [[x, ...], [y, ...]]"
                    )
                    continue
                if drawing:
                    yield drawing
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        fault(f"{where}, after line {number}: a damaged archive ({error})")
    except OSError as error:
        raise UserError(f"drawings {where}: {error.strerror or error}; expected a readable .ndjson file") from None


def _parse(row: dict, number: int) -> Drawing:
    strokes = tuple(_stroke(stroke) for stroke in row["drawing"])
    points = sum(map(len, strokes))
    if not strokes or points > DRAWINGS.points:
        raise ValueError(f"{points:,} points")
    said = {name: value for name, value in row.items() if value is not None}
    return Drawing(
        str(said.get("key_id", number)), str(said.get("word", "")), strokes, bool(said.get("recognized", True))
    )


def _stroke(stroke: Sequence[Sequence[float]]) -> np.ndarray:
    """Points `[N, 2]`, N at least 1, with plausible coordinates."""
    points = np.array([stroke[0], stroke[1]], np.float64).T
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError("a stroke without points")
    if not (np.abs(points) <= DRAWINGS.coordinate).all():
        raise ValueError(f"a coordinate that is not between -{DRAWINGS.coordinate:,.0f} and {DRAWINGS.coordinate:,.0f}")
    return points
