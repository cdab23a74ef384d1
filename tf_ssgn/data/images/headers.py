"""What an image file says about itself before it is decoded: its format and sides. TensorFlow ops only.

No pixel is decoded here. Short or absurd input gives sides of 0 and no error, because `read` pads with zeros; only
`jpeg_sides` raises on garbage.
"""

from __future__ import annotations

import tensorflow as tf

UNKNOWN, PNG, JPEG, GIF, BMP, WEBP = range(6)


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


def little_endian(octets: tf.Tensor) -> tf.Tensor:
    """Unsigned integer of int64 [n] bytes, n at most 7, least significant first; int64 scalar."""
    return tf.reduce_sum(octets * tf.constant([256**place for place in range(octets.shape[0])], tf.int64))


def big_endian(octets: tf.Tensor) -> tf.Tensor:
    """As `little_endian`, most significant byte first."""
    places = reversed(range(octets.shape[0]))
    return tf.reduce_sum(octets * tf.constant([256**place for place in places], tf.int64))


def equals(octets: tf.Tensor, text: bytes) -> tf.Tensor:
    """Whether int64 [n] begins with the bytes of `text`; bool scalar."""
    return tf.reduce_all(tf.equal(octets[: len(text)], tf.constant(list(text), tf.int64)))


def kind(data: tf.Tensor, photo_formats: bool) -> tf.Tensor:
    """Format by magic bytes, int32 scalar: PNG or JPEG, with `photo_formats` also GIF, BMP or WEBP, else UNKNOWN.

    Four bytes make a PNG: one whose line ends a text transfer has mangled is then called corrupt, which says more than
    unknown.
    """
    head = read(data, 0, 12)
    found = [(equals(head, b"\x89PNG"), PNG), (equals(head, b"\xff\xd8\xff"), JPEG)]
    if photo_formats:
        found += [
            (equals(head, b"GIF87a") | equals(head, b"GIF89a"), GIF),
            (equals(head, b"BM"), BMP),
            (equals(head, b"RIFF") & equals(head[8:], b"WEBP"), WEBP),
        ]
    return tf.add_n([tf.cast(match, tf.int32) * number for match, number in found])


def png_sides(data: tf.Tensor) -> tf.Tensor:
    """From the IHDR chunk, which comes first."""
    head = read(data, 12, 12)
    return tf.where(equals(head, b"IHDR"), tf.stack([big_endian(head[8:]), big_endian(head[4:8])]), 0)


def jpeg_sides(data: tf.Tensor) -> tf.Tensor:
    """As libjpeg itself finds them, so that no file shows other sides here than when it is decoded.

    Raises InvalidArgumentError where it finds none.
    """
    return tf.cast(tf.image.extract_jpeg_shape(data)[:2], tf.int64)


def gif_sides(data: tf.Tensor) -> tf.Tensor:
    """From the logical screen, which `data.images.frames` has made as large as the first frame."""
    head = read(data, 6, 4)
    return tf.stack([little_endian(head[2:]), little_endian(head[:2])])


def bmp_sides(data: tf.Tensor) -> tf.Tensor:
    """From a Windows header; 0 for what `tf.io.decode_bmp` would read wrongly.

    Read: uncompressed 8 bits with a palette, 24 and 32 bits, the latter also with the usual channel masks spelt out.
    The op trusts the pixel offset in the header, so that it stays inside the file is checked here.
    """
    head = read(data, 10, 24)  # pixel offset, header size, width, height, planes, bits, compression
    offset, header, width, height = (little_endian(head[at : at + 4]) for at in (0, 4, 8, 12))
    bits, compression = little_endian(head[18:20]), little_endian(head[20:24])
    height = tf.where(height >= 2**31, 2**32 - height, height)  # negative: rows run from the top
    masks = equals(read(data, 54, 12), b"\0\0\xff\0\0\xff\0\0\xff\0\0\0")
    plain = tf.equal(compression, 0) & (tf.equal(bits, 8) | tf.equal(bits, 24) | tf.equal(bits, 32))
    row = (bits * width + 31) // 32 * 4
    inside = (header >= 40) & (offset >= 14 + header) & (width < 2**31) & (offset + row * height <= size(data))
    return tf.where(inside & (plain | (tf.equal(compression, 3) & tf.equal(bits, 32) & masks)), [height, width], 0)


def webp_sides(data: tf.Tensor) -> tf.Tensor:
    """From the first chunk: VP8 (lossy), VP8L (lossless) or VP8X (extended)."""
    head = read(data, 12, 18)
    packed = little_endian(head[9:13])
    lossy = tf.stack([little_endian(head[16:18]), little_endian(head[14:16])]) % 2**14
    lossless = tf.stack([packed // 2**14, packed]) % 2**14 + 1
    extended = tf.stack([little_endian(head[15:18]), little_endian(head[12:15])]) + 1
    chunk = [(b"VP8 ", lossy), (b"VP8L", lossless), (b"VP8X", extended)]
    return tf.add_n([tf.where(equals(head, name), found, 0) for name, found in chunk])
