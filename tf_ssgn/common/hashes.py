"""Hashes of files and of what computes."""

import hashlib
import os
from importlib.metadata import version


def file_sha256(path: str | os.PathLike) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def versions_sha256() -> str:
    """Of the versions that a model's graph depends on, besides what it is made of."""
    return hashlib.sha256(" ".join(map(version, ("tf_ssgn", "tensorflow", "keras"))).encode()).hexdigest()
