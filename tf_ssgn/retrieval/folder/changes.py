"""Changes that embed nothing: deleting items, and importing vectors made elsewhere."""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.common.vectors import forget
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.columns import export_parquet as export_parquet
from tf_ssgn.retrieval.columns import items_of, read_columns
from tf_ssgn.retrieval.files import to_text
from tf_ssgn.retrieval.folder.compaction import add_part, tidied
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.segment import SegmentWriter
from tf_ssgn.retrieval.folder.store import Store
from tf_ssgn.retrieval.items import Item
from tf_ssgn.retrieval.photos import Embedder
from tf_ssgn.retrieval.search.condition import forms
from tf_ssgn.retrieval.search.exact import unit_vectors
from tf_ssgn.retrieval.writer import Report, Sources, first_manifest
from tf_ssgn.settings import ROWS_TOGETHER


def delete(folder: str | os.PathLike, *, ids: Sequence[str] = (), paths: Sequence[str] = (), where: str = "") -> Report:
    """Deletes the items of these ids, of these photo files or folders, or of which the SQL condition is true.

    Durable when it returns. Ids and paths that match nothing are no error: `removed` tells.
    Where nothing has its own spelling, one with composed letters finds decomposed ones, and the other way round.
    `where` is over the columns of docs/gallery.md: `label = 'giraffe' AND width < 200`.
    """
    store = Store(folder)
    with store.writing():
        gallery = Gallery.open(folder)
        rows: set[int] = set()
        for id in ids:
            rows |= _first(gallery, "id = ?", [(form,) for form in forms(id)])
        for path in paths:
            tops = [(form, form.rstrip("/")) for form in forms(to_text(os.path.abspath(path)))]
            values = [(form, f"{top}/", f"{top}0") for form, top in tops]
            rows |= _first(gallery, "path = ? OR (path >= ? AND path < ?)", values)
        if where:
            rows |= set(gallery.select(where).tolist())
        manifest = gallery.manifest
        if rows:
            dead = np.concatenate([store.dead_rows(manifest), np.array(sorted(rows), np.int64)])
            manifest = store.commit(manifest, dead, manifest)
        store.collect()
        return Report(manifest["count"], manifest["version"], removed=len(rows))


def _first(gallery: Gallery, condition: str, values: Sequence[tuple[str, ...]]) -> set[int]:
    """Rows of the first values that match any: a name as it was given, and only then as another disk would write it."""
    rows = ({row for row, _ in gallery.where(condition, one)} for one in values)
    return next(filter(None, rows), set())


def import_vectors(file: str | os.PathLike, folder: str | os.PathLike, model: Embedder) -> Report:
    """Makes a gallery of vectors made elsewhere (`Writer.import_file` says of which)."""
    return import_columns(folder, model, str(file), **read_columns(Path(file)))


def import_columns(
    folder: str | os.PathLike,
    model: Embedder,
    what: str,
    vectors: np.ndarray,
    ids: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    paths: Sequence[str] | None = None,
) -> Report:
    """`import_vectors` of arrays; `what` names them in errors. `vectors` may be memory-mapped."""
    return import_items(folder, model, what, vectors, items_of(what, model.dimension, vectors, ids, labels, paths))


def import_items(
    folder: str | os.PathLike,
    model: Embedder,
    what: str,
    vectors: np.ndarray,
    items: Sequence[Item],
    sources: Sources = (),
) -> Report:
    """`import_columns` of items with all that is known of them, ids all different; `sources` as a manifest has them."""
    store = Store(folder)
    store.refuse_foreign()
    with store.writing(create=True):
        started = store.journal()
        if store.exists() or (started and started.get("kind") != "import"):
            raise UserError(f"{store.folder} already is a gallery or the start of one; import into another folder")
        store.finish()  # an import that was killed starts again
        journal = store.new_part(kind="import", fingerprint=model.fingerprint, dimension=model.dimension)
        try:
            _append(store, journal, items, vectors, what)
            count = len(items)
            del items  # about 1 KB each, before the index needs memory
            forget(vectors)
            first = {**first_manifest(model), "sources": list(sources)}
            manifest = store.commit(add_part(store, first, journal["part"], count), np.empty(0, np.int64), None)
        except (UserError, OSError, sqlite3.Error):
            store.abandon()
            raise
        store.finish()
        return Report(manifest["count"], manifest["version"])


def add_vectors(
    folder: str | os.PathLike,
    fingerprint: str,
    vectors: np.ndarray,
    ids: Sequence[str],
    labels: Sequence[str] | None = None,
    paths: Sequence[str] | None = None,
) -> Report:
    """Adds items whose vectors the caller has; an id that is there gets the new vector. Durable when it returns.

    `vectors` [n, d] of the model of that fingerprint. `sync` leaves such items alone unless their ids are below a
    folder that it walks.
    """
    store = Store(folder)
    with store.writing():
        gallery = Gallery.open(folder)
        gallery.require_model(fingerprint)
        items = items_of("vectors", gallery.dimension, vectors, ids, labels, paths)
        gone = gallery.rows_of_ids([item.id for item in items])
        dead = np.concatenate([store.dead_rows(gallery.manifest), gone])
        store.collect()
        journal = store.new_part(kind="add", fingerprint=fingerprint, dimension=gallery.dimension)
        try:
            _append(store, journal, items, vectors, "vectors")
            manifest = add_part(store, gallery.manifest, journal["part"], len(items))
            manifest, dead = tidied(store, manifest, dead)
            manifest = store.commit(manifest, dead, gallery.manifest)
        except (UserError, OSError, sqlite3.Error):
            store.abandon()
            raise
        store.finish()
        gallery.close()
        return Report(manifest["count"], manifest["version"])


def _append(store: Store, journal: dict[str, Any], items: Sequence[Item], vectors: np.ndarray, what: str) -> None:
    """Writes the journal's part in the order of ids."""
    writer = SegmentWriter(store.part(journal["part"]), vectors.shape[1])
    order = np.array(sorted(range(len(items)), key=lambda row: items[row].id), np.int64)
    for low in range(0, len(items), ROWS_TOGETHER):
        rows = order[low : low + ROWS_TOGETHER]
        writer.append([items[row] for row in rows.tolist()], unit_vectors(vectors[rows], writer.dimension, what, rows))
    writer.finish()
