"""ScaNN: approximate search, its configuration by size, its files, and the searcher for a SavedModel.

The index of a gallery holds codes only: the gallery scores the candidates again from its own memory-mapped vectors, so
ScaNN needs no copy of them, neither in memory nor on the disk.
"""

import functools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.common.cli import prepare_tensorflow
from tf_ssgn.common.progress import Progress
from tf_ssgn.common.vectors import forget
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.search import exact
from tf_ssgn.settings import GALLERY, ROWS_TOGETHER

FOLDER = "scann"


@functools.cache
def why_not() -> str:
    """Why ScaNN cannot be used on this machine; empty where it can."""
    # ScaNN's code ends the process with an illegal instruction on older CPUs, so they are told apart before the import.
    if os.uname().machine in ("x86_64", "amd64"):
        try:
            flags = set(Path("/proc/cpuinfo").read_text().split())
        except OSError:
            flags = set()
        if not {"avx2", "fma"} <= flags:
            return "this CPU lacks AVX2 or FMA"
    prepare_tensorflow()
    try:
        import scann  # noqa: F401
    except Exception as error:
        return f"scann cannot be imported ({error})"
    return ""


def parameters(items: int, k: int) -> dict[str, Any]:
    """The configuration for `items` vectors and answers of usually k, valid for any number of items from 1 on: exact
    scoring for few, quantised scoring for more, for many in a tree of about 2 sqrt(n) leaves."""
    k = min(k, items)
    if items < GALLERY.exact_below:
        return {"kind": "brute_force", "k": k}
    chosen: dict[str, Any] = {"kind": "hash", "k": k}
    if items >= GALLERY.tree_from:
        leaves = max(1, min(items, round(GALLERY.leaves * math.sqrt(items))))
        searched = min(leaves, max(GALLERY.fewest_leaves, math.ceil(leaves * GALLERY.leaves_searched)))
        chosen |= {"kind": "tree", "leaves": leaves, "search": searched}
    return chosen


def reorder(items: int, k: int, times: int = GALLERY.reorder) -> int:
    """How many candidates are scored exactly for k answers."""
    return min(items, max(10, k) * times)


