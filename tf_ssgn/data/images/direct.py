"""The short way from the bytes of an image to its pixels and to its one view: TensorFlow's decoders and SciPy, outside
any graph.

`images.decode` survives whatever it is handed, in a graph, which costs as much as decoding a small image. Here all that
is out of the ordinary is left to it; the pixels of what is not are the same. TensorFlow's resize takes four times as
long as need be. It is linear in the rows, then in the columns, and adds up in a fixed order: so its weights, taken from
itself, make two sparse products of the very same bits.
"""

import functools
import importlib.util
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from tf_ssgn.data.images import exif
from tf_ssgn.data.images.chunks import FIRST_CHUNK
from tf_ssgn.data.images.decode import SCAN, jpeg_pixels, on_white
from tf_ssgn.data.images.picture import PNG_METADATA, encoded
from tf_ssgn.settings import JPEG_SCANS, KEPT_WEIGHTS, PLAIN_CHUNKS, ROWS_IN_CACHE, WEIGHTS_TOGETHER, Limits

ALPHA = 4  # bit of a PNG's colour type
# Chunks that `decode` leaves out unread, and Pillow too, but for PNG_METADATA.
NO_MATTER = (b"sRGB", b"gAMA", b"cHRM", b"bKGD", b"pHYs", b"tIME", b"tEXt")
TURNED = (b"Exif\0\0", b"tiff:Orientation")
TEST_SIDES = ((211, 500), (640, 97))  # of the images that a model's decoder is compared on

Short = Callable[[bytes], np.ndarray | None]


def plain_image(image_bytes: bytes, limits: Limits) -> np.ndarray | None:
    """The pixels uint8 `[H, W, 3]` that `images.decode` gives for a PNG or JPEG; None for all that is not sound and
    within the limits, is or may be blank, has to be turned, or says more than its pixels."""
    if len(image_bytes) > limits.bytes:
        return None
    try:
        return _png(image_bytes, limits) if image_bytes[:4] == b"\x89PNG" else _jpeg(image_bytes, limits)
    except tf.errors.OpError:
        return None


def _png(image_bytes: bytes, limits: Limits) -> np.ndarray | None:
    file = _pixels_only(image_bytes)
    if file is None:
        return None
    width, height, _, colours = struct.unpack(">IIBB", image_bytes[16:26])
    if not _allowed(height, width, limits):
        return None
    alpha = bool(colours & ALPHA)
    image = tf.io.decode_png(file, channels=4 if alpha else 3)
    image = (on_white(image) if alpha else image).numpy()
    rows = image.reshape(height, -1)  # column by column first: along three channels NumPy takes a hundred times as long
    span = rows.max(0).reshape(-1, 3).max(0) - rows.min(0).reshape(-1, 3).min(0)
    return image if int(span.max()) >= limits.contrast else None


def _pixels_only(image_bytes: bytes) -> bytes | None:
    """A PNG's IHDR, PLTE, IDAT and IEND; None where there is more that counts, or anything between or after them."""
    if not image_bytes.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
        return None
    at, first, name, palette = FIRST_CHUNK, 0, b"", b""
    for _ in range(PLAIN_CHUNKS):
        if name == b"IEND" or at + 12 > len(image_bytes):
            break
        length, name = struct.unpack(">I4s", image_bytes[at : at + 8])
        if name in (b"IDAT", b"IEND"):
            first = first or at
        elif name == b"PLTE" and not first and not palette:
            palette = image_bytes[at : at + 12 + length]
        elif first or name not in NO_MATTER or image_bytes.startswith(PNG_METADATA, at + 8):
            return None
        at += 12 + length
    whole = name == b"IEND" and at == len(image_bytes)
    return image_bytes[:FIRST_CHUNK] + palette + image_bytes[first:at] if whole else None


def _jpeg(image_bytes: bytes, limits: Limits) -> np.ndarray | None:
    # libjpeg prints a line on what is no JPEG at all.
    if not image_bytes.startswith(b"\xff\xd8\xff") or image_bytes.count(SCAN) > JPEG_SCANS:
        return None
    data = tf.constant(image_bytes)
    height, width = tf.image.extract_jpeg_shape(data).numpy()[:2].tolist()
    if not _allowed(height, width, limits):
        return None
    if any(mark in image_bytes for mark in TURNED) and _orientation()(data) != 1:
        return None
    image = np.asarray(jpeg_pixels(data))
    some = image[:: height // 16 + 1, :: width // 16 + 1].reshape(-1, 3)  # which show already that it is not blank
    return image if int(np.ptp(some, 0).max()) >= limits.contrast else None


def _allowed(height: int, width: int, limits: Limits) -> bool:
    least, most = min(height, width), max(height, width)
    return limits.smallest_side <= least and most <= limits.side and height * width <= limits.pixels


@functools.cache
def _orientation() -> Any:
    """What the metadata of a JPEG says, by the ops of `images.decode`."""
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(lambda data: exif.orientation(*exif.jpeg_metadata(data)), signature, autograph=False)


def short_way(kind: str, decode: Callable[[tf.Tensor], Any], limits: Limits) -> Short | None:
    """From a file's bytes to its plain view, or to None for what is left to `decode`. There is no such way where it
    does not give the bits of the model's `decode_*`: for more views than one, without SciPy, or where either was
    compiled to round in another way."""
    if importlib.util.find_spec("scipy") is None:
        return None
    sides = TEST_SIDES if kind == "photo" else [(side, side) for side, _ in TEST_SIDES]
    random = np.random.default_rng(0)
    noise = [Image.fromarray(random.integers(0, 256, (*one, 3), np.uint8)) for one in sides]
    images = [encoded(image, "JPEG" if kind == "photo" else "PNG") for image in noise]
    views = decode(tf.constant(images))[0].numpy()  # [B, 1 + views, size, size, 3]

    def short(image_bytes: bytes) -> np.ndarray | None:
        image = plain_image(image_bytes, limits)
        return None if image is None else plain_view(kind, image, views.shape[2])

    pairs: Any = zip(map(short, images), views[:, 0], strict=True)
    return short if views.shape[1] == 1 and all(np.array_equal(one, other) for one, other in pairs) else None


def plain_view(kind: str, image: np.ndarray, size: int) -> np.ndarray | None:
    """The plain view float32 `[size, size, 3]` of an image uint8 `[H, W, 3]`, equal to that of `photo_views` or
    `sketch_views`; None for a sketch that is not square."""
    if kind == "photo":
        return _squashed(image, size)
    return 255.0 - _squashed(255 - image, size) if image.shape[0] == image.shape[1] else None


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
