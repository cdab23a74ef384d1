"""Making and changing a gallery in Milvus.

Rows are written under their item's id, in batches that may be repeated: a batch whose answer was lost is sent again and
replaces itself. So a writer that died is simply run again, and no item is ever there twice.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.common.progress import Progress
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.embedding import Embedder, Report, embed_images, read_ahead
from tf_ssgn.retrieval.files import Found, to_text, walk
from tf_ssgn.retrieval.folder.builder import first_manifest, sources_of
from tf_ssgn.retrieval.folder.segment import Item, unit
from tf_ssgn.retrieval.milvus.connection import Address, Connection, address
from tf_ssgn.retrieval.milvus.filter import below, quoted, translated
from tf_ssgn.retrieval.milvus.gallery import ABOUT, FORMAT, ROW, VECTOR, MilvusGallery, item_of
from tf_ssgn.retrieval.photos import Photo, Skipped
from tf_ssgn.retrieval.search import condition
from tf_ssgn.settings import MILVUS, SERVING

_TEXT = 65_535  # bytes, the most that Milvus takes
_NUMBERS = ("size", "modified", "width", "height")
_SEGMENT = 1_000_000  # items; Milvus indexes segments of about that many


def create(where: str | Address, model: Embedder, expected: int = 0, **about: Any) -> MilvusGallery:
    """Makes an empty gallery, with ScaNN's index where a server is behind it and exact search in a file.

    `expected` items set the number of leaves. UserError where the collection is there already.
    """
    found = address(where) if isinstance(where, str) else where
    connection = Connection(found)
    try:
        if connection.call("has_collection", found.collection):
            raise UserError(f"{found.text} already is a collection; use `index add` or `index sync`, or another name")
        server = str(connection.call("get_server_version"))
        manifest = {key: value for key, value in first_manifest(model).items() if key not in ("segments", "dead")}
        manifest |= {"format": FORMAT, "server": server, "columns": [], **about}
        _create_about(connection)
        write_about(connection, manifest)
        _create_items(connection, model.dimension, "lite" in server, expected)
    finally:
        connection.close()
    return MilvusGallery.open(found)


def _schema(connection: Connection, dynamic: bool) -> Any:
    from pymilvus import MilvusClient

    return MilvusClient.create_schema(auto_id=False, enable_dynamic_field=dynamic)


def _create_about(connection: Connection) -> None:
    from pymilvus import DataType, MilvusClient

    name = connection.where.collection + ABOUT
    if connection.call("has_collection", name):  # of a gallery that was dropped, or whose making was cut off
        connection.call("drop_collection", name)
    schema = _schema(connection, False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field(ROW, DataType.VARCHAR, max_length=_TEXT)
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=2)  # Milvus has no collection without one
    index = MilvusClient.prepare_index_params()
    index.add_index(VECTOR, index_type="FLAT", metric_type="IP")
    connection.call("create_collection", name, schema=schema, index_params=index, consistency_level="Strong")


def _create_items(connection: Connection, dimension: int, lite: bool, expected: int) -> None:
    from pymilvus import DataType, MilvusClient

    schema = _schema(connection, True)
    for name in Item._fields:
        if name in _NUMBERS:
            schema.add_field(name, DataType.INT64, nullable=True)
        elif name == "sha256":
            schema.add_field(name, DataType.VARCHAR, max_length=64, nullable=True)
        else:
            schema.add_field(name, DataType.VARCHAR, max_length=_TEXT, is_primary=name == "id")
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dimension)
    index = MilvusClient.prepare_index_params()
    if lite:
        index.add_index(VECTOR, index_type="FLAT", metric_type="IP")
    else:
        leaves = int(min(65_536, max(128, MILVUS.leaves * math.sqrt(min(expected, _SEGMENT)))))
        index.add_index(VECTOR, index_type="SCANN", metric_type="IP", params={"nlist": leaves, "with_raw_data": True})
        index.add_index("label", index_type="INVERTED")
    connection.call(
        "create_collection", connection.where.collection, schema=schema, index_params=index, consistency_level="Bounded"
    )


def write_about(connection: Connection, about: dict[str, Any]) -> None:
    row = {"id": ROW, ROW: json.dumps(about, ensure_ascii=False), VECTOR: [0.0, 1.0]}
    connection.again(lambda: connection.call("upsert", connection.where.collection + ABOUT, data=[row]))


def upsert(
    gallery: MilvusGallery, items: Sequence[Item], vectors: np.ndarray, extra: Sequence[dict[str, Any]] | None = None
) -> None:
    """Writes items with their vectors, unit float32 [n, d], over those of the same id; acknowledged when it returns.

    Raises:
        UserError: a text that is too long for Milvus, or a server that refuses; Unreachable after some tries.
    """
    for low in range(0, len(items), MILVUS.batch):
        rows = []
        for place, item in enumerate(items[low : low + MILVUS.batch], low):
            for name in ("id", "path", "label"):
                if len(getattr(item, name).encode()) > _TEXT:
                    raise UserError(f"{item.id[:64]!r}...: its {name} is longer than the {_TEXT:,} bytes of Milvus")
            more = extra[place] if extra else {}
            rows.append({**more, **item._asdict(), VECTOR: vectors[place].tolist()})
        _upsert(gallery, rows)


def _upsert(gallery: MilvusGallery, rows: list[dict[str, Any]]) -> None:
    connection = gallery._connection
    connection.again(lambda: connection.call("upsert", gallery.address.collection, data=rows))


def delete_ids(gallery: MilvusGallery, ids: Sequence[str]) -> None:
    connection = gallery._connection

    def delete_part(part: Sequence[str]) -> None:
        terms = f"id in [{', '.join(map(quoted, part))}]"  # pymilvus puts ids between quotes as they are (3.0)
        connection.again(lambda: connection.call("delete", gallery.address.collection, filter=terms))

    for low in range(0, len(ids), MILVUS.batch):
        delete_part(ids[low : low + MILVUS.batch])


def delete(where: str, *, ids: Sequence[str] = (), paths: Sequence[str] = (), sql: str = "") -> Report:
    """Deletes items, as `changes.delete` does in a folder."""
    with MilvusGallery.open(where) as gallery:
        conditions = [f"id in [{', '.join(map(quoted, ids))}]"] if ids else []
        for path in paths:
            text = to_text(os.path.abspath(path))
            conditions.append(f"path == {quoted(text)} or {below('path', text.rstrip('/') + '/')}")
        if sql:
            condition.check(sql)
            conditions.append(translated(sql, gallery.columns))
        gone = {row["id"] for terms in conditions for row in gallery.rows(terms, ["id"])}
        delete_ids(gallery, sorted(gone))
        return Report(gallery.count(), gallery.version, removed=len(gone))


def import_blocks(
    where: str,
    model: Embedder,
    blocks: Iterable[tuple[Sequence[Item], np.ndarray]],
    count: int,
    what: str,
    sources: Sequence[dict[str, str]] = (),
) -> Report:
    """Writes items and their vectors into a gallery, made where there is none; the same call after a kill goes on.

    Raises:
        UserError: a gallery of another model or dimension, which is left as it is.
    """
    gallery = open_or_create(where, model, count, sources=list(sources))
    with gallery, Progress(count, "items") as bar:
        for items, vectors in blocks:
            upsert(gallery, items, unit(vectors, gallery.dimension, what))
            bar.advance(len(items))
        return Report(gallery.count(), gallery.version)


def open_or_create(where: str, model: Embedder, expected: int = 0, **about: Any) -> MilvusGallery:
    found = address(where)
    connection = Connection(found)
    try:
        there = connection.call("has_collection", found.collection)
    finally:
        connection.close()
    if not there:
        return create(found, model, expected, **about)
    gallery = MilvusGallery.open(found)
    gallery.require_model(model.fingerprint)
    if gallery.dimension != model.dimension:
        raise UserError(f"{where} has {gallery.dimension} dimensions; received vectors of {model.dimension}")
    return gallery


# -- photos ----------------------------------------------------------------------------------------------------------


def build(where: str, folders: Sequence[str | Path], model: Embedder, exclude: Sequence[str] = ()) -> Report:
    """Makes a gallery of every photo below `folders`; the same call after a kill goes on where that was stopped."""
    asked = [to_text(os.path.abspath(folder)) for folder in folders]
    gallery = open_or_create(where, model, building=asked)
    with gallery:
        if gallery.about.get("building") != asked:
            raise UserError(f"{where} already is a gallery; use `index add` or `index sync`, or another name")
        return _update(gallery, folders, model, exclude, remove=False)


def add(where: str, folders: Sequence[str | Path], model: Embedder, exclude: Sequence[str] = ()) -> Report:
    """As `builder.add`."""
    with MilvusGallery.open(where) as gallery:
        return _update(gallery, folders, model, exclude, remove=False)


def sync(where: str, folders: Sequence[str | Path], model: Embedder, exclude: Sequence[str] = ()) -> Report:
    """As `builder.sync`."""
    with MilvusGallery.open(where) as gallery:
        return _update(gallery, folders, model, exclude, remove=True)


def _update(
    gallery: MilvusGallery, folders: Sequence[str | Path], model: Embedder, exclude: Sequence[str], remove: bool
) -> Report:
    gallery.require_model(model.fingerprint)
    known = sources_of(gallery.about)
    exclude = sorted({*gallery.about.get("exclude", ()), *exclude})
    found = walk(folders or [source.folder for source in known], known, exclude)
    report = Report(
        left_out=found.left_out, skipped=[(to_text(problem.path), problem.reason) for problem in found.problems]
    )
    there: dict[str, Item] = {}
    for prefix in found.prefixes:
        there |= {row["id"]: item_of(row) for row in gallery.rows(below("id", prefix), Item._fields)}
    if not found.found and not there:
        raise UserError(f"no photos (PNG, JPEG, WebP, BMP, GIF) below {', '.join(to_text(str(f)) for f in folders)}")
    todo = [file for file in found.found if not _same(file, there.get(file.id))]
    report.unchanged = len(found.found) - len(todo)
    lost = _embed(gallery, todo, there, model, report)
    if remove:
        present = {file.id for file in found.found}
        hidden = tuple(problem.id for problem in found.problems)
        gone = {id for id in there if id not in present and not any(_below(id, folder) for folder in hidden)}
        if there and len(gone) == len(there):
            raise UserError(
                f"none of the {len(there):,} items of these folders has its photo any more; nothing was removed: is "
                "the disk mounted? To remove them all use `index delete --path`"
            )
        gone |= lost & set(there)
        delete_ids(gallery, sorted(gone))
        report.removed = len(gone)
    sources = [{"folder": to_text(source.folder), "prefix": source.prefix} for source in found.sources]
    asked = (sources, exclude)
    if asked != (gallery.about["sources"], gallery.about.get("exclude", [])) or "building" in gallery.about:
        gallery.about = {key: value for key, value in gallery.about.items() if key != "building"}
        gallery.about["sources"], gallery.about["exclude"] = asked
        write_about(gallery._connection, gallery.about)
    report.count, report.version = gallery.count(), gallery.version
    if not report.count:
        why = report.skipped[0] if report.skipped else ("", "")
        raise UserError(f"none of the {len(found.found):,} photos could be embedded (the first: {why[0]!r}: {why[1]})")
    return report


def _same(file: Found, item: Item | None) -> bool:
    return item is not None and (file.size, file.modified, to_text(file.path)) == (item.size, item.modified, item.path)


def _below(id: str, folder: str) -> bool:
    return id == folder or id.startswith(folder + "/")


def _embed(
    gallery: MilvusGallery, todo: Sequence[Found], there: dict[str, Item], model: Embedder, report: Report
) -> set[str]:
    """Embeds and writes photos; returns the ids whose file is there no more or is no photo."""
    lost: set[str] = set()
    if not todo:
        return lost
    rows: list[tuple[Item, np.ndarray]] = []
    with Progress(len(todo), "photos") as bar:
        for batch in _batches(todo, report, lost, bar):
            same = [photo for photo in batch if _content(there, photo)]
            fresh = [photo for photo in batch if not _content(there, photo)]
            vectors, faults = embed_images(model, {photo.sha256: photo.image for photo in fresh})
            for photo in same:  # only its time of change is another
                vector = gallery.vector(photo.found.id)
                if vector is not None:
                    rows.append((_item(photo), vector))
                    report.unchanged += 1
            for photo in fresh:
                if photo.sha256 in faults:
                    report.skipped.append((to_text(photo.found.path), faults[photo.sha256]))
                    lost.add(photo.found.id)
                else:
                    rows.append((_item(photo), vectors[photo.sha256]))
                    report.embedded += 1
            if len(rows) >= MILVUS.batch:
                upsert(gallery, [item for item, _ in rows], np.stack([vector for _, vector in rows]))
                rows = []
        if rows:
            upsert(gallery, [item for item, _ in rows], np.stack([vector for _, vector in rows]))
    return lost


def _content(there: dict[str, Item], photo: Photo) -> bool:
    return photo.found.id in there and there[photo.found.id].sha256 == photo.sha256


def _batches(todo: Sequence[Found], report: Report, lost: set[str], bar: Progress) -> Iterator[list[Photo]]:
    outcomes = read_ahead(todo)
    while some := list(itertools.islice(outcomes, SERVING.batch)):
        for file, outcome in some:
            if isinstance(outcome, Skipped):
                report.skipped.append((to_text(file.path), outcome.reason))
                lost |= {file.id} if outcome.lost else set()
        bar.advance(len(some))
        yield [outcome for _, outcome in some if not isinstance(outcome, Skipped)]


def _item(photo: Photo) -> Item:
    found = photo.found
    size = (photo.width, photo.height)
    return Item(found.id, to_text(found.path), found.label, found.size, found.modified, photo.sha256, *size)
