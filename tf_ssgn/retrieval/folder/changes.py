"""Changes that embed nothing: deleting items, and importing vectors made elsewhere."""

from __future__ import annotations

import mmap
import os
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from tf_ssgn.common import atomic
from tf_ssgn.common.npz import read_npz
from tf_ssgn.errors import DAMAGED_ARCHIVE, UserError, reason
from tf_ssgn.retrieval.embedding import Embedder, Report
from tf_ssgn.retrieval.files import to_text
from tf_ssgn.retrieval.folder.builder import add_part, first_manifest
from tf_ssgn.retrieval.folder.compaction import merge
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.segment import Item, SegmentWriter, unit
from tf_ssgn.retrieval.folder.store import Store
from tf_ssgn.settings import GALLERY

_CHUNK = 8192
_TEXTS = ("ids", "labels", "paths")
_LARGEST = 64 * 2**30  # bytes of the arrays of an .npz, which are read as a whole; a .npy of any size is mapped
_BAD_HEADER = (SyntaxError, TypeError, OverflowError, MemoryError, RecursionError, TokenError)


def delete(folder: str | os.PathLike, *, ids: Sequence[str] = (), paths: Sequence[str] = (), where: str = "") -> Report:
    """Deletes the items of these ids, of these photo files or folders, or of which the SQL condition is true.

    Durable when it returns. Ids and paths that match nothing are no error: `removed` tells.
    `where` is over the columns of docs/gallery.md: `label = 'giraffe' AND width < 200`.
    """
    store = Store(folder)
    with store.writing():
        gallery = Gallery.open(folder)
        rows: set[int] = set()
        for id in ids:
            rows |= {row for row, _ in gallery.where("id = ?", (id,))}
        for path in paths:
            text = to_text(os.path.abspath(path))
            below = text.rstrip("/") + "/"
            rows |= {
                row for row, _ in gallery.where("path = ? OR (path >= ? AND path < ?)", (text, below, below[:-1] + "0"))
            }
        if where:
            rows |= set(gallery.select(where).tolist())
        manifest = gallery.manifest
        if rows:
            dead = np.concatenate([store.dead_rows(manifest), np.array(sorted(rows), np.int64)])
            manifest = store.commit(manifest, dead, manifest)
        store.collect()
        return Report(manifest["count"], manifest["version"], removed=len(rows))


def import_vectors(file: str | os.PathLike, folder: str | os.PathLike, model: Embedder) -> Report:
    """Makes a gallery of vectors made elsewhere, which must be this model's `embed_photo` embeddings.

    `.npy` float32 [n, d], which is read in chunks; `.npz` with `vectors` [n, d] and, optional, `ids`, `labels`, `paths`
    [n]; or parquet with these as columns. Vectors are normalised; a zero or non-finite one, or an id that comes twice,
    is refused. Ids default to row numbers.
    """
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
    count = len(vectors)
    if ids is None:
        ids = [f"{row:0{len(str(count))}d}" for row in range(count)]
    return import_items(folder, model, what, vectors, items_of(what, model.dimension, vectors, ids, labels, paths))


