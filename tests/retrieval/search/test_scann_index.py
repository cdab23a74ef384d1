"""ScaNN against exact search, for any number of items, in memory, from files and as TensorFlow ops."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder.segment import HEADER_BYTES, VECTORS, npy_header
from tf_ssgn.retrieval.search import exact, scann_index
from tf_ssgn.retrieval.search.scann_index import ScannIndex, build_tf_searcher, parameters
from tf_ssgn.settings import GALLERY

pytestmark = pytest.mark.skipif(bool(scann_index.why_not()), reason=f"ScaNN: {scann_index.why_not()}")


def clustered(n: int, d: int = 32, centres: int = 60, seed: int = 0) -> np.ndarray:
    """Unit vectors around the same centres for every seed."""
    rng = np.random.default_rng(seed)
    vectors = np.random.default_rng(99).normal(size=(centres, d))[rng.integers(0, centres, n)] + 0.5 * rng.normal(
        size=(n, d)
    )
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def recall(index: ScannIndex, vectors: np.ndarray, k: int) -> float:
    queries = clustered(64, seed=1)
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :k]
    found = index.candidates(queries, k)
    return float(
        np.mean([len(set(a) & set(b)) / k for a, b in zip(truth.tolist(), map(np.ndarray.tolist, found), strict=True)])
    )


@pytest.fixture
def small_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes at which the kinds change, scaled down."""
    settings = GALLERY._replace(exact_below=200, tree_from=2000)
    monkeypatch.setattr(scann_index, "GALLERY", settings)


@pytest.mark.parametrize("items", [1, 2, 19_999, 20_000, 99_999, 100_000, 1_000_000])
def test_parameters_fit_any_size(items: int) -> None:
    chosen = parameters(items, 10)
    assert 1 <= chosen["k"] <= items and chosen.get("reorder", 1) <= items
    assert 1 <= chosen.get("search", 1) <= chosen.get("leaves", 1) <= items
    assert chosen["kind"] == ("brute_force" if items < 20_000 else "hash" if items < 100_000 else "tree")


@pytest.mark.parametrize(("items", "least"), [(150, 1.0), (1500, 0.97), (4000, 0.95)])
def test_recall_of_every_kind(small_thresholds: None, items: int, least: float) -> None:
    vectors = clustered(items)
    index = ScannIndex.build(vectors)
    assert recall(index, vectors, 10) >= least
    assert recall(index, vectors, 100) >= least - 0.02


def test_saved_index_moves_with_its_folder_and_keeps_one_copy(small_thresholds: None, tmp_path: Path) -> None:
    vectors = clustered(3000)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / VECTORS).write_bytes(npy_header(*vectors.shape) + vectors.tobytes())
    mapped = np.memmap(tmp_path / "a" / VECTORS, "<f4", "r", HEADER_BYTES, vectors.shape)
    index = ScannIndex.build(mapped)
    index.save(tmp_path / "a" / "scann")
    expected = [rows.tolist() for rows in index.candidates(vectors[:5], 10)]
    assert not (tmp_path / "a/scann/dataset.npy").exists()
    assert str(tmp_path) not in (tmp_path / "a/scann/scann_assets.pbtxt").read_text()
    shutil.move(tmp_path / "a", tmp_path / "b")
    loaded = ScannIndex.load(tmp_path / "b" / "scann", 3000, index.parameters)
    assert [rows.tolist() for rows in loaded.candidates(vectors[:5], 10)] == expected


def test_more_items_than_it_learns_from_are_added_in_their_order(
    small_thresholds: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = scann_index.GALLERY._replace(training_sample=1000)
    monkeypatch.setattr(scann_index, "GALLERY", settings)
    monkeypatch.setattr(scann_index, "ROWS_TOGETHER", 700)
    vectors = clustered(4000)
    index = ScannIndex.build(vectors)
    assert recall(index, vectors, 10) >= 0.95
    scann_index.tune(index, vectors)
    assert index.parameters["recall_at_10"] >= settings.recall and recall(index, vectors, 10) >= 0.95
    index.save(tmp_path / "scann")
    loaded = ScannIndex.load(tmp_path / "scann", 4000, index.parameters)
    chosen = [0, 999, 1000, 2100, 3999]  # of the sample's places and of those after them
    for row, rows in zip(chosen, loaded.candidates(vectors[chosen], 10), strict=True):
        assert row in rows and rows.max() < 4000


@pytest.mark.parametrize("items", [1, 5, 50])
def test_tiny_galleries_and_more_answers_than_items(items: int) -> None:
    vectors = clustered(items)
    index = ScannIndex.build(vectors)
    for queries in (vectors[:1], clustered(3, seed=2)):
        for rows, query in zip(index.candidates(queries, 200), queries, strict=True):
            assert sorted(rows.tolist()) == list(range(items))
            np.testing.assert_array_equal(
                rows[exact.order(rows, exact.rescored(vectors[rows], query), 1, None)], rows[:1]
            )


def test_short_results_are_not_padded_with_the_first_item(small_thresholds: None) -> None:
    # One leaf searched holds fewer items than are asked for: ScaNN pads with row 0 and NaN.
    from scann.scann_ops.py import scann_ops_pybind

    vectors = clustered(2500)
    chosen = parameters(2500, 10) | {"search": 1}
    searcher = scann_index.configure(scann_ops_pybind.builder(vectors, 10, "dot_product"), chosen).build()
    (rows,) = ScannIndex(searcher, 2500, chosen).candidates(vectors[:1], 1000)
    assert 0 < len(rows) < 1000 and len(set(rows.tolist())) == len(rows)


@pytest.mark.parametrize("items", [1, 5, 50, 300, 2500])
def test_tensorflow_searcher_of_any_size_survives_saving(small_thresholds: None, tmp_path: Path, items: int) -> None:
    import tensorflow as tf
    from scann.scann_ops.py import scann_ops

    vectors = clustered(items)

    class Search(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.state = build_tf_searcher(vectors, 10).serialize_to_module()

        @tf.function(input_signature=[tf.TensorSpec([None, 32]), tf.TensorSpec([], tf.int32)])
        def __call__(self, queries, k):
            searcher = scann_ops.searcher_from_module(self.state)
            reorder = scann_index.reorder(items, 10)
            return searcher.search_batched(queries, final_num_neighbors=k, pre_reorder_num_neighbors=reorder)

    tf.saved_model.save(Search(), str(tmp_path / "model"))
    rows, scores = tf.saved_model.load(str(tmp_path / "model"))(vectors[:2], min(3, items))
    assert rows.shape == (min(2, items), min(3, items))
    np.testing.assert_array_equal(rows[:, 0], np.arange(min(2, items)))
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-5)


def test_tensorflow_searcher_of_an_empty_gallery_is_refused() -> None:
    with pytest.raises(UserError, match="empty gallery"):
        build_tf_searcher(np.empty((0, 8), np.float32), 10)


def test_identical_vectors() -> None:
    index = ScannIndex.build(np.tile(clustered(1), (50, 1)))
    assert 10 <= len(index.candidates(clustered(1), 10)[0]) <= 50
