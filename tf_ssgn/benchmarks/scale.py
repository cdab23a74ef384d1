"""Spark beside the single machine, executors that die, a rerun, Milvus beside the exact gallery, a driver's memory.

Both engines embed the same photos on the same cores, with the model loaded and warm: start-up is not counted. Photos
are a few hundred, repeated with other bytes after their end, so that every file is different and decodes alike.
"""

import dataclasses
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.benchmarks import apart, chosen, megabytes, noting, runtime
from tf_ssgn.benchmarks.index import no_model
from tf_ssgn.data.folders import suffix_of
from tf_ssgn.retrieval.folder import builder, changes
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.items import Item
from tf_ssgn.retrieval.photos import Photo
from tf_ssgn.retrieval.search.options import Options
from tf_ssgn.scale import sizing
from tf_ssgn.scale.card import Card, read_card
from tf_ssgn.scale.dataset import open_embedded
from tf_ssgn.scale.gallery import blocks
from tf_ssgn.scale.session import session
from tf_ssgn.scale.spark import embed

DIFFERENT = 200  # photos that are drawn
GENERATED = Card("generated", "generated", 16, 0)


@dataclass(frozen=True)
class ScaleSize:
    """How much is measured."""

    backbone: str
    photos: int
    kills: int
    rows: int
    vectors: int
    dimension: int
    queries: int


FULL = ScaleSize("mobilenet_v2", 10_000, 5, 1_000_000, 20_000, 128, 50)
SMALL = ScaleSize("tiny", 600, 1, 20_000, 2_000, 16, 8)
PARTS = ("milvus", "rows", "spark", "scaling")
SETTINGS = {"spark__ui__enabled": "false", "spark__executor__memory": "1g"}


def run(full: bool, data: str | None = None, only: str | None = None) -> dict[str, Any]:
    """Measures and prints one line per figure, of `only` one of `PARTS` or of all; returns them by name."""
    size = FULL if full else SMALL
    parts = chosen(only, PARTS)
    figures: dict[str, Any] = {"photos": size.photos, "backbone": size.backbone}
    note = noting(figures)
    with tempfile.TemporaryDirectory(prefix="bench-scale-", ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        if {"spark", "scaling"} & set(parts):
            _prepare(size, data, work)
        if "milvus" in parts:
            note("Milvus Lite", apart(milvus, size, work))
        if "rows" in parts:
            with session("local-cluster[2,1,1536]", **SETTINGS) as spark:
                note(f"{size.rows:,} generated rows", _generated(spark, size, work))
        if "spark" in parts:
            note("single machine", apart(single, size, work))
            _spark(size, work, note)
            ratio = figures["spark, 2 executors"]["images_per_s"] / figures["single machine"]["images_per_s"]
            note("spark / single machine", {"ratio": ratio})
        if "scaling" in parts:
            ratios = []
            for turn in range(3 if full else 1):
                one, two = (_scaling(executors, work, work / f"turn-{turn}") for executors in (1, 2))
                note(f"1 executor, 1 core, {turn}", one)
                note(f"2 executors, 1 core each, {turn}", two)
                ratios.append(two["images_per_s"] / one["images_per_s"])
            turns = [round(ratio, 2) for ratio in ratios]
            note("1 to 2 executors", {"ratio": float(np.median(ratios)), "turns": turns})
        if only is None:
            figures["plan"] = _plan(figures)
    return figures


def _plan(figures: dict[str, Any]) -> dict[str, Any]:
    """The sizes of docs/scale.md from what was just measured, and the simulations behind them."""
    rows = next(values for name, values in figures.items() if name.endswith("generated rows"))
    spark = figures["spark, 2 executors"]
    costs = sizing.Costs(core=spark["images_per_s"] / 2, plan=rows["rows"] / rows["seconds"] / 2)
    print(f"\nplan, {costs}")
    table = [sizing.size(photos, costs) for photos in sizing.PHOTOS]
    for key in table[0]:
        print("  ".join([f"{key:>28}", *(f"{row[key]:>16,.4g}" for row in table)]))
    lost = {f"{seconds:.0f} s": sizing.lost_work(100, seconds, 8.0, 20_000) for seconds in (25.0, 250.0, 2500.0)}
    merged = {segments: sizing.merging(segments) for segments in (10, 100, 1000, 10_000)}
    print(f"executors that die every 8 hours, by a part's length: {lost}\nmerging: {merged}")
    return {"costs": dataclasses.asdict(costs), "sizes": table, "lost_work": lost, "merging": merged}


def _prepare(size: ScaleSize, data: str | None, work: Path) -> None:
    """Writes `photo/<class>/<n>.jpg`, a small set to warm up with, and the model."""
    some = [path.read_bytes() for path in runtime.photos_of(data, work / "some", DIFFERENT)]

    def write(folder: Path, number: int, mark: bytes = b"") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number}{suffix_of(some[0])}"
        path.write_bytes(some[number % len(some)] + mark + number.to_bytes(8, "big"))

    for number in range(size.photos + size.photos // 100):
        write(work / ("new" if number >= size.photos else "photo") / f"class{number % 20}", number)
    for number in range(64):
        write(work / "warm" / "class", number, b"warm")
    runtime.write_model(work / "model", size.backbone)


def single(size: ScaleSize, work: Path) -> dict[str, Any]:
    import tf_ssgn

    model = tf_ssgn.load(work / "model")
    builder.build(work / "warmed", [work / "warm"], model)
    start = time.perf_counter()
    report = builder.build(work / "g", [work / "photo"], model)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "images_per_s": report.count / seconds, "runtime": model.runtime}


