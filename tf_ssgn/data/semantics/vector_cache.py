"""Class vectors kept on disk: a vector file of gigabytes is read, and a text encoder run, once for the same classes."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tf_ssgn.common.atomic import writing
from tf_ssgn.common.cli import log
from tf_ssgn.common.npz import DAMAGED_ARCHIVE
from tf_ssgn.common.vectors import unit
from tf_ssgn.data.semantics.class_vectors import class_vectors, source_digest
from tf_ssgn.errors import reason

# Raise it when the way from names to vectors changes: vectors of the old way are then not found any more.
VERSION = 1


def cached_vectors(classes: Sequence[str], source: str, folder: Path) -> np.ndarray:
    """`semantics.class_vectors`, from `folder/semantics` where the same source was asked for the same classes before.

    An entry is named by a hash of the source's fingerprint (its content, not its path) and of the class names. A
    damaged entry is made again; a folder that cannot be written only costs time. A `.npz` is read as quickly and gets
    none.
    """
    if source.lower().endswith(".npz"):
        return class_vectors(classes, source)
    key = hashlib.sha256(json.dumps([VERSION, source_digest(source), list(classes)]).encode("utf-8", "surrogatepass"))
    path = Path(folder) / "semantics" / f"{key.hexdigest()[:32]}.npz"
    vectors = _read(path, len(classes))
    if vectors is None:
        vectors = class_vectors(classes, source)
        try:
            with writing(path) as temporary:
                np.savez(temporary, vectors=vectors)
        except OSError as error:
            log(f"note: class vectors are not kept in {path.parent} ({error.strerror or error})")
    return vectors


def centred(vectors: np.ndarray, seen: int) -> np.ndarray:
    """Unit vectors float32 `[C, s]`, centred on the first `seen`: what all word vectors share tells nothing."""
    vectors = unit(vectors)
    return unit(vectors - vectors[:seen].mean(axis=0)).astype(np.float32)


def _read(path: Path, count: int) -> np.ndarray | None:
    """The vectors of an entry, whose zip checksums were right; None where there is no such entry."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            vectors = stored["vectors"]
        if vectors.ndim != 2 or len(vectors) != count or vectors.dtype != np.float32:
            raise ValueError(f"vectors {vectors.dtype} {list(vectors.shape)} for {count} classes")
    except FileNotFoundError:
        return None
    except DAMAGED_ARCHIVE as error:
        log(f"class vectors: {path} is damaged ({reason(error)}); they are made again")
        return None
    return vectors
