"""What the caller hands in, checked once and turned into the arrays that the rest of the room works with."""

import os
from typing import Any, NamedTuple

import numpy as np

from tf_ssgn.common import npz
from tf_ssgn.common.names import listed, printable, refuse_text
from tf_ssgn.errors import UserError
from tf_ssgn.settings import FEATURES_BYTES


class Labels(NamedTuple):
    """Class numbers of both sides and their names: `queries` int [Q], `gallery` int [N], `names` list [C], sorted."""

    queries: np.ndarray
    gallery: np.ndarray
    names: list[Any]


def matrix(values: Any, name: str) -> np.ndarray:
    """A numeric [Q, N] array with at least one row and column."""
    array = _array(values, name)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise UserError(f"{name}: received {array.dtype} {list(array.shape)}, expected numbers of shape [Q, N]")
    if not array.size:
        what = "no query" if not array.shape[0] else "an empty gallery"
        raise UserError(f"{name}: received {list(array.shape)}, {what}; expected at least one query and one item")
    if array.dtype.kind == "b" and name == "scores":
        return array.astype(np.uint8)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _array(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError:
        raise UserError(f"{name}: received rows of different lengths, expected one length") from None


def unit_rows(features: Any, name: str, dtype: Any = np.float32) -> np.ndarray:
    """Features [M, d] scaled to length 1, a new C-contiguous array of `dtype`; huge and tiny rows do not overflow, a
    zero row stays zero: its cosine to everything is 0. UserError: no [M, d] numbers with M, d >= 1, or a row with NaN
    or infinity."""
    array = _array(features, name)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise UserError(f"{name}: received {array.dtype} {list(array.shape)}, expected numbers [items, dimension]")
    if not array.size:
        raise UserError(f"{name}: received {list(array.shape)}; expected at least one item of at least one dimension")
    unit = np.empty(array.shape, dtype)
    bad: list[Any] = []
    step = max(1, 2**21 // array.shape[1])
    for start in range(0, len(array), step):
        part = array[start : start + step].astype(np.float64)
        peak = np.abs(part).max(axis=1)
        finite = np.isfinite(peak)
        bad.extend(start + np.flatnonzero(~finite))
        part[~finite] = 0.0
        part /= np.where(finite & (peak > 0), peak, 1.0)[:, None]  # so that squares neither overflow nor vanish
        length = np.sqrt(np.einsum("ij,ij->i", part, part))
        part /= np.where(length > 0, length, 1.0)[:, None]
        unit[start : start + step] = part + 0.0  # no negative zeros: equal rows have equal bytes
    if bad:
        raise UserError(f"{name}: {len(bad)} row(s) hold NaN or infinity, first row {bad[0]}; expected finite numbers")
    return unit


def feature_pair(queries: Any, gallery: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both sides by `unit_rows`, checked to have one dimension; float64 if either side is, else float32."""
    queries, gallery = _array(queries, "queries"), _array(gallery, "gallery")
    dtype = np.float64 if np.float64 in (queries.dtype, gallery.dtype) else np.float32
    queries, gallery = unit_rows(queries, "queries", dtype), unit_rows(gallery, "gallery", dtype)
    if queries.shape[1] != gallery.shape[1]:
        raise UserError(
            f"queries have {queries.shape[1]} dimensions and the gallery {gallery.shape[1]}; expected the same number, "
            "embed both with one model"
        )
    return queries, gallery


def encode_labels(query_labels: Any, gallery_labels: Any, queries: int, items: int) -> Labels:
    """Class numbers of both sides from labels that are all int or all str; UserError for lengths that do not fit the
    features, other types, or int on one side and str on the other."""
    left = label_array(query_labels, "query_labels", queries)
    right = label_array(gallery_labels, "gallery_labels", items)
    if left.dtype.kind != right.dtype.kind:
        kinds = {"i": "int", "U": "str"}
        raise UserError(
            f"query_labels are {kinds[left.dtype.kind]} and gallery_labels {kinds[right.dtype.kind]}; "
            "expected one type, the same numbering or the same names on both sides"
        )
    names, numbers = np.unique(np.concatenate([left, right]), return_inverse=True)
    return Labels(numbers[: len(left)], numbers[len(left) :], names.tolist())


def label_array(labels: Any, name: str, expected: int) -> np.ndarray:
    """Labels [expected] as int64 or str; errors as `encode_labels`, which call them `name`."""
    refuse_text(labels, name)
    array = _array(labels, name)
    if array.dtype.kind == "O" and all(isinstance(label, str) for label in array.flat):
        array = array.astype(str)
    if array.dtype.kind not in "iuU":
        raise UserError(f"{name}: received {array.dtype} labels, expected all int or all str")
    if array.shape != (expected,):
        raise UserError(f"{name}: received {list(array.shape)} labels for {expected} items, expected one each")
    if array.dtype.kind == "u":  # beside int64, NumPy would make float64 of it, in which neighbours become equal
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise UserError(f"{name}: received {array.max()}, expected whole numbers below 2^63")
        return array.astype(np.int64)
    return array


class Features(NamedTuple):
    """Arrays made anywhere, from an `.npz` file: `queries` [Q, d] with `query_labels` [Q], `gallery` [N, d] with
    `gallery_labels` [N]; not checked yet."""

    queries: np.ndarray
    query_labels: np.ndarray
    gallery: np.ndarray
    gallery_labels: np.ndarray


def read_features(file: str | os.PathLike[str]) -> tuple[Features, list[str]]:
    """The four arrays of a file, and the names of the others in it, which are not read; UserError as `read_npz`, and
    for arrays that are missing."""
    needed = f"it needs the arrays {', '.join(Features._fields)}"
    try:
        arrays = npz.read_npz(file, Features._fields, FEATURES_BYTES)
    except UserError as error:
        raise UserError(f"{error}; {needed}") from None
    if missing := [name for name in Features._fields if name not in arrays]:
        raise UserError(f"{printable(str(file))} lacks {listed(missing)}; {needed}")
    return Features(**arrays), sorted(set(npz.names(file)) - set(arrays))
