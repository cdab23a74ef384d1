"""A part of a gallery: vectors in `vectors.npy`, row by row beside them the items in `items.sqlite`.

Columns that a user's table adds (`metadata.py`) stand in `items` after ours.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from tf_ssgn.common.names import composed
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.items import Item, spelled
from tf_ssgn.settings import GALLERY, ROWS_TOGETHER

VECTORS, ITEMS = "vectors.npy", "items.sqlite"
HEADER_BYTES = 128
_COLUMNS = "id, path, label, size, modified, sha256, width, height"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL, path TEXT NOT NULL, label TEXT NOT NULL,
    size INTEGER, modified INTEGER, sha256 TEXT, width INTEGER, height INTEGER);
CREATE INDEX IF NOT EXISTS items_id ON items (id);
CREATE INDEX IF NOT EXISTS items_sha256 ON items (sha256);
CREATE INDEX IF NOT EXISTS items_label ON items (label);
"""
_ROW = "row"


def quoted(name: str) -> str:
    """A column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def columns_of(database: sqlite3.Connection) -> list[str]:
    """Names of the columns that a user added to `items`."""
    ours = {_ROW, *Item._fields}
    return [name for _, name, *_ in database.execute("PRAGMA table_info(items)") if name not in ours]


def npy_header(rows: int, dimension: int) -> bytes:
    """The first 128 bytes of a .npy file of float32 [rows, dimension]; their number does not depend on `rows`."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimension}), }}".ljust(HEADER_BYTES - 11)
    return b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little") + text.encode() + b"\n"


