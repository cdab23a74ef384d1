"""Bulk embedding on Apache Spark: plan, embed part by part on the executors, commit a version.

A run is killed wherever it is killed: the next one goes on with the parts that are not done. Executors may die at any
time; their parts are computed again elsewhere.
"""

from __future__ import annotations

import atexit
import dataclasses
import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_ssgn.common.cli import log
from tf_ssgn.common.progress import Progress
from tf_ssgn.data.folders import READ
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.writer import Report
from tf_ssgn.scale import places, worker
from tf_ssgn.scale.card import Card
from tf_ssgn.scale.dataset import BAD, DATA, RUNS, EmbeddedDataset
from tf_ssgn.scale.plan import list_photos, make_plan
from tf_ssgn.scale.session import explained, is_local
from tf_ssgn.settings import SHOWN_BAD

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ARCHIVE = "tf_ssgn_model"
_SENT: set[tuple[str, str]] = set()  # applications and the archives that they have


@dataclass
class BulkReport(Report):
    """What a run did. `skipped` has the first photos that could not be used, with the reason; `bad` counts all."""

    bad: int = 0
    seconds: float = 0.0


def embed(
    spark: SparkSession,
    sources: Sequence[str],
    card: Card,
    to: str,
    *,
    runtime: str = "auto",
    exclude: Sequence[str] = (),
    load: Callable[[str, str], Any] = worker.load_model,
    read: Callable[..., Any] = worker.read_photo,
) -> BulkReport:
    """Brings the dataset at `to` in step with local folders, a URI prefix or a table of URIs.

    What is new or changed is embedded, what vanished goes, all else stays as it is. An unfinished run is finished
    first. `load` and `read` are for what is no exported model or no file.

    Raises UserError: a source or model that cannot be used, vectors of another model at `to`, or no photo at all.
    """
    dataset = EmbeddedDataset(to)
    current = dataset.manifest()
    if current is not None and current["model"]["fingerprint"] != card.fingerprint:
        raise UserError(
            f"{places.shown(to)} was embedded by another model (fingerprint {current['model']['fingerprint']}, model "
            f"{current['model']['path']}); received {card.fingerprint}: embed into another folder"
        )
    _refuse_foreign(dataset)
    with explained():
        archive = _sent(spark, card, load)
        job = worker.Job(dataset.uri, "", card.path, card.fingerprint, card.dimension, runtime, archive=archive,
                         load=load, read=read)  # fmt: skip
        return _run(spark, sources, exclude, card, dataset, current, job)


def _refuse_foreign(dataset: EmbeddedDataset) -> None:
    foreign = {about.base_name for about in dataset.listing()} - {"manifests", DATA, BAD, RUNS}
    if foreign:
        raise UserError(
            f"{places.shown(dataset.uri)} holds other things ({min(foreign)!r}); expected a new or empty folder, "
            "or one that was embedded into before"
        )


