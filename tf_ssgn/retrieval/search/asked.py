"""How many answers are asked for, and how many of those found are near enough."""

from typing import Any

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.search.options import Options

_ROUNDING = 1e-6  # of a cosine in float32


def near(scores: np.ndarray, k: int, options: Options) -> int:
    """How many of the k best reach the threshold, up to the rounding of float32."""
    if options.threshold is None:
        return min(k, len(scores))
    return int(np.sum(scores[:k] >= options.threshold - _ROUNDING))


def whole(k: Any) -> np.ndarray:
    """int64, as `k` is shaped; what is larger becomes the largest. UserError where it is not of whole numbers."""
    try:
        values = np.asarray(k)
        if values.dtype.kind not in "iuO":
            raise TypeError
        # As Python's integers: 2**62 is within the bounds of few of NumPy's.
        return np.asarray(np.minimum(values.astype(object), 2**62)).astype(np.int64)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"k: received {str(k)[:64]!r}, expected whole numbers, one or one for each vector") from None


def counts(k: Any, queries: int) -> list[int]:
    """k for each query; UserError unless it is a number of 1 or more, or one such number for each."""
    each = [k] * queries if np.ndim(k) == 0 else list(k)
    for value in each or [k]:
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise UserError(f"k: received {value!r}, expected a whole number of 1 or more")
    if len(each) != queries:
        raise UserError(f"k: received {len(each)} numbers for {queries} queries; expected one, or one for each")
    return [int(value) for value in each]
