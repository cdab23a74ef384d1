"""What a person looks at to understand a result: the photos found, the classes mixed up, the codes on a flat map."""

from typing import Any

import numpy as np

from tf_ssgn.common.names import printable
from tf_ssgn.evaluation.inputs import encode_labels, feature_pair
from tf_ssgn.evaluation.ranking import Cosines, content_order
from tf_ssgn.evaluation.threads import one_blas_thread

CONFUSION_DEPTH = 10  # photos per query that the confusion matrix counts
CONFUSION_QUERIES = 50  # queries per class that it samples; more would cost a second pass over everything


def nearest(
    queries: Any, query_labels: Any, gallery: Any, gallery_labels: Any, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first `count` photos of each query by cosine, in the order that the metrics assume: photos int, scores, hits
    bool, [Q, min(count, N)]. Equal scores: irrelevant first, then the order of the gallery."""
    queries, gallery = feature_pair(queries, gallery)
    labels = encode_labels(query_labels, gallery_labels, len(queries), len(gallery))
    count = min(count, len(gallery))
    photos, values = np.empty((len(queries), count), np.int64), np.empty((len(queries), count), queries.dtype)
    step = max(1, 2**24 // len(gallery))
    cosines, content = Cosines(gallery, labels.gallery), content_order(queries)
    place = np.argsort(cosines.order)
    for start in range(0, len(queries), step):
        rows = content[start : start + step]
        for row, by_content in zip(rows, cosines(queries[rows]), strict=True):
            scores = by_content[place]
            least = np.partition(scores, len(scores) - count)[len(scores) - count]
            close = np.flatnonzero(scores >= least)
            relevant = labels.gallery[close] == labels.queries[row]
            photos[row] = close[np.lexsort((close, relevant, -scores[close]))[:count]]
            values[row] = scores[photos[row]]
    return photos, values, labels.gallery[photos] == labels.queries[:, None]


def confusion(
    queries: Any, query_labels: Any, gallery: Any, gallery_labels: Any, *, depth: int = CONFUSION_DEPTH, seed: int = 0
) -> dict[str, Any]:
    """Which classes the first `depth` photos come from, over a seeded sample of at most 50 queries per class: `rows`
    (query classes), `columns` (gallery classes), `shares` [rows][columns] (each row sums to 1), `depth`."""
    queries = np.asarray(queries)
    labels = encode_labels(query_labels, gallery_labels, len(queries), len(np.asarray(gallery)))
    random = np.random.default_rng(seed)
    asked, held = np.unique(labels.queries), np.unique(labels.gallery)
    sample = np.concatenate(
        [random.permutation(np.flatnonzero(labels.queries == number))[:CONFUSION_QUERIES] for number in asked]
    )
    photos, _, _ = nearest(queries[sample], labels.queries[sample], gallery, labels.gallery, depth)
    shares = np.zeros((len(asked), len(held)))
    row, column = np.searchsorted(asked, labels.queries[sample]), np.searchsorted(held, labels.gallery[photos])
    np.add.at(shares, (row[:, None], column), 1.0)
    return {
        "rows": [printable(str(labels.names[number])) for number in asked],
        "columns": [printable(str(labels.names[number])) for number in held],
        "shares": (shares / shares.sum(axis=1, keepdims=True)).tolist(),
        "depth": photos.shape[1],
    }


def code_map(
    queries: Any, query_labels: Any, gallery: Any, gallery_labels: Any, *, points: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """A flat map of the codes, the first two principal components of a seeded sample of unit sketch and photo codes:
    `x`, `y`, `label`, `modality` ("sketch" or "photo"), one entry per point, and the share `explained` of the
    variance."""
    queries, gallery = feature_pair(queries, gallery)
    labels = encode_labels(query_labels, gallery_labels, len(queries), len(gallery))
    random = np.random.default_rng(seed)
    left = np.sort(random.permutation(len(queries))[: points // 2])
    right = np.sort(random.permutation(len(gallery))[: points // 2])
    codes = np.concatenate([queries[left], gallery[right]]).astype(np.float64)
    codes -= codes.mean(axis=0)
    with one_blas_thread():
        sizes, axes = np.linalg.eigh(codes @ codes.T)  # of the sample's size, whatever the dimension
    sizes, axes = np.maximum(sizes[::-1], 0.0), axes[:, ::-1]
    flat = np.zeros((len(codes), 2))
    flat[:, : axes[:, :2].shape[1]] = axes[:, :2] * np.sqrt(sizes[:2])
    total = float(sizes.sum())
    return {
        "x": flat[:, 0].tolist(),
        "y": flat[:, 1].tolist(),
        "label": [printable(str(labels.names[number])) for number in (*labels.queries[left], *labels.gallery[right])],
        "modality": ["sketch"] * len(left) + ["photo"] * len(right),
        "explained": float(sizes[:2].sum()) / total if total else float("nan"),
    }
