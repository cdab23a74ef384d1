"""A folder of drawings kept as strokes becomes a folder of PNG files, one folder for each class."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tf_ssgn import atomic
from tf_ssgn.config import RASTER, Raster
from tf_ssgn.data.names import printable
from tf_ssgn.data.strokes import Drawing, read_ndjson, render
from tf_ssgn.data.svg import read_svg
from tf_ssgn.errors import UserError

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}")  # a key becomes a file name, so it must not lead elsewhere


def find_drawings(source: str | os.PathLike[str], per_class: int = 0) -> Iterator[tuple[str, Drawing]]:
    """Yields (class, drawing) of `<class>.ndjson` and `<class>/*.svg` files, or of one such file; sorted.

    Args:
        per_class: take this many drawings of each class at most; 0 takes all.

    Raises:
        UserError: nothing of the kind there, or a file that cannot be read.
    """
    root = Path(source)
    files = [root] if root.is_file() else sorted([*root.glob("*.ndjson"), *root.glob("*/*.svg")])
    taken: dict[str, int] = {}
    for path in files:
        if path.suffix.lower() == ".ndjson":
            yield from ((path.stem, drawing) for drawing in islice(read_ndjson(path), per_class or None))
        elif path.suffix.lower() == ".svg":
            name = path.parent.name
            taken[name] = taken.get(name, 0) + 1
            if not per_class or taken[name] <= per_class:
                yield name, read_svg(path)
    if not any(path.suffix.lower() in (".ndjson", ".svg") for path in files):
        raise UserError(f"{printable(os.fspath(source))}: no drawings; expected <class>.ndjson or <class>/*.svg files")


def write_rasters(
    source: str | os.PathLike[str], folder: str | os.PathLike[str], raster: Raster = RASTER, per_class: int = 0
) -> dict[str, int]:
    """Writes `folder/<class>/<key>.png` for each drawing; a file is whole or absent. Returns the count by class."""
    counts: dict[str, int] = {}
    for name, drawing in find_drawings(source, per_class):
        number = counts[name] = counts.get(name, 0) + 1
        key = drawing.key if _SAFE.fullmatch(drawing.key) else f"drawing-{number}"
        with atomic.writing(Path(folder) / name / f"{key}.png") as temporary:
            render(drawing, raster).save(temporary, format="PNG")
    return counts
