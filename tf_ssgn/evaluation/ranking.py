"""From similarities to the ranks of the hits, block by block, with ties in the pessimistic order.

Every metric of `metrics.py` depends on a ranking only through the ranks of its relevant items, and the rank of a hit is

    1 + (irrelevant items scored at least as high) + (relevant items placed before it)

so only the irrelevant scores are sorted and the hits are looked up in them. Equal scores count against the hit, for any
dtype, without a stable sort and without depending on the order of the files.

Every core works through blocks of queries of its own, product, sort and look-up together, on one BLAS thread: nothing
waits for a matrix product to be shared out and gathered, and the metrics of one block are computed beside the next.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from tf_ssgn.common.cores import cores
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation.inputs import Labels, matrix
from tf_ssgn.evaluation.threads import one_blas_thread
from tf_ssgn.settings import RANKING_BYTES, RANKING_WORKERS

RANK_COPIES = 6  # float64 arrays of the size of `Block.ranks` alive while metrics are computed


class Block(NamedTuple):
    """Some queries' hits: `rows` int [B], `ranks` float64 [B, R] from 1, ascending, inf past a row's last hit, and
    `relevant` int [B], how many hits a row has."""

    rows: np.ndarray
    ranks: np.ndarray
    relevant: np.ndarray


def rank_scores(scores: Any, relevant: Any) -> tuple[Iterator[Block], int, int]:
    """Blocks for given scores [Q, N], higher is better, infinite ones allowed, and `relevant` bool (or 0 and 1); with Q
    and N. UserError: wrong shapes or types, NaN, no query, an empty gallery."""
    scores, relevant = matrix(scores, "scores"), matrix(relevant, "relevant")
    if scores.shape != relevant.shape:
        raise UserError(f"scores {list(scores.shape)}, relevant {list(relevant.shape)}; expected one shape [Q, N]")
    if relevant.dtype != bool:
        if not np.isin(relevant, (0, 1)).all():
            raise UserError("relevant holds values other than 0 and 1; expected bool [Q, N]")
        relevant = relevant.astype(bool)
    if scores.dtype.kind == "f":
        bad = np.isnan(scores).any(axis=1)
        if bad.any():
            raise UserError(f"scores: {bad.sum()} row(s) hold NaN, the first is row {bad.argmax()}; expected numbers")
    return _rank_scores(scores, relevant), *scores.shape


def _rank_scores(scores: np.ndarray, relevant: np.ndarray) -> Iterator[Block]:
    items = scores.shape[1]
    counts = relevant.sum(axis=1)
    step = _block_rows(items, scores.itemsize, int(counts.max()))

    def block(start: int) -> list[Block]:
        rows = np.arange(start, min(start + step, len(scores)))
        others, mask, count = scores[rows], relevant[rows], counts[rows]  # `others` is a copy
        lowest = _lowest(others.dtype)
        widest = int(count.max())
        hits = np.full((len(rows), widest), lowest, others.dtype)
        hits[np.arange(widest) >= widest - count[:, None]] = others[mask]
        others[mask] = lowest
        return [Block(rows, _ranks(others, _sorted(hits), count), count)]

    yield from _in_order(block, range(0, len(scores), step))


def rank_features(queries: Any, gallery: Any, labels: Labels) -> Iterator[Block]:
    """Blocks by cosine similarity; `queries` [Q, d] and `gallery` [N, d] as `unit_rows` returns them. Queries too are
    taken in an order of content: see `Cosines`."""
    cosines = Cosines(gallery, labels.gallery)
    kept = threading.local()  # each thread writes its scores over its last ones: fresh memory costs time

    def similarity(rows: np.ndarray) -> np.ndarray:
        space = getattr(kept, "scores", None)
        if space is None or len(space) < len(rows):
            space = kept.scores = np.empty((len(rows), len(gallery)), gallery.dtype)
        return cosines(queries[rows], space[: len(rows)])

    yield from rank_by_label(similarity, gallery.dtype, labels, cosines.order, content_order(queries))


class Cosines:
    """Scores of unit rows against a gallery's that do not depend on the order of the files.

    A BLAS may round the same product differently at another place of the matrix, and the order of the files would
    decide ties. So the gallery is put into an `order` that depends on its content alone, by class, then by content, and
    equal photos get the very same score. Give the queries in `content_order` too.
    """

    def __init__(self, gallery: np.ndarray, classes: np.ndarray):
        self.order, self._copies, self._originals = _gallery_order(gallery, classes)
        self._photos = gallery[self.order].T

    def __call__(self, queries: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Scores [B, N] of queries [B, d], into `out` where that is given."""
        scores = np.matmul(queries, self._photos, out=out)
        if len(self._copies):
            scores[:, self._copies] = scores[:, self._originals]
        return scores


