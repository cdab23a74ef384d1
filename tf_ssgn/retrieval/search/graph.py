"""Neighbours inside a TensorFlow graph, for exported models: exact, by ScaNN, or by the ScaNN index of a gallery.

Each is a module with `search(vectors [B, d], k) -> (rows int32 [B, n], scores float32 [B, n])`, best first, n at most
k; a NaN score marks a place without an answer.
"""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_ssgn.retrieval.search.scann_index import build_tf_searcher, per_k, reorder
from tf_ssgn.settings import GRAPH_CANDIDATES, SERVING


class ExactNeighbours(tf.Module):
    """All inner products, then the best: the reference, and fast enough up to about a million items."""

    def __init__(self, vectors: np.ndarray):
        super().__init__()
        self.vectors = tf.Variable(vectors, trainable=False, name="gallery", dtype=tf.float32)

    def search(self, queries, k):
        scores = tf.linalg.matmul(queries, self.vectors, transpose_b=True)
        scores, rows = tf.math.top_k(scores, tf.minimum(k, tf.shape(self.vectors)[0]))
        return rows, scores


class ScannNeighbours(tf.Module):
    """ScaNN's TensorFlow ops; the searcher is made from its tensors at the first call after loading. Whoever loads the
    SavedModel imports `scann` first, or TensorFlow does not know the ops."""

    def __init__(self, vectors: np.ndarray):
        super().__init__()
        self.items = len(vectors)
        self.state = build_tf_searcher(vectors, SERVING.default_k).serialize_to_module()

    def search(self, queries, k):
        from scann.scann_ops.py.scann_ops import ScannSearcher

        # ScaNN fails on an empty batch, so it always gets one row more.
        queries = tf.concat([queries, tf.zeros([1, queries.shape[1]])], axis=0)
        candidates = tf.minimum(self.items, tf.maximum(reorder(self.items, SERVING.default_k), GRAPH_CANDIDATES * k))
        rows, scores = ScannSearcher(self.state.recreate_handle()).search_batched(queries, k, candidates)
        return tf.cast(rows, tf.int32)[:-1], scores[:-1]


class IndexedNeighbours(tf.Module):
    """A gallery's own ScaNN index (`Gallery.index_files`): nothing is built again, the vectors, float32 [n, d] of unit
    length in the order of the index, are held once.

    The files that ScaNN's Python searcher writes hold what ScaNN's TensorFlow op is made of, so the codes come from
    there and the exact scores from one variable of vectors, as in `Gallery.search`.
    """

    def __init__(self, vectors: np.ndarray, folder: Path, parameters: dict[str, Any]):
        super().__init__()
        self.items, self._parameters = len(vectors), parameters
        self.vectors = tf.Variable(vectors, trainable=False, name="gallery", dtype=tf.float32)
        self.state = searcher_state(folder)

    def search(self, queries, k):
        from scann.scann_ops.py.scann_ops import ScannSearcher

        # ScaNN fails on an empty batch, so it always gets one row more.
        queries = tf.concat([queries, tf.zeros([1, queries.shape[1]])], axis=0)
        wanted = tf.minimum(self.items, tf.maximum(k, 10) * per_k(self._parameters))
        leaves = self._parameters.get("search", -1)
        searcher = ScannSearcher(self.state.recreate_handle())
        rows, quantised = searcher.search_batched(queries, wanted, leaves_to_search=leaves)
        rows = tf.cast(rows, tf.int32)
        scores = tf.einsum("bcd,bd->bc", tf.gather(self.vectors, rows), queries)
        scores = tf.where(tf.math.is_nan(quantised), -np.inf, scores)
        scores, places = tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1]))
        rows = tf.gather(rows, places, batch_dims=1)
        return rows[:-1], tf.where(tf.math.is_inf(scores), np.nan, scores)[:-1]


def searcher_state(folder: Path) -> Any:
    """ScaNN's `ScannState`, which a SavedModel keeps, from the files in `folder`; it holds codes and no vectors."""
    from scann.scann_ops.py import scann_ops

    def text(name: str) -> tf.Tensor:
        return tf.constant([(folder / name).read_bytes()])

    tokens = folder / "datapoint_to_token.npy"  # only a tree has leaves
    tensors = (
        text("scann_config.pb"),
        text("serialized_partitioner.pb") if tokens.exists() else tf.constant([b""]),
        tf.constant(np.load(tokens).astype(np.int32) if tokens.exists() else np.empty(0, np.int32)),
        text("ah_codebook.pb"),
        tf.constant(np.load(folder / "hashed_dataset.npy", mmap_mode="r")),
        tf.constant(0, tf.int8),
        tf.constant(0.0),
        tf.constant(0.0),
        tf.zeros([0, 0]),
    )
    return scann_ops.ScannState(tensors)
