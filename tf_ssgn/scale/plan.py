"""What a run has to do: the photos of a source beside what the current version has, as parts of like size.

The photos never pass through the driver as Python objects, but for those of a local folder, which it walks itself so
that they get the ids that the gallery on one machine gives them.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tf_ssgn.data.folders import excluder, has_photo_name, is_system
from tf_ssgn.errors import UserError, reason
from tf_ssgn.retrieval.files import PhotoFile, as_manifest, to_text, walk
from tf_ssgn.retrieval.plan import Scope, judge, refuse_unmounted
from tf_ssgn.scale import places
from tf_ssgn.scale.dataset import BAD, DATA, RUNS, EmbeddedDataset
from tf_ssgn.settings import LISTED_TOGETHER, PART_LEAST, PART_MOST, PARTS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

LISTED = "id string, uri string, label string, size long, modified long"
_COLUMNS = PhotoFile._fields[:1] + ("uri",) + PhotoFile._fields[2:]  # of both, in this order
_KNOWN = f"{LISTED}, file string, final boolean"
_JUDGED = f"{LISTED}, file string, verdict string, prefixes array<string>"
_TABLES = (".parquet", ".csv")
_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal", "string")  # of what CSV has, texts


@dataclass
class Listing:
    """All photos of a source; `about` is what the manifest notes of it, `scope` the ids that it covers: what an earlier
    run had of others goes."""

    photos: DataFrame
    about: dict[str, Any]
    scope: Scope = Scope([""])
    problems: list[tuple[str, str]] = field(default_factory=list)


def list_photos(spark: SparkSession, sources: Sequence[str], exclude: Sequence[str] = ()) -> Listing:
    """The photos of local folders, of one URI prefix, or of one table of URIs (.parquet or .csv). UserError: several
    kinds at once, a place that cannot be listed, a table without URIs or with an id twice."""
    if len(sources) == 1 and sources[0].lower().rstrip("/").endswith(_TABLES):
        if exclude:
            raise UserError("--exclude: a table lists the photos that it wants; take the others out of it")
        return _table(spark, sources[0])
    if any(places.is_uri(source) for source in sources):
        if len(sources) > 1:
            raise UserError(f"received {len(sources)} places, expected local folders, or one URI prefix or one table")
        return _prefix(spark, sources[0], exclude)
    return _folders(spark, sources, exclude)


def _folders(spark: SparkSession, folders: Sequence[str], exclude: Sequence[str]) -> Listing:
    import pyarrow as pa

    walked = walk(folders, exclude=exclude)
    rows = [photo._replace(path=to_text(photo.path)) for photo in walked.files]
    problems = [(to_text(problem.path), problem.reason) for problem in walked.problems]
    photos = spark.createDataFrame(pa.Table.from_batches([_batch(rows, LISTED)]), LISTED)
    scope = Scope(walked.prefixes, [problem.id for problem in walked.problems])
    return Listing(photos, {"kind": "folders", "sources": as_manifest(walked.sources)}, scope, problems)


def _prefix(spark: SparkSession, uri: str, exclude: Sequence[str]) -> Listing:
    """Every photo below a URI; executors list the folders directly below it, one each at a time."""
    uri = uri.rstrip("/")
    if {".", ".."} & set(uri.split("/")):  # which would begin the ids
        raise UserError(f"received {places.shown(uri)}, expected a URI without `.` and `..`")
    top = places.place(uri)
    try:
        entries = list(places.children(top))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot list {places.shown(uri)}: {reason(error)}") from None
    folders = [entry.base_name for entry in entries if not entry.is_file]
    names: list[str | None] = [None, *folders]  # None: the files directly in it
    parts = spark.createDataFrame([(name,) for name in names], "name string").repartition(min(len(names), 1000))
    return Listing(
        parts.mapInArrow(lambda batches: _listed(batches, uri, exclude), LISTED), {"kind": "prefix", "prefix": uri}
    )


def _listed(batches: Iterator[Any], uri: str, exclude: Sequence[str]) -> Iterator[Any]:
    root = places.place(uri)
    excludes = excluder(exclude)
    first = uri.rpartition("/")[2] or uri.split("://")[1].strip("/")
    for batch in batches:
        for name in batch.column(0).to_pylist():
            where = root.path if name is None else root.below(name).path
            rows = []
            for path, size, modified in _files(root.system, where, deep=name is not None):
                below = path[len(root.path.rstrip("/")) + 1 :]
                if not has_photo_name(below) or any(map(is_system, below.split("/"))) or excludes(below):
                    continue
                label = (f"{first}/{below}").split("/")[-2]
                rows.append((f"{first}/{below}", f"{uri}/{below}", label, size, modified))
            for low in range(0, len(rows), LISTED_TOGETHER):
                yield _batch(rows[low : low + LISTED_TOGETHER], LISTED)


def _batch(rows: Sequence[Any], columns: str) -> Any:
    """Rows as pyarrow has them; `columns` are their names and Spark's types."""
    import pyarrow as pa

    kinds = {"string": pa.string(), "long": pa.int64(), "array<string>": pa.list_(pa.string())}
    fields = [column.split() for column in columns.split(", ")]
    values = list(zip(*rows, strict=True)) or [()] * len(fields)
    arrays = [pa.array(column, kinds[kind]) for column, (_, kind) in zip(values, fields, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, [name for name, _ in fields])


def _files(system: Any, folder: str, deep: bool) -> Iterator[tuple[str, int, int]]:
    """Path, size and time (ns) of the files in a folder, or of all below it. On a disk links are not followed: they
    lead out of the prefix, or round in circles."""
    from pyarrow import fs

    if not isinstance(system, fs.LocalFileSystem):
        for about in system.get_file_info(fs.FileSelector(folder, recursive=deep)):
            if about.is_file:
                yield about.path, about.size, about.mtime_ns
        return
    folders = [] if deep and os.path.islink(folder) else [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                try:
                    entry.name.encode()
                except UnicodeEncodeError:
                    raise UserError(
                        f"{to_text(os.path.dirname(entry.path))} has a name that is not UTF-8 ({to_text(entry.name)}); "
                        "rename it, or give the local folder in place of file:"
                    ) from None
                if entry.is_dir(follow_symlinks=False) and deep:
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    about = entry.stat(follow_symlinks=False)
                    yield entry.path, about.st_size, about.st_mtime_ns


def _table(spark: SparkSession, uri: str) -> Listing:
    """A column `uri` or `path`, and where it has them `id`, `label`, `size` and `modified` (ns)."""
    from pyspark.sql import functions as F

    reader = spark.read
    name = uri if places.is_uri(uri) else f"file://{os.path.abspath(uri)}"
    if not places.is_uri(uri) and not os.path.exists(uri):
        raise UserError(f"no table {places.shown(uri)}; expected .parquet or .csv with a column `uri`")
    try:
        csv = uri.lower().endswith(".csv")
        table = reader.csv(name, header=True, escape='"', multiLine=True) if csv else reader.parquet(name)
    except Exception as error:  # Spark's own kinds, and the JVM's
        raise UserError(f"{places.shown(uri)} cannot be read as a table ({reason(error)})") from None
    column = next((name for name in ("uri", "path") if name in table.columns), None)
    if column is None:
        raise UserError(f"{places.shown(uri)} has the columns {', '.join(table.columns)}; expected `uri` or `path`")
    for wanted in ("size", "modified"):
        kind = dict(table.dtypes).get(wanted, "bigint")
        if not kind.startswith(_NUMBERS):
            raise UserError(f"{places.shown(uri)}: its column {wanted} is of {kind}; expected whole numbers")
    where = F.col(column).cast("string")
    folder = F.try_element_at(F.split(where, "/"), F.lit(-2))  # none of a name without one
    instead = {"id": where, "uri": where, "label": folder, "size": F.lit(None), "modified": F.lit(None)}
    kinds = dict(column.split() for column in LISTED.split(", "))
    picked = {key: F.col(key) if key != "uri" and key in table.columns else other for key, other in instead.items()}
    photos = table.select(*(value.cast(kinds[key]).alias(key) for key, value in picked.items()))
    empty = photos.filter(F.col("id").isNull() | (F.col("id") == "") | F.col("uri").isNull() | (F.col("uri") == ""))
    if empty.limit(1).count():
        raise UserError(f"{places.shown(uri)} has a row without id or {column}; expected both in each")
    twice = photos.groupBy("id").count().filter("count > 1").limit(1).collect()
    if twice:
        raise UserError(
            f"{places.shown(uri)}: the id {twice[0]['id']!r} comes {twice[0]['count']} times; expected one row for "
            "each photo"
        )
    return Listing(photos.fillna("", ["label"]), {"kind": "table", "table": uri})


@dataclass(frozen=True)
class PartPlan:
    """Numbers of the parts to embed, photos in them; parts of rows that go, and how many of these just vanished."""

    parts: list[int]
    photos: int
    gone: list[int]
    removed: int


def make_plan(
    spark: SparkSession, dataset: EmbeddedDataset, current: dict[str, Any] | None, run: str, listing: Listing
) -> PartPlan:
    """Writes the photos to embed to `runs/<run>/plan/`, the current version's rows that go to `runs/<run>/gone/`. What
    becomes of each photo, and whether a disk is not mounted, `retrieval.plan` says, as for every gallery."""
    from pyspark.sql import functions as F

    if current is None:
        return PartPlan(*_write(listing.photos, dataset, run), [], 0)
    here = listing.photos.select("id", F.struct("*").alias("here"))
    there = _known(spark, dataset, current).select("id", F.struct("*").alias("there"))
    scope = listing.scope
    both = here.join(there, "id", "full_outer")
    judged = both.mapInArrow(lambda batches: _judged(batches, scope), _JUDGED).persist()
    try:
        known = judged.filter("file IS NOT NULL")
        counted = known.select(F.explode("prefixes").alias("prefix"), (F.col("verdict") == "gone").alias("gone"))
        counts = counted.groupBy("prefix").agg(F.count("*"), F.sum(F.col("gone").cast("long"))).collect()
        before, away = ({row["prefix"]: row[place] for row in counts} for place in (1, 2))
        refuse_unmounted(before, away, "to start anew embed into another folder")
        wanted = judged.filter("verdict IN ('new', 'changed')").select(*_COLUMNS)
        parts, photos = _write(wanted, dataset, run)
        leaves = known.filter("verdict IN ('changed', 'gone')")
        files = len(current[DATA]) + len(current[BAD])
        gone, _ = _write_parts(leaves.select("id", "file").repartition(files, "file"), dataset, run, "gone")
        return PartPlan(parts, photos, gone, leaves.filter("verdict = 'gone'").count() if gone else 0)
    finally:
        judged.unpersist()


def _judged(batches: Iterator[Any], scope: Scope) -> Iterator[Any]:
    """Photos as they are here, or else as they were there, with what became of them and the prefixes they are below."""
    for batch in batches:
        rows = []
        for row in batch.to_pylist():
            here, there = (
                row[side] and PhotoFile(*(row[side][name] for name in _COLUMNS)) for side in ("here", "there")
            )
            again = there is not None and not row["there"]["final"]
            verdict = judge(here, there, scope, again)
            rows.append((*(here or there), there and row["there"]["file"], verdict, scope.covering(row["id"])))
        yield _batch(rows, _JUDGED)


def _write(todo: DataFrame, dataset: EmbeddedDataset, run: str) -> tuple[list[int], int]:
    """Parts of like size, the same photo in the same part however often it is written: (their numbers, photos)."""
    todo = todo.persist()
    try:
        photos = todo.count()
        if not photos:
            return [], 0
        parts = -(-photos // min(PART_MOST, max(PART_LEAST, photos // PARTS)))
        parts = max(parts, min(photos, 4 * todo.sparkSession.sparkContext.defaultParallelism))
        return _write_parts(todo.repartition(parts, "id").sortWithinPartitions("id"), dataset, run, "plan")
    finally:
        todo.unpersist()


def _write_parts(rows: DataFrame, dataset: EmbeddedDataset, run: str, folder: str) -> tuple[list[int], int]:
    uri = dataset.uri
    written = rows.mapInArrow(lambda batches: _write_part(batches, uri, run, folder), "part int, rows long").collect()
    return sorted(row["part"] for row in written), sum(row["rows"] for row in written)


def _known(spark: SparkSession, dataset: EmbeddedDataset, current: dict[str, Any]) -> DataFrame:
    """The rows of a version, each with the file it is in."""
    entries = [(kind, json.dumps(entry)) for kind in (DATA, BAD) for entry in current[kind]]
    if not entries:
        return spark.createDataFrame([], _KNOWN)
    files = spark.createDataFrame(entries, "kind string, entry string").repartition(min(len(entries), 1000))
    uri = dataset.uri

    def rows(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa

        folder = EmbeddedDataset(uri)
        for batch in batches:
            for kind, text in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                entry = json.loads(text)
                table = folder.read(entry, [*_COLUMNS, *(["final"] if kind == BAD else [])])
                if kind == DATA:
                    table = table.append_column("final", pa.array([True] * len(table)))
                table = table.append_column("file", pa.array([entry["file"]] * len(table)))
                yield from table.select([*_COLUMNS, "file", "final"]).to_batches()

    return files.mapInArrow(rows, _KNOWN)


def _write_part(batches: Iterator[Any], uri: str, run: str, folder: str) -> Iterator[Any]:
    """One partition to one file, whole or absent, whose name says which partition it was."""
    import pyarrow as pa
    from pyarrow import parquet
    from pyspark import TaskContext

    context = TaskContext.get()
    assert context is not None
    part = context.partitionId()
    batches_with_rows = [batch for batch in batches if batch.num_rows]
    if not batches_with_rows:
        return
    table = pa.Table.from_batches(batches_with_rows)
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    places.write_whole(EmbeddedDataset(uri).at(RUNS, run, folder, f"part-{part:06d}.parquet"), buffer.getvalue())
    yield pa.RecordBatch.from_pydict({"part": pa.array([part], pa.int32()), "rows": [table.num_rows]})
