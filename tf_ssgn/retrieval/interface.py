"""What the rest of tf_ssgn asks of a gallery: whatever fulfils this can stand in for a folder on the disk.

`Gallery` does, and so would a client of a distributed vector store: searching, filters included, and items by id are
one request each there. Making and changing a gallery is not part of it, since stores differ most in that; what a bulk
job has embedded comes in as arrays, through `changes.import_columns` and `changes.add_vectors` or the store's own way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from tf_ssgn.retrieval.options import Options
from tf_ssgn.retrieval.segment import Item


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
