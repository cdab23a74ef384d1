"""Transductive re-ranking against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.conftest import Arrays
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation import expansion, score_features


def unit(row):
    return row / np.linalg.norm(row)


def nearest(row, rows, k):
    return sorted(range(len(rows)), key=lambda i: -float(row @ rows[i]))[:k]


@pytest.mark.parametrize("k", [1, 4, 10_000])
def test_means_of_neighbours_block_by_block(arrays: Arrays, k, monkeypatch):
    monkeypatch.setattr(expansion, "SIMILARITY_BYTES", 4 * 7 * len(arrays.gallery))  # 7 rows at a time
    if k > expansion.MOST_NEIGHBOURS:
        with pytest.raises(UserError, match="neighbours, expected 1 to"):
            expansion.expand(arrays.queries, arrays.gallery, k)
        k = expansion.MOST_NEIGHBOURS  # more than there are
    queries, gallery = (np.array([unit(row) for row in rows]) for rows in (arrays.queries, arrays.gallery))
    photos = np.array([unit(sum(gallery[i] for i in nearest(row, gallery, k))) for row in gallery])
    expected = np.array([unit(row + sum(photos[i] for i in nearest(row, photos, k))) for row in queries])
    found = expansion.expand(arrays.queries, arrays.gallery, k)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    np.testing.assert_allclose(found[1], photos, atol=1e-5)


def test_it_helps_where_classes_are_clusters():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 20)
    centres = random.standard_normal((5, 16))
    gallery = centres[labels] + 1.2 * random.standard_normal((100, 16))
    queries = centres + 1.2 * random.standard_normal((5, 16))
    names = [str(label) for label in labels]
    sides = (["0", "1", "2", "3", "4"], names)
    plain = score_features(queries, sides[0], gallery, sides[1], k=10)
    moved = expansion.expand(queries, gallery, 10)
    after = score_features(moved[0], sides[0], moved[1], sides[1], k=10)
    assert after["sem_pcyc"]["map_all"] > plain["sem_pcyc"]["map_all"] + 0.02
