"""A gallery as its readers see it: open it, search it, ask what an item is."""

import dataclasses
import functools
import itertools
import os
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder.rows import Rows
from tf_ssgn.retrieval.folder.segment import Segment
from tf_ssgn.retrieval.folder.store import Store
from tf_ssgn.retrieval.search import condition, exact, scann_index
from tf_ssgn.retrieval.search.options import Options
from tf_ssgn.retrieval.searcher import Near, OpenGallery
from tf_ssgn.settings import GALLERY, ROWS_TOGETHER, WIDEST_ANSWER


class _Kept(NamedTuple):
    """Which rows may be an answer: bool [N] over all segments, how many, and which."""

    mask: np.ndarray
    number: int
    rows: np.ndarray | None = None  # int64, ascending; known where a filter found them


class Gallery(Rows, OpenGallery):
    """One version of a gallery, read only; safe to use from several threads.

    A writer's changes are seen by opening the gallery again (`is_current` tells); what is open stays as it was.
    """

    def __init__(
        self, store: Store, pointer: dict[str, Any], manifest: dict[str, Any], segments: list[Segment], dead: np.ndarray
    ):
        super().__init__(segments, dead, manifest["dimension"])
        self.path, self.manifest = str(store.folder), manifest
        self.fingerprint: str = manifest["model"]["fingerprint"]
        self.version: int = manifest["version"]
        self.model_path: str = manifest["model"]["path"]
        self._store, self._pointer = store, pointer
        # The last conditions and what they leave: a version never changes. The gallery is held weakly, or its files
        # would stay open after its last user until garbage is collected.
        me = weakref.proxy(self)
        self._remembered = functools.lru_cache(GALLERY.filters_kept)(lambda options: me._filtered(options))
        # Ties are ordered by id; a gallery as `build` and `compact` leave it has its rows in that order already.
        self._in_id_order = len(segments) == 1 and bool(manifest["segments"][0]["in_id_order"])

    @classmethod
    def open(cls, path: str | os.PathLike) -> "Gallery":
        """Opens the current version; UserError where there is none, or it is damaged.

        Checked are the manifest, all sizes and metadata, and the content of files up to
        `settings.GALLERY.checked_at_open`; `index verify` checks everything.
        """
        store = Store(path)
        while True:
            pointer = store.pointer()
            try:
                return cls._open(store, pointer)
            except (UserError, OSError) as error:
                # A writer may have replaced the version, and removed its files, since the pointer was read.
                if store.pointer() != pointer:
                    continue
                if isinstance(error, OSError):
                    raise UserError(f"cannot open the gallery {path}: {error}") from None
                raise

    @classmethod
    def _open(cls, store: Store, pointer: dict[str, Any]) -> "Gallery":
        manifest = store.manifest(pointer)
        if manifest.get("normalisation") != "l2" or manifest.get("similarity") != "cosine":
            kind = f"{manifest.get('normalisation')} vectors with {manifest.get('similarity')} similarity"
            raise UserError(f"the gallery {store.folder} has {kind}; expected l2 vectors with cosine similarity")
        dead = store.dead_rows(manifest)
        segments = []
        for entry in manifest["segments"]:
            if damage := store.damaged(entry, GALLERY.checked_at_open):
                raise UserError(
                    f"the gallery {store.folder} is damaged: {damage[0]}; restore it from a copy or build it again"
                )
            segments.append(Segment(store.part(entry["folder"]), entry["rows"], manifest["dimension"]))
        return cls(store, pointer, manifest, segments, dead)

    def is_current(self) -> bool:
        """False once a writer has made another version, or another gallery in its place."""
        return self._store.pointer() == self._pointer

    def widest(self) -> int:
        return max(len(self), WIDEST_ANSWER)

    # -- searching ---------------------------------------------------------------------------------------------------

    def nearest(self, queries: np.ndarray, k: int, method: str, options: Options, whole: bool = False) -> list[Near]:
        ranked = self.rows(queries, k, method, self._kept(options))
        every = np.unique(np.concatenate([rows for rows, _ in ranked])) if ranked else np.empty(0, np.int64)
        items = self.items_of(every, whole)
        return [
            Near(scores, [items[row] for row in rows.tolist()], self.vectors_of(rows) if whole else None)
            for rows, scores in ranked
        ]

    def nearest_ids(
        self, queries: np.ndarray, k: int, method: str, options: Options
    ) -> list[tuple[np.ndarray, list[str]]]:
        ranked = self.rows(queries, k, method, self._kept(options))
        ids = iter(self.ids_of(np.concatenate([rows for rows, _ in ranked])))
        return [(scores, list(itertools.islice(ids, len(rows)))) for rows, scores in ranked]

    def rows(
        self, queries: np.ndarray, k: int, method: str = "auto", kept: _Kept | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each unit query [Q, d] (rows int64 [<= k], scores float32 [<= k]), rows counted over all segments."""
        count = len(self) if kept is None else kept.number
        alive = self._alive if kept is None else kept.mask
        k = min(k, count)
        if k == 0 or len(queries) == 0:
            return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        if kept is not None and method != "scann" and count < GALLERY.exact_below:
            ranked = self._among(queries, k, np.flatnonzero(kept.mask) if kept.rows is None else kept.rows)
        elif self._use_scann(method):
            ranked = self._approximate(queries, k, alive)
        else:
            ranked = exact.candidates([segment.vectors for segment in self._segments], queries, k, alive)
        answers = []
        for query, rows in zip(queries, ranked, strict=True):
            scores = exact.rescored(self.vectors_of(rows), query)
            best = exact.order(rows, scores, k, None if self._in_id_order else self.ids_of)
            answers.append((rows[best], scores[best]))
        return answers

    def _kept(self, options: Options) -> _Kept | None:
        """What the options leave; None where that is all."""
        kept = None
        if options.filters:
            alone = dataclasses.replace(options, exclude=(), threshold=None, group=None)
            kept = self._filtered(alone) if condition.varies(options.where) else self._remembered(alone)
        gone = self.rows_of_ids(options.unwanted) if options.exclude else np.empty(0, np.int64)
        if gone.size:
            if kept is None:
                kept = _Kept(np.ones(self._starts[-1], bool) if self._alive is None else self._alive, len(self))
            mask = kept.mask.copy()
            mask[gone] = False
            kept = _Kept(mask, int(np.count_nonzero(mask)))
        return kept

    def _filtered(self, options: Options) -> _Kept:
        terms, values = options.condition()
        rows = self._matching(terms, values, options.where)
        mask = np.zeros(self._starts[-1], bool)
        mask[rows] = True
        return _Kept(mask, len(rows), rows)

    @property
    def method(self) -> str:
        """What `auto` stands for here: `exact` or `scann`."""
        return "scann" if self._use_scann("auto") else "exact"

    def _use_scann(self, method: str) -> bool:
        if method == "exact" or not self._segments:
            return False
        stored = self.manifest["segments"][0]["scann"] is not None
        return (method == "scann" or (stored and len(self) >= GALLERY.exact_below)) and not scann_index.why_not()

    def index_files(self) -> tuple[Path, dict[str, Any]] | None:
        """Folder and parameters of a ScaNN index of just `vectors`; None where there is none or changes are pending."""
        chosen = self.manifest["segments"][0]["scann"] if len(self._segments) == 1 else None
        if chosen is None or "reorder" in chosen or self._alive is not None:
            return None
        return self._segments[0].folder / scann_index.FOLDER, chosen

    @functools.cached_property
    def _scann(self) -> scann_index.ScannIndex:
        """The first segment's index, loaded or, where none was kept because it is small, built."""
        entry, segment = self.manifest["segments"][0], self._segments[0]
        if entry["scann"] is None:
            return scann_index.ScannIndex.build(segment.vectors)
        return scann_index.ScannIndex.load(segment.folder / scann_index.FOLDER, segment.rows, entry["scann"])

    def _approximate(self, queries: np.ndarray, k: int, alive: np.ndarray | None) -> list[np.ndarray]:
        """ScaNN's rows of the first segment, and the exact ones of what was added since."""
        rows = self._segments[0].rows
        if alive is None:
            ranked = self._scann.candidates(queries, k)
        else:
            here = int(np.count_nonzero(alive[:rows]))
            widen = rows / max(here, 1)  # so that enough are left if what is left out is spread evenly
            while True:
                every = self._scann.candidates(queries, k, widen)
                ranked = [row[alive[row]] for row in every]
                enough = min(map(len, ranked)) >= min(k, here) or min(map(len, every)) == rows
                if enough or widen > rows:  # then every leaf was searched: what is missing is padding
                    break
                widen *= 4
        if len(self._segments) > 1:
            recent = exact.candidates(
                [segment.vectors for segment in self._segments[1:]], queries, k, None if alive is None else alive[rows:]
            )
            ranked = [np.concatenate([old, new + rows]) for old, new in zip(ranked, recent, strict=True)]
        return ranked

    def _among(self, queries: np.ndarray, k: int, rows: np.ndarray) -> list[np.ndarray]:
        """Exact search among a few rows."""
        blocks = [self.vectors_of(rows[low : low + ROWS_TOGETHER]) for low in range(0, len(rows), ROWS_TOGETHER)]
        return [rows[places] for places in exact.candidates(blocks, queries, k)]
