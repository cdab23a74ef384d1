"""A PNG without its ancillary chunks. TensorFlow ops only.

libpng, as TensorFlow builds it, bounds no text: a chunk that merely claims 2 GB is given 2 GB, and 4 MB of compressed
text inflate to 4 GB, whatever the image's sides. So only the chunks that make pixels are handed to the decoder. What is
damaged stays damaged, checksums included. Source: PNG specification, third edition.
"""

from typing import NamedTuple

import tensorflow as tf

from tf_ssgn.data.images.headers import big_endian, cut, equals, read, size
from tf_ssgn.settings import PNG_CHUNKS

PALETTE, TRANSPARENCY, PIXELS, EXIF, END, XMP = range(6)
NAMES = [int.from_bytes(name, "big") for name in (b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND")]
PACKET = b"iTXtXML:com.adobe.xmp\0"
FIRST_CHUNK = 33  # behind the signature and IHDR


class Parts(NamedTuple):
    """What a PNG is made of, as far as it matters here; scalars.

    `pixels` is the file with IHDR, PLTE, tRNS, the first run of IDAT and IEND alone; `transparent` whether it has tRNS;
    `exif` and `xmp` are empty where there is none, as a compressed packet says nothing.
    """

    pixels: tf.Tensor
    transparent: tf.Tensor
    exif: tf.Tensor
    xmp: tf.Tensor


def parts(data: tf.Tensor) -> Parts:
    """Takes a PNG apart."""

    def more(at: tf.Tensor, starts: tf.Tensor, pixels_end: tf.Tensor) -> tf.Tensor:
        return (at < size(data)) & tf.equal(starts[END], 0)

    def step(at: tf.Tensor, starts: tf.Tensor, pixels_end: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        head = read(data, at, 4 + len(PACKET))
        after = at + 12 + big_endian(head[:4])
        named = tf.equal(tf.constant(NAMES, tf.int64), big_endian(head[4:8]))
        matches = tf.concat([named, [equals(head[4:], PACKET)]], 0)
        continues = matches[PIXELS] & (tf.equal(pixels_end, 0) | tf.equal(pixels_end, at))
        return after, tf.where(matches & tf.equal(starts, 0), at, starts), tf.where(continues, after, pixels_end)

    state = (tf.constant(FIRST_CHUNK, tf.int64), tf.zeros([XMP + 1], tf.int64), tf.constant(0, tf.int64))
    _, starts, pixels_end = tf.while_loop(more, step, state, maximum_iterations=PNG_CHUNKS, parallel_iterations=1)

    def chunk(at: tf.Tensor) -> tf.Tensor:
        """All of the chunk that starts there; nothing for one that was not found."""
        return cut(data, at, tf.where(at > 0, at + 12 + big_endian(read(data, at, 4)), 0))

    kept = [
        cut(data, 0, FIRST_CHUNK),
        chunk(starts[PALETTE]),
        chunk(starts[TRANSPARENCY]),
        cut(data, starts[PIXELS], pixels_end),
        chunk(starts[END]),
    ]

    def content(at: tf.Tensor, skipped: int) -> tf.Tensor:
        return cut(data, at + 8 + skipped, tf.where(at > 0, at + 8 + big_endian(read(data, at, 4)), 0))

    return Parts(
        tf.strings.join(kept),
        starts[TRANSPARENCY] > 0,
        content(starts[EXIF], 0),
        content(starts[XMP], len(PACKET) - 4),
    )
