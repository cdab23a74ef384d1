"""Photo files to rows of a part: read ahead, embed in batches, append durably."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tf_ssgn.common.progress import Progress
from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.retrieval import photos
from tf_ssgn.retrieval.files import Found, to_text
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.segment import Item, SegmentWriter, unit
from tf_ssgn.retrieval.metadata import Metadata
from tf_ssgn.retrieval.photos import Photo, Skipped
from tf_ssgn.settings import GALLERY, SERVING


class Embedder(Protocol):
    """What the builder needs of a model: `tf_ssgn.load` returns one."""

    fingerprint: str
    dimension: int
    views: int
    path: str
    runtime: str

    def call(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...


@dataclass
class Report:
    """What a write did. `skipped` holds (path as text, reason)."""

    count: int = 0
    version: int = 0
    embedded: int = 0
    reused: int = 0
    resumed: int = 0
    unchanged: int = 0
    removed: int = 0
    unmatched: int = 0  # rows of a metadata table that belong to no photo
    left_out: Counter[str] = field(default_factory=Counter)  # files that are no photos by their name, by extension
    skipped: list[tuple[str, str]] = field(default_factory=list)
    rest: list[Found] = field(default_factory=list)  # what a write of a bounded number of photos left for the next


def embed(
    files: Sequence[Found],
    writer: SegmentWriter,
    gallery: Gallery | None,
    old: Mapping[str, tuple[int, Item]],
    model: Embedder,
    report: Report,
    living: dict[str, int],
    about: Metadata,
    bar: Progress | None = None,
) -> set[str]:
    """Appends every file that is a photo, and notes its row in `living`; counts in `report` and on `bar`.

    `old` are the gallery's items by id: a file whose content and metadata are those of its item is left alone.
    Returns the ids whose file is there no more, or is no photo any more.
    """
    lost: set[str] = set()
    if not files:
        return lost
    with nullcontext(bar) if bar else Progress(len(files), "photos") as bar:
        batch: list[Photo] = []
        for file, outcome in read_ahead(files):
            if isinstance(outcome, Skipped):
                report.skipped.append((to_text(file.path), outcome.reason))
                if outcome.lost:
                    lost.add(file.id)
            elif (
                file.id in old and old[file.id][1].sha256 == outcome.sha256 and not about.changed(file, old[file.id][1])
            ):
                report.unchanged += 1  # only its time of change is another
            else:
                batch.append(outcome)
            if len(batch) == SERVING.batch:
                lost |= _append(writer, batch, gallery, model, report, living, about)
                batch = []
            bar.advance()
        lost |= _append(writer, batch, gallery, model, report, living, about)
    return lost


def read_ahead(
    files: Sequence[Found], read_one: Callable[[Found], Photo] = photos.read
) -> Iterator[tuple[Found, Photo | Skipped]]:
    """Reads the next photos in threads while the caller works on one; keeps the order."""

    def read(file: Found) -> Photo | Skipped:
        try:
            return read_one(file)
        except Skipped as reason:
            return reason

    pool = ThreadPoolExecutor(GALLERY.readers)
    pending: deque[tuple[Found, Future[Photo | Skipped]]] = deque()
    try:
        for file in files:
            pending.append((file, pool.submit(read, file)))
            if len(pending) > 2 * SERVING.batch:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _append(
    writer: SegmentWriter,
    batch: Sequence[Photo],
    gallery: Gallery | None,
    model: Embedder,
    report: Report,
    living: dict[str, int],
    about: Metadata,
) -> set[str]:
    """Embeds a batch, except for content whose vector is known, and appends it; returns ids that are no photo."""
    if not batch:
        return set()
    known: dict[str, np.ndarray] = {}
    unknown: dict[str, bytes] = {}
    for photo in batch:
        vector = writer.vector_of(photo.sha256)
        if vector is None and gallery is not None:
            vector = gallery.vector_of_content(photo.sha256)
        if vector is not None:
            known[photo.sha256] = vector
        else:
            unknown[photo.sha256] = photo.image
    fresh, faults = embed_images(model, unknown)
    report.embedded += len(fresh)
    report.reused += sum(photo.sha256 not in faults for photo in batch) - len(fresh)
    known |= fresh
    good = [photo for photo in batch if photo.sha256 not in faults]
    bad = [photo for photo in batch if photo.sha256 in faults]
    report.skipped += [(to_text(photo.found.path), faults[photo.sha256]) for photo in bad]
    if good:
        start = writer.rows
        extra = [about.extra(photo.found.id) for photo in good]
        writer.append([_item(photo) for photo in good], np.stack([known[photo.sha256] for photo in good]), extra)
        living |= {photo.found.id: start + i for i, photo in enumerate(good)}
    return {photo.found.id for photo in bad}


def embed_images(model: Embedder, images: dict[str, bytes]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
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


def _item(photo: Photo) -> Item:
    found = photo.found
    size = (photo.width, photo.height)
    return Item(found.id, to_text(found.path), found.label, found.size, found.modified, photo.sha256, *size)
