"""Files to batches of images, in order, whatever is wrong with some of them."""

from __future__ import annotations

import functools
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tf_ssgn.common.cores import cores
from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.data.datasets.items import Example
from tf_ssgn.data.images.picture import Unusable, as_query
from tf_ssgn.errors import UserError
from tf_ssgn.settings import BATCHES_AHEAD, QUERY_LIMITS

if TYPE_CHECKING:
    import tensorflow as tf

PixelBatch = tuple[np.ndarray, np.ndarray]  # images float32 [B, 1+views, size, size, 3], status int32 [B]
LOST = "cannot be used any more"


def image_batches(paths: Sequence[str], modality: str, image_size: int, views: int, batch: int) -> Iterator[PixelBatch]:
    """Yields images float32 `[B, 1+views, size, size, 3]` in 0..255 and their status int32 `[B]`, in order.

    A file that cannot be decoded gives a white image and its `Status`; UserError for one that cannot be read. The next
    batches are read while one is looked at.
    """
    read = functools.partial(_read, views_of=_views_of(modality, image_size, views))
    with ThreadPoolExecutor(cores()) as pool:
        ahead: deque[list[Future[tuple[np.ndarray, int]]]] = deque()
        for start in range(0, len(paths), batch):
            ahead.append([pool.submit(read, path) for path in paths[start : start + batch]])
            if len(ahead) > BATCHES_AHEAD:
                yield _joined(ahead.popleft())
        while ahead:
            yield _joined(ahead.popleft())


def _joined(reading: list[Future[tuple[np.ndarray, int]]]) -> PixelBatch:
    images, status = zip(*(one.result() for one in reading), strict=True)
    return np.stack(images), np.array(status, np.int32)


def _read(path: str, views_of: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, int]:
    """Views of a file float32 `[1 + views, size, size, 3]`, and its status."""
    import tensorflow as tf

    from tf_ssgn.data.images import decode, direct

    try:
        content = Path(path).read_bytes()
    except OSError:
        raise _lost(path, "it is gone or not readable") from None
    if (image := direct.plain_image(content, QUERY_LIMITS)) is not None:
        return views_of(image), Status.OK
    try:
        pixels, status = decode.decode(tf.constant(as_query(content)[2]), QUERY_LIMITS)
        return views_of(pixels.numpy()), int(status)
    except Unusable as reason:
        return views_of(np.full((1, 1, 3), 255, np.uint8)), reason.status


@functools.lru_cache
def _views_of(modality: str, image_size: int, views: int) -> Callable[[np.ndarray], np.ndarray]:
    """What makes the views of an image uint8 `[H, W, 3]`: a graph, traced once per process, or for the plain view alone
    `direct`, where that gives the same bits here."""
    import tensorflow as tf

    from tf_ssgn.data.images import direct
    from tf_ssgn.data.images.views import photo_views, sketch_views

    kind, prepare = ("sketch", sketch_views) if modality == "sketch" else ("photo", photo_views)
    signature = [tf.TensorSpec([None, None, 3], tf.uint8)]
    graph = tf.function(functools.partial(prepare, size=image_size, views=views), signature, autograph=False)

    def decode(images: tf.Tensor) -> list[tf.Tensor]:
        return [tf.stack([graph(direct.plain_image(image, QUERY_LIMITS)) for image in images.numpy()])]

    is_short = not views and direct.short_way(kind, decode, QUERY_LIMITS) is not None

    def views_of(image: np.ndarray) -> np.ndarray:
        view = direct.plain_view(kind, image, image_size) if is_short else None
        return np.asarray(graph(image)) if view is None else view[np.newaxis]  # `numpy()` would copy them

    return views_of


def decoded_images(paths: Sequence[str], modality: str, image_size: int) -> np.ndarray:
    """All images at once, plain view: float32 `[N, size, size, 3]`; the caller knows that they fit into memory.
    UserError where a file that was good when the taps were read no longer is."""
    decoded = np.empty((len(paths), image_size, image_size, 3), np.float32)
    done = 0
    for images, status in image_batches(paths, modality, image_size, 0, 64):
        _refuse(paths[done : done + len(status)], status)
        decoded[done : done + len(images)] = images[:, 0]
        done += len(images)
    return decoded


@contextmanager
def lost_files() -> Iterator[None]:
    """Within it a file that was lost is a UserError too where a generator of tf.data found it, which keeps but a text
    of what is raised."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if said := re.search(f"UserError: (.*{LOST}.*)", str(error)):
            raise UserError(said[1]) from None
        raise


def refuse_lost(items: Sequence[Example], status: np.ndarray) -> None:
    """Raises UserError where a file that was good before no longer is."""
    _refuse([item.path for item in items], status)


def _refuse(paths: Sequence[str], status: np.ndarray) -> None:
    for row in np.flatnonzero(status != Status.OK)[:1]:
        raise _lost(paths[row], MEANING[Status(int(status[row]))])


def _lost(path: str, reason: str) -> UserError:
    return UserError(
        f"{path} {LOST} ({reason}); nothing done so far is lost: put it back and run the same command again"
    )


def refuse_bad_files(items: Sequence[Example], status: np.ndarray, most: float) -> None:
    """Raises UserError when more than the share `most` of the files could not be used; names the first ones."""
    bad = np.flatnonzero(status != Status.OK)
    if len(bad) > most * len(items):
        named = "; ".join(f"{items[i].path}: {MEANING[Status(int(status[i]))]}" for i in bad[:3])
        raise UserError(
            f"{len(bad)} of {len(items)} images cannot be used, more than data.max_bad_files {most:g} allows; "
            f"the first: {named}; mend or remove them, or raise --data.max_bad_files"
        )
