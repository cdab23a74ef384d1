"""The living items of a gallery's segments: by row, by id, by condition; their vectors and columns."""

import functools
import heapq
import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder.segment import Segment, quoted
from tf_ssgn.retrieval.items import Item, spelled
from tf_ssgn.retrieval.search import condition
from tf_ssgn.settings import ROWS_TOGETHER


class Rows:
    """Rows are counted over all segments, deleted ones, int64 ascending in `dead`, included."""

    def __init__(self, segments: list[Segment], dead: np.ndarray, dimension: int):
        self.dimension = dimension
        self._segments, self._dead = segments, dead
        self._starts = np.cumsum([0] + [segment.rows for segment in segments])
        self._alive = None
        if dead.size:
            self._alive = np.ones(self._starts[-1], bool)
            self._alive[dead] = False

    def __len__(self) -> int:
        return int(self._starts[-1]) - len(self._dead)

    def close(self) -> None:
        for segment in self._segments:
            segment.close()

    def _parts(self) -> Iterator[tuple[int, Segment]]:
        """Each segment and the number of its first row."""
        return zip(self._starts.tolist(), self._segments, strict=False)

    def _living(self, rows: np.ndarray) -> np.ndarray:
        return rows if self._alive is None else rows[self._alive[rows]]

    def _locate(self, rows: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """(segment, places in `rows`, rows within the segment) for each segment that `rows` touch."""
        if len(self._segments) == 1:
            return [(0, np.arange(len(rows)), rows)]
        which = np.searchsorted(self._starts, rows, side="right") - 1
        return [
            (int(i), places := np.flatnonzero(which == i), rows[places] - self._starts[i]) for i in np.unique(which)
        ]

    def vectors_of(self, rows: np.ndarray) -> np.ndarray:
        if len(self._segments) == 1:
            return self._segments[0].vectors.take(rows, axis=0)
        vectors = np.empty((len(rows), self.dimension), np.float32)
        for segment, places, local in self._locate(rows):
            vectors[places] = self._segments[segment].vectors[local]
        return vectors

    def items_of(self, rows: np.ndarray, whole: bool = True) -> dict[int, Item]:
        """Items by row; unless `whole` only with id, path and label, in half the time."""
        items: dict[int, Item] = {}
        for segment, _, local in self._locate(rows):
            start = int(self._starts[segment])
            items |= {row + start: item for row, item in self._segments[segment].items(local.tolist(), whole).items()}
        return items

    def ids_of(self, rows: np.ndarray) -> list[str]:
        ids: dict[int, str] = {}
        for segment, _, local in self._locate(np.unique(rows)):
            start = int(self._starts[segment])
            ids |= {row + start: id for row, id in self._segments[segment].select("id", local.tolist())}
        return [ids[row] for row in rows.tolist()]

    def lookup(self, ids: Sequence[str]) -> dict[str, Item]:
        return {item.id: item for item in self.items_of(self.rows_of_ids(ids)).values()}

    def vector(self, id: str) -> np.ndarray | None:
        """float32 [d] of the item of that id, or None."""
        for row in self.rows_of_ids([id]):
            return self.vectors_of(np.array([row]))[0]
        return None

    def vector_of_content(self, sha256: str) -> np.ndarray | None:
        """float32 [d] of any item, deleted ones included, that was made from a file of that content hash."""
        for segment in self._segments:
            for (row,) in segment.sql("SELECT row FROM items WHERE sha256 = ? LIMIT 1", (sha256,)):
                return np.array(segment.vectors[row])
        return None

    def where(self, condition: str, values: Sequence = ()) -> list[tuple[int, Item]]:
        """Living (row, item) of which an SQL condition on the columns of `items` is true."""
        parts = []
        for start, segment in self._parts():
            query = f"SELECT row, id, path, label, size, modified, sha256, width, height FROM items WHERE {condition}"
            for row, *rest in segment.sql(query, values):
                if self._alive is None or self._alive[row + start]:
                    parts.append((row + start, Item(*rest)))
        return parts

    def select(self, expression: str) -> np.ndarray:
        """Living rows, int64 ascending, of which a user's SQL expression is true; UserError where it is not one."""
        return self._matching(f"({condition.check(expression)}\n)", (), expression)

    def _matching(self, condition: str, values: Sequence, expression: str) -> np.ndarray:
        parts = [np.empty(0, np.int64)]
        try:
            for start, segment in self._parts():
                rows = np.array(segment.matching(condition, values, self.columns), np.int64) + start
                parts.append(np.sort(self._living(rows)))
        except (sqlite3.Error, sqlite3.Warning, ValueError, UnicodeEncodeError) as error:
            columns = ", ".join((*Item._fields, *self.columns))
            reason = "it took too long" if str(error) == "interrupted" else error
            raise UserError(f"received the condition {expression!r} ({reason}); expected SQL over {columns}") from None
        return np.concatenate(parts)

    def rows_of_ids(self, ids: Sequence[str]) -> np.ndarray:
        """Living rows of ids; an id that is not there is left out."""
        numbers: list[int] = []
        for low in range(0, len(ids), ROWS_TOGETHER):
            part = ids[low : low + ROWS_TOGETHER]
            marks = ",".join("?" * len(part))
            for start, segment in self._parts():
                numbers += [row + start for (row,) in segment.sql(f"SELECT row FROM items WHERE id IN ({marks})", part)]
        return self._living(np.array(numbers, np.int64))

    @functools.cached_property
    def columns(self) -> list[str]:
        """Names of the columns that users' tables added to the items."""
        names: list[str] = []
        for segment in self._segments:
            names += [name for name in segment.columns if spelled(name, names) not in names]
        return names

    def counts(self, column: str, most: int) -> dict[Any, int] | None:
        totals: Counter[Any] = Counter()
        for number, segment in enumerate(self._segments):
            if column != "label" and spelled(column, segment.columns) not in segment.columns:
                continue
            name = quoted(column)
            distinct = f"SELECT DISTINCT {name} FROM items WHERE {name} IS NOT NULL LIMIT {most + 1}"
            if sum(1 for _ in segment.sql(distinct)) > most:
                return None
            counted = f"SELECT {name}, count(*) FROM items WHERE {name} IS NOT NULL"
            totals.update(dict(segment.sql(f"{counted} GROUP BY 1")))
            start, end = self._starts[number : number + 2].tolist()
            dead = (self._dead[(self._dead >= start) & (self._dead < end)] - start).tolist()
            for low in range(0, len(dead), ROWS_TOGETHER):
                rows = ",".join(map(str, dead[low : low + ROWS_TOGETHER]))
                totals.subtract(dict(segment.sql(f"{counted} AND row IN ({rows}) GROUP BY 1")))
        living = {value: number for value, number in totals.items() if number > 0}
        return living if len(living) <= most else None

    def extra_of(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        rows = self.rows_of_ids(ids)
        return dict(zip(self.ids_of(rows), self.extra(rows), strict=True))

    def extra(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """The values of these columns for some rows, counted over all segments; null ones left out."""
        extras: list[dict[str, Any]] = [{}] * len(rows)
        for segment, places, local in self._locate(rows):
            for place, values in zip(places.tolist(), self._segments[segment].extra(local.tolist()), strict=True):
                extras[place] = {spelled(name, self.columns): value for name, value in values.items()}
        return extras

    def sample(self, number: int) -> list[str]:
        """Ids of some living items, spread over the gallery."""
        rows = np.unique(np.linspace(0, max(len(self) - 1, 0), number).astype(int)).tolist()
        return [item.id for _, item in self.where(f"row IN ({','.join('?' * len(rows))})", rows)][:number]

    def _scan(self, start: int, segment: Segment, order: str) -> Iterator[tuple[int, Item]]:
        for row, item in segment.scan(order):
            if self._alive is None or self._alive[row + start]:
                yield row + start, item

    def items(self) -> Iterator[Item]:
        """All living items, in the order of `vectors`, without holding them in memory."""
        for part in self._parts():
            for _, item in self._scan(*part, "row"):
                yield item

    def by_id(self) -> Iterator[tuple[int, Item]]:
        """Living (row, item) in the order of ids."""
        return heapq.merge(*(self._scan(*part, "id") for part in self._parts()), key=lambda pair: pair[1].id)

    def blocks(self) -> Iterator[tuple[list[Item], np.ndarray]]:
        items = self.items()
        for low in range(0, len(self), ROWS_TOGETHER):
            vectors = self.vectors[low : low + ROWS_TOGETHER]
            yield list(itertools.islice(items, len(vectors))), vectors

    @functools.cached_property
    def vectors(self) -> np.ndarray:
        """float32 [N, d], unit length: memory-mapped; a copy where additions or deletions are not yet compacted."""
        if len(self._segments) == 1 and self._alive is None:
            return self._segments[0].vectors
        if not self._segments:
            return np.empty((0, self.dimension), np.float32)
        return self.vectors_of(np.flatnonzero(self._alive) if self._alive is not None else np.arange(self._starts[-1]))

    @functools.cached_property
    def ids(self) -> list[str]:
        return [item.id for item in self.items()]

    @functools.cached_property
    def labels(self) -> list[str]:
        return [item.label for item in self.items()]

    @functools.cached_property
    def paths(self) -> list[str]:
        return [item.path for item in self.items()]