def milvus(size: ScaleSize, work: Path) -> dict[str, Any]:
    """Recall@10 against the exact gallery, counted by score, plain and with filters; in an embedded file."""
    from tf_ssgn.retrieval.milvus.gallery import MilvusGallery
    from tf_ssgn.retrieval.milvus.writer import MilvusWriter

    random = np.random.default_rng(0)
    vectors = random.standard_normal((size.vectors, size.dimension), np.float32)
    labels = [f"label {row % 50}" for row in range(size.vectors)]
    ids = [f"item/{row:07d}" for row in range(size.vectors)]
    changes.import_columns(work / "exact", no_model(size.dimension), "bench", vectors, ids, labels)
    items = [Item(id, f"/{id}", label, width=row) for row, (id, label) in enumerate(zip(ids, labels, strict=True))]
    start = time.perf_counter()
    where = f"milvus:{work}/lite.db/bench"
    MilvusWriter(where).import_items(no_model(size.dimension), "bench", items, vectors)
    inserted = time.perf_counter() - start
    exact, remote = Gallery.open(work / "exact"), MilvusGallery.open(where)
    queries = random.standard_normal((size.queries, size.dimension), np.float32)
    result: dict[str, Any] = {"insert_per_s": len(items) / inserted}
    for name, options in (
        ("plain", Options()),
        ("label", Options(labels=("label 7", "label 8"))),
        ("where", Options(where="label <> 'label 3' AND label >= 'label 2'")),
    ):
        hits, times = [], []
        for query in queries:
            begun = time.perf_counter()
            mine = [hit.id for hit in remote.search(query, 10, options=options)]
            times.append((time.perf_counter() - begun) * 1e3)
            true = exact.search(query, 10, "exact", options)
            hits.append(len({hit.id for hit in true} & set(mine)) / len(true))
        result |= {f"recall_at_10_{name}": float(np.mean(hits)), f"p50_ms_{name}": float(np.median(times))}
    remote.close()
    return result


# -- Spark -----------------------------------------------------------------------------------------------------------


def _timed(spark: Any, sources: list[Path], card: Any, to: Path) -> tuple[Any, dict[str, Any]]:
    driver = [os.getpid(), _java(spark)]
    before = sum(map(_cpu, driver))
    start = time.perf_counter()
    report = embed(spark, list(map(str, sources)), card, str(to))
    whole = time.perf_counter() - start
    return report, {
        "images_per_s": report.embedded / max(report.seconds, 1e-9),
        "seconds": report.seconds,
        "with_planning_s": whole,
        "driver_cpu_s": sum(map(_cpu, driver)) - before,
    }


def _spark(size: ScaleSize, work: Path, note: Callable[[str, dict[str, Any]], None]) -> None:
    card = read_card(work / "model")
    with session("local-cluster[2,1,1536]", **SETTINGS) as spark:
        embed(spark, [str(work / "warm")], card, str(work / "warm-2"))  # every executor loads the model
        _, values = _timed(spark, [work / "photo"], card, work / "out")
        note("spark, 2 executors", values)
        note("spark = single machine", {"equal_vectors": _equal(work)})
        for path in (work / "new").rglob("*.*"):
            path.rename(work / "photo" / path.parent.name / path.name)
        report, values = _timed(spark, [work / "photo"], card, work / "out")
        note("rerun with 1 % new", {"embedded": report.embedded, "unchanged": report.unchanged, **values})
        note(f"{size.kills} kills", _killed(spark, size, card, work))


