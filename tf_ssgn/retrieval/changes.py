"""Changes that embed nothing: deleting items, and importing vectors made elsewhere."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.builder import add_part, first_manifest
from tf_ssgn.retrieval.embedding import Embedder, Report
from tf_ssgn.retrieval.files import to_text
from tf_ssgn.retrieval.gallery import Gallery
from tf_ssgn.retrieval.segment import Item, SegmentWriter, unit
from tf_ssgn.retrieval.store import Store

_CHUNK = 8192


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
            rows |= {row for row, _ in gallery.select(where)}
        manifest = gallery.manifest
        if rows:
            dead = np.concatenate([store.dead_rows(manifest), np.array(sorted(rows), np.int64)])
            manifest = store.commit(manifest, dead, manifest)
        store.collect()
        return Report(manifest["count"], manifest["version"], removed=len(rows))


def import_vectors(file: str | os.PathLike, folder: str | os.PathLike, model: Embedder) -> Report:
    """Makes a gallery of vectors made elsewhere, which must be this model's `embed_photo` embeddings.

    `.npz` with `vectors` [n, d] and, optional, `ids`, `labels`, `paths` [n]; or parquet with these as columns.
    Vectors are normalised; a zero or non-finite one, or an id that comes twice, is refused. Ids default to row numbers.
    """
    columns = read_columns(Path(file))
    vectors = columns["vectors"]
    count = len(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != model.dimension or not count:
        raise UserError(
            f"{file}: vectors have shape {list(vectors.shape)}, expected [n, {model.dimension}], n at least 1"
        )
    names = {key: columns.get(key, [""] * count) for key in ("labels", "paths")}
    ids = columns.get("ids", [f"{row:0{len(str(count))}d}" for row in range(count)])
    for key, values in {**names, "ids": ids}.items():
        if len(values) != count:
            raise UserError(f"{file}: {len(values):,} {key} for {count:,} vectors; expected one each")
    if len(set(ids)) != count:
        twice = next(id for id in ids if ids.count(id) > 1)
        raise UserError(f"{file}: the id {twice!r} comes more than once; expected one for each vector")
    store = Store(folder)
    store.refuse_foreign()
    with store.writing(create=True):
        started = store.journal()
        if store.exists() or (started and started.get("kind") != "import"):
            raise UserError(f"{store.folder} already is a gallery or the start of one; import into another folder")
        store.finish()  # an import that was killed starts again
        journal = store.new_part(kind="import", fingerprint=model.fingerprint, dimension=model.dimension)
        try:
            writer = SegmentWriter(store.part(journal["part"]), model.dimension)
            order = sorted(range(count), key=ids.__getitem__)
            for low in range(0, count, _CHUNK):
                rows = order[low : low + _CHUNK]
                items = [Item(ids[row], names["paths"][row], names["labels"][row]) for row in rows]
                writer.append(items, unit(vectors[rows], model.dimension, str(file)))
            writer.finish()
            manifest = add_part(store, first_manifest(model), journal["part"], count)
            manifest = store.commit(manifest, np.empty(0, np.int64), None)
        except (UserError, OSError, sqlite3.Error):
            store.abandon()
            raise
        store.finish()
        return Report(manifest["count"], manifest["version"])


def read_columns(file: Path) -> dict[str, Any]:
    """`vectors` as an array, `ids`, `labels` and `paths` as lists of text where the file has them."""
    if not file.is_file():
        raise UserError(f"no file {file}; expected .npz or .parquet")
    if file.suffix == ".npz":
        try:
            with np.load(file, allow_pickle=False) as archive:
                columns: dict[str, Any] = {name: archive[name] for name in archive.files}
        except Exception as error:  # zipfile, zlib and NumPy each have their own types for a damaged file
            raise UserError(f"{file} is not a readable .npz of plain arrays ({error})") from None
    elif file.suffix == ".parquet":
        parquet = require_parquet()
        table = parquet.read_table(file)
        columns = {name: table.column(name).to_pylist() for name in table.column_names}
    else:
        raise UserError(f"{file}: expected .npz or .parquet")
    if "vectors" not in columns:
        raise UserError(f"{file} has {', '.join(sorted(columns)) or 'nothing'}; expected at least `vectors` [n, d]")
    try:
        vectors = np.asarray(columns["vectors"], np.float32)
    except (TypeError, ValueError):
        raise UserError(f"{file}: `vectors` are not numbers of one length; expected float32 [n, d]") from None
    texts: dict[str, Any] = {
        key: [str(value) for value in list(columns[key])] for key in ("ids", "labels", "paths") if key in columns
    }
    return {"vectors": vectors, **texts}


def require_parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError("parquet needs the package pyarrow, which is not installed; `pip install pyarrow`") from None
    return pyarrow.parquet


def export_parquet(gallery: Gallery, file: str | os.PathLike) -> int:
    """Writes all items with their vectors as parquet, in chunks; returns their number."""
    parquet = require_parquet()
    import pyarrow

    from tf_ssgn import atomic

    vectors = gallery.vectors
    kinds = {"size": pyarrow.int64(), "modified": pyarrow.int64(), "width": pyarrow.int32(), "height": pyarrow.int32()}
    names = {"id": "ids", "path": "paths", "label": "labels"}  # as `import` reads them
    columns = [(names.get(name, name), kinds.get(name, pyarrow.string())) for name in Item._fields]
    schema = pyarrow.schema([*columns, ("vectors", pyarrow.list_(pyarrow.float32(), gallery.dimension))])
    with atomic.writing(file) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        items = gallery.items()
        for low in range(0, len(gallery), _CHUNK):
            block = vectors[low : low + _CHUNK]
            rows = [next(items) for _ in range(len(block))]
            flat = pyarrow.array(np.ascontiguousarray(block).reshape(-1), pyarrow.float32())
            arrays = [
                pyarrow.array(values, kind) for values, (_, kind) in zip(zip(*rows, strict=True), columns, strict=True)
            ]
            arrays.append(pyarrow.FixedSizeListArray.from_arrays(flat, gallery.dimension))
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
    return len(gallery)
