"""Making and changing a gallery in Milvus.

Rows are written under their item's id, in batches that may be repeated: a batch whose answer was lost is sent again and
replaces itself. So a writer that died is simply run again, and no item is ever there twice.
"""

import itertools
import json
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import numpy as np

from tf_ssgn.common.progress import Progress
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.files import PhotoFile, Walk, as_manifest, sources_of, to_text
from tf_ssgn.retrieval.items import Item, spelled
from tf_ssgn.retrieval.milvus.connection import Address, MilvusConnection, address
from tf_ssgn.retrieval.milvus.filter import NUMBERS, below, literals, translated
from tf_ssgn.retrieval.milvus.gallery import ABOUT, FORMAT, ROW, VECTOR, MilvusGallery, item_of_row
from tf_ssgn.retrieval.photos import Embedder
from tf_ssgn.retrieval.search.condition import forms
from tf_ssgn.retrieval.search.exact import unit_vectors
from tf_ssgn.retrieval.searcher import Unreachable
from tf_ssgn.retrieval.writer import Change, Report, Sources, Writer, first_manifest
from tf_ssgn.settings import MILVUS, MILVUS_TEXT_BYTES


def open_or_create(where: Address, model: Embedder, expected: int = 0, **about: Any) -> tuple[MilvusGallery, bool]:
    """The gallery of a model at an address, and whether it was made now: empty, with ScaNN's index where a server is
    behind it and exact search in a file. `expected` items set the number of leaves."""
    with closing(MilvusConnection(where)) as connection:
        new = not connection.call("has_collection", where.collection)
        if new:
            server = str(connection.call("get_server_version"))
            manifest = {key: value for key, value in first_manifest(model).items() if key not in ("segments", "dead")}
            manifest |= {"format": FORMAT, "server": server, "columns": [], **about}
            _create_about(connection)
            write_about(connection, manifest)
            _create_items(connection, model.dimension, "lite" in server, expected)
    gallery = MilvusGallery.open(where)
    gallery.require_model(model.fingerprint)
    if gallery.dimension != model.dimension:
        raise UserError(f"{where.text} has {gallery.dimension} dimensions; received vectors of {model.dimension}")
    return gallery, new


def _create_about(connection: MilvusConnection) -> None:
    from pymilvus import DataType, MilvusClient

    name = connection.where.collection + ABOUT
    if connection.call("has_collection", name):  # of a gallery that was dropped, or whose making was cut off
        connection.call("drop_collection", name)
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field(ROW, DataType.VARCHAR, max_length=MILVUS_TEXT_BYTES)
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=2)  # Milvus has no collection without one
    index = MilvusClient.prepare_index_params()
    index.add_index(VECTOR, index_type="FLAT", metric_type="IP")
    connection.call("create_collection", name, schema=schema, index_params=index, consistency_level="Strong")


def _create_items(connection: MilvusConnection, dimension: int, lite: bool, expected: int) -> None:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
    for name in Item._fields:
        if name in NUMBERS:
            schema.add_field(name, DataType.INT64, nullable=True)
        elif name == "sha256":
            schema.add_field(name, DataType.VARCHAR, max_length=64, nullable=True)
        else:
            schema.add_field(name, DataType.VARCHAR, max_length=MILVUS_TEXT_BYTES, is_primary=name == "id")
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dimension)
    index = MilvusClient.prepare_index_params()
    if lite:
        index.add_index(VECTOR, index_type="FLAT", metric_type="IP")
    else:
        leaves = int(min(65_536, max(128, MILVUS.leaves * math.sqrt(min(expected, MILVUS.segment)))))
        index.add_index(VECTOR, index_type="SCANN", metric_type="IP", params={"nlist": leaves, "with_raw_data": True})
        for name in ("label", "sha256"):
            index.add_index(name, index_type="INVERTED")
    connection.call(
        "create_collection", connection.where.collection, schema=schema, index_params=index, consistency_level="Bounded"
    )


