"""The gallery against bare ScaNN and FAISS on the same clustered vectors, in one run.

Times on a shared machine mean little, so ours and bare ScaNN answer in turn, each with the effort that gives it a
recall@10 of 0.95, and the ratio of their medians is the figure to watch. Each build has a process of its own, whose
peak of resident memory, mapped input included, is noted.
"""

import importlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.benchmarks import apart, noting
from tf_ssgn.retrieval.folder import changes
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.search import scann_index
from tf_ssgn.retrieval.search.options import Options
from tf_ssgn.scale.card import Card
from tf_ssgn.settings import GALLERY


@dataclass(frozen=True)
class IndexSize:
    """How much is measured."""

    items: int
    dimension: int
    clusters: int
    queries: int
    added: int


FULL = IndexSize(1_000_000, 512, 2000, 1000, 10_000)
SMALL = IndexSize(24_000, 32, 200, 128, 500)
K, BATCH, ROUNDS, LABELS = 10, 64, 3, 100
CANDIDATES = 40  # that bare ScaNN scores exactly
EFFORTS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024)  # leaves searched, nprobe or efSearch
ENOUGH = 0.95  # recall@10 that a searcher's effort is raised to
# Directions in which a cluster spreads, how their scales fall off, and the spread's variance in lengths of the centre,
# chosen so that at the full size a vector has neighbours as near as embeddings have (the first figure printed).
RANK, SPECTRUM, SPREAD = 16, 0.65, 2.0
_CHUNK = 2000


def no_model(dimension: int) -> Card:
    """What a gallery wants to know of the model that made its vectors; these come from no model."""
    return Card("bench", "bench", dimension, 0, "none")


def run(full: bool) -> dict[str, Any]:
    """Measures and prints one line per figure; returns them by name."""
    size = FULL if full else SMALL
    figures: dict[str, Any] = {"items": size.items, "dimension": size.dimension}
    note = noting(figures)
    with tempfile.TemporaryDirectory(prefix="bench-index-") as folder:
        work = Path(folder)
        note("vectors", apart(prepare, size, work))
        ours, bare = apart(build_ours, size, work), apart(build_bare, size, work)
        note("build, ours", ours)
        note("build, bare ScaNN", bare)
        note("build, ours / bare", {name: ours[name] / bare[name] for name in ("seconds", "cpu_seconds", "peak_mb")})
        for name, values in apart(search_both, size, work).items():
            note(name, values)
        note("open and first query", apart(open_and_ask, size, work))
        note("filter of 1 %", apart(filtered, size, work))
        note(f"add of {size.added:,}", apart(add, size, work))
        shutil.rmtree(work / "bare")
        for name, factory in FAISS.items():
            note(f"FAISS {name}", apart(faiss_index, size, work, factory))
    return figures


# -- the vectors -----------------------------------------------------------------------------------------------------


def clustered(size: IndexSize, count: int, seed: int) -> Iterator[np.ndarray]:
    """Unit vectors float32 [<= 2,000, d] of anisotropic Gaussians around the same centres for every seed."""
    fixed = np.random.default_rng(99)
    centres = fixed.standard_normal((size.clusters, size.dimension), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    scale = np.arange(1, RANK + 1, dtype=np.float32) ** -SPECTRUM
    scale *= np.sqrt(SPREAD) / np.linalg.norm(scale)
    directions = fixed.standard_normal((size.clusters, RANK, size.dimension), dtype=np.float32)
    directions *= scale[:, None] / np.linalg.norm(directions, axis=2, keepdims=True)
    random = np.random.default_rng(seed)
    for low in range(0, count, _CHUNK):
        rows = min(_CHUNK, count - low)
        which = random.integers(0, size.clusters, rows)
        spread = random.standard_normal((rows, 1, RANK), dtype=np.float32) @ directions[which]
        vectors = spread[:, 0] + centres[which]
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def prepare(size: IndexSize, work: Path) -> dict[str, Any]:
    """Writes vectors, queries and the true neighbours; returns mean cosines to some of them."""
    queries = np.concatenate(list(clustered(size, size.queries, 1)))
    np.save(work / "queries.npy", queries)
    out = np.lib.format.open_memmap(work / "vectors.npy", "w+", np.float32, (size.items, size.dimension))
    best = Best(queries, 100)
    start = 0
    for block in clustered(size, size.items, 0):
        out[start : start + len(block)] = block
        best.see(block, start)
        start += len(block)
    out.flush()
    np.save(work / "truth.npy", best.rows[:, :K])
    np.save(work / "truth_scores.npy", best.scores[:, :K])
    return {f"cosine to neighbour {place}": float(best.scores[:, place - 1].mean()) for place in (1, 10, 100)}


class Best:
    """The k best rows and scores of each query so far, best first."""

    def __init__(self, queries: np.ndarray, k: int):
        self._queries, self._k = queries, k
        self.rows = np.zeros((len(queries), 0), np.int64)
        self.scores = np.zeros((len(queries), 0), np.float32)

    def see(self, block: np.ndarray, start: int) -> None:
        scores = self._queries @ block.T
        k = min(self._k, len(block))
        places = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        rows = np.concatenate([self.rows, places + start], axis=1)
        scores = np.concatenate([self.scores, np.take_along_axis(scores, places, 1)], axis=1)
        order = np.argsort(-scores, axis=1)[:, : self._k]
        self.rows, self.scores = np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)


