"""The file lists that published code ships: lines of `<path> <label>`, with `cname_cid.txt` naming the labels."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from tf_ssgn.common.names import composed, listed, normalise, printable
from tf_ssgn.errors import UserError
from tf_ssgn.settings import FILE_LIST_LINE_BYTES, LIST_PARENTS

FORMAT = "lines of `<path> <class number>`; paths may hold spaces"


@dataclass
class Lists:
    """Paths by class, absolute."""

    sketches: dict[str, list[str]] = field(default_factory=dict)
    photos: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def parse_line(line: bytes) -> tuple[str, int] | None:
    """`b"png_ready/hot air balloon/1.png 7"` -> (path, 7): the label is the last token. None for a blank line;
    ValueError without a path, or a label that is a whole number of 0 or more."""
    if not line.strip():
        return None
    path, label = line.rstrip().rsplit(None, 1)
    if not label.isdigit() or not path.strip():
        raise ValueError(f"label {label!r}")
    return os.fsdecode(path), int(label)


def read_lines(path: str) -> Iterator[tuple[int, str, int]]:
    """Yields (line number, text, label) of a list or of `cname_cid.txt`, which has the same form."""
    number = 0
    try:
        with open(path, "rb") as handle:
            while line := handle.readline(FILE_LIST_LINE_BYTES):
                number += 1
                parsed = parse_line(line)
                if parsed:
                    yield number, *parsed
    except ValueError:
        shown = printable(os.fsdecode(line[:80].strip()))
        raise UserError(f"file list {printable(path)}, line {number}: {shown!r}; expected {FORMAT}") from None
    except OSError as error:
        raise UserError(f"file list {printable(path)}: {error.strerror or error}; make it readable") from None


def find_lists(folder: str) -> dict[str, list[str]]:
    """`{"sketch": [...], "photo": [...]}`: the lists in `folder` by modality; both empty when it holds none."""
    lists: dict[str, list[str]] = {"sketch": [], "photo": []}
    for name in sorted(os.listdir(folder)):
        if not name.startswith(".") and name.lower().endswith(".txt") and "cname" not in name.lower():
            modality = next((modality for modality in lists if modality in name.lower()), None)
            if modality:
                lists[modality].append(os.path.join(folder, name))
    return lists


def read_file_lists(folder: str) -> Lists | None:
    """All lists of a folder taken together; None when it holds none of sketches or none of photos.

    A label's class name comes from `cname_cid.txt`, or `cname_cid_zero.txt` for lists with `zero` in their name, as
    seen and unseen labels both start at 0; without these files from the image's folder.

    Raises UserError: a malformed line, a label without a name, a label that contradicts the image's folder, or images
    that lie neither beside the lists nor above them.
    """
    by_side = find_lists(folder)
    if not all(by_side.values()):
        return None
    lists = Lists()
    root = ""
    known = _Folders()
    for modality, paths in by_side.items():
        files = lists.sketches if modality == "sketch" else lists.photos
        listed_already: set[str] = set()
        for path in paths:
            names = _class_names(path)
            keys = {normalise(name) for name in names.values()}
            for number, relative, label in read_lines(path):
                root = root or _root(folder, relative, path, known)
                own_folder = os.path.basename(os.path.dirname(relative))
                if names and label not in names:
                    raise UserError(
                        f"file list {printable(path)}, line {number}: no class has the number {label}; "
                        f"expected one of cname_cid's {len(names)} numbers"
                    )
                name = names.get(label, own_folder)
                if normalise(name) != normalise(own_folder) and normalise(own_folder) in keys:
                    raise UserError(
                        f"file list {printable(path)}, line {number}: the folder says {printable(own_folder)}, number "
                        f"{label} says {printable(name)}; seen and unseen numbers both start at 0, so keep each "
                        f"cname_cid file with its own lists (`zero` in the name of the unseen ones)"
                    )
                if not name:
                    raise UserError(f"file list {printable(path)}, line {number}: no class folder and no cname_cid.txt")
                image = os.path.normpath(os.path.join(root, relative))
                there = known.find(image)
                image = there or image
                if image in listed_already:  # validation lists repeat training images
                    continue
                listed_already.add(image)
                (files.setdefault(name, []) if there else lists.missing).append(image)
    return lists


def _class_names(path: str) -> dict[int, str]:
    zero = "_zero" if "zero" in os.path.basename(path).lower() else ""
    cname = os.path.join(os.path.dirname(path), f"cname_cid{zero}.txt")
    if not os.path.isfile(cname):
        return {}
    names: dict[int, str] = {}
    if twice := [str(label) for _, name, label in read_lines(cname) if names.setdefault(label, name) != name]:
        raise UserError(f"{printable(cname)}: numbers with several names: {listed(twice)}; expected one name each")
    return names


def _root(folder: str, relative: str, path: str, known: "_Folders") -> str:
    """The folder that the lists' paths start from: that of the lists, or one above it."""
    candidate = folder
    for _ in range(LIST_PARENTS + 1):
        first = os.path.normpath(os.path.join(candidate, os.path.dirname(relative)))
        if os.path.isdir(first) or known.find(first):
            return candidate
        candidate = os.path.dirname(candidate)
    raise UserError(
        f"file list {printable(path)}: its first image {printable(relative)} is neither below {printable(folder)} nor "
        f"below the {LIST_PARENTS} folders above; put the lists into the folder that holds the images, or one below it"
    )


class _Folders:
    """Names by folder, each folder listed once: far fewer system calls than one per image."""

    def __init__(self) -> None:
        self._listed: dict[str, tuple[str, dict[str, str]]] = {}

    def find(self, path: str) -> str | None:
        """The path as the disk writes it, whose names may be decomposed where the list's are not; None: not there."""
        folder, name = os.path.split(path)
        if folder not in self._listed:
            self._listed[folder] = self._list(folder)
        there, names = self._listed[folder]
        own = names.get(name) or names.get(composed(name))
        return os.path.join(there, own) if own else None

    def _list(self, folder: str) -> tuple[str, dict[str, str]]:
        """The folder as the disk writes it, and in it each name and each composed name."""
        there = folder if os.path.isdir(folder) or folder == os.path.dirname(folder) else self.find(folder)
        try:
            names = os.listdir(there or folder)
        except OSError:
            names = []
        return there or folder, {composed(name): name for name in names} | {name: name for name in names}
