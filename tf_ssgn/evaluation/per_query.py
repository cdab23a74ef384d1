"""What every query scored, kept beside `metrics.json`, so that two evaluations can be compared query by query."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.common.atomic import writing
from tf_ssgn.common.npz import DAMAGED_ARCHIVE, names, read_npz
from tf_ssgn.errors import UserError, reason
from tf_ssgn.evaluation.metrics import PerQuery
from tf_ssgn.evaluation.statistics import compare
from tf_ssgn.settings import FEATURES_BYTES

FILE = "per_query.npz"


@dataclass(frozen=True)
class Kept:
    """`per_query` with what it was measured on: query names [Q] in order, and a digest of the gallery's names."""

    per_query: PerQuery
    queries: list[str]
    gallery: str


def digest(names: Iterable[str]) -> str:
    """SHA-256 (hex) of names in any order."""
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogatepass")).hexdigest()


def save(folder: str | os.PathLike[str], per_query: PerQuery, queries: Sequence[str], gallery: Iterable[str]) -> None:
    """Writes `per_query.npz`: values float32 under `<family>/<metric>`, about 100 bytes a query."""
    arrays: dict[str, Any] = {
        f"{family}/{name}": values.astype(np.float32)
        for family, metrics in per_query.values.items()
        for name, values in metrics.items()
    }
    arrays |= {"relevant": per_query.relevant, "items": np.array(per_query.gallery), "curve": per_query.curve}
    arrays |= {"queries": np.array(queries, str), "gallery": np.array(digest(gallery))}
    with writing(Path(folder) / FILE) as temporary:
        np.savez_compressed(temporary, **arrays)


def load(folder: str | os.PathLike[str]) -> Kept:
    """What `save` wrote; UserError: not evaluated yet, or a damaged file."""
    path = Path(folder) / FILE
    try:
        arrays = read_npz(path, names(path), FEATURES_BYTES)
        values: dict[str, dict[str, np.ndarray]] = {}
        for family, metric in (name.split("/") for name in arrays if "/" in name):
            values.setdefault(family, {})[metric] = arrays[f"{family}/{metric}"].astype(np.float64)
        per_query = PerQuery(values, arrays["relevant"], int(arrays["items"]), arrays["curve"])
        return Kept(per_query, arrays["queries"].tolist(), str(arrays["gallery"]))
    except UserError as error:
        raise UserError(f"{error}; evaluate that run again") from None
    except FileNotFoundError:
        raise UserError(f"{path} is not there; evaluate that run on the same data first") from None
    except DAMAGED_ARCHIVE as error:
        raise UserError(f"{path} is damaged ({reason(error)}); evaluate that run again") from None


def paired(ours: Kept, theirs: Kept, *, seed: int = 0) -> dict[str, dict[str, dict[str, float]]]:
    """`statistics.compare` of two evaluations on the same queries and gallery; the order of the queries may differ.
    UserError: other queries, another gallery, other cut-offs."""
    if sorted(ours.queries) != sorted(theirs.queries):
        both = len(set(ours.queries) & set(theirs.queries))
        raise UserError(
            f"the evaluations hold {len(ours.queries):,} and {len(theirs.queries):,} queries, {both:,} in both; "
            "expected the same ones: evaluate both on the same data and split"
        )
    if ours.gallery != theirs.gallery:
        raise UserError(
            "the evaluations hold the same queries but other galleries; evaluate both on the same data, with the same "
            "choice of --duplicates"
        )
    here, there = (np.argsort(np.array(side.queries), kind="stable") for side in (ours, theirs))
    return compare(_rows(ours.per_query, here), _rows(theirs.per_query, there), seed=seed)


def _rows(per_query: PerQuery, order: np.ndarray) -> PerQuery:
    """The queries in that order, every value as `save` keeps it: a run beside itself must not differ by rounding."""
    values = {
        f: {name: column[order].astype(np.float32).astype(np.float64) for name, column in metrics.items()}
        for f, metrics in per_query.values.items()
    }
    return PerQuery(values, per_query.relevant[order], per_query.gallery, per_query.curve)
