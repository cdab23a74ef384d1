"""What the rest of tf_ssgn asks of a gallery: whatever fulfils this can stand in for a folder on the disk.

`Gallery` does, and so does `MilvusGallery`, a collection on a server: `open_gallery` takes a folder or an address.
Searching, filters included, and items by id are one request each there. Making and changing a gallery is not part of
it, since stores differ most in that: `builder.py` and `changes.py` do it for a folder, `milvus_writer.py` for Milvus.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder.segment import Item
from tf_ssgn.retrieval.search.options import Options


class Unreachable(UserError):
    """A gallery whose server does not answer, now: trying again later may help."""


class Searchable(Protocol):
    """A gallery for `query` and `serve`. `Gallery` says what each does, and which errors it raises."""

    fingerprint: str
    dimension: int
    version: int

    def __len__(self) -> int: ...

    def require_model(self, fingerprint: str) -> None: ...

    def is_current(self) -> bool: ...

    def search(self, vectors: Any, k: int | Sequence[int] = ..., method: str = ..., options: Options = ...) -> list: ...

    def search_batch(
        self, vectors: np.ndarray, k: Any, method: str = ..., options: Options = ...
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...

    @property
    def columns(self) -> list[str]: ...

    def sample(self, number: int) -> list[str]: ...

    def find(self, id: str) -> Item | None: ...

    def vector(self, id: str) -> np.ndarray | None: ...

    def close(self) -> None: ...


class Exportable(Searchable, Protocol):
    """Besides, what a SavedModel is made of; a store too large to be read as a whole need not have it."""

    @property
    def vectors(self) -> np.ndarray: ...

    @property
    def ids(self) -> list[str]: ...

    def items(self) -> Iterator[Item]: ...


def open_gallery(where: str | os.PathLike) -> Searchable:
    """The gallery in a folder or, by `milvus:` or `https:`, in Milvus; UserError where there is none."""
    from tf_ssgn.retrieval.milvus.connection import is_address

    if is_address(where):
        from tf_ssgn.retrieval.milvus.gallery import MilvusGallery

        return MilvusGallery.open(os.fspath(where))
    from tf_ssgn.retrieval.folder.gallery import Gallery

    return Gallery.open(where)


def state_of(where: str | os.PathLike, opened: Any = None) -> Any:
    """What tells one version of a gallery from another; UserError where it cannot be told now."""
    from tf_ssgn.retrieval.milvus.connection import is_address

    if is_address(where):  # its content changes under an open gallery; only a collection made anew is another one
        from tf_ssgn.retrieval.milvus.gallery import MilvusGallery

        if isinstance(opened, MilvusGallery):
            return opened.identity()
        with MilvusGallery.open(os.fspath(where)) as gallery:
            return gallery.identity()
    from tf_ssgn.retrieval.folder.store import Store

    return Store(where).pointer()
