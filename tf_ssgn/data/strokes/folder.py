"""A folder of drawings kept as strokes becomes a folder of PNG files, one folder for each class."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from tf_ssgn.common import atomic
from tf_ssgn.common.names import composed, printable
from tf_ssgn.data.folders import is_system
from tf_ssgn.data.strokes.raster import check_raster, read_ndjson, render
from tf_ssgn.data.strokes.svg import render_svg
from tf_ssgn.errors import UserError
from tf_ssgn.settings import RASTER, Raster

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,120}")  # a key becomes a file name, so it must not lead elsewhere
_CLASS = re.compile(r"[^\W_][^/\\\x00-\x1f\x7f]{0,120}")  # the same for a class that a line names
_FILE = re.compile(r"(?:full_)?(?:simplified_|raw_|binary_)?(.+?)\.ndjson(?:\.gz)?", re.IGNORECASE)


class DrawingSource(NamedTuple):
    """One drawing: its class, a name for its file, and what makes its picture."""

    label: str
    key: str
    draw: Callable[[Raster], Image.Image]


@dataclass
class Written:
    """What `write_rasters` did: `counts` by class, a line of `faults` for each drawing that could not be used, and how
    many drawings were left out because the game's classifier did not know them."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    unrecognized: int = 0


def find_drawings(
    source: str | os.PathLike[str], written: Written, recognized: bool = False
) -> Iterator[DrawingSource]:
    """The drawings of `*.ndjson`, `*.ndjson.gz` and `<class>/*.svg` files, or of one such file; files in order.
    `recognized` leaves out, and counts, what the game's classifier did not recognise.

    The class of a QuickDraw drawing is the `word` of its line, else the file's name. UserError where nothing of the
    kind is there.
    """
    root = Path(source)
    files = [root] if root.is_file() else sorted(_below(root))
    files = [path for path in files if _FILE.fullmatch(path.name) or path.suffix.lower() == ".svg"]
    if not files:
        raise UserError(f"{printable(os.fspath(source))}: no drawings; expected *.ndjson or <class>/*.svg files")
    for path in files:
        if not (named := _FILE.fullmatch(path.name)):
            yield DrawingSource(path.absolute().parent.name, path.stem, partial(render_svg, path))
            continue
        try:
            for drawing in read_ndjson(path, written.faults.append):
                label = composed(drawing.word.strip()) or named[1]
                if not _CLASS.fullmatch(label):
                    written.faults.append(f"{printable(str(path))}: the word {printable(label)!r} cannot name a folder")
                elif recognized and not drawing.recognized:
                    written.unrecognized += 1
                else:
                    yield DrawingSource(label, drawing.key, partial(render, drawing))
        except UserError as error:
            written.faults.append(str(error))


def _below(root: Path) -> Iterator[Path]:
    for path in [*root.glob("*"), *root.glob("*/*")]:
        parts = path.relative_to(root).parts
        wanted = ".svg" if len(parts) == 2 else (".ndjson", ".ndjson.gz")
        if path.name.lower().endswith(wanted) and not any(map(is_system, parts)):
            yield path


def write_rasters(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    raster: Raster = RASTER,
    per_class: int = 0,
    recognized: bool = False,
) -> Written:
    """Writes `folder/<class>/<key>.png` for each drawing, or for the first `per_class`; a file is whole or absent, a
    bad drawing is named. Drawings of a class that have one key are kept apart: `7`, `7_2`, `7_3` (`7-2` would name a
    drawing of photo 7)."""
    check_raster(raster)
    written = Written()
    taken: dict[str, dict[str, int]] = {}
    for label, key, draw in find_drawings(source, written, recognized):
        if per_class and written.counts[label] >= per_class:
            continue
        try:
            picture = draw(raster)
        except UserError as error:
            written.faults.append(str(error))
            continue
        written.counts[label] += 1
        name = key if _SAFE.fullmatch(key) else f"drawing-{written.counts[label]}"
        with atomic.writing(Path(folder) / label / f"{_free(name, taken.setdefault(label, {}))}.png") as temporary:
            picture.save(temporary, format="PNG")
    return written


def _free(key: str, taken: dict[str, int]) -> str:
    """The key, or the first free `<key>_<n>`; upper and lower case are one, as some disks have it. `taken` has the last
    n of each name, so that a file of one key only is not searched through for every drawing."""
    name, number = key, taken.get(key.lower(), 1)
    while name.lower() in taken:
        number += 1
        name = f"{key}_{number}"
    taken[key.lower()] = number
    taken.setdefault(name.lower(), 1)
    return name
