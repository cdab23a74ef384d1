"""ITQ codes, and Hamming ranking against loops over bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation import naive
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation import hashing, metrics
from tf_ssgn.evaluation.inputs import encode_labels


def bits(codes: np.ndarray) -> np.ndarray:
    return np.unpackbits(codes, axis=1)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 4, 8, 12, 16]), st.integers(1, 40))
def test_ranking_equals_loops_over_bits(seed, width, items):
    random = np.random.default_rng(seed)
    queries, gallery = random.integers(0, 4, (5, width), np.uint8), random.integers(0, 4, (items, width), np.uint8)
    asked, held = random.integers(0, 4, 5), random.integers(0, 3, items)
    distances = np.array([[np.sum(left != right) for right in bits(gallery)] for left in bits(queries)])
    np.testing.assert_array_equal(hashing.hamming(queries, gallery), distances)
    labels = encode_labels(asked, held, 5, items)
    got = metrics.measure(hashing.rank_codes(queries, gallery, labels), 5, items, (3,)).mean()
    naive.assert_same(got, naive.families(-distances, asked[:, None] == held, (3,)))


def test_distance_of_opposite_codes_of_128_bits():
    assert hashing.hamming(np.zeros((1, 16), np.uint8), np.full((1, 16), 255, np.uint8)).item() == 128


@pytest.mark.parametrize("width", [16, 24, 48])
def test_codes_are_packed_balanced_and_repeatable(width):
    features = np.random.default_rng(0).standard_normal((300, 48)).astype(np.float32)

    def fit(seed: int) -> hashing.ITQ:
        return hashing.fit_itq(features, width, seed=seed, iterations=3)

    itq = fit(1)
    codes = itq.encode(features)
    assert codes.shape == (300, width // 8) and codes.dtype == np.uint8 and itq.bits == width
    assert np.abs(bits(codes).mean(axis=0) - 0.5).max() < 0.15
    np.testing.assert_array_equal(codes, fit(1).encode(features))
    assert (codes != fit(2).encode(features)).any()
    np.testing.assert_array_equal(codes[:3], itq.encode(8 * features[:3]))  # length carries no information


def test_rotation_loses_less_than_plain_principal_components():
    """What ITQ is for: the distance of the projections to their signs falls with the iterations."""
    random = np.random.default_rng(0)
    features = random.standard_normal((200, 20)) * np.geomspace(5, 0.2, 20)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)

    def loss(iterations: int) -> float:
        itq = hashing.fit_itq(features, 16, iterations=iterations)
        projected = (unit - itq.mean) @ itq.projection
        return float(((np.sign(projected) - projected) ** 2).sum())

    assert loss(20) < loss(3) < loss(0)
    itq = hashing.fit_itq(features, 16, iterations=3)
    np.testing.assert_allclose(itq.projection.T @ itq.projection, np.eye(16), atol=1e-5)


def test_mistakes():
    features = np.random.default_rng(0).standard_normal((20, 32))
    for wrong in (8, 20, 136, 0):
        with pytest.raises(UserError, match="multiple of 8 from 16 to 128"):
            hashing.fit_itq(features, wrong)
    with pytest.raises(UserError, match="at most one bit per dimension"):
        hashing.fit_itq(features, 64)
    with pytest.raises(UserError, match="two or more"):
        hashing.fit_itq(features[:1], 16)
    with pytest.raises(UserError, match="NaN"):
        hashing.fit_itq(np.full((3, 32), np.nan), 16)
    with pytest.raises(UserError, match="fitted on 32"):
        hashing.fit_itq(features, 16).encode(features[:, :30])
