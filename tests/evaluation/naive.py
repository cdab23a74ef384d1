"""The metrics as plain loops over one sorted list, for comparison; nothing here is shared with the package."""

from __future__ import annotations

import numpy as np


def pessimistic(scores, relevant) -> list[bool]:
    """Relevance by rank: falling score, irrelevant first among equals."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], relevant[i]))
    return [bool(relevant[i]) for i in order]


def one_query(scores, relevant, k: int) -> dict[str, float]:
    """`family.metric` -> value, NaN where the family skips the query."""
    hits = pessimistic(list(scores), list(relevant))
    items, total = len(hits), sum(hits)
    precision = [sum(hits[: i + 1]) / (i + 1) for i in range(items)]
    near = hits[:k]
    found = sum(near)
    undefined = float("nan")

    def interpolated(depth: int) -> float:
        return sum(max(precision[i:depth]) for i in range(depth) if hits[i])

    plain = sum(precision[i] for i in range(items) if hits[i])
    plain_k = sum(precision[i] for i in range(len(near)) if hits[i])
    depth = min(k, total)
    recall = found / total if total else undefined
    voc = interpolated(items) / total if total else undefined
    voc_k = interpolated(len(near)) / depth if total else undefined
    ap = plain / total if total else 0.0
    ap_k = plain_k / found if found else 0.0
    return {
        "sake.map_all": voc,
        "sake.map_at": voc_k,
        "sake.precision_at": found / min(k, items),
        "sake.recall_at": recall,
        "zse.map_all": voc,
        "zse.map_at": voc_k,
        "zse.precision_at": sum(hits[:depth]) / depth if total else undefined,
        "zse.recall_at": recall,
        "sem_pcyc.map_all": ap,
        "sem_pcyc.map_at": ap_k,
        "sem_pcyc.precision_at": found / min(k, items),
        "sem_pcyc.recall_at": recall if total else 0.0,
        "cvae.map_at": plain_k / k,
        "cvae.precision_at": found / k,
        "cvae.recall_at": recall if total else 0.0,
        "torchmetrics.map_all": ap,
        "torchmetrics.map_at": ap_k,
        "torchmetrics.precision_at": found / k,
        "torchmetrics.recall_at": recall if total else 0.0,
    }


def families(scores, relevant, cuts) -> dict[str, dict[str, float]]:
    """Means over queries in the layout of `score_rankings`."""
    result: dict[str, dict[str, float]] = {}
    for k in cuts:
        rows = [one_query(score, mask, k) for score, mask in zip(scores, relevant, strict=True)]
        for name in rows[0]:
            family, metric = name.split(".")
            values = np.array([row[name] for row in rows])
            values = values[~np.isnan(values)]
            key = metric if metric == "map_all" else f"{metric}_{k}"
            result.setdefault(family, {})[key] = float(values.mean()) if len(values) else float("nan")
    return result


def assert_same(got, expected, tolerance=1e-9) -> None:
    assert {f: set(m) for f, m in got.items()} == {f: set(m) for f, m in expected.items()}
    for family, metrics in expected.items():
        for name, value in metrics.items():
            np.testing.assert_allclose(got[family][name], value, rtol=0, atol=tolerance, err_msg=f"{family}.{name}")
