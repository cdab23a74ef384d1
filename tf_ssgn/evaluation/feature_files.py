"""Arrays made anywhere, from an `.npz` file: `queries`, `query_labels`, `gallery`, `gallery_labels`."""

import os
from typing import NamedTuple

import numpy as np

from tf_ssgn.common.names import listed, printable
from tf_ssgn.common.npz import names, read_npz
from tf_ssgn.errors import UserError
from tf_ssgn.settings import FEATURES_BYTES


class Features(NamedTuple):
    """`queries` [Q, d] with `query_labels` [Q], `gallery` [N, d] with `gallery_labels` [N]; not checked yet."""

    queries: np.ndarray
    query_labels: np.ndarray
    gallery: np.ndarray
    gallery_labels: np.ndarray


def read_features(file: str | os.PathLike[str]) -> tuple[Features, list[str]]:
    """The four arrays of a file, and the names of the others in it, which are not read; UserError as `read_npz`, and
    for arrays that are missing."""
    needed = f"it needs the arrays {', '.join(Features._fields)}"
    try:
        arrays = read_npz(file, Features._fields, FEATURES_BYTES)
    except UserError as error:
        raise UserError(f"{error}; {needed}") from None
    if missing := [name for name in Features._fields if name not in arrays]:
        raise UserError(f"{printable(str(file))} lacks {listed(missing)}; {needed}")
    return Features(**arrays), sorted(set(names(file)) - set(arrays))
