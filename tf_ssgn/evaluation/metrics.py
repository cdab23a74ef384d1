"""mAP, precision and recall by the five definitions in use, computed from the ranks of the hits.

For one query: N items in the gallery, R of them relevant, H(i) hits in the first i ranks, P(i) = H(i) / i. `FAMILIES`
has the formulas, docs/metrics.md all corners: k may exceed N, then the first k ranks are all N; a family that skips
queries with R = 0 has NaN for them, left out of the mean as in the code it comes from; a mean over nothing is NaN.

Sources: the published code of SAKE, ZSE-SBIR and SEM-PCYC (scikit-learn's average precision), the protocol of
Yelamarthi et al. 2018, and torchmetrics' `RetrievalMAP`, `RetrievalPrecision` and `RetrievalRecall`.
"""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tf_ssgn.common.progress import Progress
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation.inputs import encode_labels, feature_pair
from tf_ssgn.evaluation.ranking import Block, rank_features, rank_scores
from tf_ssgn.settings import LARGEST_K

RECALL_LEVELS = np.linspace(0.0, 1.0, 101)


class Family(NamedTuple):
    """Who uses a definition, and its formulas as text for people."""

    used_by: str
    map_all: str
    map_at_k: str
    precision_at_k: str


FAMILIES: dict[str, Family] = {
    "sake": Family("SAKE, DSN, ACNet", "Σ max P(j ≥ i) / R", "same on the first k, / min(k, R)", "H(k) / min(k, N)"),
    "zse": Family("ZSE-SBIR, MA-ZS-SBIR", "as sake", "as sake", "H(m) / m, m = min(k, R)"),
    "sem_pcyc": Family("SEM-PCYC, doodle2search, TCN", "Σ P(i) / R", "Σ P(i ≤ k) / H(k)", "H(k) / min(k, N)"),
    "cvae": Family("Yelamarthi et al., jGAN", "not reported", "Σ P(i ≤ k) / k", "H(k) / k"),
    "torchmetrics": Family("Sketch_LVM, ICFRR", "as sem_pcyc", "as sem_pcyc", "H(k) / k"),
}

Families = dict[str, dict[str, float]]


@dataclass(frozen=True)
class PerQuery:
    """What every query scored: `values` by family and metric, float64 [Q], NaN where the family skips the query;
    `relevant` items of N in the `gallery`, int [Q]; `curve` float64 [101], interpolated precision at recall 0, 0.01,
    ..., 1, mean over the queries with a relevant item."""

    values: dict[str, dict[str, np.ndarray]]
    relevant: np.ndarray
    gallery: int
    curve: np.ndarray

    def mean(self, rows: Any = slice(None)) -> Families:
        """Means over all queries, or over some rows (index array or mask)."""
        return {
            family: {name: nan_mean(values[rows]) for name, values in metrics.items()}
            for family, metrics in self.values.items()
        }