def import_items(
    folder: str | os.PathLike,
    model: Embedder,
    what: str,
    vectors: np.ndarray,
    items: list[Item],
    sources: Sequence[dict[str, str]] = (),
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
            _forget(vectors)
            first = {**first_manifest(model), "sources": list(sources)}
            manifest = store.commit(add_part(store, first, journal["part"], len(items)), np.empty(0, np.int64), None)
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
            if len(manifest["segments"]) > GALLERY.merge_deltas:
                manifest, dead = merge(store, manifest, dead, 1)
            manifest = store.commit(manifest, dead, gallery.manifest)
        except (UserError, OSError, sqlite3.Error):
            store.abandon()
            raise
        store.finish()
        gallery.close()
        return Report(manifest["count"], manifest["version"])


def items_of(
    what: str,
    dimension: int,
    vectors: np.ndarray,
    ids: Sequence[str],
    labels: Sequence[str] | None,
    paths: Sequence[str] | None,
) -> list[Item]:
    """The items of vectors, in their order; UserError where something does not fit."""
    count = len(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != dimension or not count:
        raise UserError(f"{what}: vectors have shape {list(vectors.shape)}, expected [n, {dimension}], n at least 1")
    columns = {"ids": ids, "paths": [""] * count if paths is None else paths}
    columns["labels"] = [""] * count if labels is None else labels
    for key, values in columns.items():
        if isinstance(values, (str, bytes)) or np.ndim(values) != 1:
            raise UserError(f"{what}: {key}: received {str(values)[:64]!r}, expected a list of texts")
        if len(values) != count:
            raise UserError(f"{what}: {len(values):,} {key} for {count:,} vectors; expected one each")
        for row, value in enumerate(values):
            if not isinstance(value, str) or not _is_text(value):
                raise UserError(
                    f"{what}: {key}: row {row} is {str(value)[:64]!a} ({type(value).__name__}); "
                    "expected valid Unicode text"
                )
    if len(set(ids)) != count:
        (twice, _), *_ = Counter(ids).most_common(1)
        raise UserError(f"{what}: the id {twice!r} comes more than once; expected one for each vector")
    return [Item(*values) for values in zip(ids, columns["paths"], columns["labels"], strict=True)]


def _is_text(value: str) -> bool:
    """Whether it can be stored: without half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _append(store: Store, journal: dict[str, Any], items: list[Item], vectors: np.ndarray, what: str) -> None:
    """Writes the journal's part in the order of ids."""
    writer = SegmentWriter(store.part(journal["part"]), vectors.shape[1])
    order = np.array(sorted(range(len(items)), key=lambda row: items[row].id), np.int64)
    for low in range(0, len(items), _CHUNK):
        rows = order[low : low + _CHUNK]
        writer.append([items[row] for row in rows.tolist()], unit(vectors[rows], writer.dimension, what, rows))
    writer.finish()


def _forget(vectors: Any) -> None:
    """Gives back the memory of a mapped file that has been read, before the index needs its own."""
    while vectors is not None and not isinstance(vectors, mmap.mmap):
        vectors = getattr(vectors, "base", None)
    if vectors is not None:
        vectors.madvise(mmap.MADV_DONTNEED)


def read_columns(file: Path) -> dict[str, Any]:
    """`vectors` as an array, `ids`, `labels` and `paths` as lists of text where the file has them."""
    if not file.is_file():
        raise UserError(f"no file {file}; expected .npy, .npz or .parquet")
    if file.suffix == ".npy":
        try:
            columns: dict[str, Any] = {"vectors": np.lib.format.open_memmap(file, mode="r")}
        except (*DAMAGED_ARCHIVE, *_BAD_HEADER) as error:
            raise UserError(f"{file} is not a readable .npy of a plain array ({reason(error)})") from None
    elif file.suffix == ".npz":
        columns = dict(read_npz(file, ("vectors", *_TEXTS), _LARGEST))
    elif file.suffix == ".parquet":
        parquet = require_parquet()
        try:
            table = parquet.read_table(file)
            wanted = [name for name in ("vectors", *_TEXTS) if name in table.column_names]
            columns = {name: table.column(name).to_pylist() for name in wanted}
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{file} cannot be read as parquet ({reason(error)})") from None
    else:
        raise UserError(f"{file}: expected .npy, .npz or .parquet")
    if "vectors" not in columns:
        raise UserError(f"{file} has {', '.join(sorted(columns)) or 'nothing'}; expected at least `vectors` [n, d]")
    try:
        vectors = np.asarray(columns["vectors"])
        if vectors.dtype.kind not in "fiu":
            raise TypeError
        vectors = np.asarray(vectors, np.float32)
    except (TypeError, ValueError):
        raise UserError(f"{file}: `vectors` are not numbers of one length; expected float32 [n, d]") from None
    return {"vectors": vectors, **{key: _texts(file, key, columns[key]) for key in _TEXTS if key in columns}}


def _texts(file: Path, key: str, values: Any) -> list[str]:
    """A column as text: of texts, whole numbers or UTF-8 bytes."""
    if np.ndim(values) != 1:
        raise UserError(f"{file}: `{key}` has shape {list(np.shape(values))}; expected [n]")
    texts = []
    for row, value in enumerate(values):
        if isinstance(value, bytes):
            value = value.decode("utf-8", "surrogateescape")  # refused as no text by `items_of`
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (str, int, np.integer)):
            raise UserError(f"{file}: `{key}`: row {row} is a {type(value).__name__}; expected text or whole numbers")
        texts.append(str(value))
    return texts


def require_parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError("parquet needs the package pyarrow, which is not installed; `pip install pyarrow`") from None
    return pyarrow.parquet


def export_parquet(gallery: Gallery, file: str | os.PathLike) -> int:
    """Writes all items with their vectors as parquet, in chunks; returns their number."""
    vectors = gallery.vectors
    items = gallery.items()
    with ParquetItems(file, gallery.dimension) as writer:
        for low in range(0, len(gallery), _CHUNK):
            block = vectors[low : low + _CHUNK]
            writer.write([next(items) for _ in range(len(block))], block)
    return len(gallery)


class ParquetItems:
    """A parquet file of items and vectors, as `import` reads it, that is there once it is whole."""

    def __init__(self, file: str | os.PathLike, dimension: int):
        self._parquet = require_parquet()
        import pyarrow

        kinds = {"size": pyarrow.int64(), "modified": pyarrow.int64()}
        kinds |= {"width": pyarrow.int32(), "height": pyarrow.int32()}
        names = {"id": "ids", "path": "paths", "label": "labels"}
        self._columns = [(names.get(name, name), kinds.get(name, pyarrow.string())) for name in Item._fields]
        vectors = ("vectors", pyarrow.list_(pyarrow.float32(), dimension))
        self._schema, self._dimension = pyarrow.schema([*self._columns, vectors]), dimension
        self._file = file

    def __enter__(self) -> ParquetItems:
        self._stack = ExitStack()
        temporary = self._stack.enter_context(atomic.writing(self._file))
        self._writer = self._stack.enter_context(self._parquet.ParquetWriter(temporary, self._schema))
        return self

    def __exit__(self, *about: Any) -> None:
        self._stack.__exit__(*about)

    def write(self, items: list[Item], vectors: np.ndarray) -> None:
        """Appends items with their vectors float32 [n, d]."""
        import pyarrow

        columns = zip(zip(*items, strict=True), self._columns, strict=True)
        arrays = [pyarrow.array(values, kind) for values, (_, kind) in columns]
        flat = pyarrow.array(np.ascontiguousarray(vectors).reshape(-1), pyarrow.float32())
        arrays.append(pyarrow.FixedSizeListArray.from_arrays(flat, self._dimension))
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))
