"""What writing asks of a place where a gallery is kept: a folder, or Milvus. `open.writer` gives the one for a place.

A `Writer` stands for the place, a `Change` for one change of what is in it. What follows from these, in which order
photos are looked at, embedded and written, is in `update.py`, the same for all places.
"""

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.retrieval.columns import export_parquet, items_of, read_columns
from tf_ssgn.retrieval.files import PhotoFile, Source, Walk, to_text
from tf_ssgn.retrieval.items import Item
from tf_ssgn.retrieval.photos import Embedder
from tf_ssgn.retrieval.searcher import OpenGallery
from tf_ssgn.settings import ROWS_TOGETHER

Sources = Sequence[dict[str, str]]  # as a manifest has them: `{"folder": ..., "prefix": ...}`


@dataclass
class Report:
    """What a write did. `skipped` holds (path as text, reason), `unmatched` keys of a table that met no photo."""

    count: int = 0
    version: int = 0
    embedded: int = 0
    reused: int = 0
    resumed: int = 0
    unchanged: int = 0
    removed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # files that are no photos by their name, by extension
    unmatched: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


class Change(ABC):
    """One change of a gallery. Nothing that `append` has taken is lost when the process dies.

    `new` says that there is no version yet, so that a change that comes to nothing leaves nothing; `sources` are the
    folders that were indexed, without what `exclude` names; `columns` those of users' tables; `count` and `version` are
    of the last commit.
    """

    new: bool
    sources: list[Source]
    exclude: list[str]
    columns: list[str]
    count: int
    version: int

    @abstractmethod
    def known(self, prefixes: Sequence[str]) -> dict[str, Item]:
        """The items whose ids begin with one of these, by id."""

    @abstractmethod
    def extra(self, ids: Collection[str]) -> dict[str, Mapping[str, Any]]:
        """Values of the users' columns of known items, by id; null ones left out."""

    @abstractmethod
    def resume(self, files: Mapping[str, PhotoFile]) -> set[str]:
        """Ids of these files, by id, that an earlier change had taken when it was cut off."""

    @abstractmethod
    def vectors_of(self, contents: Collection[str]) -> dict[str, np.ndarray]:
        """float32 [d] of photos by their SHA-256, where the gallery has embedded that content before."""

    @abstractmethod
    def append(self, items: Sequence[Item], vectors: np.ndarray, extra: Sequence[Mapping[str, Any]]) -> None:
        """Takes items with their vectors, unit float32 [n, d]; an item of an id that is there takes its place."""

    @abstractmethod
    def commit(self, walked: Walk, gone: Collection[str] = (), last: bool = True) -> None:
        """Makes what was taken the current version, without the items of the ids `gone`, and notes where `found`
        looked; a change goes on after it where it was not the `last`."""


class Writer(ABC):
    """A place where a gallery is or will be. UserError, here and in all that follows, where it cannot be one."""

    def __init__(self, where: str | os.PathLike):
        self.where = os.fspath(where)

    @abstractmethod
    def change(self, model: Embedder, table: str = "", building: Walk | None = None) -> AbstractContextManager[Change]:
        """Begins a change, one at a time; `table` is the hash of a metadata table, `building` the walk that a new
        gallery is made of. UserError where another command has made one."""

    @abstractmethod
    def open(self) -> OpenGallery: ...

    @abstractmethod
    def check_new(self) -> None:
        """UserError where it is plain that no new gallery can be made here."""

    @abstractmethod
    def model_path(self) -> str:
        """Where the model was that made the vectors, as text."""

    @abstractmethod
    def delete(self, *, ids: Sequence[str] = (), paths: Sequence[str] = (), where: str = "") -> Report:
        """Deletes the items of these ids, of these photo files or folders, or of which the SQL condition is true,
        durably; ids and paths that match nothing are no error: `removed` tells."""

    @abstractmethod
    def import_blocks(
        self,
        model: Embedder,
        what: str,
        blocks: Iterable[tuple[Sequence[Item], np.ndarray]],
        count: int,
        sources: Sources = (),
    ) -> Report:
        """Writes `count` items with vectors made elsewhere, which must be this model's; `what` names them in errors."""

    def import_items(self, model: Embedder, what: str, items: Sequence[Item], vectors: np.ndarray) -> Report:
        """The same of arrays; `vectors` may be memory-mapped."""
        lows = range(0, len(items), ROWS_TOGETHER)
        blocks = ((items[low : low + ROWS_TOGETHER], vectors[low : low + ROWS_TOGETHER]) for low in lows)
        return self.import_blocks(model, what, blocks, len(items))

    def import_file(self, file: str | os.PathLike, model: Embedder) -> Report:
        """Writes vectors made elsewhere, which must be this model's `embed_photo` embeddings.

        `.npy` float32 [n, d]; `.npz` with `vectors` [n, d] and, optional, `ids`, `labels`, `paths` [n]; or parquet with
        these as columns. Vectors are normalised; a zero or non-finite one, or an id that comes twice, is refused. Ids
        default to row numbers.
        """
        columns = read_columns(Path(file))
        vectors = columns["vectors"]
        items = items_of(str(file), model.dimension, **columns)
        return self.import_items(model, str(file), items, vectors)

    def export_parquet(self, file: str | os.PathLike) -> int:
        """Writes all items with their vectors as parquet, in chunks; returns their number."""
        with self.open() as gallery:
            return export_parquet(gallery, file)

    @abstractmethod
    def compact(self) -> Report: ...

    @abstractmethod
    def verify(self) -> dict[str, Any]:
        """Checks everything, as `folder.verify.verify` says."""

    @abstractmethod
    def stats(self) -> dict[str, Any]:
        """What `index stats` prints; `count` is the number of living items."""

    def advice(self) -> str:
        """A line on what would make searching faster; else empty."""
        return ""


def first_manifest(model: Embedder) -> dict[str, Any]:
    """What a gallery notes of itself and of its model when it is begun."""
    about = {"path": to_text(os.path.abspath(model.path)), "fingerprint": model.fingerprint, "views": model.views}
    about["runtime"] = model.runtime
    return {
        "model": about,
        "dimension": model.dimension,
        "normalisation": "l2",
        "similarity": "cosine",
        "sources": [],
        "segments": [],
        "dead": None,
    }