class SegmentWriter:
    """Appends rows durably to a new part; opening the same folder again continues after the last whole append."""

    def __init__(self, folder: Path, dimension: int):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.dimension = folder, dimension
        self._database = sqlite3.connect(folder / ITEMS, isolation_level=None)
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_SCHEMA)
        self.columns = columns_of(self._database)
        self.rows = self._database.execute("SELECT count(*) FROM items").fetchone()[0]
        handle = os.open(folder / VECTORS, os.O_RDWR | os.O_CREAT, 0o666)
        self._vectors = os.fdopen(handle, "r+b", buffering=0)
        # Vectors are written before their items are committed: bytes beyond the items are an append cut short.
        self._vectors.truncate(HEADER_BYTES + self.rows * dimension * 4)

    def append(
        self, items: Sequence[Item], vectors: np.ndarray, extra: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Adds rows; they are on the disk when this returns.

        `vectors` float32 [B, d], unit length (`unit`); `extra` values of further columns, one mapping for each item.
        """
        self._vectors.seek(HEADER_BYTES + self.rows * self.dimension * 4)
        _write_all(self._vectors, np.ascontiguousarray(vectors, dtype="<f4").data.cast("B"))
        os.fsync(self._vectors.fileno())
        spelling: dict[str, str] = {}
        for name in dict.fromkeys(name for values in extra or () for name in values):
            spelling[name] = spelled(name, [*self.columns, *spelling.values()])
        names = list(dict.fromkeys(spelling.values()))
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for name in names:
                if name not in self.columns:
                    self._database.execute(f"ALTER TABLE items ADD COLUMN {quoted(name)}")
            columns = ", ".join([_ROW, _COLUMNS, *map(quoted, names)])
            marks = ",".join("?" * (1 + len(Item._fields) + len(names)))
            rows: list[tuple] = [(self.rows + i, *item) for i, item in enumerate(items)]
            if extra and names:
                folded = [{spelling[name]: value for name, value in values.items()} for values in extra]
                rows = [(*row, *map(values.get, names)) for row, values in zip(rows, folded, strict=True)]
            self._database.executemany(f"INSERT INTO items ({columns}) VALUES ({marks})", rows)
            self._database.execute("COMMIT")
        except UnicodeEncodeError as error:
            self._database.execute("ROLLBACK")
            raise UserError(f"an id, path or label is not valid Unicode text: {error.object!a}") from None
        self.columns += [name for name in names if name not in self.columns]
        self.rows += len(items)

    def items(self) -> Iterator[tuple[int, Item]]:
        """All rows so far, in order."""
        for row, *values in self._database.execute(f"SELECT row, {_COLUMNS} FROM items ORDER BY row"):
            yield row, Item(*values)

    def vector_of(self, sha256: str) -> np.ndarray | None:
        """float32 [d] of a row with that content hash."""
        row = self._database.execute("SELECT row FROM items WHERE sha256 = ? LIMIT 1", (sha256,)).fetchone()
        if row is None:
            return None
        raw = os.pread(self._vectors.fileno(), self.dimension * 4, HEADER_BYTES + row[0] * self.dimension * 4)
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
        self._database = self._connect()
        self._database.execute(f"PRAGMA cache_size = -{GALLERY.items_cache}")
        self._filters: sqlite3.Connection | None = None
        self._filter_lock = threading.Lock()
        self.columns = columns_of(self._database)
        counted, highest = self.sql("SELECT count(*), max(row) FROM items")[0]
        with open(folder / VECTORS, "rb") as handle:
            header = handle.read(HEADER_BYTES)
        expected = HEADER_BYTES + rows * dimension * 4
        sound = header == npy_header(rows, dimension) and os.path.getsize(folder / VECTORS) == expected
        if not sound or counted != rows or (rows and highest != rows - 1):
            raise UserError(f"{folder} is damaged: its vectors, items and manifest disagree; run `index verify`")
        # As a plain array over the map, which is indexed without the checks of the class `memmap`.
        self.vectors = np.asarray(np.memmap(folder / VECTORS, "<f4", "r", HEADER_BYTES, (rows, dimension)))

    def _connect(self) -> sqlite3.Connection:
        # `immutable` needs no lock file, so a gallery on a read-only disk opens too.
        uri = f"file:{quote(os.fsencode(os.path.abspath(self.folder / ITEMS)))}?mode=ro&immutable=1"
        return sqlite3.connect(uri, uri=True, check_same_thread=False)

    def sql(self, query: str, values: Sequence = ()) -> list[tuple]:
        try:
            with self._lock:
                return self._database.execute(query, values).fetchall()
        except UnicodeEncodeError as error:
            raise UserError(f"received {error.object!a}; expected an id or path, which is valid Unicode text") from None

    def matching(self, condition: str, values: Sequence = (), columns: Sequence[str] = ()) -> list[int]:
        """Rows of which a user's SQL condition is true; sqlite3.Error where it is none, asks for more than the items,
        or takes longer than `GALLERY.filter_seconds`. `columns` that this part does not have are null.
        """
        with self._filter_lock:
            if self._filters is None:  # of its own, so that a slow condition does not hold up answers
                self._filters = self._connect()
                self._filters.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
                self._filters.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200)
                self._filters.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 100_000)
                self._filters.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 200)
                self._filters.create_function("nfc", 1, _nfc, deterministic=True)
                self._filters.set_authorizer(_only_items)
            stop = time.monotonic() + GALLERY.filter_seconds
            self._filters.set_progress_handler(lambda: time.monotonic() > stop, 100)
            missing = [name for name in columns if spelled(name, self.columns) not in self.columns]
            if missing or not condition.isascii():
                condition = composed(condition)
                names = [*Item._fields, *self.columns]
                texts = names if not condition.isascii() else ()  # both forms of é are one
                picked = [
                    f"nfc({quoted(name)}) AS {quoted(composed(name))}" if name in texts else quoted(name)
                    for name in names
                ]
                picked += [f"NULL AS {quoted(composed(name))}" for name in missing]
                source = f"(SELECT row, {', '.join(picked)} FROM items)"
            else:
                source = "items"
            return [row for (row,) in self._filters.execute(f"SELECT row FROM {source} WHERE {condition}", values)]

    def extra(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """The values of the user's columns for some rows, in their order."""
        if not self.columns:
            return [{} for _ in rows]
        extras: dict[int, dict[str, Any]] = {}
        names = ", ".join(map(quoted, self.columns))
        for row, *values in self.select(names, rows):
            extras[row] = {key: value for key, value in zip(self.columns, values, strict=True) if value is not None}
        return [extras[int(row)] for row in rows]

    def items(self, rows: Sequence[int], whole: bool = True) -> dict[int, Item]:
        """The items of some rows; unless `whole` only id, path and label are read, in half the time."""
        return {row: Item(*values) for row, *values in self.select(_COLUMNS if whole else "id, path, label", rows)}

    def select(self, columns: str, rows: Sequence[int]) -> Iterator[tuple]:
        """Row and columns of some rows, in no order."""
        for start in range(0, len(rows), ROWS_TOGETHER):
            part = [int(row) for row in rows[start : start + ROWS_TOGETHER]]
            marks = ",".join("?" * len(part))
            yield from self.sql(f"SELECT row, {columns} FROM items WHERE row IN ({marks})", part)

    def scan(self, order: str) -> Iterator[tuple[int, Item]]:
        """All (row, item), a chunk at a time; `order` is `row` or `id`."""
        last: tuple = (-1,) if order == "row" else ("", -1)
        keys, marks = ("row", "?") if order == "row" else ("id, row", "?, ?")
        query = f"SELECT row, {_COLUMNS} FROM items WHERE ({keys}) > ({marks}) ORDER BY {keys} LIMIT {ROWS_TOGETHER}"
        while chunk := self.sql(query, last):
            for row, *values in chunk:
                yield row, Item(*values)
            last = (chunk[-1][0],) if order == "row" else (chunk[-1][1], chunk[-1][0])

    def close(self) -> None:
        self._database.close()
        if self._filters is not None:
            self._filters.close()


def _nfc(value: Any) -> Any:
    return composed(value) if isinstance(value, str) else value


def _only_items(action: int, first: str | None, second: str | None, database: str | None, inner: str | None) -> int:
    """SQLite's question whether a user's condition may do something: it may read `items` and call plain functions."""
    reads = action == sqlite3.SQLITE_READ and first == "items"
    calls = action == sqlite3.SQLITE_FUNCTION and second != "load_extension"
    return sqlite3.SQLITE_OK if reads or calls or action == sqlite3.SQLITE_SELECT else sqlite3.SQLITE_DENY
