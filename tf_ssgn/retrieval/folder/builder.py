"""A gallery in a folder as it is written: photos by `build`, `add` and `sync`, and all else that `index` does."""

import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval import update
from tf_ssgn.retrieval.files import PhotoFile, Walk, as_manifest, sources_of, to_text, walk_one
from tf_ssgn.retrieval.folder import changes, verify
from tf_ssgn.retrieval.folder.compaction import add_part, advice, compact, merge, tidied
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.segment import SegmentWriter
from tf_ssgn.retrieval.folder.store import Store
from tf_ssgn.retrieval.items import Item
from tf_ssgn.retrieval.photos import Embedder
from tf_ssgn.retrieval.update import File, Folders
from tf_ssgn.retrieval.writer import Change, Report, Sources, Writer, first_manifest


class FolderChange(Change):
    """Rows go into the part that the journal names, durable batch by batch; `commit` puts it into the manifest."""

    def __init__(self, store: Store, gallery: Gallery | None, journal: dict[str, Any], model: Embedder):
        self._store, self._journal, self._building = store, journal, journal["kind"] == "build"
        self._first = first_manifest(model)
        self._own: Gallery | None = None  # opened here, after a commit
        self._use(gallery)
        self._begin()

    def _use(self, gallery: Gallery | None) -> None:
        self._gallery, self.new = gallery, gallery is None
        self._manifest = self._first if gallery is None else gallery.manifest
        self.sources, self.columns = sources_of(self._manifest), [] if gallery is None else gallery.columns
        self.exclude = self._manifest.get("exclude", [])  # made before there were any, it has none
        self.count, self.version = self._manifest.get("count", 0), self._manifest.get("version", 0)

    def _begin(self) -> None:
        self._writer = SegmentWriter(self._store.part(self._journal["part"]), self._first["dimension"])
        self._living: dict[str, int] = {}  # rows of the part by id, and those that later ones replaced
        self._dead: set[int] = set(range(self._writer.rows))

    def close(self) -> None:
        self._writer.close()
        if self._own is not None:
            self._own.close()

    def known(self, prefixes: Sequence[str]) -> dict[str, Item]:
        items: dict[str, Item] = {}
        for prefix in prefixes if self._gallery else ():
            end = prefix[:-1] + chr(ord(prefix[-1]) + 1)  # this range is everything that starts with the prefix
            assert self._gallery is not None
            items |= {item.id: item for _, item in self._gallery.where("id >= ? AND id < ?", (prefix, end))}
        return items

    def extra(self, ids: Collection[str]) -> dict[str, Mapping[str, Any]]:
        if self._gallery is None:
            return {}
        return self._gallery.extra_of(list(ids))

    def resume(self, files: Mapping[str, PhotoFile]) -> set[str]:
        for row, item in self._writer.items():
            file = files.get(item.id)
            if file and (item.size, item.modified, item.path) == (file.size, file.modified, to_text(file.path)):
                self._take(item.id, row)
        return set(self._living)

    def _take(self, id: str, row: int) -> None:
        self._dead.discard(row)
        if id in self._living:
            self._dead.add(self._living[id])
        self._living[id] = row

    def vectors_of(self, contents: Collection[str]) -> dict[str, np.ndarray]:
        vectors: dict[str, np.ndarray] = {}
        for content in contents:
            vector = self._writer.vector_of(content)
            if vector is None and self._gallery is not None:
                vector = self._gallery.vector_of_content(content)
            if vector is not None:
                vectors[content] = vector
        return vectors

    def append(self, items: Sequence[Item], vectors: np.ndarray, extra: Sequence[Mapping[str, Any]]) -> None:
        start = self._writer.rows
        self._writer.append(items, vectors, extra)
        for row, item in enumerate(items, start):
            self._take(item.id, row)

    def commit(self, walked: Walk, gone: Collection[str] = (), last: bool = True) -> None:
        store, before = self._store, self._manifest
        manifest = {**before, "sources": as_manifest(walked.sources), "exclude": walked.exclude}
        dead = [store.dead_rows(before)]
        if self._gallery is not None:
            dead.append(self._gallery.rows_of_ids([*gone, *self._living]))
        if self._living:
            dead.append(np.array(sorted(self._dead), np.int64) + sum(entry["rows"] for entry in before["segments"]))
            self._writer.finish()
            manifest = add_part(store, manifest, self._journal["part"], self._writer.rows)
        self._writer.close()
        buried = np.concatenate(dead)
        if last and self._building and len(manifest["segments"]) > 1:  # in the order of ids, with an index of the whole
            manifest, buried = merge(store, manifest, buried, 0)
        elif self._living:
            manifest, buried = tidied(store, manifest, buried)
        if manifest != {"exclude": [], **before} or len(buried) > len(dead[0]):
            manifest = store.commit(manifest, buried, None if self.new else before)
        if last:
            store.finish()
            self.count, self.version = manifest["count"], manifest["version"]
            return
        self._journal = store.new_part(**{key: value for key, value in self._journal.items() if key != "part"})
        store.collect()
        if self._own is not None:
            self._own.close()
        self._own = Gallery.open(store.folder)
        self._use(self._own)
        self._begin()


