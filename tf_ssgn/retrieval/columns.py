"""Vectors and items from and to files: .npy, .npz and .parquet."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from tf_ssgn.common import atomic
from tf_ssgn.common.names import printable
from tf_ssgn.common.npz import DAMAGED_ARCHIVE, read_npz
from tf_ssgn.errors import UserError, reason
from tf_ssgn.retrieval.items import Item
from tf_ssgn.retrieval.searcher import OpenGallery
from tf_ssgn.settings import IMPORTED_BYTES

_TEXTS = ("ids", "labels", "paths")
_BAD_HEADER = (SyntaxError, TypeError, OverflowError, MemoryError, RecursionError, TokenError)


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
        columns = dict(read_npz(file, ("vectors", *_TEXTS), IMPORTED_BYTES))
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


def items_of(
    what: str,
    dimension: int,
    vectors: np.ndarray,
    ids: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    paths: Sequence[str] | None = None,
) -> list[Item]:
    """The items of vectors, in their order, ids by default their numbers; UserError where something does not fit."""
    count = len(vectors)
    if ids is None:
        ids = [f"{row:0{len(str(count))}d}" for row in range(count)]
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
            if not isinstance(value, str) or printable(value) != value:  # half of a surrogate pair cannot be stored
                raise UserError(
                    f"{what}: {key}: row {row} is {str(value)[:64]!a} ({type(value).__name__}); "
                    "expected valid Unicode text"
                )
    if len(set(ids)) != count:
        (twice, _), *_ = Counter(ids).most_common(1)
        raise UserError(f"{what}: the id {twice!r} comes more than once; expected one for each vector")
    return [Item(*values) for values in zip(ids, columns["paths"], columns["labels"], strict=True)]


def export_parquet(gallery: OpenGallery, file: str | os.PathLike) -> int:
    """Writes all items with their vectors as parquet, as `import` reads it, in chunks; returns their number.

    The file is there once it is whole.
    """
    parquet = require_parquet()
    import pyarrow

    kinds = {"size": pyarrow.int64(), "modified": pyarrow.int64(), "width": pyarrow.int32(), "height": pyarrow.int32()}
    names = {"id": "ids", "path": "paths", "label": "labels"}
    columns = [(names.get(name, name), kinds.get(name, pyarrow.string())) for name in Item._fields]
    schema = pyarrow.schema([*columns, ("vectors", pyarrow.list_(pyarrow.float32(), gallery.dimension))])
    count = 0
    with atomic.writing(file) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for items, vectors in gallery.blocks():
            cells = zip(zip(*items, strict=True), columns, strict=True)
            arrays = [pyarrow.array(values, kind) for values, (_, kind) in cells]
            flat = pyarrow.array(np.ascontiguousarray(vectors).reshape(-1), pyarrow.float32())
            arrays.append(pyarrow.FixedSizeListArray.from_arrays(flat, gallery.dimension))
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            count += len(items)
    return count
