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
    """`photo_pixels` or `sketch_pixels` for a model with that `decode_*`, where it gives the same bits: not for more
    views than one, without SciPy, or where either was compiled to round in another way. Then there is none."""
    if importlib.util.find_spec("scipy") is not None:
        if kind == "photo":
            pixels, images = photo_pixels, [_noise(height, width, "JPEG") for height, width in TEST_SIDES]
        else:
            pixels, images = sketch_pixels, [_noise(sides[0], sides[0], "PNG") for sides in TEST_SIDES]
        views = decode(tf.constant(images))[0].numpy()  # [B, 1 + views, size, size, 3]
        short = functools.partial(pixels, size=views.shape[2], limits=limits)
        pairs: Any = zip(map(short, images), views[:, 0], strict=True)
        if views.shape[1] == 1 and all(np.array_equal(one, other) for one, other in pairs):
            return short
    return None


def _noise(height: int, width: int, kind: str) -> bytes:
    return encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)), kind)


def sketch_pixels(image_bytes: bytes, size: int, limits: Limits) -> np.ndarray | None:
    """The plain view float32 `[size, size, 3]` of a square drawing, equal to that of `sketch_views` after
    `images.decode`; None for one that is not square and for what `plain_image` leaves."""
    image = plain_image(image_bytes, limits)
    if image is None or image.shape[0] != image.shape[1]:
        return None
    return 255.0 - _squashed(255 - image, size)


def photo_pixels(image_bytes: bytes, size: int, limits: Limits) -> np.ndarray | None:
    """The plain view float32 `[size, size, 3]` of a photo, equal to that of `photo_views` after `images.decode`; None
    for what `plain_image` leaves."""
    image = plain_image(image_bytes, limits)
    return None if image is None else _squashed(image, size)


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
