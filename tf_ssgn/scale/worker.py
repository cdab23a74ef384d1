"""What an executor does: one part of a plan at a time, read, embedded and written down.

A part is a file of the plan. Its result is a file of vectors, a file of what could not be used, and a report that
names both; the report comes last and whole, so a part is done or not begun, whenever its executor dies. A second
attempt writes files of other names, and only one report is taken over: no photo is there twice.
"""

import functools
import gc
import itertools
import json
import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval import photos
from tf_ssgn.retrieval.files import PhotoFile, to_file
from tf_ssgn.retrieval.photos import Photo, Skipped, embed_images, read_ahead
from tf_ssgn.scale import places
from tf_ssgn.scale.dataset import BAD, DATA, RUNS, EmbeddedDataset, schemas
from tf_ssgn.settings import CAREFUL_FROM, DEATHS, SERVING

NO_PHOTO = -1  # status of what was not decoded at all
_STATUS = {MEANING[status]: int(status) for status in Status}


def load_model(path: str, runtime: str) -> Any:
    from tf_ssgn.runs.load import load

    return load(path, runtime=runtime)


def read_photo(file: PhotoFile) -> Photo:
    """One photo by its path or URI; raises Skipped with the reason."""
    if not places.is_uri(file.path):
        return photos.read(file._replace(path=to_file(file.path)))
    content, size, modified = places.read_photo(file.path)
    return photos.photo_of(file, content, size, modified or 0)


@dataclass(frozen=True)
class Job:
    """What a run that began from the version `base` asks of its executors. Under the name `archive` Spark unpacked the
    model on each of them, "" where `model` is a path that they see; `load` makes an embedder of path and runtime,
    `read` gives what a photo's path or URI leads to."""

    dataset: str
    run: str
    model: str
    fingerprint: str
    dimension: int
    runtime: str = "auto"
    base: int = 0
    archive: str = ""
    load: Callable[[str, str], Any] = load_model
    read: Callable[[PhotoFile], Photo] = read_photo

    @functools.cached_property
    def folder(self) -> EmbeddedDataset:
        return EmbeddedDataset(self.dataset)


_MODELS: dict[tuple[str, str, Any], Any] = {}  # a Python worker lives for many parts


def model_of(job: Job) -> Any:
    """The model, loaded once in each Python worker; UserError where it is not the one that the driver read."""
    key = job.fingerprint, job.runtime, job.load
    if key not in _MODELS:
        if threads := os.environ.get("OMP_NUM_THREADS"):  # Spark sets it to the cores of a task
            for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
                os.environ.setdefault(name, threads)
        path = job.model
        if job.archive:
            from pyspark import SparkFiles

            path = SparkFiles.get(job.archive)
        model = job.load(path, job.runtime)
        if model.fingerprint != job.fingerprint:
            raise UserError(
                f"the model on this executor has the fingerprint {model.fingerprint}, expected {job.fingerprint}"
            )
        _MODELS.clear()
        _MODELS[key] = model
        gc.freeze()  # Spark collects garbage after every task: 0.15 s each with all that TensorFlow holds
    return _MODELS[key]


def embed_part(job: Job, part: int) -> dict[str, Any]:
    """Embeds a part of the plan, or returns the report of an earlier attempt that came to its end."""
    done = job.folder.at(RUNS, job.run, "done", f"part-{part:06d}.json")
    if places.exists(done):
        return json.loads(places.read(done))
    from pyarrow import parquet
    from pyspark import TaskContext

    plan = job.folder.at(RUNS, job.run, "plan", f"part-{part:06d}.parquet")
    rows = parquet.read_table(plan.path, filesystem=plan.system).to_pylist()
    todo = [PhotoFile(row["id"], row["uri"], row["label"], row["size"] or 0, row["modified"] or 0) for row in rows]
    model, result, context = model_of(job), _Result(job, part), TaskContext.get()
    if context and context.attemptNumber() >= CAREFUL_FROM:
        _embed_carefully(todo, model, job, result)
    else:
        outcomes = read_ahead(todo, job.read)
        while some := list(itertools.islice(outcomes, SERVING.batch)):
            result.add(some, model)
    report = result.write(model)
    places.write_whole(done, json.dumps(report).encode())
    return report


