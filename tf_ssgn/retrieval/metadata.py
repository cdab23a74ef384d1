"""A user's table of photos, CSV or parquet, joined to the items by `id` or `path`: labels and further columns."""

import csv
import datetime
import functools
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tf_ssgn.common.hashes import file_sha256
from tf_ssgn.common.names import composed
from tf_ssgn.errors import UserError, reason
from tf_ssgn.retrieval.columns import require_parquet
from tf_ssgn.retrieval.files import PhotoFile, Source, to_text
from tf_ssgn.retrieval.items import Item, spelled
from tf_ssgn.settings import GALLERY

_OURS = frozenset({"row", *Item._fields})
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Table:
    """Rows of a file by their `key`, `id` or `path`: the values that are not null, its label under `label`, if the file
    has labels."""

    file: str
    key: str
    label: bool
    rows: Mapping[str, Mapping[str, Any]]
    used: set[str] = field(default_factory=set)  # keys that an item was found for

    @property
    def digest(self) -> str:
        """Of the file, so that a killed write is resumed with the same table only."""
        return file_sha256(self.file)

    @functools.cached_property
    def _composed(self) -> dict[str, str]:
        """Keys by their composed form: a disk from a Mac may write é as two characters, a spreadsheet as one."""
        return {composed(key): key for key in self.rows}

    def of(self, file: PhotoFile, sources: Sequence[Source]) -> Mapping[str, Any] | None:
        """The row of a file, or None. A relative path is below the table's folder or below an indexed one."""
        for name in self._keys(file, sources):
            key = name if name in self.rows else self._composed.get(composed(name))
            if key is not None:
                self.used.add(key)
                return self.rows[key]
        return None

    def _keys(self, file: PhotoFile, sources: Sequence[Source]) -> Iterable[str]:
        if self.key == "id":
            yield file.id
            return
        yield to_text(file.path)
        for folder in (os.path.dirname(os.path.abspath(self.file)), *(source.folder for source in sources)):
            if file.path.startswith(folder.rstrip("/") + "/"):
                yield to_text(os.path.relpath(file.path, folder))


def read_table(file: str | os.PathLike) -> Table:
    """Reads a table; UserError where it is none, has no `id` or `path`, or a key comes twice.

    CSV is UTF-8 with a header, its cells parted by commas, semicolons or tabs; an empty cell is null; a column of
    numbers has nothing else, and no leading zeros, so that `007` stays text. Of parquet, numbers, texts, truth values
    (1 and 0), dates and times (ISO 8601 text) are taken.
    """
    path = Path(file)
    if not path.is_file():
        raise UserError(f"no file {path}; expected metadata as .csv or .parquet")
    if path.suffix.lower() == ".csv":
        columns = _csv(path)
    elif path.suffix.lower() == ".parquet":
        columns = _parquet(path)
    else:
        raise UserError(f"{path}: expected metadata as .csv or .parquet")
    keys = [name for name in ("id", "path") if name in columns]
    if len(keys) != 1:
        raise UserError(f"{path} has the columns {', '.join(columns) or 'none'}; expected one of `id` and `path`")
    key = keys[0]
    _check_names(path, [name for name in columns if name not in (key, "label")])
    rows: dict[str, dict[str, Any]] = {}
    names = [name for name in columns if name != key]
    for number, (value, *values) in enumerate(zip(columns[key], *(columns[name] for name in names), strict=True), 1):
        if not isinstance(value, str) or not value:
            raise UserError(f"{path}: row {number} has the {key} {value!r}; expected text")
        value = os.path.normpath(value) if key == "path" else value  # as `Table.of` asks for it
        if value in rows:
            raise UserError(f"{path}: the {key} {value!r} comes more than once; expected one row for each photo")
        rows[value] = {name: cell for name, cell in zip(names, values, strict=True) if cell is not None}
        if "label" in rows[value]:
            rows[value]["label"] = str(rows[value]["label"])
    return Table(str(path), key, "label" in columns, rows)


def _check_names(path: Path, names: Sequence[str]) -> None:
    if len(names) > GALLERY.columns:
        raise UserError(f"{path} has {len(names)} columns; expected at most {GALLERY.columns}")
    seen: set[str] = set()
    for name in names:
        if not name.strip() or "\0" in name:
            raise UserError(f"{path} has a column without a name; expected a name for each")
        if name.lower() in _OURS:
            raise UserError(f"{path} has a column {name!r}, which a gallery has already; give it another name")
        if composed(name).lower() in seen:
            raise UserError(f"{path} has more than one column {name!r}, capitals not counted; expected different names")
        seen.add(composed(name).lower())


