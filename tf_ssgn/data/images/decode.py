"""Guarded decode: bytes that anyone may have sent to a uint8 image and a status. TensorFlow ops only.

The same functions run in tf.data pipelines, in `runtime/` and inside exported signatures, so they agree to the bit.

**Why a dataset inside the graph.** `tf.io.decode_*` raises on a damaged file, a graph has no try/except, and the error
would fail every row of the request. tf.data has the only core op that turns an error into an absence,
`IgnoreErrorsDataset`. So each image is decoded by a dataset of one element that ignores errors, followed by a dataset
of one placeholder marked CORRUPT, and the first element of the two is taken. Measured: 0.3 ms per image; it works in a
`tf.function`, in `tf.map_fn`, in another `Dataset.map` and in a SavedModel; its ops are TensorFlow core kernels.
A pure-graph alternative would have to verify inflate streams and Huffman codes before decoding them.

**Why limits come first.** 12 KB of PNG decode to 100 MB, so height and width are read from the header before anything
is decoded. Other bombs do not show there: JPEGs with thousands of scans over the same pixels (12 ms for 20 bytes)
are refused by their count; PNG texts and animations are cut away before decoding (`chunks`).
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from tf_ssgn.common.status import Status
from tf_ssgn.data.images import chunks, exif, headers
from tf_ssgn.data.images.views import photo_views, sketch_views
from tf_ssgn.settings import JPEG_SCANS, Limits

__all__ = ["decode", "decode_batch", "photo_views", "sketch_views"]

SCAN = b"\xff\xda\x00"  # with the high byte of its length, or the video behind a motion photo would look like scans

Decoded = tuple[tf.Tensor, tf.Tensor]


def decode(image_bytes: tf.Tensor, limits: Limits) -> Decoded:
    """Decodes the content of an image file, scalar string; never raises.

    Returns uint8 [H, W, 3], composited on white and turned upright by its Exif or XMP, and its `Status` as an int32
    scalar. A faulty image gives one white pixel.
    """
    return _decoder(limits)(image_bytes)


@functools.lru_cache
def _decoder(limits: Limits) -> Callable[[tf.Tensor], Decoded]:
    """`decode` with its static arguments, traced once per process: its graph has a thousand nodes."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def decoded(image_bytes: tf.Tensor) -> Decoded:
        length = headers.size(image_bytes)
        status = _first((tf.equal(length, 0), Status.EMPTY), (length > limits.bytes, Status.TOO_LARGE))
        return _unless(status, lambda: _unless_blank(*_by_format(image_bytes, limits), limits))

    return decoded


@tf.autograph.experimental.do_not_convert
def decode_batch(image_bytes: tf.Tensor, limits: Limits, prepare: Callable[[tf.Tensor], tf.Tensor]) -> Decoded:
    """Decodes and prepares a batch, string [B >= 0], one image after the other so that memory stays that of one.

    `prepare` makes float32 [1 + views, size, size, 3] of uint8 [H, W, 3], such as a partial `views.sketch_views`.
    Returns these as [B, ...], and status int32 [B]; a faulty row is prepared from a white placeholder.
    """

    def row(data: tf.Tensor) -> Decoded:
        image, status = decode(data, limits)
        return prepare(image), status

    shape = tf.function(prepare).get_concrete_function(tf.TensorSpec([None, None, 3], tf.uint8)).output_shapes
    signature = (tf.TensorSpec(shape, tf.float32), tf.TensorSpec([], tf.int32))
    return tf.map_fn(row, image_bytes, fn_output_signature=signature, parallel_iterations=1)


def _by_format(data: tf.Tensor, limits: Limits) -> Decoded:
    """Header check and decode; other formats are `picture`'s."""
    formats = {
        headers.UNKNOWN: lambda: _placeholder(Status.UNKNOWN_FORMAT),
        headers.PNG: lambda: _png(data, limits),
        headers.JPEG: lambda: _jpeg(data, limits),
    }
    image, status = tf.switch_case(headers.kind(data), formats)
    return tf.ensure_shape(image, [None, None, 3]), status


def _size_status(limits: Limits, sides: tf.Tensor) -> tf.Tensor:
    """Status int32 of what a header says; sides are int64 [2]."""
    return _first(
        (tf.reduce_min(sides) <= 0, Status.CORRUPT),
        ((tf.reduce_max(sides) > limits.side) | (tf.reduce_prod(sides) > limits.pixels), Status.TOO_LARGE),
        (tf.reduce_min(sides) < limits.smallest_side, Status.TOO_SMALL),
    )


def _attempt(decoder: Callable[[tf.Tensor], Decoded], data: tf.Tensor, otherwise: Decoded) -> Decoded:
    """What the decoder makes of the data, or `otherwise` where it raises; the module's docstring tells how. Only what
    may raise belongs in it: it is set up anew for every image, which takes the longer the more ops it has."""
    attempt = tf.data.Dataset.from_tensors(data).map(tf.autograph.experimental.do_not_convert(decoder)).ignore_errors()
    return attempt.concatenate(tf.data.Dataset.from_tensors(otherwise)).take(1).get_single_element()


