"""A part of a gallery: vectors in `vectors.npy`, row by row beside them the items in `items.sqlite`."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from tf_ssgn.errors import UserError

VECTORS, ITEMS = "vectors.npy", "items.sqlite"
HEADER_BYTES = 128
UNIT_TOLERANCE = 1e-5
_CHUNK = 8192  # rows that are handled at a time; 16 MiB at d = 512
_COLUMNS = "id, path, label, size, modified, sha256, width, height"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL, path TEXT NOT NULL, label TEXT NOT NULL,
    size INTEGER, modified INTEGER, sha256 TEXT, width INTEGER, height INTEGER);
CREATE INDEX IF NOT EXISTS items_id ON items (id);
CREATE INDEX IF NOT EXISTS items_sha256 ON items (sha256);
"""


class Item(NamedTuple):
    """What a gallery knows of a photo. Sizes in bytes and pixels, `modified` in nanoseconds; None: not known.

    `path` is text as `files.to_text` makes it; `files.to_file` gives the name to open.
    """

    id: str
    path: str
    label: str
    size: int | None = None
    modified: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None


def npy_header(rows: int, dimension: int) -> bytes:
    """The first 128 bytes of a .npy file of float32 [rows, dimension]; their number does not depend on `rows`."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimension}), }}"
    return (
        b"\x93NUMPY\x01\x00"
        + (HEADER_BYTES - 10).to_bytes(2, "little")
        + text.ljust(HEADER_BYTES - 11).encode()
        + b"\n"
    )


def unit(vectors: Any, dimension: int, what: str = "vectors") -> np.ndarray:
    """`vectors` as float32 [B, d] of length 1; UserError where one is zero, not finite or of another size."""
    try:
        array = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError):
        raise UserError(f"{what}: expected numbers of shape [n, {dimension}]") from None
    if array.ndim != 2 or array.shape[1] != dimension:
        raise UserError(f"{what}: received shape {list(array.shape)}, expected [n, {dimension}]")
    # In float64, so that no finite vector overflows or vanishes when it is squared.
    lengths = np.sqrt(np.einsum("ij,ij->i", array, array, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if bad.size:
        kind = "zero" if lengths[bad[0]] == 0 else "NaN or infinite"
        raise UserError(
            f"{what}: row {bad[0]} is {kind} ({bad.size} such rows); expected finite vectors that are not zero"
        )
    off = np.abs(lengths - 1) > UNIT_TOLERANCE  # what is a unit vector already stays equal to the bit
    if off.any():
        array = array.copy()
        array[off] = array[off] / lengths[off, None]
    return array


class SegmentWriter:
    """Appends rows durably to a new part; opening the same folder again continues after the last whole append."""

    def __init__(self, folder: Path, dimension: int):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.dimension = folder, dimension
        self._database = sqlite3.connect(folder / ITEMS, isolation_level=None)
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_SCHEMA)
        self.rows = self._database.execute("SELECT count(*) FROM items").fetchone()[0]
        handle = os.open(folder / VECTORS, os.O_RDWR | os.O_CREAT, 0o666)
        self._vectors = os.fdopen(handle, "r+b", buffering=0)
        # Vectors are written before their items are committed: bytes beyond the items are an append cut short.
        self._vectors.truncate(HEADER_BYTES + self.rows * dimension * 4)

    def append(self, items: Sequence[Item], vectors: np.ndarray) -> None:
        """Adds rows; they are on the disk when this returns. `vectors` float32 [B, d], unit length (`unit`)."""
        self._vectors.seek(HEADER_BYTES + self.rows * self.dimension * 4)
        _write_all(self._vectors, np.ascontiguousarray(vectors, dtype="<f4").data.cast("B"))
        os.fsync(self._vectors.fileno())
        self._database.execute("BEGIN IMMEDIATE")
        try:
            rows = [(self.rows + i, *item) for i, item in enumerate(items)]
            self._database.executemany(f"INSERT INTO items (row, {_COLUMNS}) VALUES (?, ?,?,?,?,?,?,?,?)", rows)
            self._database.execute("COMMIT")
        except UnicodeEncodeError as error:
            self._database.execute("ROLLBACK")
            raise UserError(f"an id, path or label is not valid Unicode text: {error.object!a}") from None
        self.rows += len(items)

    def items(self) -> Iterator[tuple[int, Item]]:
        """All rows so far, in order."""
        for row, *values in self._database.execute(f"SELECT row, {_COLUMNS} FROM items ORDER BY row"):
            yield row, Item(*values)

    def vector_of(self, sha256: str) -> np.ndarray | None:
        """float32 [d] of a row with that content hash."""
        found = self._database.execute("SELECT row FROM items WHERE sha256 = ? LIMIT 1", (sha256,)).fetchone()
        if found is None:
            return None
        raw = os.pread(self._vectors.fileno(), self.dimension * 4, HEADER_BYTES + found[0] * self.dimension * 4)
        return np.frombuffer(raw, dtype="<f4")

    def finish(self) -> None:
        """Writes the header and closes; may be repeated, so that a crash in between does no harm."""
        self._vectors.seek(0)
        _write_all(self._vectors, memoryview(npy_header(self.rows, self.dimension)))
        os.fsync(self._vectors.fileno())
        self.close()

    def close(self) -> None:
        self._vectors.close()
        self._database.close()


def _write_all(handle, data: memoryview) -> None:
    while data:
        data = data[handle.write(data) :]


class Segment:
    """A finished part, read only. Files stay readable after a writer has removed them."""

    def __init__(self, folder: Path, rows: int, dimension: int):
        self.folder, self.rows = folder, rows
        self._lock = threading.Lock()
        # `immutable` needs no lock file, so a gallery on a read-only disk opens too.
        uri = f"file:{quote(os.fsencode(os.path.abspath(folder / ITEMS)))}?mode=ro&immutable=1"
        self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        counted, highest = self.sql("SELECT count(*), max(row) FROM items")[0]
        with open(folder / VECTORS, "rb") as handle:
            header = handle.read(HEADER_BYTES)
        expected = HEADER_BYTES + rows * dimension * 4
        sound = header == npy_header(rows, dimension) and os.path.getsize(folder / VECTORS) == expected
        if not sound or counted != rows or (rows and highest != rows - 1):
            raise UserError(f"{folder} is damaged: its vectors, items and manifest disagree; run `index verify`")
        self.vectors: np.ndarray = np.memmap(folder / VECTORS, "<f4", "r", HEADER_BYTES, (rows, dimension))

    def sql(self, query: str, values: Sequence = ()) -> list[tuple]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def items(self, rows: Sequence[int]) -> dict[int, Item]:
        """The items of some rows."""
        found: dict[int, Item] = {}
        for start in range(0, len(rows), _CHUNK):
            part = [int(row) for row in rows[start : start + _CHUNK]]
            marks = ",".join("?" * len(part))
            for row, *values in self.sql(f"SELECT row, {_COLUMNS} FROM items WHERE row IN ({marks})", part):
                found[row] = Item(*values)
        return found

    def scan(self, order: str = "row") -> Iterator[tuple[int, Item]]:
        """All (row, item), a chunk at a time; `order` is `row` or `id`."""
        last: tuple = (-1,) if order == "row" else ("", -1)
        keys, marks = ("row", "?") if order == "row" else ("id, row", "?, ?")
        while True:
            query = f"SELECT row, {_COLUMNS} FROM items WHERE ({keys}) > ({marks}) ORDER BY {keys} LIMIT {_CHUNK}"
            chunk = self.sql(query, last)
            if not chunk:
                return
            for row, *values in chunk:
                yield row, Item(*values)
            last = (chunk[-1][0],) if order == "row" else (chunk[-1][1], chunk[-1][0])

    def close(self) -> None:
        self._database.close()