def per_k(chosen: dict[str, Any]) -> int:
    """How many candidates for each answer an index was found to need."""
    if "reorder" in chosen:  # format 1: ScaNN has the vectors too, and scores by itself
        return max(1, chosen["reorder"] // chosen["k"])
    return chosen.get("per_k", GALLERY.reorder)


def configure(builder: Any, chosen: dict[str, Any]) -> Any:
    """Applies `parameters` to a ScaNN builder, of either of its two interfaces."""
    if chosen["kind"] == "brute_force":
        return builder.score_brute_force()
    if chosen["kind"] == "tree":
        sample = min(GALLERY.training_sample, len(builder.db))
        # Spherical: measured better and quicker to build for unit vectors than leaves with centres of any length.
        builder = builder.tree(chosen["leaves"], chosen["search"], training_sample_size=sample, spherical=True)
    return builder.score_ah(2, anisotropic_quantization_threshold=0.2, training_sample_size=GALLERY.training_sample)


def build_tf_searcher(vectors: np.ndarray, k: int) -> Any:
    """A searcher of ScaNN's TensorFlow ops over float32 [n, d] unit vectors; `serialize_to_module()` saves it.

    It gives k answers, clamped to 1..n, by default; pass `reorder(n, k)` as `pre_reorder_num_neighbors` for another k.
    UserError where there are no vectors or ScaNN does not run on this machine.
    """
    if len(vectors) == 0:
        raise UserError("received an empty gallery; ScaNN needs at least one item: add photos, or export without it")
    if why_not():
        raise UserError(f"ScaNN is not available: {why_not()}; export the exact search model only")
    from scann.scann_ops.py import scann_ops

    chosen = parameters(len(vectors), k)
    builder = configure(scann_ops.builder(np.asarray(vectors, np.float32), chosen["k"], "dot_product"), chosen)
    if chosen["kind"] != "brute_force":  # within a graph nobody else scores the candidates exactly
        builder = builder.reorder(reorder(len(vectors), chosen["k"]))
    return builder.build()


class ScannIndex:
    """ScaNN over one segment: `candidates`, which the gallery scores again exactly."""

    def __init__(self, searcher: Any, items: int, chosen: dict[str, Any]):
        self._searcher, self.items, self.parameters = searcher, items, chosen

    @classmethod
    def build(cls, vectors: np.ndarray) -> "ScannIndex":
        """Leaves and codes are learned from a sample, which ScaNN copies; the rest is added to it block by block."""
        from scann.scann_ops.py import scann_ops_pybind

        items, learned = len(vectors), min(len(vectors), GALLERY.training_sample)
        chosen = parameters(items, 10)
        sample = vectors
        if learned < items:
            sample = vectors[np.sort(np.random.default_rng(0).choice(items, learned, replace=False))]
            forget(vectors)
        searcher = configure(scann_ops_pybind.builder(sample, chosen["k"], "dot_product"), chosen).build()
        if learned < items:
            del sample
            with Progress(items, "items into the ScaNN index") as bar:
                for start in range(0, items, ROWS_TOGETHER):
                    block = np.asarray(vectors[start : start + ROWS_TOGETHER])
                    rows = range(start, start + len(block))
                    # In the places of the sample's rows stand the first ones; None is the place after the last.
                    places = [row if row < learned else None for row in rows]
                    searcher.searcher.upsert(places, block, len(block))
                    forget(vectors)
                    bar.advance(len(block))
        return cls(searcher, items, chosen)

    def save(self, folder: Path) -> None:
        """Writes the index into a new folder, which may be moved."""
        folder.mkdir()
        self._searcher.serialize(str(folder), relative_path=True)

    @classmethod
    def load(cls, folder: Path, items: int, chosen: dict[str, Any]) -> "ScannIndex":
        from scann.scann_ops.py import scann_ops_pybind

        try:
            return cls(scann_ops_pybind.load_searcher(os.path.abspath(folder)), items, chosen)
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(f"{folder} cannot be loaded ({error}); run `index verify`, then `index compact`") from None

    def candidates(self, queries: np.ndarray, k: int, widen: float = 1.0, rescore: int = 1) -> list[np.ndarray]:
        """For each query about `reorder(k)` rows that may be among its k best; all there are where they are fewer.

        `queries` float32 [Q, d], finite, Q at least 1. `widen` looks into that many times the leaves and gives that
        many times the rows: for callers that will drop most of them. `rescore` multiplies the rows only.
        """
        wanted = min(self.items, math.ceil(widen * rescore * reorder(self.items, k, per_k(self.parameters))))
        options: dict[str, Any] = {"final_num_neighbors": wanted}
        if "reorder" in self.parameters:
            options["pre_reorder_num_neighbors"] = wanted
        if self.parameters["kind"] == "tree":
            options["leaves_to_search"] = min(self.parameters["leaves"], math.ceil(self.parameters["search"] * widen))
        if len(queries) == 1:
            rows, scores = self._searcher.search(queries[0], **options)
            rows, scores = rows[None], scores[None]
        else:
            share = -(-len(queries) // (os.cpu_count() or 1))
            rows, scores = self._searcher.search_batched_parallel(queries, batch_size=share, **options)
        # Short results are padded with row 0 and the score NaN.
        missing = np.isnan(scores)
        if not missing.any():
            return list(rows.astype(np.int64))
        return [row[~gone].astype(np.int64) for row, gone in zip(rows, missing, strict=True)]


def tune(index: ScannIndex, vectors: np.ndarray) -> None:
    """Sets in `index.parameters` how many candidates are rescored (`per_k`) and, in a tree, how many leaves are
    searched to reach a recall@10 of `GALLERY.recall`, a quarter of what is safe unseen or more; notes the recall.

    Queries are some of its own vectors [n, d], which are no answers to themselves; truth is exact search. Counted by
    score and not by row, so that one of two equal vectors is as good as the other.
    """
    chosen = np.unique(np.linspace(0, len(vectors) - 1, GALLERY.tuning_queries).astype(np.int64))
    asked = np.ascontiguousarray(vectors[chosen])
    k = min(10, len(vectors) - 1)
    least, best = [], [np.empty(0, np.int64)] * len(asked)  # the best of each part, so more than k
    for start in range(0, len(vectors), GALLERY.training_sample):
        part = exact.candidates([vectors[start : start + GALLERY.training_sample]], asked, k + 1)
        best = [np.append(rows, some + start) for rows, some in zip(best, part, strict=True)]
        forget(vectors)
    for row, query, truth in zip(chosen, asked, best, strict=True):
        others = truth[truth != row]
        least.append(np.sort(exact.rescored(vectors[others], query))[-k] - exact.MARGIN)
    parameters, most = index.parameters, 8  # times the candidates: the most that is tried
    if "search" in parameters:
        parameters["search"] = -(-parameters["search"] // 4)
    while True:
        shares = np.zeros((len(asked), most))
        for i, (row, query, rows, limit) in enumerate(
            zip(chosen, asked, index.candidates(asked, k + 1, rescore=most), least, strict=True)
        ):
            good = (exact.rescored(vectors[rows], query) >= limit) & (rows != row)
            for times in range(most):
                few = reorder(index.items, k + 1, GALLERY.reorder * (times + 1))
                shares[i, times] = min(k, int(np.sum(good[:few]))) / k
        recalls = shares.mean(axis=0)
        enough = int(np.argmax(recalls >= recalls[-1] - 0.005))  # where more candidates stop to help
        search, leaves = parameters.get("search", 0), parameters.get("leaves", 0)
        if recalls[enough] >= GALLERY.recall or search == leaves:
            parameters["per_k"] = GALLERY.reorder * (enough + 1)
            parameters["recall_at_10"] = float(recalls[enough])
            return
        parameters["search"] = min(leaves, max(search + 1, math.ceil(search * 1.1)))