def _sent(spark: SparkSession, card: Card, load: Any) -> str:
    """Sends the model to all executors, present and future, so that they need not see the driver's disk: once for each
    application, as Spark takes a name only once. They fetch it whenever they start, so the file stays until the driver
    ends."""
    if load is not worker.load_model or is_local(spark):
        return ""
    from tf_ssgn.runtime.saved_model import newest_version

    name = f"{ARCHIVE}-{card.fingerprint[:16]}"
    sent = (spark.sparkContext.applicationId, name)
    if sent not in _SENT:
        folder = Path(tempfile.mkdtemp(prefix="tf-ssgn-model-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        packed = shutil.make_archive(str(folder / name), "zip", newest_version(card.path))
        spark.sparkContext.addArchive(f"{packed}#{name}")
        _SENT.add(sent)
    return name


def _run(
    spark: SparkSession,
    sources: Sequence[str],
    exclude: Sequence[str],
    card: Card,
    dataset: EmbeddedDataset,
    current: dict[str, Any] | None,
    job: Any,
) -> BulkReport:
    base = current["version"] if current else 0
    asked = {"base": base, "fingerprint": card.fingerprint, "given": list(map(_absolute, sources))}
    asked["exclude"] = sorted(exclude)
    state = _unfinished(dataset, asked)
    problems: list[tuple[str, str]] = []
    if state is None:
        run = f"{base + 1:06d}-{secrets.token_hex(4)}"
        log("listing the photos")
        listing = list_photos(spark, sources, exclude)
        try:
            plan = make_plan(spark, dataset, current, run, listing)
        except UserError:
            places.remove(dataset.at(RUNS, run))
            raise
        problems = listing.problems
        state = {**asked, "run": run, "parts": plan.parts, "photos": plan.photos, "gone": plan.gone}
        state |= {"removed": plan.removed, "source": listing.about}
        if not plan.parts and not plan.gone:
            places.remove(dataset.at(RUNS, run))
            if current is None:
                raise UserError(f"no photos ({READ}) in {', '.join(map(places.shown, sources))}")
            count, bad = current["count"], current["rows_bad"]
            return BulkReport(count, base, unchanged=count, skipped=problems, bad=bad)
        places.write_whole(dataset.at(RUNS, run, "run.json"), json.dumps(state, ensure_ascii=False).encode())
    job = dataclasses.replace(job, run=state["run"], base=base)
    done = _done(dataset, state)
    resumed = sum(_rows(report) for report in done.values())
    begun = time.monotonic()
    reports = done | _embed(spark, job, state, done)
    seconds = time.monotonic() - begun
    replaced: dict[str, Any] = {}
    for files in _on_executors(spark, state["gone"], partial(worker.rewrite_part, job)):
        replaced |= files
    manifest = _manifest(card, current, state, list(reports.values()), replaced)
    if not manifest["count"] and current is None:
        first = next(dataset.tables(manifest, BAD)).to_pylist()[0]
        places.remove(dataset.at(RUNS, state["run"]))
        dataset.collect()
        raise UserError(
            f"none of the {manifest['rows_bad']:,} photos could be embedded (the first: {first['uri']!r}: "
            f"{first['reason']}); nothing was written"
        )
    manifest = dataset.commit(manifest, base)
    places.remove(dataset.at(RUNS, state["run"]))
    dataset.collect()
    fresh = sum(_rows(report, DATA) for report in reports.values())
    return BulkReport(
        manifest["count"],
        manifest["version"],
        bad=manifest["rows_bad"],
        embedded=fresh,
        resumed=resumed,
        unchanged=manifest["count"] - fresh,
        removed=state["removed"],
        seconds=seconds,
        skipped=problems + _first_bad(dataset, reports),
    )


def _absolute(source: str) -> str:
    return source if places.is_uri(source) else os.path.abspath(source)


def _unfinished(dataset: EmbeddedDataset, asked: dict[str, Any]) -> dict[str, Any] | None:
    """The planned run of the same photos, model and version, to be finished; all others are dropped."""
    newest = None
    for about in dataset.listing(RUNS):
        where = dataset.at(RUNS, about.base_name, "run.json")
        state: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            state = json.loads(places.read(where))
        if newest is None and asked.items() <= state.items():
            newest = state
        else:
            places.remove(dataset.at(RUNS, about.base_name))
    return newest


def _done(dataset: EmbeddedDataset, state: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Reports of an unfinished run whose files are there."""
    done = {}
    for about in dataset.listing(RUNS, state["run"], "done"):
        with suppress(OSError, ValueError, KeyError):
            report = json.loads(places.read(dataset.at(RUNS, state["run"], "done", about.base_name)))
            if report["part"] in state["parts"]:
                done[report["part"]] = report
    return done


def _rows(report: dict[str, Any], *kinds: str) -> int:
    return sum(report[kind]["rows"] for kind in kinds or (DATA, BAD) if report[kind])


def _embed(spark: SparkSession, job: Any, state: dict[str, Any], done: dict[int, Any]) -> dict[int, dict[str, Any]]:
    todo = [part for part in state["parts"] if part not in done]
    stop = threading.Event()
    with Progress(len(state["parts"]), "parts") as bar:
        bar.advance(len(done))

        def watch() -> None:
            tracker = spark.sparkContext.statusTracker()
            seen = 0
            while not stop.wait(1.0):
                with suppress(Exception):  # a context that is being stopped
                    infos = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
                    now = max((info.numCompletedTasks for info in infos if info), default=seen)
                    bar.advance(max(0, now - seen))
                    seen = max(now, seen)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            reports = _on_executors(spark, todo, partial(worker.embed_part, job))
        finally:
            stop.set()
            thread.join()
        bar.done = len(state["parts"])
    return {report["part"]: report for report in reports}


def _on_executors(spark: SparkSession, parts: list[int], work: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """What `work` reports of parts, each a task of its own."""
    if not parts:
        return []

    def reports(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa

        for batch in batches:
            for place in batch.column(0).to_pylist():
                yield pa.RecordBatch.from_pydict({"report": [json.dumps(work(parts[place]))]})

    rows = spark.range(0, len(parts), 1, len(parts)).mapInArrow(reports, "report string").collect()
    return [json.loads(row["report"]) for row in rows]


def _manifest(
    card: Card,
    current: dict[str, Any] | None,
    state: dict[str, Any],
    reports: list[dict[str, Any]],
    replaced: dict[str, Any],
) -> dict[str, Any]:
    runtimes = sorted({report["runtime"] for report in reports})
    model = {"path": _absolute(card.path), "fingerprint": card.fingerprint, "views": card.views}
    model["runtime"] = ", ".join(runtimes) or (current["model"]["runtime"] if current else "")
    files: dict[str, list[Any]] = {}
    for kind in (DATA, BAD):
        kept = [replaced.get(entry["file"], entry) for entry in (current or {}).get(kind, [])]
        files[kind] = [entry for entry in kept if entry] + [report[kind] for report in reports if report[kind]]
    counts = {kind: sum(entry["rows"] for entry in files[kind]) for kind in files}
    return {
        "model": model,
        "dimension": card.dimension,
        "source": state["source"],
        "run": state["run"],
        "count": counts[DATA],
        "rows_bad": counts[BAD],
        **files,
    }


def _first_bad(dataset: EmbeddedDataset, reports: dict[int, dict[str, Any]]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for report in reports.values():
        if report[BAD] and len(rows) < SHOWN_BAD:
            rows += [(row["uri"], row["reason"]) for row in dataset.read(report[BAD]).to_pylist()]
    return rows[:SHOWN_BAD]
