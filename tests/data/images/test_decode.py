"""Decoded pixels against Pillow: compositing, orientation, colour kinds, formats; and where the decode can run."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tests.hostile import corpus
from tf_ssgn.common.status import Status
from tf_ssgn.data.images import decode as images
from tf_ssgn.data.images.picture import as_query
from tf_ssgn.settings import PHOTO_LIMITS, QUERY_LIMITS, Limits

Decode = Callable[[bytes], np.ndarray]


@pytest.fixture(scope="module")
def decode() -> Decode:
    """The image, which must be fine; PNG and JPEG as they are, all other formats by way of Pillow."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def traced(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return images.decode(data, PHOTO_LIMITS)

    def run(data: bytes) -> np.ndarray:
        image, status = traced(tf.constant(data if data[:3] in (b"\x89PN", b"\xff\xd8\xff") else as_query(data)[2]))
        assert status == Status.OK
        return image.numpy()

    return run


def on_white(data: bytes) -> np.ndarray:
    """Pillow's reading of the first frame, turned upright and pasted on white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGBA")
    paper = Image.new("RGB", image.size, "white")
    paper.paste(image, mask=image.getchannel("A"))
    return np.asarray(paper)


def every_alpha() -> Image.Image:
    """All 65,536 pairs of a grey level and an alpha, and colours that differ from channel to channel."""
    level, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    return Image.fromarray(np.stack([level, 255 - level, level // 2, alpha], axis=-1), "RGBA")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composited_on_white_with_correct_rounding(mode: str, decode: Decode) -> None:
    data = corpus.encoded(every_alpha().convert(mode), "PNG")
    np.testing.assert_array_equal(decode(data), on_white(data))


TRANSPARENT = {
    "colour": corpus.encoded(corpus.photo(), "PNG", transparency=(10, 10, 10)),
    "grey": corpus.encoded(corpus.photo().convert("L"), "PNG", transparency=10),
    "palette": corpus.encoded(corpus.photo().quantize(32), "PNG", transparency=bytes(range(0, 256, 8))),
    "palette of 4 bits": corpus.encoded(
        corpus.photo().quantize(16), "PNG", bits=4, transparency=bytes(range(0, 255, 17))
    ),
    "palette of 1 bit": corpus.encoded(corpus.drawing(mode="L").quantize(2), "PNG", bits=1, transparency=b"\xff\x80"),
    "GIF": corpus.encoded(corpus.photo().quantize(16), "GIF", transparency=3),
    "lossless WebP": corpus.encoded(every_alpha(), "WEBP", lossless=True, exact=True),
    "WebP": corpus.encoded(every_alpha(), "WEBP"),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_every_kind_of_transparency_shows_white_paper(name: str, decode: Decode) -> None:
    expected = on_white(TRANSPARENT[name])
    assert (expected == 255).all(axis=-1).any()
    np.testing.assert_array_equal(decode(TRANSPARENT[name]), expected)


OPAQUE = {
    **{f"PNG in mode {mode}": corpus.encoded(corpus.photo().convert(mode), "PNG") for mode in ("1", "L", "P", "RGB")},
    **{f"{bits}-bit PNG": corpus.encoded(corpus.photo().quantize(2**bits), "PNG", bits=bits) for bits in (1, 2, 4)},
    "interlaced PNG": corpus.encoded(corpus.photo(), "PNG", interlace=1),
    **{f"JPEG in mode {mode}": corpus.encoded(corpus.photo().convert(mode), "JPEG") for mode in ("L", "RGB", "CMYK")},
    "progressive JPEG": corpus.encoded(corpus.photo(), "JPEG", progressive=True, quality=60),
    "JPEG 4:4:4": corpus.encoded(corpus.photo((97, 83)), "JPEG", subsampling=0),
    "GIF": corpus.encoded(corpus.photo(), "GIF"),
    "interlaced GIF": corpus.encoded(corpus.photo(), "GIF", interlace=1),
    "WebP": corpus.encoded(corpus.photo(), "WEBP"),
    "lossless WebP": corpus.encoded(corpus.photo(), "WEBP", lossless=True),
    **{
        f"BMP in mode {mode}": corpus.encoded(corpus.photo((13, 11)).convert(mode), "BMP") for mode in ("L", "P", "RGB")
    },
    "BMP in mode RGBA": corpus.encoded(corpus.photo((13, 11)).convert("RGBA"), "BMP"),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_pixels_equal_those_of_pillow(name: str, decode: Decode) -> None:
    expected = np.asarray(Image.open(io.BytesIO(OPAQUE[name])).convert("RGB"))
    np.testing.assert_array_equal(decode(OPAQUE[name]), expected)


def test_sixteen_bits_keep_their_upper_half(decode: Decode) -> None:
    levels = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in levels)
    image = decode(corpus.png(32, 32, lines, bits=16))
    np.testing.assert_array_equal(image, np.repeat((levels >> 8).astype(np.uint8)[..., None], 3, axis=-1))


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_is_its_first_frame(kind: str, decode: Decode) -> None:
    frames = [corpus.photo(), corpus.drawing(), corpus.photo().rotate(90)]
    data = corpus.encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(decode(data), on_white(data))


@pytest.mark.parametrize("motorola", [True, False])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int, motorola: bool, decode: Decode) -> None:
    segments = ((0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"), corpus.exif_segment(orientation, motorola, padding=3))
    data = corpus.jpeg_with(corpus.encoded(corpus.photo(), "JPEG"), *segments)
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == orientation
    np.testing.assert_array_equal(decode(data), on_white(data))


def test_exif_is_found_behind_other_segments_and_as_pillow_writes_it(decode: Decode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    data = corpus.encoded(corpus.photo(), "JPEG", exif=exif, comment="hello")
    data = corpus.jpeg_with(data, (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"), (0xFE, b"text"), (0xE2, bytes(65000)))
    assert decode(data).shape == (96, 80, 3)
    np.testing.assert_array_equal(decode(data), on_white(data))


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_an_orientation_that_does_not_exist_changes_nothing(value: int, decode: Decode) -> None:
    plain = corpus.encoded(corpus.photo(), "JPEG")
    tagged = corpus.jpeg_with(plain, corpus.exif_segment(value, motorola=False))
    np.testing.assert_array_equal(decode(tagged), decode(plain))


def test_contrast_is_taken_over_all_rows() -> None:
    image = np.full((500, 40, 3), 250, np.uint8)
    image[499, 39] = 250 - QUERY_LIMITS.contrast
    for value, expected in ((image, Status.OK), (np.maximum(image, 243), Status.BLANK)):
        data = corpus.encoded(Image.fromarray(value), "PNG")
        assert images.decode(tf.constant(data), QUERY_LIMITS)[1] == expected


def test_limits_are_those_that_are_given() -> None:
    """Each bound alone, at what it allows and one beyond; one decoder, since its graph takes seconds to build."""

    def picture(width: int, height: int, contrast: int = 100) -> bytes:
        levels = np.full((height, width, 3), 20, np.uint8)
        levels[3, 4] += contrast
        return corpus.encoded(Image.fromarray(levels), "PNG")

    limits = Limits(bytes=300, pixels=1200, side=40, smallest_side=29, contrast=100)
    plain = picture(40, 30)
    cases = {
        picture(40, 29): Status.OK,
        picture(41, 29): Status.TOO_LARGE,  # side
        picture(40, 28): Status.TOO_SMALL,
        plain: Status.OK,
        picture(35, 35): Status.TOO_LARGE,  # pixels
        picture(40, 30, 99): Status.BLANK,
        plain + bytes(300 - len(plain)): Status.OK,
        plain + bytes(301 - len(plain)): Status.TOO_LARGE,  # bytes
    }
    assert max(map(len, cases)) == 301
    found = {data: int(images.decode(tf.constant(data), limits)[1]) for data in cases}
    assert found == cases


def test_a_pipeline_decodes_in_parallel_and_in_order() -> None:
    sizes = [(20 + number, 16) for number in range(12)]
    files = [corpus.encoded(corpus.photo(size), "JPEG") for size in sizes]
    files[3] = files[3][:-40]

    def load(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, status = images.decode(data, QUERY_LIMITS)
        assert image.shape.as_list() == [None, None, 3] and status.shape == []
        return tf.shape(image), status

    dataset = tf.data.Dataset.from_tensor_slices(files).map(load, num_parallel_calls=2)
    rows = [(shape.tolist(), int(status)) for shape, status in dataset.as_numpy_iterator()]
    assert rows.pop(3) == ([1, 1, 3], Status.CORRUPT)
    assert [row for row, _ in rows] == [[16, width, 3] for width, _ in sizes if width != 23]
    assert {status for _, status in rows} == {Status.OK}
