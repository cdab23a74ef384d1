"""Photo files to vectors: read ahead in threads, embed in batches."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.retrieval import photos
from tf_ssgn.retrieval.files import PhotoFile, to_text
from tf_ssgn.retrieval.items import Item, unit
from tf_ssgn.retrieval.photos import Photo, Skipped
from tf_ssgn.settings import GALLERY, SERVING

T = TypeVar("T")
Result = TypeVar("Result")
Embedded = tuple[dict[str, np.ndarray], dict[str, str]]


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
    files: Sequence[PhotoFile], read_one: Callable[[PhotoFile], Photo] = photos.read
) -> Iterator[tuple[PhotoFile, Photo | Skipped]]:
    """Reads the next photos in threads while the caller works on one; keeps the order."""

    def read(file: PhotoFile) -> Photo | Skipped:
        try:
            return read_one(file)
        except Skipped as reason:
            return reason

    return ahead(files, read, GALLERY.readers, 2 * SERVING.batch)


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
    payload = np.empty(len(images), object)
    payload[:] = list(images.values())
    answer = model.call("embed_photo", {"image_bytes": payload})
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
    units = unit(vectors[good], model.dimension, "the model's embeddings")
    return {digests[i]: units[n] for n, i in enumerate(good)}, faults


def item_of(photo: Photo) -> Item:
    file = photo.file
    size = (photo.width, photo.height)
    return Item(file.id, to_text(file.path), file.label, file.size, file.modified, photo.sha256, *size)
