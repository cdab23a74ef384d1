"""A gallery in a Milvus collection, which a server searches.

Beside the collection `NAME` stands `NAME__about`, of one row: the model's fingerprint and what else a manifest keeps.
A vector of another model never gets in, and a gallery of another model is not opened.
"""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from tf_ssgn.common.progress import Progress
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.items import Item
from tf_ssgn.retrieval.milvus.connection import Address, MilvusConnection, address
from tf_ssgn.retrieval.milvus.filter import expression, literal, literals
from tf_ssgn.retrieval.search.options import Options
from tf_ssgn.retrieval.searcher import Near, OpenGallery, Unreachable
from tf_ssgn.settings import MILVUS, ROWS_TOGETHER, SELF_RECALL, UNIT_TOLERANCE

ABOUT = "__about"
VECTOR, ROW = "vector", "about"
FORMAT = 1
_FIELDS = list(Item._fields)


class MilvusGallery(OpenGallery):
    """A collection, opened. What others write to it is seen without opening it again."""

    version = 1  # of the collection's content there is no count; a collection made anew is another gallery
    most = MILVUS.most

    def __init__(self, connection: MilvusConnection):
        self.connection, self.about = connection, read_about(connection)
        self.address: Address = connection.where
        self.path = connection.where.text
        self.fingerprint: str = self.about["model"]["fingerprint"]
        self.dimension: int = self.about["dimension"]
        self.model_path: str = self.about["model"]["path"]
        self._counted, self._counted_at = 0, 0.0
        self._lite = "lite" in str(self.about.get("server", ""))

    @classmethod
    def open(cls, where: str | Address) -> "MilvusGallery":
        """Opens a gallery by its address; UserError where there is no such collection, tf_ssgn did not make it, or the
        server refuses or does not answer."""
        place = address(where) if isinstance(where, str) else where
        connection = MilvusConnection(place)
        try:
            gallery = cls(connection)
            connection.call("load_collection", place.collection)
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
        (row,) = self.connection.call_soon(
            "query", self.address.collection, filter="", output_fields=["count(*)"], consistency_level="Strong"
        )
        self._counted_at = time.monotonic()
        return int(row["count(*)"])

    def identity(self) -> tuple:
        """What tells a collection from one of the same name that was made later; UserError where there is none now."""
        described = self.connection.call("describe_collection", self.address.collection, seconds=MILVUS.connect_seconds)
        return described.get("collection_id"), described.get("created_timestamp")

    def close(self) -> None:
        self.connection.close()

    @property
    def columns(self) -> list[str]:
        return self.about.get("columns", [])

    # -- searching ---------------------------------------------------------------------------------------------------

    def nearest(self, queries: np.ndarray, k: int, method: str, options: Options, whole: bool = False) -> list[Near]:
        limit = min(k + MILVUS.spare, MILVUS.most)
        params = {} if self._lite else {"nprobe": MILVUS.searched, "reorder_k": 4 * limit}
        reply = self.connection.call_soon(
            "search",
            self.address.collection,
            data=list(queries),
            anns_field=VECTOR,
            filter=expression(options, self.columns),
            limit=limit,
            output_fields=[*_FIELDS, VECTOR] if whole else ["id", "path", "label"],
            search_params={"metric_type": "IP", "params": params},
        )
        answers = []
        for hits in reply:
            pairs = [(float(np.clip(np.float32(hit["distance"]), -1, 1)), dict(hit["entity"])) for hit in hits]
            pairs = sorted(pairs, key=lambda pair: (-pair[0], pair[1]["id"]))[:k]
            scores = np.array([score for score, _ in pairs], np.float32)
            rows = [row for _, row in pairs]
            vectors = np.array([row[VECTOR] for row in rows], np.float32).reshape(-1, self.dimension) if whole else None
            answers.append(Near(scores, [item_of_row(row) for row in rows], vectors))
        return answers

    # -- items -------------------------------------------------------------------------------------------------------

    def _query(self, condition: str, fields: Sequence[str], limit: int, **options: Any) -> list[dict[str, Any]]:
        options |= {"filter": condition, "output_fields": list(fields), "limit": limit, "consistency_level": "Strong"}
        return list(self.connection.call("query", self.address.collection, **options))

    def index(self) -> dict[str, Any]:
        """What the server says of the vectors' index."""
        return dict(self.connection.call("describe_index", self.address.collection, VECTOR))

    def lookup(self, ids: Sequence[str]) -> dict[str, Item]:
        items: dict[str, Item] = {}
        for low in range(0, len(ids), MILVUS.batch):
            rows = self._query(f"id in {literals(ids[low : low + MILVUS.batch])}", _FIELDS, MILVUS.batch)
            items |= {row["id"]: item_of_row(row) for row in rows}
        return items

    def vector(self, id: str) -> np.ndarray | None:
        for row in self._query(f"id == {literal(id)}", [VECTOR], 1):
            return np.array(row[VECTOR], np.float32)
        return None

    def sample(self, number: int) -> list[str]:
        return [row["id"] for row in self._query('id >= ""', ["id"], number)]

    def rows(self, condition: str = "", fields: Sequence[str] = (*_FIELDS, VECTOR)) -> Iterator[dict[str, Any]]:
        """All rows of which Milvus's own condition is true, by id, a batch at a time."""
        last = None
        while True:
            # pymilvus has an iterator that does the same, but for ids with quotes or backslashes in them (3.0).
            after = 'id >= ""' if last is None else f"id > {literal(last)}"
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
        for row in self.rows(fields=_FIELDS):
            yield item_of_row(row)

    def blocks(self) -> Iterator[tuple[list[Item], np.ndarray]]:
        rows = self.rows()
        while some := list(itertools.islice(rows, ROWS_TOGETHER)):
            yield [item_of_row(row) for row in some], np.array([row[VECTOR] for row in some], np.float32)

    # -- the whole ---------------------------------------------------------------------------------------------------

    def verify(self) -> dict[str, Any]:
        """As `folder.verify.verify`: walks over all items once, and searches for some of them."""
        result: dict[str, Any] = {"count": 0, "damage": [], "leftovers": [], "unfinished": None, "self_recall": None}
        result["unfinished"] = "build" if "building" in self.about else None
        total = self.count()
        ids: set[str] = set()
        rows = 0
        with Progress(total, "items") as bar:
            for row in self.rows(fields=("id", VECTOR)):
                rows += 1
                ids.add(row["id"])
                length = float(np.linalg.norm(np.array(row[VECTOR], np.float64)))
                if not abs(length - 1) <= 2 * UNIT_TOLERANCE and len(result["damage"]) < 10:
                    result["damage"].append(f"the vector of {row['id']!r} has length {length:.6g}, expected 1")
                bar.advance()
        result["count"] = rows
        if len(ids) != rows:
            result["damage"].append(f"{rows - len(ids):,} items are there more than once")
        if rows != total:
            result["damage"].append(f"the server counts {total:,} items and gives {rows:,}; is another writer at work?")
        hits = self.own_hits()
        result["self_recall"] = recall = float(np.mean(hits)) if hits else None
        if recall is not None and recall < SELF_RECALL:
            result["damage"].append(f"only {recall:.0%} of its own items are found again")
        return result

    def stats(self) -> dict[str, Any]:
        """What `index stats` prints."""
        about = self.about
        index = self.index()
        return {
            "count": self.count(),
            "version": self.version,
            "format": about["format"],
            "written": None,
            "model": about["model"],
            "dimension": self.dimension,
            "search": index.get("index_type"),
            "index": index,
            "columns": self.columns,
            "server": about.get("server"),
            "sources": about["sources"],
            "unfinished": "build" if "building" in about else None,
        }