def _scaling(executors: int, work: Path, to: Path) -> dict[str, Any]:
    """So many executors on a fourth of the photos."""
    card = read_card(work / "model")
    folders = [work / "photo" / f"class{number}" for number in range(5)]
    with session(f"local-cluster[{executors},1,1536]", **SETTINGS) as spark:
        _pin(spark, executors)
        embed(spark, [str(work / "warm")], card, str(to / f"warm-{executors}"))
        return _timed(spark, folders, card, to / f"scaling-{executors}")[1]


def _pin(spark: Any, executors: int) -> None:
    """Gives each executor, and what it starts from now on, a core of its own, as a cluster does: alone here, it would
    read ahead on the other's core."""
    while len(started := _executors(_java(spark))) < executors:
        time.sleep(0.05)
    for core, pid in zip(sorted(os.sched_getaffinity(0)), started, strict=False):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})


def _equal(work: Path) -> bool:
    """Whether Spark's rows are those of the gallery that one machine made, vector for vector."""
    gallery = Gallery.open(work / "g")
    expected = {item.id: (item, vector) for item, vector in zip(gallery.items(), gallery.vectors, strict=True)}
    seen = 0
    for items, vectors in blocks(*open_embedded(str(work / "out"))):
        for item, vector in zip(items, vectors, strict=True):
            theirs, other = expected.pop(item.id)
            if item != theirs or not np.array_equal(vector, other):
                return False
            seen += 1
    return not expected and seen == len(gallery)


def _killed(spark: Any, size: ScaleSize, card: Any, work: Path) -> dict[str, Any]:
    """`kill -9` of executors, spread over a run; the result against the undisturbed one."""
    out, killed = work / "killed", []
    parts = -(-size.photos // 256)

    def kill() -> None:
        for number in range(size.kills):
            while len(list(out.glob("runs/*/done/part-*.json"))) <= number * parts // (size.kills + 1):
                time.sleep(0.05)
            alive: list[int] = []
            while not alive:
                alive = _executors(_java(spark))
                time.sleep(0.05)
            os.kill(alive[number % len(alive)], signal.SIGKILL)
            killed.append(alive[number % len(alive)])

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    start = time.perf_counter()
    report = embed(spark, [str(work / "photo")], card, str(out))
    seconds = time.perf_counter() - start
    dataset, manifest = open_embedded(str(out))
    ids = [id for table in dataset.tables(manifest) for id in table.column("id").to_pylist()]
    expected = sum(1 for path in (work / "photo").rglob("*.*") if path.is_file())
    return {
        "killed": len(set(killed)),
        "photos": report.count,
        "missing": expected - len(set(ids)),
        "twice": len(ids) - len(set(ids)),
        "seconds": seconds,
    }


class _Generator:
    """Vectors from nothing, to measure what is around a model."""

    fingerprint, dimension, runtime = GENERATED.fingerprint, GENERATED.dimension, "generated"

    def call(self, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        count = len(inputs["image_bytes"])
        return {"embedding": np.ones((count, self.dimension), np.float32), "status": np.zeros(count, np.int32)}


def _load_generator(path: str, runtime: str) -> _Generator:
    return _Generator()


def _read_nothing(file: Any) -> Photo:
    return Photo(file, b"nothing", file.id, 1, 1)


def _generated(spark: Any, size: ScaleSize, work: Path) -> dict[str, Any]:
    """Peak memory of the driver, its Python and its JVM, from its start on."""
    import pyarrow as pa
    from pyarrow import parquet

    ids = [f"https://example.org/{row % 997}/{row:08d}.jpg" for row in range(size.rows)]
    parquet.write_table(pa.table({"uri": ids}), work / "rows.parquet")
    del ids
    start = time.perf_counter()
    report = embed(
        spark, [str(work / "rows.parquet")], GENERATED, str(work / "rows"), load=_load_generator, read=_read_nothing
    )
    return {
        "rows": report.count,
        "seconds": time.perf_counter() - start,
        "python_mb": megabytes("VmHWM"),
        "jvm_mb": megabytes("VmHWM", _java(spark)),
        "manifest_bytes": sum(path.stat().st_size for path in (work / "rows" / "manifests").iterdir()),
    }


def _java(spark: Any) -> int:
    """Process id of the driver's JVM."""
    return int(spark.sparkContext._jvm.java.lang.ProcessHandle.current().pid())


def _executors(parent: int) -> list[int]:
    """Executors that a JVM started."""
    names = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            above = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) if command else 0
        except OSError:
            continue
        if above == parent and b"ExecutorBackend" in command:
            names.append(int(entry.name))
    return sorted(names)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
