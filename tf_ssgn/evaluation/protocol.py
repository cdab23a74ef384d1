"""The published protocols over arrays: plain zero-shot, generalized zero-shot, fine-grained, and binary codes.

Inductive only: nothing here looks at the other queries, re-ranks, or fits anything on the test set.
NaN stands for what is not defined; `tf_ssgn.common.cli.jsonable` makes it null on the way to a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_ssgn.common.names import printable, refuse_text
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation.hashing import ITQ, rank_codes
from tf_ssgn.evaluation.inputs import Labels, encode_labels, feature_pair, label_array
from tf_ssgn.evaluation.inspection import confusion
from tf_ssgn.evaluation.metrics import RECALL_LEVELS, Families, PerQuery, check_k, measure, nan_mean, per_query_features
from tf_ssgn.evaluation.ranking import Cosines, content_order
from tf_ssgn.evaluation.statistics import bootstrap

TIES = "pessimistic (among equal scores irrelevant photos come first)"


@dataclass(frozen=True)
class ZeroShotResult:
    """`metrics`: what `metrics.json` holds of the plain protocol; `per_query`: the values behind its means."""

    metrics: dict[str, Any]
    per_query: PerQuery


def evaluate_zero_shot(
    queries: Any,
    query_labels: Any,
    gallery: Any,
    gallery_labels: Any,
    k: int | Sequence[int] = (100, 200),
    *,
    resamples: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> ZeroShotResult:
    """Unseen sketches against a gallery of unseen photos, by cosine.

    Args:
        resamples: of the bootstrap over queries that gives the 95% intervals.
        seed: of the bootstrap and of the confusion matrix's sample.

    Returns:
        `metrics` with `families`; `macro` (mean of the per-class means); `per_class` (class name -> `queries`,
        `photos`, `families`); `intervals` (family -> metric -> [low, high]); `counts`; `ties`; `curve` (mean
        interpolated precision at 101 levels of recall); `confusion` (`shares[i][j]`: of the first 10 photos for a query
        of class `rows[i]`, the share of class `columns[j]`).

    Raises UserError: as `score_features`.
    """
    per_query = per_query_features(queries, query_labels, gallery, gallery_labels, k, progress=progress)
    labels = encode_labels(query_labels, gallery_labels, len(per_query.relevant), per_query.gallery)
    per_class = _per_class(per_query, labels)
    metrics = {
        "families": per_query.mean(),
        "macro": _macro(per_class),
        "per_class": per_class,
        "intervals": bootstrap(per_query, resamples=resamples, seed=seed),
        "counts": _counts(per_query, labels, queries, gallery),
        "ties": TIES,
        "curve": {"recall": RECALL_LEVELS.tolist(), "precision": per_query.curve.tolist()},
        "confusion": confusion(queries, query_labels, gallery, gallery_labels, seed=seed),
    }
    return ZeroShotResult(metrics, per_query)


def generalized(
    queries: Any,
    query_labels: Any,
    gallery: Any,
    gallery_labels: Any,
    seen: Sequence[Any],
    k: int | Sequence[int] = (100, 200),
    *,
    progress: bool = False,
) -> dict[str, Any]:
    """Generalized zero-shot: the gallery holds photos of the classes `seen` in training and of others, the queries are
    of both.

    Returns `unseen`, `seen` (families over the queries of each side; NaN where there are none), `harmonic` (2us / (u +
    s) of each figure, 0 if both are 0) and `counts`.
    """
    names = label_array(query_labels, "query_labels", len(query_labels))
    shown = label_array(seen, "seen", len(seen)) if len(seen) else names[:0]
    if shown.dtype.kind != names.dtype.kind:
        raise UserError(f"seen holds {shown.dtype} labels; expected the type of the query labels")
    per_query = per_query_features(queries, query_labels, gallery, gallery_labels, k, progress=progress)
    known = np.isin(names, shown)
    sides = {"unseen": per_query.mean(~known), "seen": per_query.mean(known)}
    items_seen = int(np.isin(label_array(gallery_labels, "gallery_labels", per_query.gallery), shown).sum())
    return {
        **sides,
        "harmonic": {
            family: {name: _harmonic(value, sides["seen"][family][name]) for name, value in values.items()}
            for family, values in sides["unseen"].items()
        },
        "counts": {
            "queries_unseen": int((~known).sum()),
            "queries_seen": int(known.sum()),
            "gallery_unseen": per_query.gallery - items_seen,
            "gallery_seen": items_seen,
        },
    }


def fine_grained(
    queries: Any,
    query_labels: Any,
    query_instances: Any,
    gallery: Any,
    gallery_labels: Any,
    gallery_instances: Any,
    k: Sequence[int] = (1, 5, 10),
) -> dict[str, Any]:
    """Is the sketch's own photo among the first k photos of its class?

    Args:
        query_instances: per sketch the name of the photo it was drawn from, "" if unknown.
        gallery_instances: per photo its own name; names need to be unique within a class only.

    Returns:
        `acc_at_1`, ... over the sketches whose photo is in the gallery (NaN if there is none), `queries` (how many
        those are), `skipped` (the others) and `mean_candidates` (photos each was ranked against). Ties count against
        the sketch; if the gallery holds its photo more than once, the best copy counts and the others are no
        competitors.
    """
    cuts = check_k(tuple(k))
    queries, gallery = feature_pair(queries, gallery)
    labels = encode_labels(query_labels, gallery_labels, len(queries), len(gallery))
    refuse_text(query_instances, "query_instances")
    refuse_text(gallery_instances, "gallery_instances")
    own, photos = np.asarray(query_instances, str), np.asarray(gallery_instances, str)
    if own.shape != (len(queries),) or photos.shape != (len(gallery),):
        raise UserError(
            f"received {len(own)} and {len(photos)} instance names for {len(queries)} queries "
            f"and {len(gallery)} photos; expected one each"
        )
    ranks, candidates = [], []
    for number in range(len(labels.names)):
        rows, columns = np.flatnonzero(labels.queries == number), np.flatnonzero(labels.gallery == number)
        if not len(rows) or not len(columns):
            continue
        mine = (own[rows, None] == photos[columns]) & (own[rows, None] != "")
        rows, mine = rows[mine.any(axis=1)], mine[mine.any(axis=1)]
        by_content = content_order(queries[rows])
        cosines = Cosines(gallery[columns], labels.gallery[columns])
        scores, mine = cosines(queries[rows[by_content]]), mine[by_content][:, cosines.order]
        best = np.where(mine, scores, -np.inf).max(axis=1)
        ranks.append(1 + ((scores >= best[:, None]) & ~mine).sum(axis=1))
        candidates.append(np.full(len(rows), len(columns)))
    all_ranks = np.concatenate(ranks) if ranks else np.empty(0)
    return {
        **{f"acc_at_{cut}": float((all_ranks <= cut).mean()) if len(all_ranks) else float("nan") for cut in cuts},
        "queries": len(all_ranks),
        "skipped": len(queries) - len(all_ranks),
        "mean_candidates": float(np.concatenate(candidates).mean()) if len(all_ranks) else float("nan"),
    }


def evaluate_binary(
    itq: ITQ,
    queries: Any,
    query_labels: Any,
    gallery: Any,
    gallery_labels: Any,
    k: int | Sequence[int] = (100, 200),
) -> dict[str, Any]:
    """All families by Hamming distance of `itq`'s codes: `bits` and `families`; same formulas, same tie rule."""
    cuts = check_k(k)
    queries, gallery = feature_pair(queries, gallery)
    labels = encode_labels(query_labels, gallery_labels, len(queries), len(gallery))
    blocks = rank_codes(itq.encode(queries), itq.encode(gallery), labels)
    return {"bits": itq.bits, "families": measure(blocks, len(queries), len(gallery), cuts).mean()}


