"""EXIF orientation of a JPEG: found in its header and undone. TensorFlow ops only.

Source: Exif 2.3, tag 0x0112 of IFD0, in an APP1 segment that precedes the image's tables. Whatever is malformed means
orientation 1: a photo is not refused for its metadata.
"""

from __future__ import annotations

import tensorflow as tf

from tf_ssgn.data.images.headers import big_endian, equals, little_endian, read

SEGMENTS = 64  # APPn and comment segments looked at; a 4 MiB colour profile takes as many
ENTRIES = 64  # directory entries looked at; cameras write about 12, sorted by tag
ORIENTATION = 0x0112


def jpeg_orientation(data: tf.Tensor) -> tf.Tensor:
    """Orientation 1 to 8 of a JPEG, int64 scalar; 1 where it says nothing."""

    def is_exif(segment: tf.Tensor) -> tf.Tensor:
        return equals(segment, b"\xff\xe1") & equals(segment[4:], b"Exif\0\0")

    def more(at: tf.Tensor, segment: tf.Tensor) -> tf.Tensor:
        metadata = tf.equal(segment[1] // 16, 0xE) | tf.equal(segment[1], 0xFE)
        return tf.equal(segment[0], 0xFF) & metadata & ~is_exif(segment)

    def step(at: tf.Tensor, segment: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        after = at + 2 + big_endian(segment[2:4])
        return after, read(data, after, 10)

    first = tf.constant(2, tf.int64)
    state = (first, read(data, first, 10))
    at, last = tf.while_loop(more, step, state, maximum_iterations=SEGMENTS, parallel_iterations=1)
    return tf.cond(is_exif(last), lambda: _tiff_orientation(data, at + 10), lambda: tf.constant(1, tf.int64))


def _tiff_orientation(data: tf.Tensor, tiff: tf.Tensor) -> tf.Tensor:
    """Orientation in the TIFF structure that starts at byte `tiff`."""
    head = read(data, tiff, 8)
    motorola = equals(head, b"MM")

    def number(octets: tf.Tensor) -> tf.Tensor:
        return tf.where(motorola, big_endian(octets), little_endian(octets))

    directory = tiff + number(head[4:8])
    entries = tf.reshape(read(data, directory + 2, 12 * ENTRIES), [ENTRIES, 12])
    tags = tf.where(motorola, entries[:, 0] * 256 + entries[:, 1], entries[:, 1] * 256 + entries[:, 0])
    values = tf.where(motorola, entries[:, 8] * 256 + entries[:, 9], entries[:, 9] * 256 + entries[:, 8])
    used = tf.range(ENTRIES, dtype=tf.int64) < number(read(data, directory, 2))
    value = tf.reduce_max(tf.where(used & tf.equal(tags, ORIENTATION), values, 0))
    known = (motorola | equals(head, b"II")) & (value >= 1) & (value <= 8)
    return tf.where(known, value, 1)


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """The image [H, W, 3] as its maker meant it: 5 to 8 swap rows and columns, then either may run backwards."""

    def one_of(*values: int) -> tf.Tensor:
        return tf.reduce_any(tf.equal(orientation, tf.constant(values, tf.int64)))

    def turned() -> tf.Tensor:
        swapped = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        mirrored = tf.cond(one_of(2, 3, 6, 7), lambda: tf.reverse(swapped, [1]), lambda: swapped)
        return tf.cond(one_of(3, 4, 7, 8), lambda: tf.reverse(mirrored, [0]), lambda: mirrored)

    return tf.cond(tf.equal(orientation, 1), lambda: image, turned)
