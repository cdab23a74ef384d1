"""Intervals, paired tests, seeds and extremes on values whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.conftest import Arrays
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation import per_query_features, per_query_rankings, statistics


def scored(arrays: Arrays, noise: float = 0.0, k=5):
    random = np.random.default_rng(1)
    queries = arrays.queries + noise * random.standard_normal(arrays.queries.shape).astype(np.float32)
    return per_query_features(queries, arrays.query_labels, arrays.gallery, arrays.gallery_labels, k)


def test_interval_holds_the_mean_and_is_repeatable(arrays: Arrays):
    per_query = scored(arrays)
    intervals = statistics.bootstrap(per_query, seed=4)
    for family, metrics in per_query.mean().items():
        for name, value in metrics.items():
            low, high = intervals[family][name]
            assert low <= value <= high
    assert intervals == statistics.bootstrap(per_query, seed=4)
    assert intervals != statistics.bootstrap(per_query, seed=5)


def test_interval_has_the_width_of_theory(monkeypatch):
    """Precision at 1 of 400 queries, half of them right: 1.96 standard errors of a coin are 0.049."""
    monkeypatch.setattr(statistics, "RANDOM_TOGETHER", 50_000)  # several chunks
    relevant = np.zeros((400, 2), bool)
    relevant[:200, 0] = relevant[200:, 1] = True
    per_query = per_query_rankings(np.tile([1.0, 0.0], (400, 1)), relevant, 1)
    low, high = statistics.bootstrap(per_query, resamples=2000)["cvae"]["precision_at_1"]
    assert low == pytest.approx(0.451, abs=0.01) and high == pytest.approx(0.549, abs=0.01)


def test_undefined_stays_undefined():
    per_query = per_query_rankings([[1.0], [0.0]], [[False], [False]], 1)
    intervals = statistics.bootstrap(per_query, resamples=10)
    assert np.isnan(intervals["zse"]["map_all"]).all()
    assert intervals["cvae"]["map_at_1"] == [0.0, 0.0]
    assert np.isnan(statistics.compare(per_query, per_query, resamples=10)["zse"]["map_all"]["p"])


def test_paired_comparison(arrays: Arrays):
    clean, noisy = scored(arrays), scored(arrays, noise=4.0)
    same = statistics.compare(clean, clean, resamples=99)["sake"]["map_all"]
    assert same == {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    result = statistics.compare(clean, noisy, resamples=999)
    entry = result["sake"]["map_all"]
    assert entry["difference"] == pytest.approx(clean.mean()["sake"]["map_all"] - noisy.mean()["sake"]["map_all"])
    assert 0 < entry["low"] <= entry["difference"] <= entry["high"]
    assert entry["p"] == pytest.approx(0.001)
    back = statistics.compare(noisy, clean, resamples=999)["sake"]["map_all"]
    assert back["difference"] == pytest.approx(-entry["difference"]) and back["p"] == entry["p"]


def test_sign_flips_are_exact_for_few_queries():
    """Three queries, all better: of the 8 sign patterns 2 are as extreme, so p is 0.25."""
    better = per_query_rankings([[1.0, 0.0]] * 3, [[True, False]] * 3, 1)
    worse = per_query_rankings([[0.0, 1.0]] * 3, [[True, False]] * 3, 1)
    assert statistics.compare(better, worse, resamples=8000)["cvae"]["precision_at_1"]["p"] == pytest.approx(
        0.25, abs=0.02
    )


def test_comparison_refuses_what_does_not_pair(arrays: Arrays):
    with pytest.raises(UserError, match="different k"):
        statistics.compare(scored(arrays), scored(arrays, k=6))
    with pytest.raises(UserError, match="same queries in the same order"):
        statistics.compare(scored(arrays), per_query_rankings([[1.0]], [[True]], 5))
    fewer = arrays._replace(gallery=arrays.gallery[1:], gallery_labels=arrays.gallery_labels[1:])
    with pytest.raises(UserError, match="other galleries .150 and 149 photos"):
        statistics.compare(scored(arrays), scored(fewer))
    with pytest.raises(UserError, match="resamples"):
        statistics.bootstrap(scored(arrays), resamples=0)


@pytest.mark.parametrize("runs", [2, 3, 5, 11, 12, 30])
def test_interval_over_seeds_is_students(runs: int):
    from scipy import stats  # a second of imports, in every worker that collects this file

    values = np.random.default_rng(runs).random(runs)
    entry = statistics.across_seeds([{"sake": {"map_all": value}} for value in values])["sake"]["map_all"]
    low, high = stats.t.interval(0.95, runs - 1, values.mean(), values.std(ddof=1) / runs**0.5)
    assert (entry["low"], entry["high"]) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


def test_across_seeds():
    runs = [{"sake": {"map_all": value}} for value in (0.1, 0.2, 0.6)]
    assert statistics.across_seeds(runs)["sake"]["map_all"] == {
        "mean": pytest.approx(0.3),
        "std": pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1)),
        "low": pytest.approx(-0.3572, abs=1e-4),
        "high": pytest.approx(0.9572, abs=1e-4),
        "min": 0.1,
        "max": 0.6,
        "runs": 3,
    }
    assert np.isnan(statistics.across_seeds(runs[:1])["sake"]["map_all"]["std"])
    assert np.isnan(statistics.across_seeds([{"zse": {"map_all": None}}])["zse"]["map_all"]["mean"])
    for wrong in ([], [runs[0], {"sake": {"map_at_5": 0.1}}]):
        with pytest.raises(UserError):
            statistics.across_seeds(wrong)


@pytest.mark.parametrize(
    ("values", "count", "expected"),
    [
        ([0.1, 0.9, 0.5, np.nan, 0.3, 0.7], 1, ([1], [2], [0])),
        ([0.1, 0.9, 0.5, 0.3, 0.7, 0.2], 2, ([1, 4], [2, 3], [0, 5])),
        ([0.5, 0.5, 0.5], 4, ([0], [1], [2])),
        ([0.5], 3, ([0], [], [])),
        ([np.nan], 3, ([], [], [])),
    ],
)
def test_extremes(values, count, expected):
    got = statistics.extremes(np.array(values), count)
    assert tuple(got[name].tolist() for name in ("best", "median", "worst")) == expected