def rank_by_label(
    similarity: Callable[[np.ndarray], np.ndarray],
    dtype: Any,
    labels: Labels,
    gallery_order: np.ndarray,
    query_order: np.ndarray | None = None,
) -> Iterator[Block]:
    """Blocks for a similarity whose relevance is "same label": query rows int [B] -> scores [B, N] of `dtype` that may
    be overwritten, columns in `gallery_order`.

    That order sorts the gallery by class, so that the hits of a query are one slice of columns; `query_order` is that
    inside a class, by default the given one.
    """
    items, classes = len(gallery_order), len(labels.names)
    ends = np.cumsum(np.bincount(labels.gallery, minlength=classes))
    starts = ends - np.bincount(labels.gallery, minlength=classes)
    order = np.arange(len(labels.queries)) if query_order is None else query_order
    order = order[np.argsort(labels.queries[order], kind="stable")]
    step = _block_rows(items, np.dtype(dtype).itemsize, int((ends - starts).max()))

    def blocks(start: int) -> list[Block]:
        rows = order[start : start + step]
        scores = similarity(rows)
        lowest = _lowest(scores.dtype)
        query_labels = labels.queries[rows]
        cuts = [0, *(np.flatnonzero(np.diff(query_labels)) + 1), len(rows)]
        result = []
        for left, right in zip(cuts[:-1], cuts[1:], strict=True):
            others = scores[left:right]
            columns = slice(starts[query_labels[left]], ends[query_labels[left]])
            hits = _sorted(others[:, columns])
            others[:, columns] = lowest
            relevant = np.full(right - left, hits.shape[1])
            result.append(Block(rows[left:right], _ranks(others, hits, relevant), relevant))
        return result

    yield from _in_order(blocks, range(0, len(order), step))


def _in_order(work: Callable[[int], list[Block]], starts: Sequence[int]) -> Iterator[Block]:
    """What `work` makes of each start, in order; as many are in work as there are cores, and one more is waiting."""
    workers = min(len(starts), cores(), RANKING_WORKERS)
    if workers <= 1:
        for start in starts:
            yield from work(start)
        return
    running: deque[Future[list[Block]]] = deque()
    with one_blas_thread(), ThreadPoolExecutor(workers) as pool:
        for start in starts:
            running.append(pool.submit(work, start))
            if len(running) > workers:
                yield from running.popleft().result()
        while running:
            yield from running.popleft().result()


def _ranks(others: np.ndarray, hits: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Ranks of the hits, float64 [B, R], ascending. `others` [B, N] (overwritten) has the lowest value where the hits
    were; `hits` [B, R] are ascending per row, after fillers of the lowest value where a row has fewer than R."""
    rows, items = others.shape
    widest = hits.shape[1]
    ranks = np.empty((rows, widest))
    if widest:  # else nothing is wanted, and no sort is needed
        for row in range(rows):
            ranks[row, ::-1] = _at_least(others[row], hits[row])
    # A hit with the lowest value of all also counted the fillers that stand for hits.
    np.minimum(ranks, (items - relevant)[:, None], out=ranks)
    place = np.arange(1, widest + 1)
    ranks += place
    if len(relevant) and relevant.min() < widest:
        ranks[place > relevant[:, None]] = np.inf
    return ranks


def _sorted(hits: np.ndarray) -> np.ndarray:
    # 8- and 16-bit numbers have a radix sort, everything else is faster by comparison.
    small = hits.dtype.kind in "iu" and hits.dtype.itemsize <= 2
    return np.sort(hits, axis=1, kind="stable" if small else "quicksort")


def _at_least(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """How many of `values` [N] (overwritten) are at least each of `wanted` [R]."""
    if values.dtype == np.uint8:  # Hamming: 256 levels are counted faster than sorted
        return np.bincount(values, minlength=256)[::-1].cumsum()[::-1][wanted]
    values.sort()
    return len(values) - np.searchsorted(values, wanted, side="left")


def _block_rows(items: int, itemsize: int, widest: int) -> int:
    return max(1, RANKING_BYTES // (items * itemsize + widest * 8 * RANK_COPIES))


def _lowest(dtype: np.dtype) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def content_order(rows: np.ndarray) -> np.ndarray:
    """Sorts rows by their bytes: any total order will do that ignores where a row stands."""
    return np.argsort(rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel(), kind="stable")


def _gallery_order(gallery: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gallery by class, then by content; and which columns of that order repeat which earlier vector."""
    content = content_order(gallery)
    repeats = np.zeros(len(content), bool)
    step = max(1, 2**21 // gallery.shape[1])
    for start in range(1, len(content), step):
        stop = min(start + step, len(content))
        repeats[start:stop] = (gallery[content[start:stop]] == gallery[content[start - 1 : stop - 1]]).all(axis=1)
    first = np.maximum.accumulate(np.where(repeats, 0, np.arange(len(content))))
    by_class = np.argsort(classes[content], kind="stable")
    column = np.empty_like(by_class)
    column[by_class] = np.arange(len(by_class))
    return content[by_class], column[repeats], column[first[repeats]]
