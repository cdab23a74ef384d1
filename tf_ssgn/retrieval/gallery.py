"""A gallery as its readers see it: open it, search it, ask what an item is."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_ssgn.config import GALLERY
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval import exact, scann_index
from tf_ssgn.retrieval.segment import Item, Segment, unit
from tf_ssgn.retrieval.store import Store

METHODS = ("auto", "exact", "scann")


class Hit(NamedTuple):
    """One answer. `score` is the cosine; `path` is text (`files.to_file` gives the name to open)."""

    id: str
    score: float
    path: str
    label: str


class Gallery:
    """One version of a gallery, read only; safe to use from several threads.

    A writer's changes are seen by opening the gallery again (`is_current` tells); what is open stays as it was.
    """

    def __init__(self, store: Store, manifest: dict[str, Any], segments: list[Segment], dead: np.ndarray):
        self.path, self.manifest = str(store.folder), manifest
        self.fingerprint: str = manifest["model"]["fingerprint"]
        self.dimension: int = manifest["dimension"]
        self.version: int = manifest["version"]
        self._store, self._segments = store, segments
        self._starts = np.cumsum([0] + [segment.rows for segment in segments])
        self._dead = dead
        self._alive = None
        if dead.size:
            self._alive = np.ones(self._starts[-1], bool)
            self._alive[dead] = False
        # Ties are ordered by id; a gallery as `build` and `compact` leave it has its rows in that order already.
        self._in_id_order = len(segments) == 1 and bool(manifest["segments"][0]["in_id_order"])

    @classmethod
    def open(cls, path: str | os.PathLike) -> Gallery:
        """Opens the current version; UserError where there is none, or it is damaged.

        Checked are the manifest, all sizes and metadata, and the content of files up to
        `config.GALLERY.checked_at_open`; `index verify` checks everything.
        """
        store = Store(path)
        while True:
            manifest = store.manifest()
            try:
                return cls._open(store, manifest)
            except (UserError, OSError) as error:
                # A writer may have replaced the version, and removed its files, since its manifest was read.
                if store.manifest()["version"] != manifest["version"]:
                    continue
                if isinstance(error, OSError):
                    raise UserError(f"cannot open the gallery {path}: {error}") from None
                raise

    @classmethod
    def _open(cls, store: Store, manifest: dict[str, Any]) -> Gallery:
        dead = store.dead_rows(manifest)
        segments = []
        for entry in manifest["segments"]:
            damage = store.damaged(entry, GALLERY.checked_at_open)
            if damage:
                raise UserError(
                    f"the gallery {store.folder} is damaged: {damage[0]}; restore it from a copy or build it again"
                )
            segments.append(Segment(store.part(entry["folder"]), entry["rows"], manifest["dimension"]))
        return cls(store, manifest, segments, dead)

    def __len__(self) -> int:
        return int(self._starts[-1]) - len(self._dead)

    def is_current(self) -> bool:
        """False once a writer has made a newer version."""
        return self._store.pointer()["version"] == self.version

    def require_model(self, fingerprint: str) -> None:
        """UserError unless the gallery was made by the model of that fingerprint."""
        if fingerprint != self.fingerprint:
            raise UserError(
                f"the gallery {self.path} was made by another model (fingerprint {self.fingerprint}, "
                f"model {self.manifest['model']['path']}); received {fingerprint}: build it again with this model"
            )

    # -- searching ---------------------------------------------------------------------------------------------------

    def search(self, vectors: Any, k: int = 10, method: str = "auto") -> list[Any]:
        """The k most similar items of each vector, best first; fewer where the gallery has fewer.

        `vectors` float32 [d] gives list[Hit], [Q, d] gives list[list[Hit]], one for each query; they need not have unit
        length. `method` is `exact`, `scann` or `auto`, by size. Equal scores are ordered by id.
        """
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
            raise UserError(f"k: received {k!r}, expected a whole number of 1 or more")
        queries = np.asarray(vectors)
        single = queries.ndim == 1
        queries = unit(queries[None] if single else queries, self.dimension, "query vectors")
        found = self.rows(queries, int(k), method)
        items = self._items(np.concatenate([rows for rows, _ in found]) if found else np.empty(0, np.int64))
        hits = [
            [
                Hit(items[row].id, float(score), items[row].path, items[row].label)
                for row, score in zip(*pair, strict=True)
            ]
            for pair in ((rows.tolist(), scores.tolist()) for rows, scores in found)
        ]
        return hits[0] if single else hits

    def search_batch(
        self, vectors: np.ndarray, k: Any, method: str = "auto"
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Answers a request: (ids object [B, K], scores float32 [B, K], count int32 [B]) of vectors [B, d] and k [B].

        K is the largest k. Row i has `count[i]` answers, then empty ids and NaN scores. A row whose vector is zero or
        not finite, or whose k is below 1, has count 0.
        """
        vectors = np.asarray(vectors, np.float32)
        wanted = np.asarray(k).astype(np.int64)
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension or wanted.shape != vectors.shape[:1]:
            shapes = f"{list(vectors.shape)} and {list(wanted.shape)}"
            raise UserError(f"vectors and k: received shapes {shapes}, expected [B, {self.dimension}] and [B]")
        width = max(int(wanted.max(initial=0)), 0)
        ids = np.full((len(vectors), width), "", object)
        scores = np.full((len(vectors), width), np.nan, np.float32)
        count = np.zeros(len(vectors), np.int32)
        usable = np.flatnonzero(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1) & (wanted >= 1))
        if usable.size == 0 or len(self) == 0:
            return ids, scores, count
        found = self.rows(unit(vectors[usable], self.dimension), int(wanted[usable].max()), method)
        names = self._ids_of(np.concatenate([rows for rows, _ in found]))
        start = 0
        for place, (rows, values) in zip(usable, found, strict=True):
            count[place] = here = min(len(rows), wanted[place])
            ids[place, :here] = names[start : start + here]
            scores[place, :here] = values[:here]
            start += len(rows)
        return ids, scores, count

    def rows(self, queries: np.ndarray, k: int, method: str = "auto") -> list[tuple[np.ndarray, np.ndarray]]:
        """For each unit query [Q, d] (rows int64 [<= k], scores float32 [<= k]), rows counted over all segments."""
        if method not in METHODS:
            raise UserError(f"method: received {method!r}, expected one of {', '.join(METHODS)}")
        k = min(k, len(self))
        if k == 0 or len(queries) == 0:
            return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        if self._use_scann(method):
            found = self._approximate(queries, k)
        else:
            found = exact.candidates([segment.vectors for segment in self._segments], queries, k, self._alive)
        answers = []
        for query, rows in zip(queries, found, strict=True):
            scores = exact.rescored(self._gather(rows), query)
            best = exact.order(rows, scores, k, None if self._in_id_order else self._ids_of)
            answers.append((rows[best], scores[best]))
        return answers

    @property
    def method(self) -> str:
        """What `auto` stands for here: `exact` or `scann`."""
        return "scann" if self._use_scann("auto") else "exact"

    def _use_scann(self, method: str) -> bool:
        if method == "exact" or not self._segments:
            return False
        stored = self.manifest["segments"][0]["scann"] is not None
        return (method == "scann" or (stored and len(self) >= GALLERY.exact_below)) and not scann_index.why_not()

    @functools.cached_property
    def _scann(self) -> scann_index.ScannIndex:
        """The first segment's index, loaded or, where none was kept because it is small, built."""
        entry, segment = self.manifest["segments"][0], self._segments[0]
        if entry["scann"] is None:
            return scann_index.ScannIndex.build(segment.vectors)
        return scann_index.ScannIndex.load(segment.folder / scann_index.FOLDER, segment.rows, entry["scann"])

    def _approximate(self, queries: np.ndarray, k: int) -> list[np.ndarray]:
        """ScaNN's rows of the first segment, and the exact ones of what was added since."""
        rows = self._segments[0].rows
        dead = int(np.searchsorted(self._dead, rows))
        ask = min(rows, k + -(-k * dead // max(rows - dead, 1)))  # so that k are left if deletions are spread evenly
        found = self._scann.candidates(queries, ask)
        if self._alive is not None:
            while True:
                living = [row[self._alive[row]] for row in found]
                if ask == rows or min(map(len, living)) >= min(k, rows - dead):
                    break
                ask = min(rows, 2 * ask)
                found = self._scann.candidates(queries, ask)
            found = living
        if len(self._segments) > 1:
            alive = None if self._alive is None else self._alive[rows:]
            recent = exact.candidates([segment.vectors for segment in self._segments[1:]], queries, k, alive)
            found = [np.concatenate([old, new + rows]) for old, new in zip(found, recent, strict=True)]
        return found

    # -- items -------------------------------------------------------------------------------------------------------

    def _locate(self, rows: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """(segment, places in `rows`, rows within the segment) for each segment that `rows` touch."""
        if len(self._segments) == 1:
            return [(0, np.arange(len(rows)), rows)]
        which = np.searchsorted(self._starts, rows, side="right") - 1
        return [
            (int(i), places := np.flatnonzero(which == i), rows[places] - self._starts[i]) for i in np.unique(which)
        ]

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        vectors = np.empty((len(rows), self.dimension), np.float32)
        for segment, places, local in self._locate(rows):
            vectors[places] = self._segments[segment].vectors[local]
        return vectors

    def _items(self, rows: np.ndarray) -> dict[int, Item]:
        found: dict[int, Item] = {}
        for segment, _, local in self._locate(np.unique(rows)):
            start = int(self._starts[segment])
            found |= {row + start: item for row, item in self._segments[segment].items(local.tolist()).items()}
        return found

    def _ids_of(self, rows: np.ndarray) -> list[str]:
        items = self._items(rows)
        return [items[row].id for row in rows.tolist()]

    def find(self, id: str) -> Item | None:
        """The item of that id, or None."""
        for _, item in self.where("id = ?", (id,)):
            return item
        return None

    def vector(self, id: str) -> np.ndarray | None:
        """float32 [d] of the item of that id, or None."""
        for row, _ in self.where("id = ?", (id,)):
            return self._gather(np.array([row]))[0]
        return None

    def vector_of_content(self, sha256: str) -> np.ndarray | None:
        """float32 [d] of any item, deleted ones included, that was made from a file of that content hash."""
        for segment in self._segments:
            for (row,) in segment.sql("SELECT row FROM items WHERE sha256 = ? LIMIT 1", (sha256,)):
                return np.array(segment.vectors[row])
        return None

    def where(self, condition: str, values: Sequence = ()) -> list[tuple[int, Item]]:
        """Living (row, item) of which an SQL condition on the columns of `items` is true."""
        found = []
        for start, segment in zip(self._starts.tolist(), self._segments, strict=False):
            query = f"SELECT row, id, path, label, size, modified, sha256, width, height FROM items WHERE {condition}"
            for row, *rest in segment.sql(query, values):
                if self._alive is None or self._alive[row + start]:
                    found.append((row + start, Item(*rest)))
        return found

    def select(self, expression: str) -> list[tuple[int, Item]]:
        """Living (row, item) of which a user's SQL expression is true; UserError where it is not one."""
        try:
            return self.where(f"({expression}\n)")
        except (sqlite3.Error, ValueError) as error:
            columns = ", ".join(Item._fields)
            raise UserError(f"received the condition {expression!r} ({error}); expected SQL over {columns}") from None

    def items(self) -> Iterator[Item]:
        """All living items, in the order of `vectors`, without holding them in memory."""
        for start, segment in zip(self._starts.tolist(), self._segments, strict=False):
            for row, item in segment.scan():
                if self._alive is None or self._alive[row + start]:
                    yield item

    @functools.cached_property
    def vectors(self) -> np.ndarray:
        """float32 [N, d], unit length: memory-mapped; a copy where additions or deletions are not yet compacted."""
        if len(self._segments) == 1 and self._alive is None:
            return self._segments[0].vectors
        if not self._segments:
            return np.empty((0, self.dimension), np.float32)
        return self._gather(np.flatnonzero(self._alive) if self._alive is not None else np.arange(self._starts[-1]))

    @functools.cached_property
    def ids(self) -> list[str]:
        return [item.id for item in self.items()]

    @functools.cached_property
    def labels(self) -> list[str]:
        return [item.label for item in self.items()]

    @functools.cached_property
    def paths(self) -> list[str]:
        return [item.path for item in self.items()]

    def close(self) -> None:
        for segment in self._segments:
            segment.close()
