"""Which way up a photo is: found in the metadata of a JPEG or PNG, and undone. TensorFlow ops only.

Exif decides, and XMP where Exif is silent, as in Pillow, which does the same for all other formats (`picture`); a test
holds the two against each other. What is malformed means orientation 1: a photo is not refused for its metadata.
Sources: Exif 2.3, tag 0x0112 of IFD0; PNG specification, third edition, eXIf; XMP specification, part 3.
"""

import tensorflow as tf

from tf_ssgn.data.images.headers import big_endian, cut, equals, read, size
from tf_ssgn.settings import EXIF_ENTRIES, JPEG_SEGMENTS

ORIENTATION = 0x0112
SHORT, LONG, SIGNED_SHORT, SIGNED_LONG = 3, 4, 8, 9
XMP = rb"(?s)^\C*?tiff:Orientation(?:\s*=\s*[\"']|>)\s*([0-9])\C*$"  # \C is any byte
XMP_SPACE = b"http://ns.adobe.com/xap/1.0/\0"


def orientation(tiff: tf.Tensor, xmp: tf.Tensor) -> tf.Tensor:
    """Orientation 1 to 8, int64 scalar, of an Exif block (a TIFF file) and an XMP packet; either may be empty."""
    prefixed = equals(read(tiff, 0, 6), b"Exif\0\0")  # as in a JPEG; some programs write it into a PNG too
    exif = _tiff_orientation(cut(tiff, tf.where(prefixed, 6, 0), size(tiff)))
    digit = read(tf.strings.regex_replace(xmp, XMP, rb"\1"), 0, 2) - tf.constant([48, 0], tf.int64)
    packet = tf.where(tf.equal(digit[1], 0), digit[0], 1)
    value = tf.where(exif < 0, packet, exif)
    return tf.where((value >= 1) & (value <= 8), value, 1)


def jpeg_metadata(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The first Exif block and the last XMP packet of a JPEG, scalar strings, empty where there is none."""

    def more(at: tf.Tensor, segment: tf.Tensor, exif: tf.Tensor, xmp: tf.Tensor) -> tf.Tensor:
        pixels = (segment[1] >= 0xD8) & (segment[1] <= 0xDA)
        return tf.equal(segment[0], 0xFF) & ~pixels

    def step(at: tf.Tensor, segment: tf.Tensor, exif: tf.Tensor, xmp: tf.Tensor) -> tuple[tf.Tensor, ...]:
        app1 = equals(segment, b"\xff\xe1")
        fill = equals(segment, b"\xff\xff")  # any number of these may stand before a marker
        first = app1 & equals(segment[4:], b"Exif\0\0") & tf.equal(exif, 0)
        after = at + tf.where(fill, tf.constant(1, tf.int64), 2 + big_endian(segment[2:4]))
        packet = app1 & equals(segment[4:], XMP_SPACE)
        return after, read(data, after, 40), tf.where(first, at, exif), tf.where(packet, at, xmp)

    def content(at: tf.Tensor, skipped: int) -> tf.Tensor:
        return cut(data, at + skipped, tf.where(at > 0, at + 2 + big_endian(read(data, at + 2, 2)), 0))

    start, none = tf.constant(2, tf.int64), tf.constant(0, tf.int64)
    state = (start, read(data, start, 40), none, none)
    _, _, exif, xmp = tf.while_loop(more, step, state, maximum_iterations=JPEG_SEGMENTS, parallel_iterations=1)
    return content(exif, 10), content(xmp, 4 + len(XMP_SPACE))


def _tiff_orientation(tiff: tf.Tensor) -> tf.Tensor:
    """What the TIFF file says; -1 where it is silent."""
    head = read(tiff, 0, 8)
    motorola = equals(head, b"MM")

    def numbers(octets: tf.Tensor) -> tf.Tensor:
        """Unsigned integers of the bytes int64 [..., n]."""
        places = tf.constant([256**place for place in range(octets.shape[-1])], tf.int64)
        return tf.reduce_sum(tf.where(motorola, tf.reverse(octets, [-1]), octets) * places, -1)

    directory = numbers(head[4:8])
    entries = tf.reshape(read(tiff, directory + 2, 12 * EXIF_ENTRIES), [EXIF_ENTRIES, 12])
    used = tf.range(EXIF_ENTRIES, dtype=tf.int64) < numbers(read(tiff, directory, 2))
    matches = used & tf.equal(numbers(entries[:, :2]), ORIENTATION)
    entry = entries[tf.argmax(matches)]
    kind, count = numbers(entry[2:4]), numbers(entry[4:8])
    short = tf.equal(kind, SHORT) | tf.equal(kind, SIGNED_SHORT)
    long = tf.equal(kind, LONG) | tf.equal(kind, SIGNED_LONG)
    value = tf.where(short, numbers(entry[8:10]), tf.where(long, numbers(entry[8:12]), 1))
    inside = tf.equal(count, 1) | (short & tf.equal(count, 2))  # of several values the first counts
    says = (motorola | equals(head, b"II")) & tf.reduce_any(matches)
    return tf.where(says, tf.where(inside, value, 1), -1)


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """The image [H, W, 3] as its maker meant it: 5 to 8 swap rows and columns, then either may run backwards."""

    def one_of(*values: int) -> tf.Tensor:
        return tf.reduce_any(tf.equal(orientation, tf.constant(values, tf.int64)))

    def turned() -> tf.Tensor:
        swapped = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        mirrored = tf.cond(one_of(2, 3, 6, 7), lambda: tf.reverse(swapped, [1]), lambda: swapped)
        return tf.cond(one_of(3, 4, 7, 8), lambda: tf.reverse(mirrored, [0]), lambda: mirrored)

    return tf.cond(tf.equal(orientation, 1), lambda: image, turned)
