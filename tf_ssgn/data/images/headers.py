"""What an image file says about itself before it is decoded: its format and sides. TensorFlow ops only.

No pixel is decoded here. Short or absurd input gives sides of 0 and no error, because `read` pads with zeros; only
`jpeg_sides` raises on garbage.
"""

import tensorflow as tf

UNKNOWN, PNG, JPEG = range(3)


def read(data: tf.Tensor, start: tf.Tensor | int, count: int) -> tf.Tensor:
    """Bytes `start` to `start + count` of a scalar string as int64 [count]; zeros after its end."""
    start = tf.clip_by_value(tf.cast(start, tf.int64), 0, size(data))
    piece = tf.strings.substr(data, start, tf.constant(count, tf.int64))
    return tf.cast(tf.io.decode_raw(piece, tf.uint8, fixed_length=count), tf.int64)


def cut(data: tf.Tensor, start: tf.Tensor | int, end: tf.Tensor | int) -> tf.Tensor:
    """Bytes `start` to `end` of a scalar string, as far as they exist."""
    start = tf.clip_by_value(tf.cast(start, tf.int64), 0, size(data))
    return tf.strings.substr(data, start, tf.maximum(tf.cast(end, tf.int64) - start, 0))


def size(data: tf.Tensor) -> tf.Tensor:
    """Length of a scalar string in bytes, int64, as all positions are."""
    return tf.cast(tf.strings.length(data), tf.int64)


def big_endian(octets: tf.Tensor) -> tf.Tensor:
    """Unsigned integer of int64 [n] bytes, n at most 7, most significant first; int64 scalar."""
    places = reversed(range(octets.shape[0]))
    return tf.reduce_sum(octets * tf.constant([256**place for place in places], tf.int64))


def equals(octets: tf.Tensor, text: bytes) -> tf.Tensor:
    """Whether int64 [n] begins with the bytes of `text`; bool scalar."""
    return tf.reduce_all(tf.equal(octets[: len(text)], tf.constant(list(text), tf.int64)))


def kind(data: tf.Tensor) -> tf.Tensor:
    """Format by magic bytes, int32 scalar: PNG or JPEG, else UNKNOWN. Four bytes make a PNG: one whose line ends a text
    transfer has mangled is then called corrupt, which says more."""
    head = read(data, 0, 4)
    return tf.cast(equals(head, b"\x89PNG"), tf.int32) * PNG + tf.cast(equals(head, b"\xff\xd8\xff"), tf.int32) * JPEG


def png_sides(data: tf.Tensor) -> tf.Tensor:
    """From the IHDR chunk, which comes first."""
    head = read(data, 12, 12)
    return tf.where(equals(head, b"IHDR"), tf.stack([big_endian(head[8:]), big_endian(head[4:8])]), 0)


def jpeg_sides(data: tf.Tensor) -> tf.Tensor:
    """As libjpeg finds them, so that no file shows other sides here than when it is decoded; InvalidArgumentError where
    it finds none."""
    return tf.cast(tf.image.extract_jpeg_shape(data)[:2], tf.int64)
