"""The short way from the bytes of an image to its pixels: TensorFlow's decoders outside any graph.

`images.decode` survives whatever it is handed, in a graph, which costs as much as decoding a small image. Here all that
is out of the ordinary is left to it; the pixels of what is not are the same.
"""

import functools
import struct
from typing import Any

import numpy as np
import tensorflow as tf

from tf_ssgn.data.images import exif
from tf_ssgn.data.images.chunks import FIRST_CHUNK
from tf_ssgn.data.images.decode import SCAN, jpeg_pixels, on_white
from tf_ssgn.settings import JPEG_SCANS, PLAIN_CHUNKS, Limits

ALPHA = 4  # bit of a PNG's colour type
NO_MATTER = (b"sRGB", b"gAMA", b"cHRM", b"bKGD", b"pHYs", b"tIME", b"tEXt")  # chunks that `decode` leaves out unread
PROFILE = b"tEXtRaw profile type "  # an older program's way to say what Exif would, which only Pillow reads
TURNED = (b"Exif\0\0", b"tiff:Orientation")


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
        elif first or name not in NO_MATTER or image_bytes.startswith(PROFILE, at + 4):
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