class _Result:
    """The rows of a part, good and bad."""

    def __init__(self, job: Job, part: int):
        self._job, self._part = job, part
        self.photos: list[Photo] = []
        self.vectors: list[np.ndarray] = []
        self.bad: list[tuple[PhotoFile, str, bool]] = []

    def add(self, outcomes: Iterable[tuple[PhotoFile, Photo | Skipped]], model: Any) -> None:
        """Embeds what was read of some files, together."""
        batch: list[Photo] = []
        for file, outcome in outcomes:
            if isinstance(outcome, Skipped):
                self.bad.append((file, outcome.reason, outcome.lost))
            else:
                batch.append(outcome._replace(file=outcome.file._replace(path=file.path)))
        vectors, faults = embed_images(model, {photo.sha256: photo.image for photo in batch})
        for photo in batch:
            if photo.sha256 in faults:
                self.bad.append((photo.file, faults[photo.sha256], True))
            else:
                self.photos.append(photo)
                self.vectors.append(vectors[photo.sha256])

    def write(self, model: Any) -> dict[str, Any]:
        import pyarrow as pa

        job, name = self._job, f"part-{self._part:06d}-{secrets.token_hex(4)}"
        kinds = schemas(job.dimension)
        report: dict[str, Any] = {"part": self._part, "runtime": model.runtime, DATA: None, BAD: None}
        if self.photos:
            rows = [(*photo.file, photo.sha256, photo.width, photo.height, int(Status.OK)) for photo in self.photos]
            columns = _columns(rows, kinds[DATA])
            flat = pa.array(np.stack(self.vectors).astype(np.float32).reshape(-1))
            columns.append(pa.FixedSizeListArray.from_arrays(flat, job.dimension))
            report[DATA] = job.folder.write(DATA, job.run, name, pa.Table.from_arrays(columns, schema=kinds[DATA]))
        if self.bad:
            faults = [(*file, _STATUS.get(why, NO_PHOTO), why, final) for file, why, final in self.bad]
            table = pa.Table.from_arrays(_columns(faults, kinds[BAD]), schema=kinds[BAD])
            report[BAD] = job.folder.write(BAD, job.run, name, table)
        return report


def _columns(rows: list[Any], schema: Any) -> list[Any]:
    import pyarrow as pa

    columns = list(zip(*rows, strict=True))
    return [pa.array(column, schema.field(place).type) for place, column in enumerate(columns)]


def _embed_carefully(todo: list[PhotoFile], model: Any, job: Job, result: _Result) -> None:
    """One photo at a time, each noted before it is touched, since something killed the attempts before. What was noted
    last when an attempt died is to blame; twice, and it is left out, to be tried again by the next run."""
    notes = job.folder.at(RUNS, job.run, "trying", f"part-{result._part:06d}.json")
    noted = json.loads(places.read(notes)) if places.exists(notes) else {"trying": None, "deaths": {}}
    deaths: dict[str, int] = noted["deaths"]
    if noted["trying"] is not None:
        deaths[noted["trying"]] = deaths.get(noted["trying"], 0) + 1
    for file in todo:
        if deaths.get(file.id, 0) >= DEATHS:
            result.bad.append((file, f"the process that read it died, {DEATHS} times", False))
            continue
        places.write_whole(notes, json.dumps({"trying": file.id, "deaths": deaths}).encode())
        result.add(read_ahead([file], job.read), model)
    places.write_whole(notes, json.dumps({"trying": None, "deaths": deaths}).encode())


def rewrite_part(job: Job, part: int) -> dict[str, Any]:
    """What takes the place of the files that have a part of the rows that go: `{old file: its new entry, or None where
    no row is left}`."""
    import pyarrow as pa
    import pyarrow.compute as compute
    from pyarrow import parquet

    where = job.folder.at(RUNS, job.run, "gone", f"part-{part:06d}.parquet")
    rows = parquet.read_table(where.path, filesystem=where.system)
    replaced: dict[str, Any] = {}
    manifest = job.folder.manifest(job.base)
    assert manifest is not None
    entries = {entry["file"]: entry for kind in (DATA, BAD) for entry in manifest[kind]}
    for file in rows.column("file").unique().to_pylist():
        ids = rows.filter(compute.equal(rows.column("file"), file)).column("id")
        table = job.folder.read(entries[file])
        left = table.filter(compute.invert(compute.is_in(table.column("id"), pa.array(ids.to_pylist(), pa.string()))))
        name = f"kept-{part:06d}-{secrets.token_hex(4)}"
        replaced[file] = job.folder.write(file.split("/")[0], job.run, name, left) if left.num_rows else None
    return replaced
