"""What every gallery is made of: items, vectors of unit length, answers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_ssgn.common.names import composed
from tf_ssgn.errors import UserError
from tf_ssgn.settings import UNIT_TOLERANCE


class Item(NamedTuple):
    """What a gallery knows of a photo. Sizes in bytes and pixels, `modified` in nanoseconds; None: not known.

    `path` is text as `files.to_text` makes it; `files.to_file` gives the name to open.
    """

    id: str
    path: str
    label: str
    size: int | None = None
    modified: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None


class Hit(NamedTuple):
    """One answer. `score` is the cosine; `path` is text (`files.to_file` gives the name to open).

    `duplicates` are the ids of the answers that were grouped with this one (`Options.group`), best first.
    """

    id: str
    score: float
    path: str
    label: str
    duplicates: tuple[str, ...] = ()


def spelled(name: str, columns: Sequence[str]) -> str:
    """The name as one of `columns` writes it; SQLite tells no two columns apart by their capitals."""
    folded = composed(name).lower()
    return next((column for column in columns if composed(column).lower() == folded), name)


def unit_vectors(
    vectors: Any, dimension: int, what: str = "vectors", numbers: Sequence[int] | np.ndarray | None = None
) -> np.ndarray:
    """`vectors` as float32 [B, d] of length 1; UserError where one is zero, not finite or of another size. `numbers`
    are the rows' numbers in errors, where they are not 0 to B - 1."""
    try:
        array = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError):
        raise UserError(f"{what}: expected numbers of shape [n, {dimension}]") from None
    if array.ndim != 2 or array.shape[1] != dimension:
        raise UserError(f"{what}: received shape {list(array.shape)}, expected [n, {dimension}]")
    # In float64, so that no finite vector overflows or vanishes when it is squared.
    lengths = np.sqrt(np.einsum("ij,ij->i", array, array, dtype=np.float64))
    off = ~(np.abs(lengths - 1) <= UNIT_TOLERANCE)  # what is a unit vector already stays equal to the bit
    if not off.any():
        return array
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if bad.size:
        first = bad[0] if numbers is None else numbers[bad[0]]
        kind = "zero" if lengths[bad[0]] == 0 else "NaN or infinite"
        raise UserError(
            f"{what}: row {first} is {kind} ({bad.size} such rows); expected finite vectors that are not zero"
        )
    array = array.copy()
    array[off] = array[off] / lengths[off, None]
    return array
