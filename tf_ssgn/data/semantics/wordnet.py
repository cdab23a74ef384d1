"""Class names to vectors by taxonomy: how near a class is to a fixed list of names in WordNet's tree of nouns.

Reads WordNet's own files (`index.noun`, `data.noun`, format in its manual page wndb(5WN)), so it needs no library.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from tf_ssgn.common.names import printable, spellings, words
from tf_ssgn.data.datasets.splits import published
from tf_ssgn.errors import UserError

FILES = ("index.noun", "data.noun")
# Debian's wordnet-base; NLTK's `download("wordnet")` leaves a folder or a zip below one of its own folders.
SYSTEM_FOLDERS = (
    "/usr/share/wordnet",
    "/usr/local/WordNet-3.0/dict",
    "/usr/share/nltk_data",
    "/usr/local/share/nltk_data",
)
BELOW = ("", "dict", "corpora/wordnet", "corpora/wordnet.zip")
TO_GET = (
    "install it (Debian: apt-get install wordnet-base; Python: nltk.download('wordnet')), or give its folder: "
    "--semantics.vectors wordnet:FOLDER"
)

JOINTS = str.maketrans("", "", "_-'. ")

Tree = dict[int, list[tuple[int, bool]]]  # synset -> its hypernyms; True where the synset is an instance of it


def similarities(classes: Sequence[str], folder: str = "") -> tuple[np.ndarray, list[str]]:
    """Path similarities to the anchors: every class name of the published splits that this WordNet knows.

    The similarity of two names is 1 / (1 + steps between them up and down the hypernym tree), the largest over their
    noun senses; senses that name an individual (a person called Crane) count only where there is no other. A name is
    looked up as one entry, however that is joined, then under the class's other names, then by its last word.

    Args:
        folder: of WordNet's files, or of NLTK's data; empty: where they are usually installed, `NLTK_DATA` first.

    Returns:
        float64 `[C, anchors]`, a zero row where the name is unknown; and the unknown names.

    Raises:
        UserError: no WordNet there, or a damaged one.
    """
    index, tree = _load(find(folder))
    anchors = sorted({name for split in published().values() for role in ("seen", "validation", "unseen")
                      for name in split[role]})  # fmt: skip
    ancestors: dict[str, list[dict[int, int]]] = {
        name: [_ancestors(sense, tree) for sense in _senses(name, index, tree)]
        for name in dict.fromkeys((*classes, *anchors))
    }
    if not any(ancestors[name] for name in anchors):
        raise UserError(f"WordNet in {printable(str(find(folder)))} knows none of the published classes; {TO_GET}")
    known = [name for name in anchors if ancestors[name]]
    table = np.array([[_similarity(ancestors[name], ancestors[anchor]) for anchor in known] for name in classes])
    return table, [name for name in classes if not ancestors[name]]


def find(folder: str = "") -> Path:
    """The folder or zip that holds WordNet's noun files.

    Raises:
        UserError: there is none.
    """
    from_environment = os.environ.get("NLTK_DATA", "").split(os.pathsep)
    roots = [folder] if folder else [*from_environment, str(Path.home() / "nltk_data"), *SYSTEM_FOLDERS]
    for root in filter(None, roots):
        for below in BELOW:
            place = Path(root, below)
            if place.is_file() if place.suffix == ".zip" else all((place / name).is_file() for name in FILES):
                return place
    where = printable(folder) if folder else "any of its usual folders"
    raise UserError(f"WordNet is not in {where}: expected {' and '.join(FILES)}; {TO_GET}")


def files(folder: str = "") -> list[str]:
    """The files that `similarities` depends on; errors as `find`."""
    place = find(folder)
    return [str(place)] if place.suffix == ".zip" else [str(place / name) for name in FILES]


def _load(place: Path) -> tuple[dict[str, list[int]], Tree]:
    """`{entry: synsets, the most frequent sense first}`, and the tree of all noun synsets."""
    index: dict[str, list[int]] = {}
    tree: Tree = {}
    try:
        with _opened(place, "index.noun") as lines:
            for fields in _rows(lines):  # entry, pos, senses, pointers p, p symbols, senses, tagged, offsets
                entry, senses = fields[0].decode(), [int(offset) for offset in fields[6 + int(fields[3]) :]]
                index[entry] = senses
                index.setdefault(_in_one_piece(entry), senses)
        with _opened(place, "data.noun") as lines:
            for fields in _rows(
                lines
            ):  # offset, file, type, words w (hex), w x (word, id), pointers, p x (symbol, ...)
                at = 4 + 2 * int(fields[3], 16)
                pointers = fields[at + 1 : at + 1 + 4 * int(fields[at])]
                tree[int(fields[0])] = [
                    (int(target), symbol == b"@i")
                    for symbol, target in zip(pointers[::4], pointers[1::4], strict=True)
                    if symbol in (b"@", b"@i")
                ]
    except (OSError, ValueError, IndexError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"WordNet in {printable(str(place))} is damaged ({error}); {TO_GET}") from None
    return index, tree


@contextmanager
def _opened(place: Path, name: str) -> Iterator[IO[bytes]]:
    if place.suffix == ".zip":
        with zipfile.ZipFile(place) as archive, archive.open(f"wordnet/{name}") as handle:
            yield handle
    else:
        with open(place / name, "rb") as handle:
            yield handle


def _rows(lines: IO[bytes]) -> Iterator[list[bytes]]:
    """The fields of each line; the licence at the top is indented, glosses follow a bar."""
    for line in lines:
        if not line.startswith(b" "):
            yield line.split(b"|", 1)[0].split()


def _senses(name: str, index: dict[str, list[int]], tree: Tree) -> list[int]:
    for last in (False, True):
        for spelling in spellings(name):
            parts = words(spelling)[-1:] if last else words(spelling)
            for entry in (
                "_".join(parts),
                _in_one_piece("".join(parts)),
                _in_one_piece("".join(parts)).removesuffix("s"),
            ):
                if entry in index:
                    return _kinds(index[entry], tree)
    return []


def _in_one_piece(entry: str) -> str:
    """`hot-air_balloon` as a key that no entry has by itself, so that whole entries stay apart from joined ones."""
    return "=" + entry.lower().translate(JOINTS)


def _kinds(senses: list[int], tree: Tree) -> list[int]:
    return [sense for sense in senses if not any(instance for _, instance in tree.get(sense, ()))] or senses


def _ancestors(sense: int, tree: Tree) -> dict[int, int]:
    """Every synset above one, itself included, and the fewest steps up to it."""
    steps = {sense: 0}
    front = [sense]
    while front:
        front = [above for below in front for above in _above(below, tree, steps)]
    return steps


def _above(below: int, tree: Tree, steps: dict[int, int]) -> list[int]:
    """The hypernyms not met yet; breadth first, so the first meeting is the nearest and a loop ends."""
    new = []
    for above, _ in tree.get(below, ()):
        if above not in steps:
            steps[above] = steps[below] + 1
            new.append(above)
    return new


def _similarity(left: list[dict[int, int]], right: list[dict[int, int]]) -> float:
    best = 0.0
    for ours in left:
        for theirs in right:
            shared = ours.keys() & theirs.keys()
            if shared:
                best = max(best, 1.0 / (1 + min(ours[synset] + theirs[synset] for synset in shared)))
    return best