def nan_mean(values: np.ndarray) -> float:
    """The mean of what is defined; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def score_rankings(scores: Any, relevant: Any, k: int | Sequence[int] = (100, 200)) -> Families:
    """All five families for given scores.

    Args:
        scores: [Q, N] numbers of any dtype, higher is better; ties take the pessimistic order (irrelevant first).
        relevant: bool [Q, N].
        k: the cut-offs, each at least 1; they may exceed N.

    Returns:
        `{"sake": {"map_all": .., "map_at_100": .., "precision_at_100": .., "recall_at_100": ..}, "zse": .., "sem_pcyc":
        .., "cvae": (no map_all) .., "torchmetrics": ..}`; means over queries; NaN where not defined.

    Raises:
        UserError: NaN scores, shapes or types that do not fit, no query, an empty gallery, k below 1.
    """
    return per_query_rankings(scores, relevant, k).mean()


def score_features(
    queries: Any, query_labels: Any, gallery: Any, gallery_labels: Any, k: int | Sequence[int] = (100, 200)
) -> Families:
    """All five families for features by cosine similarity; an item is relevant when its label is the query's.

    Args:
        queries: [Q, d] numbers, of any length but 0 (a zero vector has cosine 0 to everything).
        query_labels: [Q], all int or all str.
        gallery: [N, d].
        gallery_labels: [N], of the type of `query_labels`. A query whose label is not among them has R = 0.
        k: the cut-offs.

    Returns:
        As `score_rankings`. Computed in float64 if either side is float64, else in float32; blocked over queries, the
        memory above the inputs is a copy of the features and about 100 MB for each core at work, of at most 8.

    Raises:
        UserError: NaN or infinite features, different dimensions, labels of other or different types, no query, an
        empty gallery.
    """
    return per_query_features(queries, query_labels, gallery, gallery_labels, k).mean()


def per_query_rankings(scores: Any, relevant: Any, k: int | Sequence[int] = (100, 200)) -> PerQuery:
    """`score_rankings` before the mean."""
    cuts = check_k(k)
    blocks, queries, items = rank_scores(scores, relevant)
    return measure(blocks, queries, items, cuts)


def per_query_features(
    queries: Any,
    query_labels: Any,
    gallery: Any,
    gallery_labels: Any,
    k: int | Sequence[int] = (100, 200),
    *,
    progress: bool = False,
) -> PerQuery:
    """`score_features` before the mean; `progress` counts queries on stderr."""
    cuts = check_k(k)
    queries, gallery = feature_pair(queries, gallery)
    labels = encode_labels(query_labels, gallery_labels, len(queries), len(gallery))
    return measure(rank_features(queries, gallery, labels), len(queries), len(gallery), cuts, progress=progress)


def check_k(k: int | Sequence[int]) -> tuple[int, ...]:
    """The cut-offs, ascending and distinct."""
    values = np.atleast_1d(np.asarray(k))
    if values.dtype.kind not in "iu" or values.ndim != 1 or (values < 1).any() or (values > LARGEST_K).any():
        raise UserError(f"k: received {k!r:.80}, expected whole numbers of 1 or more, up to {LARGEST_K:,}")
    return tuple(sorted({int(value) for value in values}))


def measure(blocks: Iterable[Block], queries: int, items: int, k: Sequence[int], *, progress: bool = False) -> PerQuery:
    """Gathers the metrics of all blocks; `queries` is Q, `items` is N."""
    values: dict[str, dict[str, np.ndarray]] = {family: {} for family in FAMILIES}
    relevant = np.zeros(queries, np.int64)
    curve = np.zeros(len(RECALL_LEVELS))

    def take(block: Block) -> None:
        relevant[block.rows] = block.relevant
        for family, metrics in block_metrics(block, items, k).items():
            for name, value in metrics.items():
                values[family].setdefault(name, np.full(queries, np.nan))[block.rows] = value
        curve[:] += _curve(block)

    with Progress(queries, "queries") if progress else nullcontext() as bar:
        for block in blocks:
            take(block)
            if bar:
                bar.advance(len(block.rows))
    answerable = int((relevant > 0).sum())
    return PerQuery(values, relevant, items, curve / answerable if answerable else np.full(len(curve), np.nan))


def block_metrics(block: Block, items: int, k: Sequence[int]) -> dict[str, dict[str, np.ndarray]]:
    """family -> metric -> float64 [B] by the table at the top of this file."""
    ranks, relevant = block.ranks, block.relevant.astype(np.float64)
    positives = np.where(relevant > 0, relevant, np.nan)  # R, and NaN where that is 0
    precision = np.arange(1, ranks.shape[1] + 1) / ranks  # P(i) at each hit; 0 at the infinite ranks of the padding
    interpolated, plain = _envelope(precision).sum(axis=1) / positives, precision.sum(axis=1) / positives
    result: dict[str, dict[str, np.ndarray]] = {family: {} for family in FAMILIES}
    result["sake"]["map_all"] = result["zse"]["map_all"] = interpolated
    result["sem_pcyc"]["map_all"] = result["torchmetrics"]["map_all"] = np.nan_to_num(plain)
    for cut in k:
        near = ranks[:, :cut] <= cut  # at most k hits can be among the first k
        hits = near.sum(axis=1).astype(np.float64)
        inside = np.where(near, precision[:, :cut], 0.0)
        total = inside.sum(axis=1)
        strict = _envelope(inside).sum(axis=1) / np.minimum(cut, positives)
        lenient = total / np.maximum(hits, 1.0)
        reach = np.minimum(cut, block.relevant)
        own_depth = (ranks[:, :cut] <= reach[:, None]).sum(axis=1) / np.minimum(cut, positives)
        recall = hits / positives
        average = {"sake": strict, "zse": strict, "sem_pcyc": lenient, "cvae": total / cut, "torchmetrics": lenient}
        for family, metrics in result.items():
            metrics[f"map_at_{cut}"] = average[family]
            metrics[f"precision_at_{cut}"] = hits / cut
            metrics[f"recall_at_{cut}"] = recall if family in ("sake", "zse") else np.nan_to_num(recall)
        # SEM-PCYC's code averages over the items it got, so it divides by min(k, N) like SAKE's.
        for family in ("sake", "sem_pcyc"):
            result[family][f"precision_at_{cut}"] = hits / min(cut, items)
        result["zse"][f"precision_at_{cut}"] = own_depth
    return result


def _envelope(precision: np.ndarray) -> np.ndarray:
    """max_{j>=i} P(j) at each hit. Between two hits P only falls, so the maximum over hits is that over ranks."""
    return np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]


def _curve(block: Block) -> np.ndarray:
    """Interpolated precision at `RECALL_LEVELS`, summed over the queries with a relevant item."""
    rows = np.flatnonzero(block.relevant)
    if not len(rows):
        return np.zeros(len(RECALL_LEVELS))
    envelope = _envelope(np.arange(1, block.ranks.shape[1] + 1) / block.ranks)
    # The first hit at which recall reaches the level; recall 0 is reached by the first hit.
    hit = np.ceil(RECALL_LEVELS * block.relevant[rows, None] - 1e-9).astype(np.int64)
    return envelope[rows[:, None], np.maximum(hit, 1) - 1].sum(axis=0)
