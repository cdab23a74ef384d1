"""ScaNN: approximate search, its configuration by size, its files, and the searcher for a SavedModel."""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.cli import quiet_tensorflow
from tf_ssgn.config import GALLERY
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.segment import VECTORS

FOLDER = "scann"
_COPY = "dataset.npy"  # ScaNN's own copy of the vectors, equal to the byte


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
    quiet_tensorflow()
    try:
        import scann  # noqa: F401
    except Exception as error:
        return f"scann cannot be imported ({error})"
    return ""


def parameters(items: int, k: int) -> dict[str, Any]:
    """The configuration for `items` vectors and answers of usually k, valid for any number of items from 1 on.

    Exact scoring for few, quantised scoring with exact reordering for more, for many in a tree of sqrt(n) leaves.
    """
    k = min(k, items)
    if items < GALLERY.exact_below:
        return {"kind": "brute_force", "k": k}
    chosen: dict[str, Any] = {"kind": "hash", "k": k, "reorder": reorder(items, k)}
    if items >= GALLERY.tree_from:
        leaves = max(1, min(items, round(math.sqrt(items))))
        searched = min(leaves, max(GALLERY.fewest_leaves, math.ceil(leaves * GALLERY.leaves_searched)))
        chosen |= {"kind": "tree", "leaves": leaves, "search": searched}
    return chosen


def reorder(items: int, k: int) -> int:
    """How many candidates are scored exactly for k answers."""
    return min(items, max(GALLERY.smallest_reorder, GALLERY.reorder * k))


def configure(builder: Any, chosen: dict[str, Any]) -> Any:
    """Applies `parameters` to a ScaNN builder, of either of its two interfaces."""
    if chosen["kind"] == "brute_force":
        return builder.score_brute_force()
    if chosen["kind"] == "tree":
        sample = min(100_000, len(builder.db))
        builder = builder.tree(chosen["leaves"], chosen["search"], training_sample_size=sample)
    return builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(chosen["reorder"])


def build_tf_searcher(vectors: np.ndarray, k: int) -> Any:
    """A searcher of ScaNN's TensorFlow ops over float32 [n, d] unit vectors; `serialize_to_module()` saves it.

    Args: k, the number of answers it gives by default; 1 or more, clamped to n.
    Pass `reorder(n, k)` as `pre_reorder_num_neighbors` for answers of another k.
    Raises UserError where there are no vectors or ScaNN does not run on this machine.
    """
    if len(vectors) == 0:
        raise UserError("received an empty gallery; ScaNN needs at least one item: add photos, or export without it")
    if why_not():
        raise UserError(f"ScaNN is not available: {why_not()}; export the exact search model only")
    from scann.scann_ops.py import scann_ops

    chosen = parameters(len(vectors), k)
    return configure(scann_ops.builder(np.asarray(vectors, np.float32), chosen["k"], "dot_product"), chosen).build()


class ScannIndex:
    """ScaNN over one segment: `search` gives candidates, which the gallery scores again exactly."""

    def __init__(self, searcher: Any, items: int, chosen: dict[str, Any]):
        self._searcher, self.items, self.parameters = searcher, items, chosen

    @classmethod
    def build(cls, vectors: np.ndarray) -> ScannIndex:
        from scann.scann_ops.py import scann_ops_pybind

        chosen = parameters(len(vectors), 10)
        searcher = configure(scann_ops_pybind.builder(vectors, chosen["k"], "dot_product"), chosen).build()
        return cls(searcher, len(vectors), chosen)

    def save(self, folder: Path) -> None:
        """Writes the index into `folder`, inside the folder of the vectors that it was built from.

        ScaNN's second copy of the vectors is not kept: its list of files names `vectors.npy` instead.
        """
        folder.mkdir()
        self._searcher.serialize(str(folder), relative_path=True)
        copy, listing = folder / _COPY, folder / "scann_assets.pbtxt"
        if copy.exists():
            copy.unlink()
            listing.write_text(listing.read_text().replace(f'"{_COPY}"', f'"../{VECTORS}"'))

    @classmethod
    def load(cls, folder: Path, items: int, chosen: dict[str, Any]) -> ScannIndex:
        from scann.scann_ops.py import scann_ops_pybind

        try:
            return cls(scann_ops_pybind.load_searcher(os.path.abspath(folder)), items, chosen)
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(f"{folder} cannot be loaded ({error}); run `index verify`, then `index compact`") from None

    def candidates(self, queries: np.ndarray, k: int) -> list[np.ndarray]:
        """For each query up to k rows, best first. `queries` float32 [Q, d], finite, Q at least 1."""
        k = min(k, self.items)
        options = (
            {} if self.parameters["kind"] == "brute_force" else {"pre_reorder_num_neighbors": reorder(self.items, k)}
        )
        if len(queries) == 1:
            rows, scores = self._searcher.search(queries[0], final_num_neighbors=k, **options)
            rows, scores = rows[None], scores[None]
        else:
            rows, scores = self._searcher.search_batched(queries, final_num_neighbors=k, **options)
        # Short results are padded with row 0 and the score NaN.
        return [row[~np.isnan(score)].astype(np.int64) for row, score in zip(rows, scores, strict=True)]
