"""The five families against golden numbers, plain loops and scikit-learn."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation import naive
from tests.evaluation.conftest import Arrays
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation import FAMILIES, metrics, per_query_features, per_query_rankings, score_features, score_rankings


@pytest.mark.shared
def test_golden_numbers(shared):
    rankings = json.loads((shared / "facts" / "metric_golden.json").read_text())
    assert len(rankings) == 40
    for ranking in rankings:
        k = ranking["k"]
        relevant = np.zeros((1, ranking["n"]), bool)
        relevant[0, ranking["relevant"]] = True
        got = score_rankings([ranking["scores"]], relevant, k)
        names = {"map_all": "map_all", "map_k": f"map_at_{k}", "p_k": f"precision_at_{k}"}
        for name, value in ranking["expected"].items():
            family, metric = name.split(".")
            assert got[family][names[metric]] == pytest.approx(value, abs=1e-9), (name, ranking["n"], k)


@st.composite
def rankings(draw):
    """Small score tables with many ties and any number of relevant items, 0 and all included."""
    queries, items = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    cells = st.lists(st.integers(-2, 2), min_size=queries * items, max_size=queries * items)
    flags = st.lists(st.booleans(), min_size=queries * items, max_size=queries * items)
    dtype = draw(st.sampled_from(["float32", "float64", "int8", "int64", "float16"]))
    scores = np.array(draw(cells), dtype).reshape(queries, items)
    return scores, np.array(draw(flags)).reshape(queries, items)


@settings(deadline=None)
@given(rankings(), st.sets(st.integers(1, 15), min_size=1, max_size=3))
def test_equals_plain_loops_with_ties(table, cuts):
    scores, relevant = table
    naive.assert_same(score_rankings(scores, relevant, sorted(cuts)), naive.families(scores, relevant, cuts))


@settings(deadline=None)
@given(rankings(), st.randoms(use_true_random=False))
def test_order_of_files_does_not_matter(table, random):
    scores, relevant = table
    columns, rows = list(range(scores.shape[1])), list(range(scores.shape[0]))
    random.shuffle(columns)
    random.shuffle(rows)
    before = per_query_rankings(scores, relevant, (1, 3))
    after = per_query_rankings(scores[rows][:, columns], relevant[rows][:, columns], (1, 3))
    for family, values in before.values.items():
        for name, column in values.items():
            np.testing.assert_array_equal(column[rows], after.values[family][name])


@settings(deadline=None)
@given(rankings())
def test_figures_are_shares(table):
    for values in score_rankings(table[0], table[1], (1, 5)).values():
        assert all(math.isnan(value) or 0.0 <= value <= 1.0 + 1e-12 for value in values.values())


def test_many_blocks_give_what_one_gives(monkeypatch, arrays: Arrays):
    scores = np.round(arrays.queries @ arrays.gallery.T)
    relevant = arrays.query_labels[:, None] == arrays.gallery_labels
    whole, features = score_rankings(scores, relevant, (5, 50)), score_features(*arrays, (5, 50))
    naive.assert_same(whole, naive.families(scores, relevant, (5, 50)))
    monkeypatch.setattr("tf_ssgn.evaluation.ranking.RANKING_BYTES", 20_000)
    naive.assert_same(score_rankings(scores, relevant, (5, 50)), whole, 1e-15)
    naive.assert_same(score_features(*arrays, (5, 50)), features, 1e-15)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_cores_changes_nothing(monkeypatch, arrays: Arrays, workers: int):
    monkeypatch.setattr("tf_ssgn.evaluation.ranking.RANKING_BYTES", 20_000)
    here = per_query_features(*arrays, (5, 50))
    monkeypatch.setattr("tf_ssgn.evaluation.ranking.cores", lambda: workers)
    there = per_query_features(*arrays, (5, 50))
    for family, found in here.values.items():
        for name, values in found.items():
            np.testing.assert_array_equal(values, there.values[family][name])


def test_features_equal_cosine_scores(arrays: Arrays):
    queries, gallery = arrays.queries.astype(float), arrays.gallery.astype(float)
    unit = lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True)  # noqa: E731
    scores = unit(queries) @ unit(gallery).T
    relevant = arrays.query_labels[:, None] == arrays.gallery_labels
    expected = naive.families(scores, relevant, (3, 40))
    naive.assert_same(score_features(queries, arrays.query_labels, gallery, arrays.gallery_labels, (3, 40)), expected)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 70))
def test_features_with_copies_do_not_depend_on_file_order(seed, dimension):
    """Equal photos under different labels tie exactly, whatever the BLAS does at the edges of a matrix."""
    random = np.random.default_rng(seed)
    originals = random.standard_normal((7, dimension)).astype(np.float32)
    gallery, labels = originals[random.integers(0, 7, 45)], random.integers(0, 4, 45)
    queries, asked = random.standard_normal((9, dimension)).astype(np.float32), random.integers(0, 5, 9)
    files, sketches = random.permutation(45), random.permutation(9)
    before = score_features(queries, asked, gallery, labels, (2, 60))
    after = score_features(queries[sketches], asked[sketches], gallery[files], labels[files], (2, 60))
    naive.assert_same(after, before, 1e-15)
    group = np.unique(gallery, axis=0, return_inverse=True)[1].ravel()
    near = queries.astype(float) @ np.unique(gallery, axis=0).astype(float).T
    near /= np.maximum(np.linalg.norm(np.unique(gallery, axis=0).astype(float), axis=1), 1e-30)
    gaps = np.diff(np.sort(near, axis=1), axis=1)
    if not gaps.size or gaps.min() > 1e-4:  # otherwise float32 may order two different photos either way
        naive.assert_same(before, naive.families(near[:, group], asked[:, None] == labels, (2, 60)))


def test_collapsed_features_score_the_worst():
    """A model that maps everything to one point ties everywhere: the pessimistic order, not the file order, decides."""
    labels = np.repeat([0, 1], 50)
    got = score_features(np.ones((100, 8)), labels, np.ones((100, 8)), labels, 50)
    assert got["sake"]["precision_at_50"] == 0.0
    assert got["sem_pcyc"]["map_all"] == pytest.approx(np.mean([i / (50 + i) for i in range(1, 51)]))


def test_query_class_without_photo_by_family():
    scores, relevant = np.array([[3.0, 2.0, 1.0]] * 2), np.array([[True, False, False], [False] * 3])
    got = score_rankings(scores, relevant, 1)
    assert got["sake"] == {"map_all": 1.0, "map_at_1": 1.0, "precision_at_1": 0.5, "recall_at_1": 1.0}
    assert got["zse"] == {"map_all": 1.0, "map_at_1": 1.0, "precision_at_1": 1.0, "recall_at_1": 1.0}
    assert got["sem_pcyc"] == {"map_all": 0.5, "map_at_1": 0.5, "precision_at_1": 0.5, "recall_at_1": 0.5}
    assert got["torchmetrics"] == got["sem_pcyc"]
    assert got["cvae"] == {"map_at_1": 0.5, "precision_at_1": 0.5, "recall_at_1": 0.5}
    alone = score_features([[1.0]], ["cat"], [[1.0]], ["dog"], 1)
    assert math.isnan(alone["zse"]["map_all"]) and math.isnan(alone["sake"]["map_all"])
    assert alone["sem_pcyc"]["map_all"] == 0.0


def test_one_item_and_k_beyond_the_gallery():
    got = score_features([[2.0, 0.0]], ["cat"], [[1.0, 1.0]], ["cat"], 10)
    assert (
        got["sake"]
        == got["sem_pcyc"]
        == {"map_all": 1.0, "map_at_10": 1.0, "precision_at_10": 1.0, "recall_at_10": 1.0}
    )
    assert got["cvae"] == {"map_at_10": 0.1, "precision_at_10": 0.1, "recall_at_10": 1.0}
    assert got["torchmetrics"]["precision_at_10"] == 0.1


def test_zero_and_extreme_vectors():
    """A zero vector has cosine 0 to everything; length never matters, even where squares would overflow."""
    gallery = np.array([[1e30, 0.0], [0.0, 0.0], [-1e-30, 0.0]], np.float32)
    got = score_features([[1e-38, 0.0]], [1], gallery, [0, 1, 0], 2)
    assert got["sem_pcyc"]["map_all"] == 0.5
    nothing = score_features(np.zeros((1, 2)), [1], gallery, [0, 1, 0], 3)
    assert nothing["sem_pcyc"]["map_all"] == pytest.approx(1 / 3)


def test_infinite_scores_are_ranked():
    scores = np.array([[-np.inf, np.inf, -np.inf, 0.0]])
    relevant = np.array([[True, False, False, True]])
    naive.assert_same(score_rankings(scores, relevant, 2), naive.families(scores, relevant, (2,)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": [[np.nan, 1.0]]}, "queries: 1 row"),
        ({"gallery": [[1.0, 0.0], [np.inf, 1.0]]}, "first row 1"),
        ({"queries": [[1.0, 2.0, 3.0]]}, "3 dimensions and the gallery 2"),
        ({"queries": [1.0, 2.0]}, "expected numbers [items, dimension]"),
        ({"queries": [["a", "b"]]}, "expected numbers [items, dimension]"),
        ({"queries": [[1.0, 2.0], [1.0]]}, "queries"),
        ({"gallery": np.zeros((0, 2)), "gallery_labels": []}, "gallery: received [0, 2]"),
        ({"queries": np.zeros((0, 2)), "query_labels": []}, "queries: received [0, 2]"),
        ({"query_labels": [1]}, "query_labels are int and gallery_labels str"),
        ({"query_labels": ["cat", "dog"]}, "2] labels for 1 items"),
        ({"query_labels": [1.5]}, "expected all int or all str"),
        ({"query_labels": [None]}, "expected all int or all str"),
        ({"query_labels": [True]}, "expected all int or all str"),
        ({"k": 0}, "whole numbers of 1 or more"),
        ({"k": (5, 2.5)}, "whole numbers of 1 or more"),
        ({"k": ()}, "whole numbers of 1 or more"),
        ({"k": 2**63}, "whole numbers of 1 or more, up to 1,000,000,000"),
        ({"query_labels": "cat"}, "query_labels: received the text 'cat', expected a list"),
        ({"query_labels": np.array([2**64 - 1], np.uint64)}, "whole numbers below 2^63"),
    ],
)
def test_mistakes_are_one_line(change, message):
    good: dict[str, Any] = {
        "queries": [[1.0, 0.0]],
        "query_labels": ["cat"],
        "gallery": [[1.0, 0.0], [0.0, 1.0]],
        "gallery_labels": ["cat", "dog"],
        "k": 1,
    }
    score_features(**good)
    with pytest.raises(UserError) as caught:
        score_features(**(good | change))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scores", "relevant", "message"),
    [
        ([[1.0, np.nan]], [[True, False]], "hold NaN"),
        ([[1.0, 2.0]], [[True]], "expected one shape"),
        ([[1.0, 2.0]], [[2, 0]], "other than 0 and 1"),
        ([1.0, 2.0], [True, False], "shape [Q, N]"),
        (np.zeros((2, 0)), np.zeros((2, 0), bool), "an empty gallery"),
        (np.zeros((0, 2)), np.zeros((0, 2), bool), "no query"),
        ([[1.0], [1.0, 2.0]], [[True]], "different lengths"),
    ],
)
def test_mistakes_in_rankings(scores, relevant, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        score_rankings(scores, relevant)


def test_labels_may_be_str_objects_and_unsigned():
    features = np.eye(3)
    expected = score_features(features, [0, 1, 2], features, [0, 1, 2], 1)
    names = np.array(["a", "b", "c"], object)
    assert score_features(features, names, features, ["a", "b", "c"], 1) == expected
    assert score_features(features, np.arange(3, dtype=np.uint16), features, [0, 1, 2], 1) == expected


def test_defaults_and_documented_families():
    got = score_rankings([[1.0, 0.0]], [[True, False]])
    assert list(got) == list(FAMILIES) == ["sake", "zse", "sem_pcyc", "cvae", "torchmetrics"]
    assert set(got["sake"]) == {"map_all"} | {f"{m}_at_{k}" for m in ("map", "precision", "recall") for k in (100, 200)}
    assert "map_all" not in got["cvae"]


def test_recall_curve():
    """Hits at ranks 1 and 4 of 4: precision 1 up to recall 0.5, 0.5 beyond."""
    per_query = per_query_rankings([[4.0, 3.0, 2.0, 1.0]], [[True, False, False, True]], 1)
    np.testing.assert_allclose(per_query.curve[:51], 1.0)
    np.testing.assert_allclose(per_query.curve[51:], 0.5)
    assert np.isnan(per_query_rankings([[1.0]], [[False]], 1).curve).all()


def test_metrics_import_numpy_only():
    """Usable beside any framework: importing and scoring loads neither TensorFlow nor SciPy nor scikit-learn."""
    script = (
        "import sys; from tf_ssgn.evaluation import score_features; score_features([[1.0]], [1], [[1.0]], [1]); "
        "bad = {'tensorflow', 'keras', 'scipy', 'sklearn', 'grpc'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_progress_goes_to_stderr(capsys, arrays: Arrays):
    metrics.per_query_features(*arrays, 5, progress=True)
    captured = capsys.readouterr()
    assert "40/40" in captured.err and captured.out == ""
