"""Nearest photos, confusion and map on vectors whose answer is known."""

from __future__ import annotations

import math

import numpy as np

from tests.evaluation.conftest import Arrays
from tf_ssgn.evaluation import inspection


def test_confusion_counts_the_nearest():
    features = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    got = inspection.confusion([[1.0, 0.0]], [7], features, [7, 8, 9], depth=2)
    assert got == {"rows": ["7"], "columns": ["7", "8", "9"], "shares": [[0.5, 0.5, 0.0]], "depth": 2}


def test_nearest_takes_the_pessimistic_order(arrays: Arrays):
    photos, scores, hits = inspection.nearest(
        [[1.0, 0]], [1], [[2.0, 0], [0, 1.0], [1.0, 0], [3.0, 0]], [1, 1, 0, 1], 3
    )
    assert photos.tolist() == [[2, 0, 3]] and hits.tolist() == [[False, True, True]]
    np.testing.assert_allclose(scores, 1.0)
    photos, scores, _ = inspection.nearest(*arrays, 500)
    assert photos.shape == (40, 150)
    assert (np.diff(scores, axis=1) <= 0).all() and (np.sort(photos, axis=1) == np.arange(150)).all()


def test_code_map(arrays: Arrays):
    points = inspection.code_map(*arrays, points=60)
    assert len(points["x"]) == len(points["label"]) == 60 and points["modality"].count("sketch") == 30
    assert 0 < points["explained"] <= 1
    assert points == inspection.code_map(*arrays, points=60)
    one = inspection.code_map([[1.0]], ["a"], [[1.0]], ["a"])
    assert one["x"] == [0.0, 0.0] and math.isnan(one["explained"])