def write_about(connection: MilvusConnection, about: dict[str, Any]) -> None:
    row = {"id": ROW, ROW: json.dumps(about, ensure_ascii=False), VECTOR: [0.0, 1.0]}
    connection.again(lambda: connection.call("upsert", connection.where.collection + ABOUT, data=[row]))


def rows_of(
    items: Sequence[Item], vectors: np.ndarray, extra: Sequence[Mapping[str, Any]] | None = None
) -> Iterator[dict[str, Any]]:
    """Items with their vectors, unit float32 [n, d], as rows; UserError for a text that is too long for Milvus."""
    for item, vector, more in zip(items, vectors, extra or [{}] * len(items), strict=True):
        for name in ("id", "path", "label"):
            if len(getattr(item, name).encode()) > MILVUS_TEXT_BYTES:
                raise UserError(
                    f"{item.id[:64]!r}...: its {name} is longer than the {MILVUS_TEXT_BYTES:,} bytes of Milvus"
                )
        yield {**more, **item._asdict(), VECTOR: vector.tolist()}


def upsert(gallery: MilvusGallery, rows: Iterable[dict[str, Any]]) -> None:
    """Writes rows over those of the same id; acknowledged when it returns. UserError for a server that refuses,
    Unreachable after some tries."""
    rows = iter(rows)
    while some := list(itertools.islice(rows, MILVUS.batch)):
        gallery.connection.again(partial(gallery.connection.call, "upsert", gallery.address.collection, data=some))


def delete_ids(gallery: MilvusGallery, ids: Sequence[str]) -> None:
    for low in range(0, len(ids), MILVUS.batch):
        terms = f"id in {literals(ids[low : low + MILVUS.batch])}"  # pymilvus puts ids between quotes as they are (3.0)
        gallery.connection.again(partial(gallery.connection.call, "delete", gallery.address.collection, filter=terms))


class MilvusChange(Change):
    """Rows are written a batch at a time and are seen at once; what is noted of the whole gallery comes last."""

    def __init__(self, gallery: MilvusGallery, new: bool):
        self._gallery, self.new = gallery, new
        self.sources, self.columns = sources_of(gallery.about), list(gallery.columns)
        self.exclude = gallery.about.get("exclude", [])
        self.count, self.version = 0, gallery.version
        self._rows: list[dict[str, Any]] = []
        self._extra: dict[str, Mapping[str, Any]] = {}
        self._ids: dict[str, str] = {}  # of items, by the hash of their content

    def known(self, prefixes: Sequence[str]) -> dict[str, Item]:
        items: dict[str, Item] = {}
        fields = [*Item._fields, *self.columns]
        for prefix in prefixes:
            for row in self._gallery.rows(below("id", prefix), fields):
                items[row["id"]] = item = item_of_row(row)
                extra = {name: row[name] for name in self.columns if row.get(name) is not None}
                self._extra |= {item.id: extra} if extra else {}
                self._ids |= {item.sha256: item.id} if item.sha256 else {}
        return items

    def extra(self, ids: Collection[str]) -> dict[str, Mapping[str, Any]]:
        return {id: self._extra[id] for id in ids if id in self._extra}

    def resume(self, files: Mapping[str, PhotoFile]) -> set[str]:
        return set()  # what was taken is there already

    def vectors_of(self, contents: Collection[str]) -> dict[str, np.ndarray]:
        waiting = {row["id"]: np.array(row[VECTOR], np.float32) for row in self._rows}
        vectors: dict[str, np.ndarray] = {}
        for content in contents:
            id = self._ids.get(content)
            vector = None if id is None else waiting[id] if id in waiting else self._gallery.vector(id)
            vectors |= {} if vector is None else {content: vector}
        return vectors

    def append(self, items: Sequence[Item], vectors: np.ndarray, extra: Sequence[Mapping[str, Any]]) -> None:
        names = {spelled(name, self.columns) for values in extra for name in values} - set(self.columns)
        if names:
            self.columns += sorted(names)
            self._note(columns=self.columns)  # before rows have them
        self._rows += rows_of(items, vectors, extra)
        self._ids |= {item.sha256: item.id for item in items if item.sha256}
        if len(self._rows) >= MILVUS.batch:
            self._flush()

    def _flush(self) -> None:
        for low in range(0, len(self._rows), MILVUS.batch):
            upsert(self._gallery, self._rows[low : low + MILVUS.batch])
            self.new = False
        self._rows = []

    def _note(self, **about: Any) -> None:
        self._gallery.about |= about
        write_about(self._gallery.connection, self._gallery.about)

    def commit(self, walked: Walk, gone: Collection[str] = (), last: bool = True) -> None:
        self._flush()
        if not last:
            return
        delete_ids(self._gallery, sorted(gone))
        about, sources = self._gallery.about, as_manifest(walked.sources)
        if (sources, walked.exclude) != (about["sources"], about.get("exclude", [])) or "building" in about:
            about.pop("building", None)
            self._note(sources=sources, exclude=walked.exclude)
        self.count = self._gallery.count()