def _or_corrupt(op: Callable[[tf.Tensor], tf.Tensor], data: tf.Tensor, channels: int = 3) -> Decoded:
    """Image uint8 [H, W, channels] and OK, or a placeholder and CORRUPT."""
    fine = tf.constant(Status.OK, tf.int32)
    return _attempt(lambda file: (op(file), fine), data, _placeholder(Status.CORRUPT, channels))


def _png(data: tf.Tensor, limits: Limits) -> Decoded:
    """All colour types and depths. Transparency is an alpha channel, or a tRNS chunk beside any other colour type."""

    def pixels() -> Decoded:
        parts = chunks.parts(data)
        # Not always as RGBA: below 8 bits the op fills a missing alpha channel with 1, 3 or 15.
        alpha = parts.transparent | (headers.read(data, 25, 1)[0] >= 4)
        image, status = tf.cond(alpha, lambda: transparent(parts.pixels), lambda: opaque(parts.pixels))
        return exif.upright(image, exif.orientation(parts.exif, parts.xmp)), status

    def transparent(file: tf.Tensor) -> Decoded:
        image, status = _or_corrupt(lambda part: tf.io.decode_png(part, channels=4), file, channels=4)
        return on_white(image), status

    def opaque(file: tf.Tensor) -> Decoded:
        return _or_corrupt(lambda part: tf.io.decode_png(part, channels=3), file)

    return _unless(_size_status(limits, headers.png_sides(data)), pixels)


def _jpeg(data: tf.Tensor, limits: Limits) -> Decoded:
    """Grey, YCbCr and CMYK."""
    white, _ = _placeholder(Status.CORRUPT)

    def decoder(file: tf.Tensor) -> Decoded:
        """Pixels, white if the sides forbid them, and the sides."""
        sides = headers.jpeg_sides(file)
        allowed = tf.equal(_size_status(limits, sides), Status.OK)
        return tf.cond(allowed, lambda: jpeg_pixels(file), lambda: white), sides

    def attempted() -> Decoded:
        image, sides = _attempt(decoder, data, (white, tf.zeros([2], tf.int64)))
        return exif.upright(image, exif.orientation(*exif.jpeg_metadata(data))), _size_status(limits, sides)

    # Scans are counted wherever their mark stands, so never fewer than there are.
    scans = tf.size(tf.strings.split(data, SCAN, maxsplit=JPEG_SCANS + 1)) - 1
    return _unless(_first((scans > JPEG_SCANS, Status.TOO_LARGE)), attempted)


def jpeg_pixels(data: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 3]. The accurate transform is the one that Pillow, and so every published feature, uses."""
    # An `acceptable_fraction` that is no float, as its default, takes a longer way outside of a graph.
    return tf.io.decode_jpeg(data, channels=3, acceptable_fraction=1.0, dct_method="INTEGER_ACCURATE")


def _unless_blank(image: tf.Tensor, status: tf.Tensor, limits: Limits) -> Decoded:
    """BLANK if nothing is drawn."""

    def all_rows() -> Decoded:
        blank = tf.equal(status, Status.OK) & ~_has_contrast(image, limits)
        state = tf.where(blank, tf.constant(Status.BLANK, tf.int32), status)
        return _unless(state, lambda: (image, state))

    # A few rows mostly show it already, in a tenth of the time of looking at all.
    few = tf.gather(image, tf.range(16) * tf.shape(image)[0] // 16)
    return tf.cond(_has_contrast(few, limits), lambda: (image, status), all_rows)


def _has_contrast(rows: tf.Tensor, limits: Limits) -> tf.Tensor:
    """Whether any channel spans `limits.contrast` levels."""
    darkest, lightest = tf.reduce_min(rows, [0, 1]), tf.reduce_max(rows, [0, 1])
    return tf.reduce_max(tf.cast(lightest, tf.int32) - tf.cast(darkest, tf.int32)) >= limits.contrast


def _first(*checks: tuple[tf.Tensor, Status]) -> tf.Tensor:
    """Status of the first check that holds, int32; OK where none does."""
    status = tf.constant(Status.OK, tf.int32)
    for holds, value in reversed(checks):
        status = tf.where(holds, tf.constant(value, tf.int32), status)
    return status


def _unless(status: tf.Tensor, proceed: Callable[[], Decoded]) -> Decoded:
    return tf.cond(tf.equal(status, Status.OK), proceed, lambda: _placeholder(status))


def _placeholder(status: tf.Tensor | Status, channels: int = 3) -> Decoded:
    return tf.fill([1, 1, channels], tf.constant(255, tf.uint8)), tf.cast(status, tf.int32)


def on_white(image: tf.Tensor) -> tf.Tensor:
    """RGBA uint8 [H, W, 4] laid on white paper, correctly rounded: 255 - (255 - colour) * alpha / 255."""
    ink = tf.cast(255 - image[..., :3], tf.uint16) * tf.cast(image[..., 3:], tf.uint16) + 128
    # (x + x // 256) // 256 of x = product + 128 is the product over 255, rounded, and fits in 16 bits.
    return 255 - tf.cast(tf.bitwise.right_shift(ink + tf.bitwise.right_shift(ink, 8), 8), tf.uint8)
