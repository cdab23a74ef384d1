"""A drawn dataset made on the spot: photo-like pictures and line drawings of the same objects.

`CLASSES`, `UNSEEN` and `attributes` say what the classes are, `new_instance`, `draw_photo` and `draw_sketch` draw one
object, `write_dataset` writes a folder in the layout of Sketchy.
"""

import json
import os
import zlib
from pathlib import Path

import numpy as np

from tf_ssgn.common import cli
from tf_ssgn.common.atomic import making
from tf_ssgn.common.progress import Progress
from tf_ssgn.data.drawing.instance import Instance, new_instance
from tf_ssgn.data.drawing.photo import draw_photo
from tf_ssgn.data.drawing.semantics import CLASSES, SEEN, UNSEEN, attributes
from tf_ssgn.data.drawing.sketch import draw_sketch
from tf_ssgn.errors import UserError
from tf_ssgn.settings import SYNTHETIC

__all__ = [
    "CLASSES", "SEEN", "UNSEEN", "Instance", "attributes", "draw_photo", "draw_sketch", "new_instance", "write_dataset",
]  # fmt: skip

DRAWING = 1  # raised when the same parameters begin to give other pictures
JPEG_QUALITY = 88  # slight artefacts, as photos have them
README = """A drawn dataset of {classes} classes, made by `python -m tf_ssgn.prepare synthetic`.

photos per class    {photos_per_class}
sketches per class  {sketches_per_class}
size in pixels      {size}
seed                {seed}
drawing version     {drawing}

photo/<class>/<stem>.jpg        photo-like pictures
sketch/<class>/<stem>-<n>.png   line drawings; <stem>-<n> is the n-th drawing of the object on photo <stem>
semantics.npz                   names [C], vectors float32 [C, {dimension}]: one attribute vector per class
split.json                      {seen} seen and {unseen} unseen classes

The same parameters give the same pictures. Nothing in here was photographed or drawn by a person.
"""


def write_dataset(
    folder: str | os.PathLike,
    *,
    photos_per_class: int = SYNTHETIC.photos_per_class,
    sketches_per_class: int = SYNTHETIC.sketches_per_class,
    size: int = SYNTHETIC.size,
    seed: int = 0,
) -> None:
    """Writes the drawn dataset, whole or not at all; the same arguments give the same pixels.

    A folder that holds this very dataset is left as it is. Sketch i shows the object on photo i modulo the photos.

    Args:
        size: side of every picture in pixels.

    Raises UserError: a folder that holds something else, arguments out of range, a place that cannot be written.
    """
    _check(photos_per_class=(photos_per_class, 1, 9999), sketches_per_class=(sketches_per_class, 1, 9999))
    _check(size=(size, 32, 1024), seed=(seed, 0, 2**63 - 1))
    target = Path(os.path.realpath(folder))
    readme = README.format(
        classes=len(CLASSES),
        photos_per_class=photos_per_class,
        sketches_per_class=sketches_per_class,
        size=size,
        seed=seed,
        drawing=DRAWING,
        dimension=attributes(CLASSES[:1]).shape[1],
        seen=len(SEEN),
        unseen=len(UNSEEN),
    )
    try:
        if _is_there(target, readme, photos_per_class, sketches_per_class):
            cli.log(f"{folder} already holds this dataset; nothing to do")
            return
        with making(target) as temporary:
            with Progress(len(CLASSES) * (photos_per_class + sketches_per_class), "pictures drawn") as bar:
                for label in CLASSES:
                    _write_class(temporary, label, photos_per_class, sketches_per_class, size, seed, bar)
            np.savez(temporary / "semantics.npz", names=np.array(CLASSES), vectors=attributes(CLASSES))
            split = json.dumps({"seen": SEEN, "unseen": UNSEEN}, indent=2)
            (temporary / "split.json").write_text(split + "\n", encoding="utf-8")
            (temporary / "README.txt").write_text(readme, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write the drawn dataset to {folder}: {error.strerror or error}; choose another folder"
        ) from error


def _check(**ranges: tuple[int, int, int]) -> None:
    for name, (value, low, high) in ranges.items():
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise UserError(f"{name}: received {value!r}, expected a whole number from {low} to {high}")


def _names(label: str, photos: int, sketches: int) -> tuple[list[str], list[str]]:
    """Paths below the dataset's folder, of all photos and of all sketches of a class."""
    stems = [f"{label}_{index + 1:04d}" for index in range(photos)]
    drawings = [f"{stems[index % photos]}-{index // photos + 1}" for index in range(sketches)]
    return [f"photo/{label}/{stem}.jpg" for stem in stems], [f"sketch/{label}/{stem}.png" for stem in drawings]


def _write_class(folder: Path, label: str, photos: int, sketches: int, size: int, seed: int, bar: Progress) -> None:
    def dice(index: int, what: int) -> np.random.Generator:
        # Every picture has its own dice, named by class and number: more pictures leave the first ones as they are.
        return np.random.default_rng([seed, zlib.crc32(label.encode()), index, what])

    photo_names, sketch_names = _names(label, photos, sketches)
    for kind in ("photo", "sketch"):
        (folder / kind / label).mkdir(parents=True)
    for index, name in enumerate(photo_names):
        instance = new_instance(label, dice(index, 0))
        draw_photo(label, dice(index, 1), size, instance).save(folder / name, quality=JPEG_QUALITY)
        bar.advance()
    for index, name in enumerate(sketch_names):
        instance = new_instance(label, dice(index % photos, 0))
        draw_sketch(label, dice(index, 2), size, instance).save(folder / name)
        bar.advance()


def _is_there(target: Path, readme: str, photos: int, sketches: int) -> bool:
    """Whether `target` is this dataset, whole; UserError where it is anything else but absent or empty."""
    if not target.exists():
        return False
    if not target.is_dir():
        raise UserError(f"{target} is a file; expected a new or empty folder for the drawn dataset")
    if not any(target.iterdir()):
        return False
    note = target / "README.txt"
    if not note.is_file() or note.read_bytes() != readme.encode():
        raise UserError(
            f"{target} is not empty and is not this dataset (same counts, size and seed); expected a new "
            "or empty folder: choose another, or remove it"
        )
    files = (name for label in CLASSES for names in _names(label, photos, sketches) for name in names)
    expected = ["semantics.npz", "split.json", *files]
    missing = [name for name in expected if not (target / name).is_file()]
    if missing:
        raise UserError(
            f"{target} lacks {len(missing)} of this dataset's {len(expected)} files, first {missing[0]}; "
            "remove the folder to draw it anew, or choose another"
        )
    return True
