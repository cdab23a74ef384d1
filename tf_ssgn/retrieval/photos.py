"""One photo file to bytes that a model's `embed_photo` reads: PNG or JPEG within the limits of a query."""

import hashlib
import os
import stat
from typing import NamedTuple

from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.data.images import picture
from tf_ssgn.retrieval.files import PhotoFile
from tf_ssgn.settings import PHOTO_LIMITS


class Skipped(Exception):
    """A photo that cannot be used. `lost` is False where the file could not be read now but may be fine."""

    def __init__(self, reason: str, lost: bool = True):
        super().__init__(reason)
        self.reason, self.lost = reason, lost


class Photo(NamedTuple):
    """A photo's bytes for the model, and what the gallery notes about the file (sizes in bytes and pixels)."""

    file: PhotoFile
    image: bytes
    sha256: str
    width: int
    height: int


def read(file: PhotoFile) -> Photo:
    """Reads, hashes and checks one file; raises Skipped, with the reason, and nothing else."""
    content, size, modified = _stable_bytes(file.path)
    width, height, image = as_query(content)
    file = file._replace(size=size, modified=modified)
    return Photo(file, image, hashlib.sha256(content).hexdigest(), width, height)


def _stable_bytes(path: str) -> tuple[bytes, int, int]:
    """The whole content, read while nobody wrote to it: (content, size, time of change)."""
    try:
        for _ in range(2):
            # Without O_NONBLOCK a pipe that took the file's place would wait for a writer for ever.
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as handle:
                before = os.fstat(handle.fileno())
                if not stat.S_ISREG(before.st_mode):
                    raise Skipped("not a regular file")
                if before.st_size > PHOTO_LIMITS.bytes:
                    raise Skipped(MEANING[Status.TOO_LARGE])
                content = handle.read(PHOTO_LIMITS.bytes + 1)
                after = os.fstat(handle.fileno())
            state = (after.st_size, after.st_mtime_ns)
            if (before.st_size, before.st_mtime_ns) == state and len(content) == after.st_size:
                return content, *state
    except OSError as error:
        raise Skipped(error.strerror or str(error), lost=isinstance(error, FileNotFoundError)) from None
    raise Skipped("it changed while it was read", lost=False)


def as_query(content: bytes) -> tuple[int, int, bytes]:
    """`picture.as_query`; raises Skipped."""
    try:
        return picture.as_query(content)
    except picture.Unusable as reason:
        raise Skipped(str(reason)) from None