def _csv(path: Path) -> dict[str, list[Any]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            first = handle.readline()
            mark = _delimiter(first)
            lines = csv.reader(handle, delimiter=mark, strict=True, skipinitialspace=f"{mark} " in first)
            handle.seek(0)
            header = next(lines, [])
            if len(set(header)) != len(header):
                raise UserError(f"{path}: a column comes more than once in its header; expected different names")
            cells: list[list[str]] = [[] for _ in header]
            for line in lines:
                if not line:
                    continue
                if len(line) != len(header):
                    raise UserError(
                        f"{path}: line {lines.line_num} has {len(line)} cells; expected {len(header)}, as the header"
                    )
                for cell, column in zip(line, cells, strict=True):
                    column.append(cell)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV in UTF-8 ({error})") from None
    columns: dict[str, list[Any]] = dict(zip(header, cells, strict=True))
    for name in columns.keys() - {"id", "path"}:
        columns[name] = [cell or None for cell in columns[name]] if name == "label" else _typed(columns[name])
    return columns


def _delimiter(header: str) -> str:
    """A comma, unless only a semicolon or a tab, as spreadsheets write them, gives a column `id` or `path`."""
    keys = {"id", "path"}
    return next((mark for mark in ",;\t" if keys & {cell.strip(' "\r\n') for cell in header.split(mark)}), ",")


def _typed(cells: list[str]) -> list[Any]:
    """Cells of one column as numbers if all of them are, else as text; empty ones as None."""
    filled = [cell for cell in cells if cell != ""]
    kind: Any = str
    if filled and all(map(_WHOLE.fullmatch, filled)):
        kind = int
    elif filled and all(_NUMBER.fullmatch(cell) and math.isfinite(float(cell)) for cell in filled):
        kind = float
    return [kind(cell) if cell != "" else None for cell in cells]


def _parquet(path: Path) -> dict[str, list[Any]]:
    parquet = require_parquet()
    try:
        table = parquet.read_table(path)
        columns = {name: table.column(place).to_pylist() for place, name in enumerate(table.column_names)}
    except (OSError, ValueError) as error:  # also of a time with nanoseconds, which Python has no value for
        raise UserError(f"{path} cannot be read as parquet ({reason(error)})") from None
    return {name: [_value(path, name, value) for value in values] for name, values in columns.items()}


def _value(path: Path, name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, float)):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    if isinstance(value, (datetime.date, datetime.datetime, datetime.time)):
        return value.isoformat()
    raise UserError(
        f"{path}: column {name!r} has a value of type {type(value).__name__}; expected text, numbers, dates or times"
    )


class Metadata:
    """What the items of a walk are given: from a table, or else what the gallery, which has these `columns`, knew of
    them by id."""

    def __init__(
        self,
        table: Table | None,
        sources: Sequence[Source],
        columns: Sequence[str],
        known: Mapping[str, Mapping[str, Any]],
    ):
        self._table, self._sources, self._columns, self._known = table, sources, columns, known
        self._given: dict[str, Mapping[str, Any]] = {}

    def apply(self, files: list[PhotoFile]) -> list[PhotoFile]:
        """The files with the table's labels; notes the further columns for `extra`."""
        if self._table is None:
            return files
        labelled = []
        for file in files:
            row = self._table.of(file, self._sources)
            if row is not None:
                self._given[file.id] = {
                    spelled(name, self._columns): value for name, value in row.items() if name != "label"
                }
                file = file._replace(label=row.get("label", file.label))
            labelled.append(file)
        return labelled

    def unmatched(self) -> list[str]:
        """Keys of the table's rows that belong to no file; call it after `apply`."""
        return [key for key in self._table.rows if key not in self._table.used] if self._table else []

    def changed(self, file: PhotoFile, item: Item) -> bool:
        """Whether the table says of a file something else than its item."""
        if file.id not in self._given:
            return False
        return file.label != item.label or self.extra(file.id) != self._known.get(file.id, {})

    def extra(self, id: str) -> Mapping[str, Any]:
        """The further columns of an item: what the table says, and what it does not say as it was."""
        return {**self._known.get(id, {}), **self._given.get(id, {})}
