"""How sure a figure is: intervals over queries, two runs compared, spread over seeds, and the telling queries.

Intervals and p-values treat queries as independent draws and the gallery and the classes as given: they say how well
the figure is known for these classes, not how it would transfer to other classes.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.evaluation.metrics import PerQuery, nan_mean
from tf_ssgn.settings import RANDOM_TOGETHER

CONFIDENCE = 0.95  # of the intervals
SIGN_FLIPS = 5_000  # of a paired comparison: p is known to one in so many
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # Student's t, 1 to 10 degrees


def bootstrap(per_query: PerQuery, *, resamples: int = 1000, seed: int = 0) -> dict[str, dict[str, list[float]]]:
    """95% percentile bootstrap over queries: family -> metric -> [low, high]; NaN where the metric is not defined. The
    same resamples serve every metric, so that intervals of one call can be compared."""
    names, table = _table(per_query)
    ends = np.stack(_percentiles(table, resamples, seed), axis=1).tolist()
    result: dict[str, dict[str, list[float]]] = {family: {} for family in per_query.values}
    for (family, name), pair in zip(names, ends, strict=True):
        result[family][name] = pair
    return result


def compare(
    ours: PerQuery, theirs: PerQuery, *, resamples: int = SIGN_FLIPS, seed: int = 0
) -> dict[str, dict[str, dict[str, float]]]:
    """Paired comparison of two runs on the same queries in the same order: family -> metric -> `difference` (mean of
    ours minus theirs), `low` and `high` (bootstrap interval of it) and `p`.

    p is two-sided, from random sign flips of the per-query differences (the smallest is 1 / (resamples + 1)). Queries
    that either run skips are left out. UserError: runs over different queries or cut-offs.
    """
    names, left = _table(ours)
    other_names, right = _table(theirs)
    if names != other_names:
        raise UserError("the two runs were scored at different k; score both with the same cut-offs")
    if left.shape != right.shape:
        raise UserError(
            f"the runs hold {left.shape[1]:,} and {right.shape[1]:,} queries; "
            "expected the same queries in the same order"
        )
    if ours.gallery != theirs.gallery or not np.array_equal(ours.relevant, theirs.relevant):
        raise UserError(
            f"the runs were scored on other galleries ({ours.gallery:,} and {theirs.gallery:,} photos, or other "
            "classes of photos); expected the same photos"
        )
    table = left - right
    low, high = _percentiles(table, min(resamples, 1000), seed)
    chance = _sign_flips(table, resamples, seed)
    result: dict[str, dict[str, dict[str, float]]] = {family: {} for family in ours.values}
    for row, (family, name) in enumerate(names):
        result[family][name] = {
            "difference": nan_mean(table[row]),
            "low": float(low[row]),
            "high": float(high[row]),
            "p": float(chance[row]),
        }
    return result


def across_seeds(runs: Sequence[Mapping[str, Mapping[str, float | None]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Runs that differ in their seed: family -> metric -> `mean`, `std` (sample standard deviation), `low` and `high`
    (95% interval of the mean, by Student's t: a bootstrap of three or five numbers is far too narrow), `min`, `max` and
    `runs`. NaN where one run cannot say."""
    if not runs:
        raise UserError("received no runs to average, expected the metrics of at least one")
    if any({f: set(m) for f, m in run.items()} != {f: set(m) for f, m in runs[0].items()} for run in runs):
        raise UserError("the runs were scored at different k; score all with the same cut-offs")
    result: dict[str, dict[str, dict[str, float]]] = {}
    for family, metrics in runs[0].items():
        result[family] = {}
        for name in metrics:
            values = np.array([run[family][name] for run in runs], float)  # None is NaN
            mean, spread = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")
            margin = _student(len(values) - 1) * spread / len(values) ** 0.5
            result[family][name] = {
                **{"mean": mean, "std": spread, "low": mean - margin, "high": mean + margin},
                **{"min": float(values.min()), "max": float(values.max()), "runs": len(values)},
            }
    return result


def _student(freedom: int) -> float:
    """The 97.5% point of Student's t, by its expansion for large degrees of freedom beyond the table (to 0.002)."""
    if freedom < 1:
        return float("nan")
    z = 1.959964  # of the normal distribution
    if freedom <= len(T_975):
        return T_975[freedom - 1]
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def extremes(values: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Rows of the `best`, `median` and `worst` queries by `values` [Q], `count` each at most; undefined ones are left
    out. Equal values keep the order of the queries, and no query is named twice."""
    order = np.argsort(-values, kind="stable")
    order = order[~np.isnan(values[order])]
    count = min(count, len(order) // 3) if len(order) >= 3 else min(count, 1)
    middle = max(0, (len(order) - count) // 2)
    return {
        "best": order[:count],
        "median": order[middle : middle + count] if len(order) >= 2 else order[:0],
        "worst": order[max(count, len(order) - count) :][::-1] if len(order) >= 3 else order[:0],
    }


def _table(per_query: PerQuery) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Names and values [metrics, Q] of all per-query figures."""
    names = [(family, name) for family, metrics in per_query.values.items() for name in metrics]
    return names, np.stack([per_query.values[family][name] for family, name in names])


def _percentiles(table: np.ndarray, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Low and high ends [metrics]. A resample is a vector of counts, so all metrics are two matrix products."""
    if resamples < 1:
        raise UserError(f"received {resamples} resamples; expected 1 or more")
    queries = table.shape[1]
    known = ~np.isnan(table)
    filled = np.where(known, table, 0.0)
    random = np.random.default_rng(seed)
    means = np.empty((len(table), resamples))
    step = max(1, RANDOM_TOGETHER // queries)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = random.integers(0, queries, (size, queries)) + np.arange(size)[:, None] * queries
        weights = np.bincount(drawn.ravel(), minlength=size * queries).reshape(size, queries).T.astype(np.float64)
        with np.errstate(invalid="ignore"):  # a resample without a defined query is NaN
            means[:, start : start + size] = (filled @ weights) / (known.astype(np.float64) @ weights)
    result = np.full((2, len(table)), np.nan)
    tail = (1 - CONFIDENCE) / 2
    for row in np.flatnonzero(known.any(axis=1)):
        result[:, row] = np.nanquantile(means[row], [tail, 1 - tail])
    return result[0], result[1]


def _sign_flips(table: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Two-sided p-values [metrics] of mean differences under random signs."""
    filled = np.nan_to_num(table)
    seen = np.abs(filled.sum(axis=1))
    # One unit of rounding must not turn an equal sum into a larger one.
    slack = 1e-12 * np.abs(filled).sum(axis=1)
    random = np.random.default_rng(seed)
    extreme = np.zeros(len(table), np.int64)
    step = max(1, RANDOM_TOGETHER // table.shape[1])
    for start in range(0, resamples, step):
        signs = random.integers(0, 2, (table.shape[1], min(step, resamples - start)), np.int8) * 2.0 - 1.0
        extreme += (np.abs(filled @ signs) >= (seen - slack)[:, None]).sum(axis=1)
    chance = (extreme + 1) / (resamples + 1)
    return np.where(np.isnan(table).all(axis=1), np.nan, chance)
