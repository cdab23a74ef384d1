"""The protocols against plain loops, and what their objects hold."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tests.evaluation import naive
from tests.evaluation.conftest import Arrays
from tf_ssgn.common.cli import jsonable
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation import hashing, inspection, protocol, score_features


def test_zero_shot_object(arrays: Arrays):
    metrics = protocol.evaluate_zero_shot(*arrays, (5, 20), resamples=200, seed=1).metrics
    assert metrics["families"] == score_features(*arrays, (5, 20))
    assert metrics["counts"] == {
        "queries": 40,
        "gallery": 150,
        "classes": 5,
        "gallery_classes": 5,
        "queries_without_photo": 0,
        "zero_queries": 0,
        "zero_photos": 0,
    }
    assert sum(entry["queries"] for entry in metrics["per_class"].values()) == 40
    assert sum(entry["photos"] for entry in metrics["per_class"].values()) == 150
    rows = arrays.query_labels == "dög"
    alone = score_features(
        arrays.queries[rows], arrays.query_labels[rows], arrays.gallery, arrays.gallery_labels, (5, 20)
    )
    naive.assert_same(metrics["per_class"]["dög"]["families"], alone)
    means = [entry["families"]["sake"]["map_all"] for entry in metrics["per_class"].values()]
    assert metrics["macro"]["sake"]["map_all"] == pytest.approx(np.mean(means))
    low, high = metrics["intervals"]["zse"]["precision_at_5"]
    assert low <= metrics["families"]["zse"]["precision_at_5"] <= high
    np.testing.assert_allclose(np.sum(metrics["confusion"]["shares"], axis=1), 1.0)
    json.dumps(jsonable(metrics), allow_nan=False)


def test_class_without_photo_is_counted_and_null(arrays: Arrays):
    labels = np.where(arrays.query_labels == "elk", "yak", arrays.query_labels)
    metrics = protocol.evaluate_zero_shot(
        arrays.queries, labels, arrays.gallery, arrays.gallery_labels, 5, resamples=20
    ).metrics
    assert metrics["counts"]["queries_without_photo"] == (labels == "yak").sum() > 0
    assert metrics["per_class"]["yak"]["photos"] == 0
    assert math.isnan(metrics["per_class"]["yak"]["families"]["sake"]["map_all"])
    assert jsonable(metrics)["per_class"]["yak"]["families"]["zse"]["precision_at_5"] is None
    assert not math.isnan(metrics["macro"]["sake"]["map_all"])
    assert metrics["confusion"]["rows"] == ["ant", "bat", "cow (big)", "dög", "yak"]
    assert metrics["confusion"]["columns"] == ["ant", "bat", "cow (big)", "dög", "elk"]


def test_generalized(arrays: Arrays):
    seen = ["ant", "bat"]
    result = protocol.generalized(*arrays, seen, 5)
    known = np.isin(arrays.query_labels, seen)
    for side, rows in (("seen", known), ("unseen", ~known)):
        expected = score_features(
            arrays.queries[rows], arrays.query_labels[rows], arrays.gallery, arrays.gallery_labels, 5
        )
        naive.assert_same(result[side], expected)
    low, high = result["unseen"]["cvae"]["map_at_5"], result["seen"]["cvae"]["map_at_5"]
    assert result["harmonic"]["cvae"]["map_at_5"] == pytest.approx(2 * low * high / (low + high))
    assert sum(result["counts"].values()) == 190
    alone = protocol.generalized(*arrays, [], 5)
    assert math.isnan(alone["seen"]["sake"]["map_all"]) and math.isnan(alone["harmonic"]["sake"]["map_all"])
    with pytest.raises(UserError, match="type of the query labels"):
        protocol.generalized(*arrays, [1, 2], 5)


def test_harmonic_mean_of_nothing_found_is_zero():
    result = protocol.generalized([[1.0, 0], [1.0, 0]], [0, 1], [[0, 1.0], [0, 1.0], [1.0, 0]], [0, 1, 2], [0], 1)
    assert result["harmonic"]["cvae"]["precision_at_1"] == 0.0


def test_fine_grained_equals_loops(arrays: Arrays):
    random = np.random.default_rng(0)
    photos = np.array([f"p{i % 60}" for i in range(150)])
    own = np.where(random.random(40) < 0.8, photos[random.integers(0, 150, 40)], "")
    got = protocol.fine_grained(
        arrays.queries, arrays.query_labels, own, arrays.gallery, arrays.gallery_labels, photos, (1, 5)
    )
    unit = arrays.gallery / np.linalg.norm(arrays.gallery, axis=1, keepdims=True)
    ranks = []
    for query, label, name in zip(arrays.queries, arrays.query_labels, own, strict=True):
        scores = unit @ query
        mates = arrays.gallery_labels == label
        mine = mates & (photos == name)
        if name and mine.any():
            ranks.append(1 + sum(scores[i] >= scores[mine].max() for i in np.flatnonzero(mates & ~mine)))
    assert got["queries"] == len(ranks) > 5 and got["skipped"] == 40 - len(ranks)
    assert got["acc_at_1"] == np.mean(np.array(ranks) <= 1) and got["acc_at_5"] == np.mean(np.array(ranks) <= 5)


@pytest.mark.parametrize("photos", [17, 33, 101])
def test_equal_photos_tie_wherever_they_stand(photos: int):
    """A BLAS rounds the same product differently at another place of a matrix; the own photo stands first and last."""
    random = np.random.default_rng(photos)
    gallery = np.repeat(random.standard_normal((1, 512)).astype(np.float32), photos, axis=0)
    queries = random.standard_normal((5, 512)).astype(np.float32)
    names = [f"p{i}" for i in range(photos)]
    for own in (names[0], names[-1]):
        found = protocol.fine_grained(queries, [0] * 5, [own] * 5, gallery, [0] * photos, names, (1, photos - 1))
        assert found["acc_at_1"] == 0.0 == found[f"acc_at_{photos - 1}"]
    hits = np.arange(photos) == 0
    _, _, right = inspection.nearest(queries, [0] * 5, gallery, np.where(hits, 0, 1), photos)
    assert right[:, -1].all()  # the only hit comes last


def test_lists_given_as_text(arrays: Arrays):
    with pytest.raises(UserError, match="seen: received the text 'ant', expected a list"):
        protocol.generalized(*arrays, "ant", 5)
    with pytest.raises(UserError, match="query_instances: received the text 'a'"):
        protocol.fine_grained([[1.0]], [0], "a", [[1.0]], [0], ["a"])


def test_seen_classes_of_any_text_type(arrays: Arrays):
    expected = protocol.generalized(*arrays, ["ant", "bat"], 5)
    assert protocol.generalized(*arrays, np.array(["ant", "bat"], object), 5) == expected


def test_fine_grained_ties_copies_and_nothing_known():
    same = np.ones((3, 2))
    tied = protocol.fine_grained(same[:1], [0], ["a"], same, [0, 0, 0], ["a", "b", "c"], (1, 2, 3))
    assert (tied["acc_at_1"], tied["acc_at_2"], tied["acc_at_3"]) == (0.0, 0.0, 1.0)
    copies = protocol.fine_grained([[1.0, 0]], [0], ["a"], [[0, 1.0], [1.0, 0], [1.0, 0.1]], [0, 0, 0], ["a", "a", "b"])
    assert copies["acc_at_1"] == 1.0 and copies["mean_candidates"] == 3.0
    nothing = protocol.fine_grained(same[:1], [0], [""], same, [0, 0, 1], ["", "b", "c"])
    assert math.isnan(nothing["acc_at_1"]) and nothing["skipped"] == 1
    with pytest.raises(UserError, match="instance names"):
        protocol.fine_grained(same[:1], [0], [], same, [0, 0, 0], ["a", "b", "c"])


def test_binary_codes_find_what_they_should(arrays: Arrays):
    itq = hashing.fit_itq(arrays.gallery, 16)
    result = protocol.evaluate_binary(itq, *arrays, (5,))
    distances = hashing.hamming(itq.encode(arrays.queries), itq.encode(arrays.gallery)).astype(int)
    relevant = arrays.query_labels[:, None] == arrays.gallery_labels
    assert result["bits"] == 16
    naive.assert_same(result["families"], naive.families(-distances, relevant, (5,)))
    assert result["families"]["sem_pcyc"]["map_all"] > relevant.mean() + 0.05
