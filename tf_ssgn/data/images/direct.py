"""The shortest way from the bytes of an image to its one view: `plain`'s pixels, resized by SciPy outside any graph.

TensorFlow's resize takes four times as long as need be. It is linear in the rows, then in the columns, and adds up in a
fixed order: so its weights, taken from itself, make two sparse products of the very same bits.
"""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from tf_ssgn.data.images.picture import encoded
from tf_ssgn.data.images.plain import plain_image
from tf_ssgn.settings import KEPT_WEIGHTS, ROWS_IN_CACHE, WEIGHTS_TOGETHER, Limits

TEST_SIDES = ((211, 500), (640, 97))  # of the images that a model's decoder is compared on

Short = Callable[[bytes], np.ndarray | None]


def short_way(kind: str, decode: Callable[[tf.Tensor], Any], limits: Limits) -> Short | None:
    """`plain_view` for a model with that `decode_*`, where it gives the same bits: not for more views than one, without
    SciPy, or where either was compiled to round in another way. Then there is none."""
    if importlib.util.find_spec("scipy") is None:
        return None
    sides = TEST_SIDES if kind == "photo" else [(side, side) for side, _ in TEST_SIDES]
    random = np.random.default_rng(0)
    noise = [Image.fromarray(random.integers(0, 256, (*one, 3), np.uint8)) for one in sides]
    images = [encoded(image, "JPEG" if kind == "photo" else "PNG") for image in noise]
    views = decode(tf.constant(images))[0].numpy()  # [B, 1 + views, size, size, 3]
    short = functools.partial(plain_view, kind, size=views.shape[2], limits=limits)
    same = (np.array_equal(one, other) for one, other in zip(map(short, images), views[:, 0], strict=True))
    return short if views.shape[1] == 1 and all(same) else None


def plain_view(kind: str, image_bytes: bytes, size: int, limits: Limits) -> np.ndarray | None:
    """The plain view float32 `[size, size, 3]` of a file, equal to that of `photo_views` or `sketch_views` after
    `images.decode`; None for a sketch that is not square and for what `plain_image` leaves."""
    image = plain_image(image_bytes, limits)
    if image is None or (kind == "sketch" and image.shape[0] != image.shape[1]):
        return None
    return _squashed(image, size) if kind == "photo" else 255.0 - _squashed(255 - image, size)


def _squashed(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 `[H, W, 3]` to float32 `[size, size, 3]`, as many rows at a time as a core's cache holds."""
    height, width, _ = image.shape
    flat, across = image.reshape(height, -1), _weights(width, size)
    squashed = np.empty((size, size * 3), np.float32)
    for small, large, down in _blocks(height, size):
        rows = down @ flat[large].astype(np.float32)
        columns = across @ np.ascontiguousarray(rows.T).reshape(width, -1)  # [size, channels and rows]
        squashed[small] = columns.reshape(size * 3, -1).T
    return squashed.reshape(size, size, 3)


class _Block(NamedTuple):
    """Rows of the small image, the rows of the large one that they are made of, and the weights of these."""

    small: slice
    large: slice
    weights: Any


@functools.lru_cache(KEPT_WEIGHTS)
def _blocks(side: int, size: int) -> list[_Block]:
    weights, blocks = _weights(side, size), []
    for first in range(0, size, ROWS_IN_CACHE):
        some = weights[first : first + ROWS_IN_CACHE]
        large = slice(int(some.indices.min()), int(some.indices.max()) + 1)
        blocks.append(_Block(slice(first, first + ROWS_IN_CACHE), large, some[:, large]))
    return blocks


@functools.lru_cache(KEPT_WEIGHTS)
def _weights(side: int, size: int) -> Any:
    """What each of `side` pixels in a row weighs in each of the `size` that are made of them, sparse `[size, side]`."""
    from scipy.sparse import csr_array

    parts = []
    for low in range(0, side, WEIGHTS_TOGETHER):
        ones = np.eye(side, min(WEIGHTS_TOGETHER, side - low), -low, dtype=np.float32)
        parts.append(tf.image.resize(ones[:, np.newaxis], [size, 1], method="bilinear", antialias=True)[:, 0].numpy())
    return csr_array(np.concatenate(parts, 1))
