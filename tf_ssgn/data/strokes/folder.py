"""A folder of drawings kept as strokes becomes a folder of PNG files, one folder for each class."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby, islice
from pathlib import Path

from tf_ssgn.common import atomic
from tf_ssgn.common.names import printable
from tf_ssgn.data.strokes.raster import Drawing, check_raster, read_ndjson, render
from tf_ssgn.data.strokes.svg import read_svg
from tf_ssgn.errors import UserError
from tf_ssgn.settings import RASTER, Raster

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}")  # a key becomes a file name, so it must not lead elsewhere
READERS: dict[str, Callable[[Path], Iterable[Drawing]]] = {
    ".ndjson": read_ndjson,
    ".svg": lambda path: [read_svg(path)],
}


def find_drawings(source: str | os.PathLike[str], per_class: int = 0) -> Iterator[tuple[str, Drawing]]:
    """Yields (class, drawing) of `<class>.ndjson` and `<class>/*.svg` files, or of one such file; sorted.

    Args:
        per_class: take this many drawings of each class at most; 0 takes all.

    Raises:
        UserError: nothing of the kind there, or a file that cannot be read.
    """
    root = Path(source)
    files = [root] if root.is_file() else [*root.glob("*.ndjson"), *root.glob("*/*.svg")]
    files = sorted((path for path in files if path.suffix.lower() in READERS), key=lambda path: (_class(path), path))
    if not files:
        raise UserError(f"{printable(os.fspath(source))}: no drawings; expected <class>.ndjson or <class>/*.svg files")
    for name, of_class in groupby(files, _class):
        drawings = chain.from_iterable(READERS[path.suffix.lower()](path) for path in of_class)
        yield from ((name, drawing) for drawing in islice(drawings, per_class or None))


def _class(path: Path) -> str:
    return path.stem if path.suffix.lower() == ".ndjson" else path.absolute().parent.name


def write_rasters(
    source: str | os.PathLike[str], folder: str | os.PathLike[str], raster: Raster = RASTER, per_class: int = 0
) -> dict[str, int]:
    """Writes `folder/<class>/<key>.png` for each drawing; a file is whole or absent. Returns the count by class.

    Drawings of a class that have one key are kept apart: `7`, `7_2`, `7_3` (`7-2` would name a drawing of photo 7).
    """
    check_raster(raster)
    counts: dict[str, int] = {}
    taken: dict[str, int] = {}  # of the class at hand: classes come one after the other
    for name, drawing in find_drawings(source, per_class):
        if name not in counts:
            taken.clear()
        number = counts[name] = counts.get(name, 0) + 1
        key = _free(drawing.key if _SAFE.fullmatch(drawing.key) else f"drawing-{number}", taken)
        with atomic.writing(Path(folder) / name / f"{key}.png") as temporary:
            render(drawing, raster).save(temporary, format="PNG")
    return counts


def _free(key: str, taken: dict[str, int]) -> str:
    """The key, or the first free `<key>_<n>`; upper and lower case are one, as some disks have it.

    `taken` has the last n of each name, so that a file of one key only is not searched through for every drawing.
    """
    name, number = key, taken.get(key.lower(), 1)
    while name.lower() in taken:
        number += 1
        name = f"{key}_{number}"
    taken[key.lower()] = number
    taken.setdefault(name.lower(), 1)
    return name
