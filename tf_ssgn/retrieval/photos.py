"""Photo files to vectors: read ahead in threads, as bytes for a model's `embed_photo`, and embedded in batches.

These bytes are a PNG or JPEG within the limits of a query.
"""

import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.data.images.picture import Unusable, as_query
from tf_ssgn.retrieval.files import PhotoFile, to_text
from tf_ssgn.retrieval.items import Item
from tf_ssgn.retrieval.search.exact import unit_vectors
from tf_ssgn.settings import GALLERY, PHOTO_LIMITS, SERVING

T = TypeVar("T")
Result = TypeVar("Result")
Embedded = tuple[dict[str, np.ndarray], dict[str, str]]


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
    return photo_of(file, *stable_bytes(file.path))


def photo_of(file: PhotoFile, content: bytes, size: int, modified: int) -> Photo:
    """The photo of a file whose content was read; raises Skipped."""
    try:
        width, height, image = as_query(content)
    except Unusable as reason:
        raise Skipped(str(reason)) from None
    file = file._replace(size=size, modified=modified)
    return Photo(file, image, hashlib.sha256(content).hexdigest(), width, height)


def stable_bytes(path: str) -> tuple[bytes, int, int]:
    """The whole content, read while nobody wrote to it: (content, size, time of change); raises Skipped."""
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


class Embedder(Protocol):
    """What a gallery needs of a model: `tf_ssgn.load` returns one."""

    fingerprint: str
    dimension: int
    views: int
    path: str
    runtime: str

    def call(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...


@dataclass
class PhotoBatch:
    """Photos to embed and store together, of so many files that were `looked` at, some of them `unchanged` in the
    gallery and some `skipped` (file, why): `photos` are those to store, `images` what has to be embedded for it, by
    hash."""

    looked: int
    unchanged: int = 0
    skipped: list[tuple[PhotoFile, Skipped]] = field(default_factory=list)
    photos: list[Photo] = field(default_factory=list)
    images: dict[str, bytes] = field(default_factory=dict)


def read_ahead(
    files: Sequence[PhotoFile], read_one: Callable[[PhotoFile], Photo] = read
) -> Iterator[tuple[PhotoFile, Photo | Skipped]]:
    """Reads the next photos in threads while the caller works on one; keeps the order."""

    def outcome(file: PhotoFile) -> Photo | Skipped:
        try:
            return read_one(file)
        except Skipped as reason:
            return reason

    return ahead(files, outcome, GALLERY.readers, 2 * SERVING.batch)


def embed_ahead(model: Embedder, batches: Iterable[PhotoBatch]) -> Iterator[tuple[PhotoBatch, Embedded]]:
    """Embeds the next batches while the caller stores one, so that no core waits for a disk; keeps the order."""
    return ahead(batches, lambda batch: embed_images(model, batch.images), SERVING.slots, SERVING.slots)


def ahead(some: Iterable[T], work: Callable[[T], Result], threads: int, most: int) -> Iterator[tuple[T, Result]]:
    """Each of some things and what `work` makes of it in one of the threads, up to `most` before they are asked for."""
    pool = ThreadPoolExecutor(threads)
    pending: deque[tuple[T, Future[Result]]] = deque()
    try:
        for one in some:
            pending.append((one, pool.submit(work, one)))
            if len(pending) > most:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def embed_images(model: Embedder, images: dict[str, bytes]) -> Embedded:
    """Embeds images by their hash: ({hash: float32 [d]}, {hash: why it could not be embedded})."""
    if not images:
        return {}, {}
    answer = model.call("embed_photo", {"image_bytes": np.array(list(images.values()), object)})
    vectors, statuses = np.asarray(answer["embedding"]), np.asarray(answer["status"])
    faults: dict[str, str] = {}
    good: list[int] = []
    for i, (digest, status) in enumerate(zip(images, statuses.tolist(), strict=True)):
        if status != Status.OK:
            faults[digest] = MEANING[Status(status)]
        elif not np.isfinite(vectors[i]).all() or not vectors[i].any():
            faults[digest] = "the model gave no usable vector for it"
        else:
            good.append(i)
    digests = list(images)
    units = unit_vectors(vectors[good], model.dimension, "the model's embeddings")
    return {digests[i]: units[n] for n, i in enumerate(good)}, faults


def item_of(photo: Photo) -> Item:
    file = photo.file
    size = (photo.width, photo.height)
    return Item(file.id, to_text(file.path), file.label, file.size, file.modified, photo.sha256, *size)