class MilvusWriter(Writer):
    """A collection on a server."""

    def __init__(self, where: str | os.PathLike):
        super().__init__(where)
        self._address = address(self.where)

    def open(self) -> MilvusGallery:
        return MilvusGallery.open(self._address)

    @contextmanager
    def change(self, model: Embedder, table: str = "", building: Walk | None = None) -> Iterator[MilvusChange]:
        if building is None:
            gallery, new = self.open(), False
            gallery.require_model(model.fingerprint)
        else:
            asked = as_manifest(building.sources)
            gallery, new = open_or_create(self._address, model, building=asked)
        with gallery:
            if building is not None and gallery.about.get("building") != as_manifest(building.sources):
                raise UserError(f"{self.where} already is a gallery; use `index add` or `index sync`, or another name")
            change = MilvusChange(gallery, new)
            try:
                yield change
            except UserError as error:
                if change.new and not isinstance(error, Unreachable):  # it has come to nothing
                    for name in (self._address.collection, self._address.collection + ABOUT):
                        gallery.connection.call("drop_collection", name)
                raise

    def check_new(self) -> None:
        pass  # `change` says it, and begins nothing before

    def model_path(self) -> str:
        with self.open() as gallery:
            return gallery.model_path

    def delete(self, *, ids: Sequence[str] = (), paths: Sequence[str] = (), where: str = "") -> Report:
        with self.open() as gallery:

            def matching(terms: str) -> set[str]:
                return {row["id"] for row in gallery.rows(terms, ["id"])}

            # A name as it was given, and only where nothing has it as another disk would write it.
            gone = matching(f"id in {literals(ids)}") if ids else set()
            if others := [form for id in ids if id not in gone for form in forms(id)[1:]]:
                gone |= matching(f"id in {literals(others)}")
            for path in paths:
                texts = forms(to_text(os.path.abspath(path)))
                terms = (f"path in {literals([text])} or {below('path', text.rstrip('/') + '/')}" for text in texts)
                gone |= next(filter(None, map(matching, terms)), set())
            if where:
                gone |= matching(translated(where, gallery.columns))
            delete_ids(gallery, sorted(gone))
            return Report(gallery.count(), gallery.version, removed=len(gone))

    def import_blocks(
        self,
        model: Embedder,
        what: str,
        blocks: Iterable[tuple[Sequence[Item], np.ndarray]],
        count: int,
        sources: Sources = (),
    ) -> Report:
        """The same call after a kill writes the same items over themselves."""
        gallery, _ = open_or_create(self._address, model, count, sources=list(sources))
        with gallery, Progress(count, "items") as bar:
            for items, vectors in blocks:
                upsert(gallery, rows_of(items, unit_vectors(vectors, gallery.dimension, what)))
                bar.advance(len(items))
            return Report(gallery.count(), gallery.version)

    def compact(self) -> Report:
        raise UserError("a gallery in Milvus is compacted by its server; there is nothing to do")

    def verify(self) -> dict[str, Any]:
        with self.open() as gallery:
            return gallery.verify()

    def stats(self) -> dict[str, Any]:
        with self.open() as gallery:
            return gallery.stats()
