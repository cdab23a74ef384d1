"""The first frame of an animated GIF or WebP as a still image file of its own. TensorFlow ops only.

TensorFlow decodes every frame: a small GIF of a thousand large frames would take gigabytes. So the file is cut down
before it is decoded, by following its own block lengths. What is damaged comes out damaged, for the decoder to find.
Sources: GIF89a specification (CompuServe 1990); WebP container specification (Google).
"""

from __future__ import annotations

import tensorflow as tf

from tf_ssgn.data.images.headers import cut, equals, little_endian, read, size

OCTETS = [bytes([value]) for value in range(256)]
EXTENSION, DESCRIPTOR, TRANSPARENCY = 0x21, 0x2C, 0xF9
RECORDS = 64  # extensions or chunks looked at before the first frame


def gif_first_frame(data: tf.Tensor) -> tf.Tensor:
    """A GIF of one frame that fills its screen, its transparent colour turned white; scalar string.

    The op would paint both the transparent pixels and the screen around a smaller frame black.
    """
    screen = read(data, 0, 13)
    start = 13 + _table_bytes(screen[10])

    def is_extension(at: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return tf.equal(read(data, at, 1)[0], EXTENSION)

    def step(at: tf.Tensor, transparent: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = read(data, at, 7)  # introducer, label, length, flags, delay, transparent colour
        controls = tf.equal(head[1], TRANSPARENCY) & tf.equal(head[3] % 2, 1)
        return _after_blocks(data, at + 2), tf.where(controls, head[6], transparent)

    none = tf.constant(-1, tf.int64)
    at, transparent = tf.while_loop(
        is_extension, step, (start, none), maximum_iterations=RECORDS, parallel_iterations=1
    )
    descriptor = read(data, at, 10)  # separator, left, top, width, height, flags
    local = _table_bytes(descriptor[9])
    sides = cut(data, at + 5, at + 9)
    pixels = at + 10 + local
    frame = tf.strings.join(
        [
            b"GIF89a",
            sides,
            cut(data, 10, 13),
            _whitened(cut(data, 13, start), transparent),
            b"\x2c\0\0\0\0",
            sides,
            cut(data, at + 9, at + 10),
            _whitened(cut(data, at + 10, pixels), transparent),
            cut(data, pixels, _after_blocks(data, pixels + 1)),
            b";",
        ]
    )
    return tf.where(tf.equal(descriptor[0], DESCRIPTOR), frame, b"")


def webp_first_frame(data: tf.Tensor) -> tf.Tensor:
    """A still WebP with the first frame of an animated one; one that is not animated is returned as it is."""
    head = read(data, 12, 9)
    animated = equals(head, b"VP8X") & tf.equal(head[8] // 2 % 2, 1)
    return tf.cond(animated, lambda: _webp_frame(data), lambda: data)


def _webp_frame(data: tf.Tensor) -> tf.Tensor:
    def is_other(at: tf.Tensor) -> tf.Tensor:
        return tf.logical_not(equals(read(data, at, 4), b"ANMF"))

    def step(at: tf.Tensor) -> tuple[tf.Tensor]:
        length = little_endian(read(data, at + 4, 4))
        return (at + 8 + length + length % 2,)

    first = tf.constant(12, tf.int64)
    (at,) = tf.while_loop(is_other, step, (first,), maximum_iterations=RECORDS, parallel_iterations=1)
    end = at + 8 + little_endian(read(data, at + 4, 4))
    # A frame is: x, y, width - 1, height - 1, duration (3 bytes each), flags, then the chunks of a still image.
    canvas = tf.strings.join([b"VP8X\x0a\0\0\0\x10\0\0\0", cut(data, at + 14, at + 20)])
    body = tf.strings.join([b"WEBP", canvas, cut(data, at + 24, end)])
    length = size(body) // tf.constant([1, 256, 256**2, 256**3], tf.int64) % 256
    return tf.strings.join([b"RIFF", tf.strings.reduce_join(tf.gather(OCTETS, length)), body])


def _table_bytes(flags: tf.Tensor) -> tf.Tensor:
    """Bytes of the colour table that a GIF's packed flags announce; 0 for none."""
    return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(tf.constant(2, tf.int64), flags % 8), 0)


def _whitened(table: tf.Tensor, colour: tf.Tensor) -> tf.Tensor:
    """A colour table with that entry white; unchanged where it has no such entry."""
    entry = 3 * colour
    white = tf.strings.join([cut(table, 0, entry), b"\xff\xff\xff", cut(table, entry + 3, size(table))])
    return tf.where((colour >= 0) & (entry < size(table)), white, table)


def _after_blocks(data: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """Position after a GIF's chain of sub-blocks, each with its length in front; the end of the data at the latest."""

    def more(here: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        return length > 0

    def step(here: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        after = here + 1 + length
        return after, read(data, after, 1)[0]

    here, _ = tf.while_loop(more, step, (at, read(data, at, 1)[0]), parallel_iterations=1)
    return tf.minimum(here + 1, size(data))
