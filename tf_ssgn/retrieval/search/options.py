"""What a search may ask for: how many answers, and which."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.search.condition import check, forms
from tf_ssgn.settings import GALLERY

_ROUNDING = 1e-6  # of a cosine in float32


@dataclass(frozen=True)
class Options:
    """Which items may be an answer, and how near they must be. The default asks for nothing.

    Args:
        labels: only items of one of these labels; none given means all labels.
        path_prefix: only items whose path, as text, begins so.
        where: only items of which this SQL condition is true, over the columns of `items` and those of a user's table.
        exclude: ids that are no answer.
        threshold: the smallest cosine of an answer, -1 to 1.
        group: an answer of the same content as a better one, or with a cosine of at least this to it, is no answer of
            its own but one of that one's `duplicates`, which are complete among the `settings.GALLERY.grouped` nearest
            items and may lack farther ones.

    Raises:
        UserError: a value of another type or out of its bounds.
    """

    labels: tuple[str, ...] = ()
    path_prefix: str = ""
    where: str = ""
    exclude: tuple[str, ...] = ()
    threshold: float | None = None
    group: float | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "exclude"):
            texts = getattr(self, name)
            listed = isinstance(texts, Iterable) and not isinstance(texts, (str, bytes))
            texts = tuple(texts) if listed else texts
            if not listed or not all(isinstance(text, str) for text in texts):
                raise UserError(f"{name}: received {texts!r}, expected a list of texts")
            if len(texts) > GALLERY.listed:
                raise UserError(f"{name}: received {len(texts):,} of them, expected at most {GALLERY.listed:,}")
            object.__setattr__(self, name, texts)
        for name in ("path_prefix", "where"):
            if not isinstance(getattr(self, name), str):
                raise UserError(f"{name}: received {getattr(self, name)!r}, expected text")
        for name in ("threshold", "group"):
            value = getattr(self, name)
            if value is None:
                continue
            # NaN is within no bounds; an integer may be too large for a float.
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 1:
                raise UserError(f"{name}: received {str(value)[:64]}, expected a cosine from -1 to 1")

    @property
    def filters(self) -> bool:
        """Whether only some items may be an answer, those excluded by id not counted."""
        return bool(self.labels or self.path_prefix or self.where)

    @property
    def unwanted(self) -> list[str]:
        """The ids of `exclude`, in each way that a disk may write them."""
        return [form for id in self.exclude for form in forms(id)]

    def condition(self) -> tuple[str, list[Any]]:
        """The SQL condition of `labels`, `path_prefix` and `where`, and its values."""
        parts: list[str] = []
        values: list[Any] = []
        if self.labels:
            labels = [form for label in self.labels for form in forms(label)]
            parts.append(f"label IN ({','.join('?' * len(labels))})")
            values += labels
        if self.path_prefix:
            prefixes = forms(self.path_prefix)
            parts.append(f"({' OR '.join(['substr(path, 1, ?) = ?'] * len(prefixes))})")
            values += [value for prefix in prefixes for value in (len(prefix), prefix)]
        if self.where:
            parts.append(f"({check(self.where)}\n)")
        return " AND ".join(parts), values

    def reached(self, scores: np.ndarray, k: int) -> int:
        """How many of the k best reach the threshold, up to the rounding of float32."""
        if self.threshold is None:
            return min(k, len(scores))
        return int(np.sum(scores[:k] >= self.threshold - _ROUNDING))


NO_OPTIONS = Options()


def whole_k(k: Any) -> np.ndarray:
    """int64, as `k` is shaped; what is larger becomes the largest. UserError where it is not of whole numbers."""
    try:
        values = np.asarray(k)
        if values.dtype.kind not in "iuO":
            raise TypeError
        # As Python's integers: 2**62 is within the bounds of few of NumPy's.
        return np.asarray(np.minimum(values.astype(object), 2**62)).astype(np.int64)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"k: received {str(k)[:64]!r}, expected whole numbers, one or one for each vector") from None


def each_k(k: Any, queries: int) -> list[int]:
    """k for each query; UserError unless it is a number of 1 or more, or one such number for each."""
    each = [k] * queries if np.ndim(k) == 0 else list(k)
    for value in each or [k]:
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise UserError(f"k: received {value!r}, expected a whole number of 1 or more")
    if len(each) != queries:
        raise UserError(f"k: received {len(each)} numbers for {queries} queries; expected one, or one for each")
    return [int(value) for value in each]
