"""Files to batches of images, in order, whatever is wrong with some of them."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from tf_ssgn import settings
from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.data.datasets.items import Example
from tf_ssgn.data.images.picture import Unusable, as_query
from tf_ssgn.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

PixelBatch = tuple[np.ndarray, np.ndarray]  # images float32 [B, 1+views, size, size, 3], status int32 [B]
UNREADABLE = "<unreadable {}, status {}>"  # how an error inside a tf.data pipeline names the file


def image_batches(paths: Sequence[str], modality: str, image_size: int, views: int, batch: int) -> Iterator[PixelBatch]:
    """Yields images float32 `[B, 1+views, size, size, 3]` in 0..255 and their status int32 `[B]`, in order.

    A file that cannot be decoded gives a white image and its `Status`; one that cannot be read raises. Where most
    files are of the usual kind, they go the short way of `plain`; the pipeline drops the others, and each is
    decoded with all care where it is missed.
    """
    import tensorflow as tf

    names = [path_bytes(path) for path in paths]
    load, load_plain = loader(modality, image_size, views), _plain_loader(modality, image_size, views)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 2 * (os.cpu_count() or 1)  # the shared pool wakes a thread for every op
    files = tf.data.Dataset.from_tensor_slices(tf.constant(names, tf.string)).with_options(options)

    def careful(first: int, last: int) -> Iterator[PixelBatch]:
        for name in names[first:last]:
            image_views, status = load(name)
            yield image_views.numpy()[np.newaxis], status.numpy()[np.newaxis]

    def pieces() -> Iterator[PixelBatch]:
        plain = files.enumerate().map(load_plain, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
        done = 0
        for rows, images in plain.batch(batch).prefetch(2).as_numpy_iterator():
            for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) > 1) + 1):
                yield from careful(done, rows[run[0]])
                yield images[run[0] : run[-1] + 1], np.full(len(run), Status.OK, np.int32)
                done = rows[run[-1]] + 1
        yield from careful(done, len(names))

    if _mostly_plain(load_plain, names):
        yield from _of_size(batch, pieces())
    else:
        yield from files.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(batch).prefetch(2).as_numpy_iterator()


def _mostly_plain(load_plain: Callable, names: Sequence[bytes], sample: int = 4) -> bool:
    """Whether the short way is worth trying: of a few files spread over all, it reads more than half."""
    import tensorflow as tf

    read = 0
    tried = names[:: max(1, -(-len(names) // sample))]
    for name in tried:
        with suppress(tf.errors.OpError):
            load_plain(0, name)
            read += 1
    return 2 * read > len(tried)


def _of_size(batch: int, pieces: Iterable[PixelBatch]) -> Iterator[PixelBatch]:
    """Batches of one size, but for the last, out of pieces of any; one that has it already is not copied."""
    held: list[PixelBatch] = []
    wanted = batch
    for images, status in pieces:
        while len(status):
            held.append((images[:wanted], status[:wanted]))
            images, status = images[wanted:], status[wanted:]
            wanted -= len(held[-1][1])
            if not wanted:
                yield _joined(held)
                held, wanted = [], batch
    if held:
        yield _joined(held)


def _joined(pieces: list[PixelBatch]) -> PixelBatch:
    if len(pieces) == 1:
        return pieces[0]
    images, status = zip(*pieces, strict=True)
    return np.concatenate(images), np.concatenate(status)


def decoded_images(paths: Sequence[str], modality: str, image_size: int) -> np.ndarray:
    """All images at once, plain view: float32 `[N, size, size, 3]`; the caller knows that they fit into memory.
    UserError where a file that was good when the taps were read no longer is."""
    decoded = np.empty((len(paths), image_size, image_size, 3), np.float32)
    done = 0
    with lost_files(paths):
        for images, status in image_batches(paths, modality, image_size, 0, 64):
            bad = np.flatnonzero(status != Status.OK)
            if len(bad):
                raise _lost(paths[done + bad[0]], MEANING[Status(int(status[bad[0]]))])
            decoded[done : done + len(images)] = images[:, 0]
            done += len(images)
    return decoded


@contextmanager
def lost_files(paths: Sequence[str]) -> Iterator[None]:
    """Turns what TensorFlow raises when one of the files vanished or broke under way into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        damaged = re.search(UNREADABLE.format("(.*?)", r"(\d+)"), str(error), re.DOTALL)
        if damaged:
            raise _lost(damaged.group(1), MEANING[Status(int(damaged.group(2)))]) from None
        for path in paths:
            if not os.path.isfile(path) or not os.access(path, os.R_OK):
                raise _lost(path, "it is gone or not readable") from None
        raise


def refuse_lost(items: Sequence[Example], status: np.ndarray) -> None:
    """Raises UserError where a file that was good before no longer is."""
    for row in np.flatnonzero(status != Status.OK)[:1]:
        raise _lost(items[row].path, MEANING[Status(int(status[row]))])


def _lost(path: str, reason: str) -> UserError:
    return UserError(
        f"{path} cannot be used any more ({reason}); nothing done so far is lost: put it back and run the same "
        "command again"
    )


def path_bytes(path: str) -> bytes:
    """File names are bytes on Linux; those that are not UTF-8 survive as surrogates in Python."""
    return path.encode("utf-8", "surrogateescape")


@functools.lru_cache
def loader(modality: str, image_size: int, views: int) -> tf.types.experimental.PolymorphicFunction:
    """path -> (views, status), traced once per process: the guards make a graph that takes seconds to build."""
    import tensorflow as tf

    from tf_ssgn.data.images import decode as images

    def read(content: bytes) -> tuple[bytes, np.int32]:
        try:
            return as_query(content)[2], np.int32(Status.OK)
        except Unusable as reason:
            return b"", np.int32(reason.status)

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def load(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        content, fault = tf.numpy_function(read, [tf.io.read_file(path)], [tf.string, tf.int32], stateful=False)
        image, status = images.decode(tf.ensure_shape(content, []), settings.QUERY_LIMITS)
        status = tf.where(tf.equal(fault, Status.OK), status, fault)
        return _prepare(modality)(image, image_size, views), tf.ensure_shape(status, [])

    return load


@functools.lru_cache
def _plain_loader(modality: str, image_size: int, views: int) -> tf.types.experimental.PolymorphicFunction:
    """(row, path) -> (row, views), an error for any but the format that datasets have for the modality."""
    import tensorflow as tf

    from tf_ssgn.data.images import plain

    decode = plain.plain_png if modality == "sketch" else plain.plain_jpeg

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.string)], autograph=False)
    def load(row: tf.Tensor, path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = decode(tf.io.read_file(path), settings.QUERY_LIMITS)
        return row, _prepare(modality)(image, image_size, views)

    return load


def _prepare(modality: str) -> Callable[[tf.Tensor, int, int], tf.Tensor]:
    from tf_ssgn.data.images.views import photo_views, sketch_views

    return sketch_views if modality == "sketch" else photo_views


def refuse_bad_files(items: Sequence[Example], status: np.ndarray, most: float) -> None:
    """Raises UserError when more than the share `most` of the files could not be used; names the first ones."""
    bad = np.flatnonzero(status != Status.OK)
    if len(bad) > most * len(items):
        named = "; ".join(f"{items[i].path}: {MEANING[Status(int(status[i]))]}" for i in bad[:3])
        raise UserError(
            f"{len(bad)} of {len(items)} images cannot be used, more than data.max_bad_files {most:g} allows; "
            f"the first: {named}; mend or remove them, or raise --data.max_bad_files"
        )
