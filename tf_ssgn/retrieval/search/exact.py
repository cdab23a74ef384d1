"""Exact search among vectors of length 1: blocked matrix products, and the order in which equal scores come."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.settings import UNIT_TOLERANCE

_ROWS, _QUERIES = 32_768, 16  # one block of scores is 2 MiB
# A float32 product may differ in its last bits between equal rows of one block, so everything this close to the
# k-th score is scored again, row by row, before it is ordered.
MARGIN = 1e-5


def unit_vectors(
    vectors: Any, dimension: int, what: str = "vectors", numbers: Sequence[int] | np.ndarray | None = None
) -> np.ndarray:
    """`vectors` as float32 [B, d] of length 1; UserError where one is zero, not finite or of another size. `numbers`
    are the rows' numbers in errors, where they are not 0 to B - 1."""
    try:
        array = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError):
        raise UserError(f"{what}: expected numbers of shape [n, {dimension}]") from None
    if array.ndim != 2 or array.shape[1] != dimension:
        raise UserError(f"{what}: received shape {list(array.shape)}, expected [n, {dimension}]")
    # In float64, so that no finite vector overflows or vanishes when it is squared.
    lengths = np.sqrt(np.einsum("ij,ij->i", array, array, dtype=np.float64))
    off = ~(np.abs(lengths - 1) <= UNIT_TOLERANCE)  # what is a unit vector already stays equal to the bit
    if not off.any():
        return array
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if bad.size:
        first = bad[0] if numbers is None else numbers[bad[0]]
        kind = "zero" if lengths[bad[0]] == 0 else "NaN or infinite"
        raise UserError(
            f"{what}: row {first} is {kind} ({bad.size} such rows); expected finite vectors that are not zero"
        )
    array = array.copy()
    array[off] = array[off] / lengths[off, None]
    return array


def candidates(
    vectors: Sequence[np.ndarray], queries: np.ndarray, k: int, alive: np.ndarray | None = None
) -> list[np.ndarray]:
    """For each query float32 [Q, d] the rows that may be among its k best, ascending; at least min(k, rows `alive`) of
    them. The rows of `vectors` float32 [n_i, d] are numbered one array after the other."""
    result: list[np.ndarray] = []
    for start in range(0, len(queries), _QUERIES):
        result += _few_queries(vectors, queries[start : start + _QUERIES], k, alive)
    return result


def _few_queries(
    vectors: Sequence[np.ndarray], queries: np.ndarray, k: int, alive: np.ndarray | None
) -> list[np.ndarray]:
    best = np.empty((len(queries), 0), np.float32)  # the k best scores so far
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # query, row, score of what may still matter
    first = 0
    for array in vectors:
        for low in range(0, len(array), _ROWS):
            block = array[low : low + _ROWS]
            scores = queries @ block.T
            if alive is not None:
                scores[:, ~alive[first : first + len(block)]] = -np.inf
            full = best.shape[1] == k
            if not full:
                best = _largest(np.concatenate([best, scores], axis=1), k)
            query, row = np.nonzero(scores >= _floor(best, k)[:, None])
            score = scores[query, row]
            if full:  # few rows of a later block are among the best, so sorting them out first saves most of the work
                best = _largest(np.concatenate([best, _table(query, score, len(queries))], axis=1), k)
            kept.append((query, row + first, score))
            first += len(block)
    if not kept:
        return [np.empty(0, np.int64) for _ in queries]
    query, row, score = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    stays = score >= _floor(best, k)[query]
    query, row = query[stays], row[stays]
    order = np.lexsort((row, query))
    query, row = query[order], row[order]
    return np.split(row.astype(np.int64), np.searchsorted(query, np.arange(1, len(queries))))


def _floor(best: np.ndarray, k: int) -> np.ndarray:
    """[Q]: the score below which nothing can be among the k best; below every cosine where k are not found yet."""
    if best.shape[1] < k:
        return np.full(len(best), -2, np.float32)
    return np.maximum(best.min(axis=1) - np.float32(MARGIN), np.float32(-2))


def _table(query: np.ndarray, score: np.ndarray, queries: int) -> np.ndarray:
    """Scores of each query, ascending in `query`, as the rows of one array, filled up with -inf."""
    counts = np.bincount(query, minlength=queries)
    table = np.full((queries, counts.max(initial=0)), -np.inf, np.float32)
    table[query, np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)] = score
    return table


def _largest(scores: np.ndarray, k: int) -> np.ndarray:
    """The k largest of each row, in no order; all of them where there are fewer."""
    if scores.shape[1] <= k:
        return scores
    return np.partition(scores, scores.shape[1] - k, axis=1)[:, -k:]


def rescored(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """float32 [n]: cosines, summed in float64 row by row, so that equal rows score equally wherever they are."""
    query = query.astype(np.float64)
    parts = [
        np.einsum("ij,j->i", vectors[low : low + 4096].astype(np.float64), query)
        for low in range(0, len(vectors), 4096)
    ]
    return np.clip(np.concatenate(parts), -1, 1).astype(np.float32) if parts else np.empty(0, np.float32)


def order(
    rows: np.ndarray, scores: np.ndarray, k: int, ids_of: Callable[[np.ndarray], Sequence[str]] | None
) -> np.ndarray:
    """Positions of the k best of `rows`: by score, equal scores by id. `ids_of` gives the ids of rows; None says that
    the rows are already numbered in the order of their ids."""
    by_row = np.lexsort((rows, -scores))
    if ids_of is None or len(rows) < 2:
        return by_row[:k]
    # Ids are fetched only for what can be in the answer, and only where a tie asks for them.
    last = scores[by_row[min(k, len(rows)) - 1]]
    close = by_row[scores[by_row] >= last]
    if len(np.unique(scores[close])) == len(close):
        return close[:k]
    ids = ids_of(rows[close])
    ranked = sorted(range(len(close)), key=lambda i: (-scores[close[i]], ids[i]))
    return close[np.asarray(ranked[:k], np.int64)]
