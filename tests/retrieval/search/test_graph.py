"""The gallery's index inside a SavedModel answers as the gallery does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.retrieval.embedder import TinyEmbedder
from tf_ssgn.retrieval.folder import changes, compaction, gallery
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.search import scann_index

pytestmark = pytest.mark.skipif(bool(scann_index.why_not()), reason="ScaNN does not run here")
D = TinyEmbedder.dimension


@pytest.mark.parametrize("tree_from", [1000, 9000])
def test_saved_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree_from: int) -> None:
    import tensorflow as tf

    from tf_ssgn.retrieval.search.graph import IndexedNeighbours

    small = gallery.GALLERY._replace(exact_below=500, tree_from=tree_from)
    for module in (gallery, compaction, scann_index):
        monkeypatch.setattr(module, "GALLERY", small)
    vectors = np.random.default_rng(0).normal(size=(3000, D)).astype(np.float32)
    changes.import_columns(tmp_path / "g", TinyEmbedder(), "test", vectors)
    opened = Gallery.open(tmp_path / "g")
    files = opened.index_files()
    assert files is not None and files[1]["kind"] == ("tree" if tree_from == 1000 else "hash")
    assert not (files[0] / "dataset.npy").exists()

    class Search(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neighbours = IndexedNeighbours(opened.vectors, *files)

        @tf.function(input_signature=[tf.TensorSpec([None, D]), tf.TensorSpec([], tf.int32)])
        def __call__(self, queries, k):
            return self.neighbours.search(queries, k)

    tf.saved_model.save(Search(), str(tmp_path / "model"))
    search = tf.saved_model.load(str(tmp_path / "model"))
    queries = np.random.default_rng(1).normal(size=(20, D)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for k in (1, 10, 200):
        rows, scores = search(queries, k)
        same = 0
        for row, score, (expected, values) in zip(rows, scores, opened.rows(queries, k, "scann"), strict=True):
            np.testing.assert_allclose(score, values, atol=1e-5)
            same += len(set(row.numpy().tolist()) & set(expected.tolist()))
        assert same >= 0.99 * k * len(queries)
    assert search(queries[:0], 3)[0].shape[0] == 0
    changes.delete(tmp_path / "g", ids=["0003"])
    assert Gallery.open(tmp_path / "g").index_files() is None
