"""A PNG without its ancillary chunks. TensorFlow ops only.

libpng, as TensorFlow builds it, bounds no text: a chunk that merely claims 2 GB is given 2 GB, and 4 MB of compressed
text inflate to 4 GB, whatever the image's sides. So only the chunks that make pixels are handed to the decoder. What is
damaged stays damaged, checksums included. Source: PNG specification, third edition.
"""

from __future__ import annotations

import tensorflow as tf

from tf_ssgn.data.images.headers import big_endian, cut, read, size

CHUNKS = 10_000  # walked at most; 64 MB in the usual 8 KB pieces are 8,000
PALETTE, TRANSPARENCY, PIXELS, END = range(4)
NAMES = [int.from_bytes(name, "big") for name in (b"PLTE", b"tRNS", b"IDAT", b"IEND")]
FIRST_CHUNK = 33  # behind the signature and IHDR


def pixel_chunks(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The file with IHDR, PLTE, tRNS, the first run of IDAT and IEND alone, scalar string; and whether it has tRNS."""

    def more(at: tf.Tensor, starts: tf.Tensor, pixels_end: tf.Tensor) -> tf.Tensor:
        return (at < size(data)) & tf.equal(starts[END], 0)

    def step(at: tf.Tensor, starts: tf.Tensor, pixels_end: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        head = read(data, at, 8)
        after = at + 12 + big_endian(head[:4])
        matches = tf.equal(tf.constant(NAMES, tf.int64), big_endian(head[4:]))
        continues = matches[PIXELS] & (tf.equal(pixels_end, 0) | tf.equal(pixels_end, at))
        return after, tf.where(matches & tf.equal(starts, 0), at, starts), tf.where(continues, after, pixels_end)

    state = (tf.constant(FIRST_CHUNK, tf.int64), tf.zeros([len(NAMES)], tf.int64), tf.constant(0, tf.int64))
    _, starts, pixels_end = tf.while_loop(more, step, state, maximum_iterations=CHUNKS, parallel_iterations=1)

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
    return tf.strings.join(kept), starts[TRANSPARENCY] > 0
