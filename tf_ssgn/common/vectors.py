"""Vectors of length 1, for numbers of our own; `retrieval` and `evaluation` also check what comes from outside."""

import numpy as np


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [..., d] scaled to length 1; a zero row stays zero."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
