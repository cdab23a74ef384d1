"""What every gallery is made of: items and answers."""

from collections.abc import Sequence
from typing import NamedTuple

from tf_ssgn.common.names import composed


class Item(NamedTuple):
    """What a gallery knows of a photo. Sizes in bytes and pixels, `modified` in nanoseconds; None: not known.

    `path` is text as `files.to_text` makes it; `files.to_file` gives the name to open.
    """

    id: str
    path: str
    label: str
    size: int | None = None
    modified: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None


class Hit(NamedTuple):
    """One answer. `score` is the cosine; `path` is text (`files.to_file` gives the name to open).

    `duplicates` are the ids of the answers that were grouped with this one (`Options.group`), best first.
    """

    id: str
    score: float
    path: str
    label: str
    duplicates: tuple[str, ...] = ()


def spelled(name: str, columns: Sequence[str]) -> str:
    """The name as one of `columns` writes it; SQLite tells no two columns apart by their capitals."""
    folded = composed(name).lower()
    return next((column for column in columns if composed(column).lower() == folded), name)
