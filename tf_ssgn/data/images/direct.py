"""The shortest way from the bytes of an image to its one view: TensorFlow's decoders, and SciPy, outside any graph.

A graph around a decoder costs as much as decoding a small image, and TensorFlow's resize four times as much as need
be. It is linear in the rows, then in the columns, and adds up in a fixed order: so its weights, taken from itself, make
two sparse products of the very same bits. All that is out of the ordinary is left to `images.decode`.
"""

import functools
import importlib.util
import io
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from tf_ssgn.data.images import exif
from tf_ssgn.data.images.chunks import FIRST_CHUNK
from tf_ssgn.data.images.decode import SCAN, jpeg_pixels, on_white
from tf_ssgn.settings import JPEG_SCANS, KEPT_WEIGHTS, PLAIN_CHUNKS, ROWS_IN_CACHE, WEIGHTS_TOGETHER, Limits

GREY, RGB, RGBA = 0, 2, 6  # of a PNG, by their numbers in IHDR
NO_MATTER = (b"sRGB", b"gAMA", b"pHYs", b"tIME")  # chunks that `images.decode` leaves out unread
TURNED = (b"Exif\0\0", b"tiff:Orientation")
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
    buffer = io.BytesIO()
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(levels).save(buffer, kind)
    return buffer.getvalue()


def sketch_pixels(image_bytes: bytes, size: int, limits: Limits) -> np.ndarray | None:
    """The plain view float32 `[size, size, 3]` of a square PNG of 8 bits, equal to that of `sketch_views` after
    `images.decode`; None for all that is not sound and within the limits, is blank, or says more than its pixels."""
    pixels = _plain_png(image_bytes) if len(image_bytes) <= limits.bytes else None
    if pixels is None:
        return None
    width, height, depth, colours = struct.unpack(">IIBB", image_bytes[16:26])
    square = width == height and limits.smallest_side <= width <= limits.side and width * height <= limits.pixels
    if not square or depth != 8 or colours not in (GREY, RGB, RGBA):
        return None
    try:
        image = tf.io.decode_png(pixels, channels=4 if colours == RGBA else 3).numpy()
    except tf.errors.OpError:
        return None
    if colours == RGBA:
        image = on_white(image).numpy()
    rows = image.reshape(height, -1)  # column by column first: along three channels NumPy takes a hundred times as long
    span = rows.max(0).reshape(-1, 3).max(0) - rows.min(0).reshape(-1, 3).min(0)
    return 255.0 - _squashed(255 - image, size) if int(span.max()) >= limits.contrast else None


def _plain_png(image_bytes: bytes) -> bytes | None:
    """A PNG's IHDR, IDAT and IEND; None where there is more that counts, or anything between or after them."""
    if not image_bytes.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
        return None
    at, first, name = FIRST_CHUNK, 0, b""
    for _ in range(PLAIN_CHUNKS):
        if name == b"IEND" or at + 12 > len(image_bytes):
            break
        length, name = struct.unpack(">I4s", image_bytes[at : at + 8])
        if name in (b"IDAT", b"IEND"):
            first = first or at
        elif first or name not in NO_MATTER:
            return None
        at += 12 + length
    return image_bytes[:FIRST_CHUNK] + image_bytes[first:at] if name == b"IEND" and at == len(image_bytes) else None


def photo_pixels(image_bytes: bytes, size: int, limits: Limits) -> np.ndarray | None:
    """The plain view float32 `[size, size, 3]` of a JPEG, equal to that of `photo_views` after `images.decode`; None
    for all that is not sound and within the limits, has to be turned, or may be blank."""
    fine = image_bytes.startswith(b"\xff\xd8\xff") and len(image_bytes) <= limits.bytes
    if not fine or image_bytes.count(SCAN) > JPEG_SCANS:
        return None
    try:
        data = tf.constant(image_bytes)
        height, width = tf.image.extract_jpeg_shape(data).numpy()[:2].tolist()
        least, most = min(height, width), max(height, width)
        if least < limits.smallest_side or most > limits.side or height * width > limits.pixels:
            return None
        if any(mark in image_bytes for mark in TURNED) and _orientation()(data) != 1:
            return None
        image = np.asarray(jpeg_pixels(data))
    except tf.errors.OpError:
        return None
    return _squashed(image, size) if _drawn(image, limits) else None


@functools.cache
def _orientation() -> Any:
    """What the metadata of a JPEG says, by the ops of `images.decode`."""
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(lambda data: exif.orientation(*exif.jpeg_metadata(data)), signature, autograph=False)


def _drawn(image: np.ndarray, limits: Limits) -> bool:
    """Whether a few pixels show already that an image uint8 `[H, W, 3]` is not blank."""
    height, width, _ = image.shape
    some = image[:: height // 16 + 1, :: width // 16 + 1].reshape(-1, 3)
    return int(np.ptp(some, 0).max()) >= limits.contrast


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
