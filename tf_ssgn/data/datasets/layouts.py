"""Recognises how a dataset's folder is laid out, and finds its images by class; reads names only, no image."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tf_ssgn.common.names import composed, listed, match, printable
from tf_ssgn.data.datasets.file_lists import read_file_lists
from tf_ssgn.data.folders import counted, excluder, extension, is_photo, is_system
from tf_ssgn.errors import UserError

Files = dict[str, list[str]]  # class folder's name -> paths of its images

PLAIN = "sketch/<class> + photo/<class>"
PARTS = "train/{sketch,photo}/<class> + val/{sketch,photo}/<class>"
SKETCHY = "256x256/{sketch,photo}/tx_000000000000/<class> + EXTEND_image_sketchy/<class> (Sketchy)"
TUBERLIN = "png/<class> + ImageResized/<class> (TU-Berlin)"
QUICKDRAW = "sketches/<class> + images/<class>, or QuickDraw_{sketches,images}_final/<class> (QuickDraw-Extended)"
FILE_LISTS = "file lists *sketch*.txt + *photo*.txt"
LAYOUTS = (PLAIN, PARTS, SKETCHY, TUBERLIN, QUICKDRAW, FILE_LISTS)

# Name, layout, and what the folders of sketches and of photos may be called.
PAIRS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("tuberlin", TUBERLIN, ("png_ready", "png"), ("ImageResized_ready", "ImageResized")),
    ("quickdraw", QUICKDRAW, ("sketches", "QuickDraw_sketches_final"), ("images", "QuickDraw_images_final")),
    ("", PLAIN, ("sketch",), ("photo",)),
)
ORIGINAL_TRANSFORM = "tx_000000000000"  # Sketchy's name for its images as they were drawn, neither moved nor scaled
# The extended folder is published with 12,499 of the 12,500 original names, so a hundredth of slack recognises it.
SAME_PHOTOS = 0.99
_ABOVE = re.compile(r"(?:\.\./)+")
# The first folder of a published list's paths tells which dataset it is of.
_LISTED = {"256x256": "sketchy", "png": "tuberlin", "png_ready": "tuberlin"} | dict.fromkeys(
    ("sketches", "QuickDraw_sketches_final"), "quickdraw"
)


@dataclass
class FolderFiles:
    """What lies in a recognised folder, before the spellings of both modalities are joined; `problems` make it unfit
    for training."""

    name: str
    layout: str
    sketches: Files
    photos: Files
    notes: list[str]
    problems: list[str] = field(default_factory=list)


class DatasetFolder:
    """The folder that is given, and what below it is looked at: nothing that a glob of `exclude` names. UserError for a
    glob that is none."""

    def __init__(self, root: str, duplicates: bool = False, exclude: Sequence[str] = ()):
        self.root, self.duplicates, self.exclude = root, duplicates, exclude
        self._excludes = excluder([printable(glob) for glob in exclude])

    def excludes(self, path: str) -> bool:
        """Whether a path is left out; what lies beside or above the root is held against the globs from there on."""
        return bool(self.exclude) and self._excludes(printable(_ABOVE.sub("", os.path.relpath(path, self.root), 1)))

    def first(self, *names: str) -> str | None:
        """Of some folders, absolute or below the root, the first that is there."""
        paths = (os.path.join(self.root, name) for name in names)
        return next((path for path in paths if os.path.isdir(path) and not self.excludes(path)), None)

    def entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        return (entry for entry in scan(folder) if not self.excludes(entry.path))

    def class_files(self, folder: str, notes: list[str]) -> Files:
        """Images of each class folder below `folder`. Links are followed, one level deep only, so none can loop."""
        files: Files = {}
        others: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        for class_folder in self.entries(folder):
            if not class_folder.is_dir():
                continue
            images = files[class_folder.name] = []
            for entry in self.entries(class_folder.path):
                if entry.is_dir():
                    others["folders inside class folders"] += 1
                elif not entry.is_file():
                    others["broken links or special files"] += 1
                elif not _is_photo(entry):
                    kinds[extension(entry.name)] += 1
                else:
                    images.append(entry.path)
        notes.extend(f"{printable(folder)}: {count:,} {what} left out" for what, count in sorted(others.items()))
        if kinds:
            notes.append(f"{printable(folder)}: {kinds.total():,} files left out that are no images: {counted(kinds)}")
        return files


def recognise(place: DatasetFolder) -> FolderFiles | None:
    """The first layout that fits, or None. Sketchy precedes the plain one, which `256x256` would pass for."""
    return _sketchy(place) or _pair(place) or _parts(place) or _file_lists(place)


def unrecognised(root: str) -> str:
    """One line: what lies there, which layouts are known, and the folder inside that has one, if any."""
    inside = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in scan(root))
    message = (
        f"dataset folder {printable(root)}: found {listed(inside, 8) or 'nothing'}; expected one of these layouts: "
        f"{'; '.join(LAYOUTS)}"
    )
    for name in inside:
        below = os.path.join(root, name.rstrip("/"))
        if name.endswith("/") and _recognisable(below):
            return f"{message}; its folder {printable(name)} has one, so give {printable(below)}"
    return message


def _recognisable(folder: str) -> bool:
    try:
        return recognise(DatasetFolder(folder)) is not None
    except UserError:
        return False


def _pair(place: DatasetFolder) -> FolderFiles | None:
    """A folder of classes for each modality."""
    for name, layout, *sides in PAIRS:
        sketches, photos = (place.first(*names) for names in sides)
        if sketches and photos:
            notes: list[str] = []
            files = (place.class_files(sketches, notes), place.class_files(photos, notes))
            return FolderFiles(name or _own_name(place.root), layout, *files, notes)
    return None


def _own_name(root: str) -> str:
    return printable(os.path.basename(root)) or "dataset"


def _parts(place: DatasetFolder) -> FolderFiles | None:
    parts = [
        part for part in ("train", "val", "test") if place.first(f"{part}/sketch") and place.first(f"{part}/photo")
    ]
    if not parts:
        return None
    folder_files = FolderFiles(_own_name(place.root), PARTS, {}, {}, [])
    spelled: dict[str, str] = {}
    for part in parts:
        for files, modality in ((folder_files.sketches, "sketch"), (folder_files.photos, "photo")):
            folder = os.path.join(place.root, part, modality)
            for name, paths in place.class_files(folder, folder_files.notes).items():
                files.setdefault(spelled.setdefault(composed(name), name), []).extend(paths)
    if len(parts) > 1:
        folder_files.notes.append(
            f"the images of {' and '.join(parts)} are taken together; the split says what is trained on"
        )
    return folder_files


def _sketchy(place: DatasetFolder) -> FolderFiles | None:
    """Sketchy, given as the folder that holds `256x256` or as that folder itself."""
    base = place.first("256x256") or place.root
    above = place.root if base != place.root else os.path.dirname(place.root)
    sketches, photos = (
        place.first(*(f"{base}/{modality}/{ORIGINAL_TRANSFORM}{ending}" for ending in ("_ready", "")))
        for modality in ("sketch", "photo")
    )
    extended = place.first(f"{above}/EXTEND_image_sketchy_ready", f"{above}/EXTEND_image_sketchy")
    if not sketches or not (photos or extended):
        return None
    notes: list[str] = []
    originals = place.class_files(photos, notes) if photos else {}
    more = place.class_files(extended, notes) if extended else {}
    joined = join_photos(originals, more, place.duplicates, notes)
    return FolderFiles("sketchy", SKETCHY, place.class_files(sketches, notes), joined, notes)


def _file_lists(place: DatasetFolder) -> FolderFiles | None:
    lists = read_file_lists(place.root)
    if not lists:
        return None
    lists.missing = [path for path in lists.missing if not place.excludes(path)]
    sketches, shot = (
        {name: kept for name, paths in side.items() if (kept := [path for path in paths if not place.excludes(path)])}
        for side in (lists.sketches, lists.photos)
    )
    notes: list[str] = []
    originals: Files = {}
    extended: Files = {}
    for name, paths in shot.items():
        for path in paths:
            chosen = originals if f"{os.sep}256x256{os.sep}photo{os.sep}" in path else extended
            chosen.setdefault(name, []).append(path)
    photos = join_photos(originals, extended, place.duplicates, notes) if originals else extended
    first = next(iter(sketches.values()), [""])[0].split(os.sep)
    name = next((dataset for folder, dataset in _LISTED.items() if folder in first), _own_name(place.root))
    files = FolderFiles(name, FILE_LISTS, sketches, photos, notes)
    if lists.missing:
        files.problems.append(f"{len(lists.missing):,} listed images are not there: {listed(lists.missing, 3)}")
    return files


def join_photos(originals: Files, extended: Files, duplicates: bool, notes: list[str]) -> Files:
    """Sketchy's original photos and the extended ones, which hold the originals again. Appends a note on the choice."""
    if not any(originals.values()) or not any(extended.values()):
        return originals or extended
    spelled, _ = match(originals, list(extended))
    renamed = {spelled.get(name, name): paths for name, paths in originals.items()}
    there = {name: {composed(os.path.basename(path)) for path in paths} for name, paths in extended.items()}
    new = {
        name: [path for path in paths if composed(os.path.basename(path)) not in there.get(name, ())]
        for name, paths in renamed.items()
    }
    count = sum(map(len, originals.values()))
    absent = sum(map(len, new.values()))
    if duplicates:
        added, says = renamed, "both copies are used, as in the published file lists"
    elif absent <= (1 - SAME_PHOTOS) * count:
        added, says = {}, "only the extended folder is used"
    else:
        added, says = new, "these are used once"
    both = f"{count - absent:,} of the {count:,} original photos are in the extended folder once more"
    notes.append(f"{'' if duplicates else 'no '}duplicates: {both}; {says}")
    joined = {name: list(paths) for name, paths in extended.items()}
    for name, paths in added.items():
        joined.setdefault(name, []).extend(paths)
    return joined


def scan(folder: str) -> Iterator[os.DirEntry[str]]:
    """Entries that are no system's own, as `folders.is_system` has it; UserError: the folder cannot be read."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not is_system(entry.name))
    except OSError as error:
        raise UserError(f"folder {printable(folder)}: {error.strerror or error}; make it readable") from None


def _is_photo(entry: os.DirEntry[str]) -> bool:
    try:
        return is_photo(entry)
    except OSError:
        return True  # whoever reads the images says what is wrong with it
