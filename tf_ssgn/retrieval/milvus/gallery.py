"""A gallery in a Milvus collection: the interface of `Gallery` (`interface.py`), answered by a server.

Beside the collection `NAME` stands `NAME__about`, of one row: the model's fingerprint and what else a manifest keeps.
A vector of another model never gets in, and a gallery of another model is not opened.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder.gallery import Hit
from tf_ssgn.retrieval.folder.segment import Item, unit
from tf_ssgn.retrieval.interface import Unreachable
from tf_ssgn.retrieval.milvus.connection import Address, Connection, address
from tf_ssgn.retrieval.milvus.filter import expression, quoted
from tf_ssgn.retrieval.search import grouping
from tf_ssgn.retrieval.search.asked import counts, near, whole
from tf_ssgn.retrieval.search.options import NO_OPTIONS, Options
from tf_ssgn.settings import GALLERY, MILVUS

ABOUT = "__about"
VECTOR, ROW = "vector", "about"
FORMAT = 1
_SPARE = 8  # answers asked for beyond k, so that equal scores at the end are ordered by id
_FIELDS = list(Item._fields)
_WIDEST = 10_000  # answers of a batch that are padded to where the gallery has fewer


class MilvusGallery:
    """A collection, opened. What others write to it is seen without opening it again."""

    version = 1  # of the collection's content there is no count; a collection made anew is another gallery

    def __init__(self, connection: Connection, about: dict[str, Any], identity: tuple):
        self._connection, self.about, self._identity = connection, about, identity
        self.address: Address = connection.where
        self.path = connection.where.text
        self.fingerprint: str = about["model"]["fingerprint"]
        self.dimension: int = about["dimension"]
        self.columns: list[str] = about.get("columns", [])
        self._counted, self._counted_at = 0, 0.0
        self._lite = "lite" in str(about.get("server", ""))

    @classmethod
    def open(cls, where: str | Address) -> MilvusGallery:
        """Opens a gallery by its address.

        Raises:
            UserError: no such collection, one that tf_ssgn did not make, or a server that refuses or does not answer.
        """
        found = address(where) if isinstance(where, str) else where
        connection = Connection(found)
        try:
            gallery = cls(connection, read_about(connection), identity(connection))
            connection.call("load_collection", found.collection)
            gallery._counted = gallery.count()
            return gallery
        except BaseException:
            connection.close()
            raise

    def __len__(self) -> int:
        """Items; what was counted last where that was a moment ago, or the server does not answer now."""
        if time.monotonic() - self._counted_at > 1:
            with suppress(Unreachable):
                self._counted = self.count()
        return self._counted

    def count(self) -> int:
        (row,) = self._connection.call_soon(
            "query",
            self.address.collection,
            filter="",
            output_fields=["count(*)"],
            consistency_level="Strong",
        )
        self._counted_at = time.monotonic()
        return int(row["count(*)"])

    def require_model(self, fingerprint: str) -> None:
        """UserError unless the gallery was made by the model of that fingerprint."""
        if fingerprint != self.fingerprint:
            raise UserError(
                f"the gallery {self.path} was made by another model (fingerprint {self.fingerprint}, model "
                f"{self.about['model']['path']}); received {fingerprint}: build it again with this model"
            )

    def is_current(self) -> bool:
        """False once the collection was dropped or made anew; Unreachable where that cannot be told now."""
        try:
            return self.identity() == self._identity
        except Unreachable:
            raise
        except UserError:
            return False

    def identity(self) -> tuple:
        """What tells this collection from one of the same name made later; UserError where there is none now."""
        return identity(self._connection)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> MilvusGallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- searching ---------------------------------------------------------------------------------------------------

    def search(
        self, vectors: Any, k: int | Sequence[int] = 10, method: str = "auto", options: Options = NO_OPTIONS
    ) -> list[Any]:
        """As `Gallery.search`; `method` is the collection's index, whichever is asked for."""
        queries = np.asarray(vectors)
        single = queries.ndim == 1
        queries = unit(queries[None] if single else queries, self.dimension, "query vectors")
        found = self._find(queries, counts(k, len(queries)), options, ["path", "label"])
        hits = [
            [Hit(row["id"], score, row["path"], row["label"], twins) for row, score, twins in answers]
            for answers in found
        ]
        return hits[0] if single else hits

    def search_batch(
        self, vectors: np.ndarray, k: Any, method: str = "auto", options: Options = NO_OPTIONS
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `Gallery.search_batch`."""
        vectors = np.asarray(vectors, np.float32)
        wanted = whole(k)
        if wanted.ndim == 0:
            wanted = np.full(vectors.shape[:1], wanted)
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension or wanted.shape != vectors.shape[:1]:
            shapes = f"{list(vectors.shape)} and {list(wanted.shape)}"
            raise UserError(f"vectors and k: received shapes {shapes}, expected [B, {self.dimension}] and [B]")
        wanted = np.minimum(wanted, _WIDEST)
        width = max(int(wanted.max(initial=0)), 0)
        ids = np.full((len(vectors), width), "", object)
        scores = np.full((len(vectors), width), np.nan, np.float32)
        count = np.zeros(len(vectors), np.int32)
        usable = np.flatnonzero(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1) & (wanted >= 1))
        if usable.size == 0:
            return ids, scores, count
        found = self._find(unit(vectors[usable], self.dimension), wanted[usable].tolist(), options, [])
        for place, answers in zip(usable, found, strict=True):
            count[place] = here = len(answers)
            ids[place, :here] = [row["id"] for row, _, _ in answers]
            scores[place, :here] = [score for _, score, _ in answers]
        return ids, scores, count

    def _find(
        self, queries: np.ndarray, wanted: list[int], options: Options, fields: list[str]
    ) -> list[list[tuple[dict[str, Any], float, tuple[str, ...]]]]:
        """(row, score, ids grouped with it) of each query's answers, best first."""
        if not isinstance(options, Options):
            raise UserError(f"options: received {type(options).__name__}, expected a search.options.Options")
        if max(wanted, default=0) > MILVUS.most:
            raise UserError(f"k: received {max(wanted):,}, expected at most {MILVUS.most:,} of a gallery in Milvus")
        condition = expression(options, self.columns)
        if options.group is not None:
            return [
                self._grouped(query, k, condition, options, fields) for query, k in zip(queries, wanted, strict=True)
            ]
        most = max(wanted, default=1)
        found = self._ask(queries, min(most + _SPARE, MILVUS.most), condition, fields)
        answers: list[list[tuple[dict[str, Any], float, tuple[str, ...]]]] = []
        for rows, k in zip(found, wanted, strict=True):
            scores = np.array([score for _, score in rows[:k]], np.float32)
            answers.append([(row, score, ()) for row, score in rows[: near(scores, k, options)]])
        return answers

    def _ask(
        self, queries: np.ndarray, limit: int, condition: str, fields: list[str]
    ) -> list[list[tuple[dict[str, Any], float]]]:
        """(row with id and `fields`, cosine) of each query's best, equal ones by id."""
        params = {} if self._lite else {"nprobe": MILVUS.searched, "reorder_k": 4 * limit}
        found = self._connection.call_soon(
            "search",
            self.address.collection,
            data=list(queries),
            anns_field=VECTOR,
            filter=condition,
            limit=limit,
            output_fields=["id", *fields],
            search_params={"metric_type": "IP", "params": params},
        )
        answers = []
        for hits in found:
            rows = [(dict(hit["entity"]), float(np.clip(np.float32(hit["distance"]), -1, 1))) for hit in hits]
            answers.append(sorted(rows, key=lambda pair: (-pair[1], pair[0]["id"])))
        return answers

    def _grouped(
        self, query: np.ndarray, k: int, condition: str, options: Options, fields: list[str]
    ) -> list[tuple[dict[str, Any], float, tuple[str, ...]]]:
        """The k best groups among the query's `GALLERY.grouped` best items, or more where they make fewer."""
        assert options.group is not None
        ask = GALLERY.grouped
        while True:
            (rows,) = self._ask(query[None], min(ask, MILVUS.most), condition, ["sha256", VECTOR, *fields])
            rows = rows[: near(np.array([score for _, score in rows], np.float32), len(rows), options)]
            vectors = np.array([row[VECTOR] for row, _ in rows], np.float32).reshape(-1, self.dimension)
            found = grouping.groups(vectors, [row["sha256"] for row, _ in rows], k, options.group)
            if len(found) == k or len(rows) < ask or ask >= MILVUS.most:
                break
            ask *= 4
        return [(*rows[group[0]], tuple(rows[twin][0]["id"] for twin in group[1:])) for group in found]

    # -- items -------------------------------------------------------------------------------------------------------

    def _query(self, condition: str, fields: Sequence[str], limit: int, **options: Any) -> list[dict[str, Any]]:
        return list(
            self._connection.call(
                "query",
                self.address.collection,
                filter=condition,
                output_fields=list(fields),
                consistency_level="Strong",
                limit=limit,
                **options,
            )
        )

    def index(self) -> dict[str, Any]:
        """What the server says of the vectors' index."""
        return dict(self._connection.call("describe_index", self.address.collection, VECTOR))

    def find(self, id: str) -> Item | None:
        """The item of that id, or None."""
        for row in self._query(f"id == {quoted(id)}", _FIELDS, 1):
            return item_of(row)
        return None

    def vector(self, id: str) -> np.ndarray | None:
        """float32 [d] of the item of that id, or None."""
        for row in self._query(f"id == {quoted(id)}", [VECTOR], 1):
            return np.array(row[VECTOR], np.float32)
        return None

    def sample(self, number: int) -> list[str]:
        """Ids of some items, as many where there are so many."""
        return [row["id"] for row in self._query('id >= ""', ["id"], number)]

    def rows(self, condition: str = "", fields: Sequence[str] = (*_FIELDS, VECTOR)) -> Iterator[dict[str, Any]]:
        """All rows of which Milvus's own condition is true, by id, a batch at a time."""
        last = None
        while True:
            # pymilvus has an iterator that does the same, but for ids with quotes or backslashes in them (3.0).
            after = 'id >= ""' if last is None else f"id > {quoted(last)}"
            terms = f"({condition}) and {after}" if condition else after
            batch = self._query(terms, ["id", *fields], MILVUS.batch, iterator="True", reduce_stop_for_best="True")
            ids = [row["id"] for row in batch]
            if ids != sorted(ids):
                raise UserError(f"{self.address.server} gives rows in no order; expected Milvus 2.4 or newer")
            yield from batch
            if len(batch) < MILVUS.batch:
                return
            last = ids[-1]

    def items(self) -> Iterator[Item]:
        """All items, in the order of ids."""
        for row in self.rows(fields=_FIELDS):
            yield item_of(row)


def item_of(row: dict[str, Any]) -> Item:
    return Item(*(row.get(name) for name in _FIELDS))  # type: ignore[arg-type]


def identity(connection: Connection) -> tuple:
    """What tells a collection from one of the same name that was made later."""
    found = connection.call("describe_collection", connection.where.collection, seconds=MILVUS.connect_seconds)
    return found.get("collection_id"), found.get("created_timestamp")


def read_about(connection: Connection) -> dict[str, Any]:
    """What a gallery's manifest says; UserError where the collection is not there or not one of ours."""
    name = connection.where.collection
    if not connection.call("has_collection", name, seconds=MILVUS.connect_seconds):
        raise UserError(f"no collection {name} at {connection.where.server}; make it with `index build` or `import`")
    foreign = f"the collection {name} at {connection.where.server} is no gallery of tf_ssgn"
    if not connection.call("has_collection", name + ABOUT, seconds=MILVUS.connect_seconds):
        raise UserError(f"{foreign} (it has no {name + ABOUT}); choose another name")
    try:
        rows = _about_rows(connection, name + ABOUT)
        about = json.loads(rows[0][ROW])
        model, dimension = about["model"]["fingerprint"], int(about["dimension"])
        assert isinstance(model, str) and about["format"] <= FORMAT
    except Unreachable:
        raise
    except (IndexError, KeyError, TypeError, ValueError, AssertionError, UserError):
        raise UserError(f"{foreign}, or of a newer version: its {name + ABOUT} cannot be read") from None
    fields = {field["name"]: field for field in connection.call("describe_collection", name)["fields"]}
    missing = [column for column in (*_FIELDS, VECTOR) if column not in fields]
    if missing:
        raise UserError(f"{foreign}: it lacks the field {missing[0]}; expected {', '.join((*_FIELDS, VECTOR))}")
    held = int(fields[VECTOR]["params"]["dim"])
    if held != dimension:
        raise UserError(f"{foreign}: its vectors have {held} dimensions, its {name + ABOUT} says {dimension}")
    return about


def _about_rows(connection: Connection, name: str) -> list[dict[str, Any]]:
    options = {"filter": f'id == "{ROW}"', "output_fields": [ROW], "limit": 1, "consistency_level": "Strong"}
    return list(connection.call("query", name, seconds=MILVUS.connect_seconds, **options))