def recall(hits: list[list[int]] | np.ndarray, truth: np.ndarray) -> float:
    """Mean share of the true neighbours [Q, k] that were found."""
    pairs = zip(hits, truth.tolist(), strict=True)
    return float(np.mean([len(set(map(int, rows)) & set(true)) / len(true) for rows, true in pairs]))


# -- builds ----------------------------------------------------------------------------------------------------------


def build_ours(size: IndexSize, work: Path) -> dict[str, Any]:
    """`index import` of the file: rows and items written and synced, index built, its recall measured, all hashed."""
    if size.items >= GALLERY.exact_below:
        scann_index.why_not()  # imports it, which is no part of building
    labels = [f"label {row % LABELS}" for row in range(size.items)]
    vectors = np.load(work / "vectors.npy", mmap_mode="r")
    start, worked = time.perf_counter(), time.process_time()
    changes.import_columns(work / "g", no_model(size.dimension), "bench", vectors, labels=labels)
    seconds, cpu = time.perf_counter() - start, time.process_time() - worked
    stored = sum(path.stat().st_size for path in (work / "g").rglob("*") if path.is_file())
    return {"seconds": seconds, "cpu_seconds": cpu, "disk_mb": stored / 2**20}


def build_bare(size: IndexSize, work: Path) -> dict[str, Any]:
    """ScaNN as its documentation has it, with as many leaves, saved."""
    from scann.scann_ops.py import scann_ops_pybind

    vectors = np.load(work / "vectors.npy", mmap_mode="r")
    start, worked = time.perf_counter(), time.process_time()
    builder = scann_ops_pybind.builder(vectors, K, "dot_product")
    if leaves := scann_index.parameters(size.items, K).get("leaves"):
        builder = builder.tree(leaves, max(1, leaves // 20), training_sample_size=min(size.items, 100_000))
    searcher = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(CANDIDATES).build()
    (work / "bare").mkdir()
    searcher.serialize(str(work / "bare"), relative_path=True)
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - worked}


# -- searching -------------------------------------------------------------------------------------------------------


def timed(ask: Callable[[np.ndarray], Any], queries: np.ndarray) -> list[float]:
    """Milliseconds of each query."""
    times = []
    for query in queries:
        start = time.perf_counter()
        ask(query)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def rate(ask: Callable[[np.ndarray], Any], queries: np.ndarray) -> float:
    """Queries per second in batches of 64."""
    start = time.perf_counter()
    for low in range(0, len(queries), BATCH):
        ask(queries[low : low + BATCH])
    return len(queries) / (time.perf_counter() - start)


def search_both(size: IndexSize, work: Path) -> dict[str, Any]:
    from scann.scann_ops.py import scann_ops_pybind

    queries, truth = np.load(work / "queries.npy"), np.load(work / "truth.npy")
    gallery = Gallery.open(work / "g")
    bare = scann_ops_pybind.load_searcher(str(work / "bare"))
    same = same_tree(gallery, work)
    leaves = scann_index.parameters(size.items, K).get("leaves")
    effort = -1  # leaves that bare ScaNN searches
    for effort in [step for step in EFFORTS if step <= leaves] if leaves else []:
        if recall(bare.search_batched(queries, K, CANDIDATES, effort)[0], truth) >= ENOUGH:
            break

    def ours_batch(block: np.ndarray) -> np.ndarray:
        return gallery.search_batch(block, [K] * len(block))[0]

    def bare_batch(block: np.ndarray) -> np.ndarray:
        return bare.search_batched(block, K, CANDIDATES, effort)[0]

    def bare_parallel(block: np.ndarray) -> np.ndarray:
        return bare.search_batched_parallel(block, K, CANDIDATES, effort, BATCH // 2)[0]

    asks: dict[str, tuple[Callable, Callable]] = {  # of one query, of a batch
        "ours": (lambda query: gallery.search(query, K), ours_batch),
        "bare ScaNN": (lambda query: bare.search(query, K, CANDIDATES, effort), bare_batch),
        "bare ScaNN, parallel": (lambda query: None, bare_parallel),
        "bare ScaNN, our tree": (lambda query: same.search(query, K), lambda block: same.search_batched(block, K)[0]),
    }
    times: dict[str, list[float]] = {name: [] for name in asks}
    rates: dict[str, list[float]] = {name: [] for name in asks}
    for round_ in range(ROUNDS + 1):
        for name, (one, many) in asks.items():
            spent, speed = timed(one, queries), rate(many, queries)
            if round_:  # the first one warms up
                times[name] += spent
                rates[name].append(speed)
    figures: dict[str, Any] = {
        "ours": [list(map(int, row)) for row in gallery.search_batch(queries, [K] * len(queries))[0]],
        "bare ScaNN": bare_batch(queries),
        "bare ScaNN, our tree": same.search_batched(queries, K)[0],
    }
    searched = (gallery.manifest["segments"][0]["scann"] or {}).get("search", -1)
    efforts = {"ours": searched, "bare ScaNN": effort, "bare ScaNN, our tree": searched}
    result: dict[str, Any] = {}
    for name in asks:
        values: dict[str, Any] = {"batch_per_s": float(np.median(rates[name]))}
        if name in figures:
            values |= {
                "leaves": efforts[name],
                "recall_at_10": recall(figures[name], truth),
                "p50_ms": float(np.median(times[name])),
                "p99_ms": float(np.percentile(times[name], 99)),
            }
        result[f"search, {name}"] = values
    for name in ("bare ScaNN", "bare ScaNN, our tree"):
        pair = result["search, ours"], result[f"search, {name}"]
        result[f"ours / {name}"] = {key: pair[0][key] / pair[1][key] for key in ("p50_ms", "batch_per_s")}
    return result


def same_tree(gallery: Any, work: Path) -> Any:
    """ScaNN over the gallery's own index, with the vectors of its own that it scores candidates with."""
    from scann.proto import scann_pb2
    from scann.scann_ops.py import scann_ops_pybind

    files = gallery.index_files()
    assert files is not None, "the benchmark's gallery has an index"
    folder, chosen = files
    place = work / "same"
    shutil.copytree(folder, place)
    config = scann_pb2.ScannConfig()
    config.ParseFromString((place / "scann_config.pb").read_bytes())
    config.exact_reordering.approx_num_neighbors = chosen["per_k"] * K
    if "search" in chosen:
        config.partitioning.query_spilling.max_spill_centers = chosen["search"]
    (place / "scann_config.pb").write_bytes(config.SerializeToString())
    vectors = (work / "vectors.npy").resolve()
    with open(place / "scann_assets.pbtxt", "a", encoding="utf-8") as listing:
        listing.write(f'assets {{\n  asset_type: DATASET_NPY\n  asset_path: "{vectors}"\n}}\n')
    return scann_ops_pybind.load_searcher(str(place))


def open_and_ask(size: IndexSize, work: Path) -> dict[str, Any]:
    """In a fresh process; the import of ScaNN, which brings TensorFlow along, apart."""
    queries = np.load(work / "queries.npy")
    before = time.perf_counter()
    scann_index.why_not()
    start = time.perf_counter()
    gallery = Gallery.open(work / "g")
    opened = time.perf_counter()
    gallery.search(queries[0], K)
    first = time.perf_counter()
    return {
        "seconds": first - start,
        "open_s": opened - start,
        "first_query_s": first - opened,
        "import_s": start - before,
    }


def filtered(size: IndexSize, work: Path) -> dict[str, Any]:
    """Label `label 7`, which every hundredth row has."""
    queries = np.load(work / "queries.npy")[:100]
    vectors = np.load(work / "vectors.npy", mmap_mode="r")
    best = Best(queries, K)
    rows = np.arange(7, size.items, LABELS)
    best.see(np.asarray(vectors[rows]), 0)
    gallery, options = Gallery.open(work / "g"), Options(labels=("label 7",))
    first = timed(lambda query: gallery.search(query, K, options=options), queries[:1])
    times = timed(lambda query: gallery.search(query, K, options=options), queries)
    ids = [[int(hit.id) for hit in hits] for hits in gallery.search(queries, K, options=options)]
    return {"recall_at_10": recall(ids, rows[best.rows]), "first_ms": first[0], "p50_ms": float(np.median(times))}


def add(size: IndexSize, work: Path) -> dict[str, Any]:
    """Adds vectors, opens the gallery again and finds one of them; then recall as before."""
    queries = np.load(work / "queries.npy")
    truth = Best(queries, K)
    truth.rows, truth.scores = np.load(work / "truth.npy"), np.load(work / "truth_scores.npy")
    new = np.concatenate(list(clustered(size, size.added, 2)))
    truth.see(new, size.items)
    start = time.perf_counter()
    changes.add_vectors(work / "g", "bench", new, [str(size.items + row) for row in range(size.added)])
    added = time.perf_counter() - start
    gallery = Gallery.open(work / "g")
    (hit,) = gallery.search(new[0], 1)
    searchable = time.perf_counter() - start
    if hit.id != str(size.items):
        raise AssertionError(f"an added vector is not found: {hit}")
    ids = [[int(hit.id) for hit in hits] for hits in gallery.search(queries, K)]
    times = timed(lambda query: gallery.search(query, K), queries)
    return {
        "add_s": added,
        "searchable_in_a_new_reader_s": searchable,
        "recall_at_10": recall(ids, truth.rows),
        "p50_ms": float(np.median(times)),
    }


# -- FAISS -----------------------------------------------------------------------------------------------------------

FAISS = {"flat": "Flat", "IVF-PQ fast-scan": "IVF{leaves},PQ{half}x4fs,RFlat", "HNSW32": "HNSW32"}


def faiss_index(size: IndexSize, work: Path, factory: str) -> dict[str, Any]:
    try:
        faiss: Any = importlib.import_module("faiss")
    except ImportError:
        return {"note": "not installed (pip install faiss-cpu)"}
    queries, truth = np.load(work / "queries.npy"), np.load(work / "truth.npy")
    vectors = np.load(work / "vectors.npy", mmap_mode="r")
    start = time.perf_counter()
    leaves = min(2048, size.items // 40)
    index = faiss.index_factory(
        size.dimension, factory.format(leaves=leaves, half=size.dimension // 2), faiss.METRIC_INNER_PRODUCT
    )
    if not index.is_trained:
        chosen = np.sort(np.random.default_rng(0).choice(size.items, min(size.items, 100_000), replace=False))
        index.train(np.asarray(vectors[chosen]))
    for low in range(0, size.items, 100_000):
        index.add(np.ascontiguousarray(vectors[low : low + 100_000]))
    seconds = time.perf_counter() - start
    effort = 0
    for effort in EFFORTS if factory != "Flat" else (0,):
        if effort:
            setting = f"efSearch={effort}" if "HNSW" in factory else f"nprobe={effort},k_factor_rf=10"
            faiss.ParameterSpace().set_index_parameters(index, setting)
        if recall(index.search(queries[:200], K)[1], truth[:200]) >= ENOUGH:
            break
    some = queries if factory != "Flat" else queries[: 2 * BATCH]
    times = timed(lambda query: index.search(query[None], K), some[:200])
    return {
        "seconds": seconds,
        "effort": effort,
        "recall_at_10": recall(index.search(some, K)[1], truth[: len(some)]),
        "p50_ms": float(np.median(times)),
        "p99_ms": float(np.percentile(times, 99)),
        "batch_per_s": float(np.median([rate(lambda block: index.search(block, K), some) for _ in range(ROUNDS)])),
    }
