"""Exact search against a naive loop, and the order of equal scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_ssgn.retrieval.search import exact


def units(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    vectors = rng.normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def search(parts: list[np.ndarray], query: np.ndarray, k: int, ids: list[str] | None, alive: np.ndarray | None = None):
    (rows,) = exact.candidates(parts, query[None], k, alive)
    vectors = np.concatenate(parts)
    scores = exact.rescored(vectors[rows], query)
    best = exact.order(rows, scores, k, None if ids is None else lambda which: [ids[row] for row in which])
    return rows[best].tolist(), scores[best]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 70), st.integers(1, 4))
def test_equals_a_naive_ranking_with_ties(seed: int, n: int, k: int, cuts: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = units(rng, n, 8)[rng.integers(0, n, n)]  # many equal vectors
    alive = rng.random(n) < 0.8
    ids = [f"{number:04d}" for number in rng.permutation(n)]
    query = units(rng, 1, 8)[0]
    scores = exact.rescored(vectors, query)
    expected = sorted(np.flatnonzero(alive), key=lambda row: (-scores[row], ids[row]))[:k]
    parts = [part for part in np.array_split(vectors, cuts) if len(part)]
    rows, found = search(parts, query, k, ids, alive)
    assert rows == expected
    np.testing.assert_array_equal(found, scores[expected])


def test_many_blocks_and_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_ROWS", 64)
    rng = np.random.default_rng(0)
    vectors, queries = units(rng, 1000, 32), units(rng, 40, 32)
    truth = np.argsort(-(queries.astype(np.float64) @ vectors.T.astype(np.float64)), axis=1)[:, :10]
    for query, rows, expected in zip(queries, exact.candidates([vectors], queries, 10), truth, strict=True):
        best = exact.order(rows, exact.rescored(vectors[rows], query), 10, None)
        np.testing.assert_array_equal(rows[best], expected)


def test_identical_vectors_come_in_the_order_of_ids() -> None:
    vectors = np.tile(units(np.random.default_rng(1), 1, 64), (777, 1))
    ids = [f"{776 - row:03d}" for row in range(777)]
    rows, scores = search([vectors[:500], vectors[500:]], vectors[0], 5, ids)
    assert rows == [776, 775, 774, 773, 772] and len(set(scores.tolist())) == 1
    assert search([vectors], vectors[0], 5, None)[0] == [0, 1, 2, 3, 4]


def test_nothing_to_search() -> None:
    (rows,) = exact.candidates([], np.ones((1, 4), np.float32), 3)
    assert rows.size == 0
    (rows,) = exact.candidates([np.ones((2, 4), np.float32)], np.ones((1, 4), np.float32), 3, np.zeros(2, bool))
    assert rows.size == 0
