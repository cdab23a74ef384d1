"""Transductive re-ranking: photos and queries move towards their nearest photos before they are compared.

It uses the unlabelled gallery as a whole, which the plain protocols do not, and leans on classes of many photos each;
its figures are reported apart and are no comparison for others.
"""

from typing import Any

import numpy as np

from tf_ssgn.common.vectors import unit
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation.inputs import unit_rows
from tf_ssgn.settings import MOST_NEIGHBOURS, SIMILARITY_BYTES


def expand(queries: Any, gallery: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Database augmentation (Turcot and Lowe 2009), then average query expansion (Chum et al. 2007), as unit float32
    `[Q, d]` and `[N, d]`.

    A photo becomes the mean of its k nearest photos, itself among them, of a smaller gallery all; a query becomes the
    mean of itself and its k nearest of these. UserError: k below 1, or what `unit_rows` refuses.
    """
    if not 1 <= k <= MOST_NEIGHBOURS:
        raise UserError(f"received {k} neighbours, expected 1 to {MOST_NEIGHBOURS:,}")
    queries, gallery = unit_rows(queries, "queries"), unit_rows(gallery, "gallery")
    photos = unit(_neighbours(gallery, gallery, k))
    return unit(queries + _neighbours(queries, photos, k)), photos


def _neighbours(rows: np.ndarray, gallery: np.ndarray, k: int) -> np.ndarray:
    """The sum of each row's k nearest of the gallery."""
    k = min(k, len(gallery))
    sums = np.empty_like(rows)
    step = max(1, SIMILARITY_BYTES // (4 * len(gallery)))
    for start in range(0, len(rows), step):
        scores = rows[start : start + step] @ gallery.T
        nearest = np.argpartition(scores, len(gallery) - k, axis=1)[:, len(gallery) - k :]
        for row, members in enumerate(nearest, start):
            sums[row] = gallery[members].sum(axis=0)
    return sums
