"""The short way to most files' pixels: a JPEG or opaque PNG that need not be turned. TensorFlow ops only.

`images.decode` survives whatever it is handed, and that costs more than reading a small JPEG: a dataset per image, and
the ops of five formats, all of which are walked through. Here everything out of the ordinary raises an error instead,
for a pipeline that drops such elements and has `images.decode` look at them. The pixels are the same.
"""

import tensorflow as tf

from tf_ssgn.data.images import chunks, headers
from tf_ssgn.data.images.decode import allowed, jpeg_pixels, plainly_drawn, too_many_scans
from tf_ssgn.settings import Limits

TURNED = rb"(?s)\C*(?:Exif\x00\x00|tiff:Orientation)\C*"  # \C is any byte


def plain_jpeg(image_bytes: tf.Tensor, limits: Limits) -> tf.Tensor:
    """The image uint8 [H, W, 3] that `images.decode` gives for the same scalar string; InvalidArgumentError for all
    that is not a sound JPEG, and for one that may have to be turned upright."""
    # libjpeg prints a line on what is no JPEG at all.
    file = _sure(image_bytes, tf.equal(tf.strings.substr(image_bytes, 0, 3), b"\xff\xd8\xff"))
    fine = (headers.size(file) <= limits.bytes) & allowed(headers.jpeg_sides(file), limits)
    turned = tf.strings.regex_full_match(file, TURNED)
    return _drawn(jpeg_pixels(_sure(file, fine & ~turned & ~too_many_scans(file))), limits)


def plain_png(image_bytes: tf.Tensor, limits: Limits) -> tf.Tensor:
    """As `plain_jpeg`, for a PNG that has neither an alpha channel nor a transparent colour."""
    fine = (headers.size(image_bytes) <= limits.bytes) & allowed(headers.png_sides(image_bytes), limits)
    parts = chunks.parts(image_bytes)
    silent = tf.equal(tf.strings.length(parts.exif) + tf.strings.length(parts.xmp), 0) & ~parts.other
    head = headers.read(image_bytes, 0, 26)
    opaque = headers.equals(head, b"\x89PNG") & (head[25] < 4) & ~parts.transparent & silent
    return _drawn(tf.io.decode_png(_sure(parts.pixels, fine & opaque), channels=3), limits)


def _sure(data: tf.Tensor, fine: tf.Tensor) -> tf.Tensor:
    """The same tensor, for nobody to use before the condition is known to hold."""
    # Not tf.debugging.Assert: its branch that words the error is walked through for every image.
    with tf.control_dependencies([tf.raw_ops.Assert(condition=fine, data=["not a plain image"])]):
        return tf.identity(data)


def _drawn(image: tf.Tensor, limits: Limits) -> tf.Tensor:
    return _sure(image, plainly_drawn(image, limits))
