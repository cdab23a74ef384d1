"""Vectors of length 1, for numbers of our own; `retrieval` and `evaluation` also check what comes from outside."""

import mmap
from typing import Any

import numpy as np


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [..., d] scaled to length 1; a zero row stays zero."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def forget(vectors: Any) -> None:
    """Gives back the memory of a mapped file that has been read; it is read again where it is needed again."""
    while vectors is not None and not isinstance(vectors, mmap.mmap):
        vectors = getattr(vectors, "base", None)
    if vectors is not None:
        vectors.madvise(mmap.MADV_DONTNEED)