def _per_class(per_query: PerQuery, labels: Labels) -> dict[str, dict[str, Any]]:
    photos = np.bincount(labels.gallery, minlength=len(labels.names))
    order = np.argsort(labels.queries, kind="stable")
    ends = np.cumsum(np.bincount(labels.queries, minlength=len(labels.names)))
    result = {}
    for number, rows in enumerate(np.split(order, ends[:-1])):
        if len(rows):
            counts = {"queries": len(rows), "photos": int(photos[number])}
            result[printable(str(labels.names[number]))] = {**counts, "families": per_query.mean(rows)}
    return result


def _macro(per_class: dict[str, dict[str, Any]]) -> Families:
    """Every class counts once; classes where a family defines nothing are left out of its mean."""
    tables = [entry["families"] for entry in per_class.values()]
    return {
        family: {name: nan_mean(np.array([table[family][name] for table in tables])) for name in metrics}
        for family, metrics in tables[0].items()
    }


def _counts(per_query: PerQuery, labels: Labels, queries: Any, gallery: Any) -> dict[str, int]:
    return {
        "queries": len(per_query.relevant),
        "gallery": per_query.gallery,
        "classes": len(np.unique(labels.queries)),
        "gallery_classes": len(np.unique(labels.gallery)),
        "queries_without_photo": int((per_query.relevant == 0).sum()),
        "zero_queries": int((~np.asarray(queries).any(axis=1)).sum()),
        "zero_photos": int((~np.asarray(gallery).any(axis=1)).sum()),
    }


def _harmonic(left: float, right: float) -> float:
    return 2 * left * right / (left + right) if left + right else 0.0