class FolderWriter(Writer):
    """A gallery's folder; while a gallery there that somebody has `opened` is current, a change need not open it
    again."""

    def __init__(self, where: str | os.PathLike, opened: Gallery | None = None):
        super().__init__(where)
        self._store, self._opened = Store(where), opened

    @contextmanager
    def change(self, model: Embedder, table: str = "", building: Walk | None = None) -> Iterator[FolderChange]:
        store = self._store
        asked: dict[str, Any] = {"fingerprint": model.fingerprint, "dimension": model.dimension}
        asked["metadata"] = table or None
        if building is not None:
            asked |= {"kind": "build", "sources": as_manifest(building.sources), "exclude": building.exclude}
        with store.writing(create=building is not None):
            journal = store.journal()
            resumes = journal is not None and {key: journal.get(key) for key in asked} == asked
            if building is not None and not resumes and (store.exists() or journal):
                if journal and (journal["kind"] == "build" or not store.exists()):
                    raise UserError(
                        f"{store.folder} holds an unfinished {journal['kind']} of other folders or with another model; "
                        "run that command again, or build into another folder"
                    )
                raise UserError(
                    f"{store.folder} already is a gallery; use `index add` or `index sync`, or another folder"
                )
            gallery = self._current(model)
            unfinished = store.unfinished() if resumes else None  # else of no use: of another model, or another table
            journal = unfinished or store.new_part(**{"kind": "add", **asked})
            store.collect()
            change = FolderChange(store, gallery, journal, model)
            try:
                yield change
            except (UserError, OSError, sqlite3.Error):
                if not store.exists() and not store.has_rows(journal):
                    store.abandon()
                raise
            finally:
                change.close()
                if gallery is not None and gallery is not self._opened:
                    gallery.close()

    def _current(self, model: Embedder) -> Gallery | None:
        if not self._store.exists():
            return None
        gallery = self._opened
        if gallery is None or gallery.path != str(self._store.folder) or not gallery.is_current():
            gallery = Gallery.open(self._store.folder)
        gallery.require_model(model.fingerprint)
        return gallery

    def add_photo(self, folder: str | os.PathLike, path: str | os.PathLike, model: Embedder) -> tuple[str, Report]:
        """`add` of one photo file below a folder, whatever else is there: (its id, the report)."""
        with self.change(model) as change:
            walked = walk_one(folder, path, change.sources, change.exclude)
            return walked.files[0].id, update.last(update.steps(change, walked, model))

    def exists(self) -> bool:
        return self._store.exists()

    def open(self) -> Gallery:
        return Gallery.open(self.where)

    def check_new(self) -> None:
        self._store.refuse_foreign()

    def model_path(self) -> str:
        return self._store.manifest()["model"]["path"]

    def delete(self, *, ids: Sequence[str] = (), paths: Sequence[str] = (), where: str = "") -> Report:
        return changes.delete(self.where, ids=ids, paths=paths, where=where)

    def import_blocks(
        self,
        model: Embedder,
        what: str,
        blocks: Iterable[tuple[Sequence[Item], np.ndarray]],
        count: int,
        sources: Sources = (),
    ) -> Report:
        """Vectors wait in a temporary file beside the gallery, items in memory, about 1 KB each."""
        parent = self._store.folder.parent
        parent.mkdir(parents=True, exist_ok=True)
        items: list[Item] = []
        with tempfile.TemporaryFile(dir=parent) as temporary:
            for some, vectors in blocks:
                items += some
                temporary.write(np.ascontiguousarray(vectors, "<f4").data)
            temporary.flush()
            ((twice, times),) = Counter(item.id for item in items).most_common(1) or [("", 1)]
            if times > 1 or len(items) != count:
                raise UserError(f"{what} is damaged: it has {len(items):,} rows, the id {twice!r} {times} times")
            vectors = np.memmap(temporary, "<f4", "r", shape=(len(items), model.dimension))
            return changes.import_items(self.where, model, what, vectors, items, sources)

    def import_items(self, model: Embedder, what: str, items: Sequence[Item], vectors: np.ndarray) -> Report:
        return changes.import_items(self.where, model, what, vectors, items)

    def compact(self) -> Report:
        manifest = compact(self.where)
        return Report(manifest["count"], manifest["version"])

    def verify(self) -> dict[str, Any]:
        return verify.verify(self.where)

    def stats(self) -> dict[str, Any]:
        return verify.stats(self.where)

    def advice(self) -> str:
        return advice(self._store.manifest())


def build(
    folder: File, folders: Folders, model: Embedder, metadata: File | None = None, exclude: Sequence[str] = ()
) -> Report:
    """`update.build` into a folder."""
    return update.build(FolderWriter(folder), folders, model, metadata, exclude)


def add(
    folder: File, folders: Folders, model: Embedder, metadata: File | None = None, exclude: Sequence[str] = ()
) -> Report:
    """`update.add` to a gallery in a folder."""
    return update.add(FolderWriter(folder), folders, model, metadata, exclude)


def sync(
    folder: File, folders: Folders, model: Embedder, metadata: File | None = None, exclude: Sequence[str] = ()
) -> Report:
    """`add`, and removes what vanished below `folders`; without folders, below all that were ever added."""
    return update.add(FolderWriter(folder), folders, model, metadata, exclude, remove=True)