def item_of_row(row: dict[str, Any]) -> Item:
    return Item(*(row.get(name) for name in _FIELDS))  # type: ignore[arg-type]


def read_about(connection: MilvusConnection) -> dict[str, Any]:
    """What a gallery's manifest says; UserError where the collection is not there or not one of ours."""
    name = connection.where.collection
    if not connection.call("has_collection", name, seconds=MILVUS.connect_seconds):
        raise UserError(f"no collection {name} at {connection.where.server}; make it with `index build` or `import`")
    foreign = f"the collection {name} at {connection.where.server} is no gallery of tf_ssgn"
    if not connection.call("has_collection", name + ABOUT, seconds=MILVUS.connect_seconds):
        raise UserError(f"{foreign} (it has no {name + ABOUT}); choose another name")
    try:
        options = {"filter": f'id == "{ROW}"', "output_fields": [ROW], "limit": 1, "consistency_level": "Strong"}
        (row,) = connection.call("query", name + ABOUT, seconds=MILVUS.connect_seconds, **options)
        about = json.loads(row[ROW])
        model, dimension = about["model"]["fingerprint"], int(about["dimension"])
        assert isinstance(model, str) and about["format"] <= FORMAT
    except Unreachable:
        raise
    except (KeyError, TypeError, ValueError, AssertionError, UserError):
        raise UserError(f"{foreign}, or of a newer version: its {name + ABOUT} cannot be read") from None
    fields = {field["name"]: field for field in connection.call("describe_collection", name)["fields"]}
    missing = [column for column in (*_FIELDS, VECTOR) if column not in fields]
    if missing:
        raise UserError(f"{foreign}: it lacks the field {missing[0]}; expected {', '.join((*_FIELDS, VECTOR))}")
    held = int(fields[VECTOR]["params"]["dim"])
    if held != dimension:
        raise UserError(f"{foreign}: its vectors have {held} dimensions, its {name + ABOUT} says {dimension}")
    return about
