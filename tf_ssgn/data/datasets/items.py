"""A dataset's folder becomes one list of sketches and one of photos, with classes and pairs."""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from tf_ssgn.common.names import composed, listed, match, normalise, printable, refuse_text
from tf_ssgn.data.datasets.layouts import PLAIN, DatasetFolder, Files, FolderFiles, recognise, unrecognised
from tf_ssgn.data.folders import EXTENSIONS
from tf_ssgn.errors import UserError

_DRAWN_FROM = re.compile(r"(.+)-\d+", re.DOTALL)  # Sketchy: <photo stem>-<number of the drawing>


@dataclass(frozen=True, slots=True)
class Example:
    """One image file.

    Attributes:
        path: absolute; a name that is not UTF-8 holds surrogates, as `open` wants it (`os.fsencode` gives the bytes).
        label: the class's canonical name: as the photo folder spells it, bytes that are not UTF-8 percent-escaped.
        instance: a photo's stem, composed; a sketch's is that of the photo it was drawn from, "" where unknown.
    """

    path: str
    label: str
    modality: Literal["sketch", "photo", "contour"]
    instance: str


@dataclass(frozen=True)
class Dataset:
    """A recognised folder; items sorted by class and path, classes sorted, so that two machines list them alike."""

    name: str
    root: str
    sketches: list[Example]
    photos: list[Example]
    classes: list[str]
    notes: list[str]
    layout: str = PLAIN

    def of(self, classes: Collection[str]) -> "Dataset":
        """The part of it with these classes; UserError for a text in place of a list."""
        refuse_text(classes, "classes")
        kept = set(classes)
        return dataclasses.replace(
            self,
            sketches=[item for item in self.sketches if item.label in kept],
            photos=[item for item in self.photos if item.label in kept],
            classes=[name for name in self.classes if name in kept],
        )


def open_dataset(
    folder: str | os.PathLike[str], *, duplicates: bool = False, exclude: Sequence[str] = (), strict: bool = True
) -> Dataset:
    """Lists a dataset's images, whatever published layout it has; reads folders and names only, no image.

    Args:
        duplicates: Sketchy only. The extended photo folder already holds the original photos; True lists both
            copies, as the published file lists do, False lists each photo once. The notes say which.
        exclude: globs of files and folders to leave out, as `folders.excluder` has them.
        strict: refuse what can be neither trained on nor evaluated: an empty class, a class with sketches but no
            photos, listed images that are missing. False says so in the notes and leaves it out.

    Raises UserError: no such folder, no known layout in it, no images, a glob that is none, and what `strict` refuses.
    """
    root = os.path.abspath(folder)
    if not os.path.isdir(root):
        what = "is a file" if os.path.exists(root) else "does not exist"
        raise UserError(
            f"dataset folder {printable(root)} {what}; expected a folder laid out as {PLAIN}, or as a published one"
        )
    files = recognise(DatasetFolder(root, duplicates, exclude))
    if files is None:
        raise UserError(unrecognised(root))
    where = f"dataset {printable(root)} ({files.layout})"
    sketches, photos = sum(map(len, files.sketches.values())), sum(map(len, files.photos.values()))
    if not sketches or not photos:
        raise UserError(
            f"{where}: {'; '.join([f'found {sketches:,} sketches and {photos:,} photos', *files.problems])}; "
            f"expected both, one folder for each class, as {', '.join(EXTENSIONS)} files"
        )
    respelled = _join_spellings(files)
    problems = files.problems + _problems(respelled, files.photos)
    if problems and strict:
        raise UserError(f"{where}: {'; '.join(problems)}; add these images, or remove what should have them")
    notes = files.notes + problems
    undrawn = sorted(name for name, paths in files.photos.items() if paths and not respelled.get(name))
    if undrawn:
        notes.append(f"{len(undrawn)} classes have photos only; they enlarge the gallery: {listed(undrawn)}")
    return _items(files, root, respelled, notes)


def _join_spellings(files: FolderFiles) -> Files:
    """The sketches under their photo folders' names: `sketches/palm_tree` goes with `images/palm tree`."""
    spelled, _ = match(files.sketches, list(files.photos))
    keys = Counter(normalise(name) for name in files.photos)
    respelled: Files = {}
    for name, paths in files.sketches.items():
        if name not in spelled and keys[normalise(name)] > 1:
            same = sorted(other for other in files.photos if normalise(other) == normalise(name))
            files.problems.append(f"the sketches of {printable(name)} fit several photo folders: {listed(same)}")
        respelled.setdefault(spelled.get(name, name), []).extend(paths)
    return respelled


def _problems(sketches: Files, photos: Files) -> list[str]:
    names = sorted(set(sketches) | set(photos))
    empty = [name for name in names if not sketches.get(name) and not photos.get(name)]
    unanswered = [name for name in names if sketches.get(name) and not photos.get(name)]
    emptied = [name for name in names if photos.get(name) and name in sketches and not sketches[name]]
    return [
        f"{len(rows)} classes {what}: {listed(rows)}"
        for rows, what in (
            (empty, "have no images"),
            (unanswered, "have sketches but no photos"),
            (emptied, "have photos but an empty sketch folder"),
        )
        if rows
    ]


def _items(files: FolderFiles, root: str, sketches: Files, notes: list[str]) -> Dataset:
    photo_items: list[Example] = []
    sketch_items: list[Example] = []
    for name in sorted(set(sketches) | set(files.photos)):
        photos = files.photos.get(name, [])
        if sketches.get(name) and not photos:
            continue  # a query without a possible answer; `_problems` has named it
        label = printable(name)
        drawn = [Example(path, label, "photo", _stem(path)) for path in sorted(photos)]
        stems = {item.instance for item in drawn}
        photo_items += drawn
        for path in sorted(sketches.get(name, ())):
            shape = _DRAWN_FROM.fullmatch(_stem(path))
            sketch_items.append(Example(path, label, "sketch", shape[1] if shape and shape[1] in stems else ""))
    paired = sum(bool(item.instance) for item in sketch_items)
    notes.append(f"{paired:,} of {len(sketch_items):,} sketches name the photo that they were drawn from")
    classes = sorted({item.label for item in photo_items})
    return Dataset(files.name, root, sketch_items, photo_items, classes, notes, files.layout)


def _stem(path: str) -> str:
    return composed(os.path.splitext(os.path.basename(path))[0])
