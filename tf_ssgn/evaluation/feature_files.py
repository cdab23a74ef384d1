"""Arrays made anywhere, from an `.npz` file: `queries`, `query_labels`, `gallery`, `gallery_labels`."""

from __future__ import annotations

import os
import zipfile
from typing import NamedTuple

import numpy as np

from tf_ssgn.errors import DAMAGED_ARCHIVE, UserError, reason


class Features(NamedTuple):
    """`queries` [Q, d] with `query_labels` [Q], `gallery` [N, d] with `gallery_labels` [N]; not checked yet."""

    queries: np.ndarray
    query_labels: np.ndarray
    gallery: np.ndarray
    gallery_labels: np.ndarray


def read_features(file: str | os.PathLike[str]) -> Features:
    """The four arrays of a file; whatever else it holds is left alone.

    Raises:
        UserError: no such file, no `.npz`, a damaged one, arrays missing or pickled.
    """
    expected = f"expected an .npz file with the arrays {', '.join(Features._fields)}"
    try:
        if not zipfile.is_zipfile(file):  # NumPy would try to read anything else as an array or as a pickle
            with open(file, "rb"):
                raise UserError(f"{file} is no .npz file, or a part of one; {expected}")
        with np.load(file, allow_pickle=False) as stored:
            missing = [name for name in Features._fields if name not in stored.files]
            if missing:
                raise UserError(f"{file} lacks {', '.join(missing)}; {expected}")
            return Features(*(_array(stored, name, file) for name in Features._fields))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}; {expected}") from None
    except DAMAGED_ARCHIVE as error:
        raise UserError(f"{file} is damaged ({reason(error)}); {expected}") from None


def _array(stored: np.lib.npyio.NpzFile, name: str, file: str | os.PathLike[str]) -> np.ndarray:
    try:
        return np.asarray(stored[name])
    except (MemoryError, *DAMAGED_ARCHIVE) as error:
        pickled = "allow_pickle" in str(error)
        fault = "it holds Python objects, which are not read" if pickled else f"it is damaged ({reason(error)})"
        advice = "numbers for features, int or str for labels (`labels.astype(str)`)" if pickled else "write it again"
        raise UserError(f"{file}: the array {name} cannot be read: {fault}; {advice}") from None
