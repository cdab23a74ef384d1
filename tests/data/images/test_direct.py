"""The short way to an image's pixels and to its view gives the very bits of the ops in the graph, or leaves the image
to them."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.hostile import corpus
from tf_ssgn.common.status import Status
from tf_ssgn.data.images import decode as images
from tf_ssgn.data.images import direct
from tf_ssgn.data.images.views import photo_views, sketch_views
from tf_ssgn.settings import PHOTO_LIMITS, QUERY_LIMITS, Limits

pytest.importorskip("scipy")

SIZE = 224
JPEG = corpus.encoded(corpus.photo(), "JPEG")
TAKEN = {
    "JPEG": JPEG,
    "grey JPEG": corpus.encoded(corpus.photo().convert("L"), "JPEG"),
    "CMYK JPEG": corpus.encoded(corpus.photo().convert("CMYK"), "JPEG"),
    "progressive JPEG": corpus.encoded(corpus.photo(), "JPEG", progressive=True),
    "PNG": corpus.encoded(corpus.drawing(), "PNG"),
    "grey PNG": corpus.encoded(corpus.drawing(mode="L"), "PNG"),
    "black and white PNG": corpus.encoded(corpus.drawing(mode="L").convert("1"), "PNG"),
    "palette PNG": corpus.encoded(corpus.drawing(mode="P"), "PNG"),
    "PNG with alpha": corpus.encoded(corpus.drawing(mode="RGBA"), "PNG"),
    "grey PNG with alpha": corpus.encoded(corpus.drawing(mode="LA"), "PNG"),
    "PNG with a text": corpus.png_with(
        corpus.encoded(corpus.drawing(), "PNG"), corpus.png_chunk(b"tEXt", b"Title\0a drawing")
    ),
}
LEFT = {
    "turned": corpus.jpeg_with(JPEG, corpus.exif_segment(6, motorola=True)),
    "profile": corpus.png_with(TAKEN["PNG"], corpus.png_chunk(b"tEXt", b"Raw profile type exif\0")),
    "transparent colour": corpus.encoded(corpus.drawing(), "PNG", transparency=(255, 255, 255)),
    "blank JPEG": corpus.encoded(Image.new("RGB", (32, 32), "white"), "JPEG"),
    "blank PNG": corpus.encoded(Image.new("RGB", (32, 32), "white"), "PNG"),
    "GIF": corpus.encoded(corpus.photo(), "GIF"),
    "BMP": corpus.encoded(corpus.photo(), "BMP"),
    "WebP": corpus.encoded(corpus.photo(), "WEBP"),
    "scans": corpus.jpeg_with_scans(images.JPEG_SCANS + 1),
    "nothing": b"",
}
Decode = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def decoder(views: int = 0, size: int = SIZE, prepare=photo_views) -> Decode:
    """As a model's `decode_photo`, or `decode_sketch`."""
    prepare = partial(prepare, size=size, views=views)
    signature = [tf.TensorSpec([None], tf.string)]
    return tf.function(lambda data: images.decode_batch(data, QUERY_LIMITS, prepare), signature, autograph=False)


@pytest.fixture(scope="module")
def expected() -> Callable[[bytes], tuple[np.ndarray, int]]:
    decode = decoder()

    def view(data: bytes) -> tuple[np.ndarray, int]:
        pixels, status = decode(tf.constant([data]))
        return pixels[0, 0].numpy(), int(status[0])

    return view


@pytest.fixture(scope="module")
def drawn() -> Callable[[bytes], bool]:
    """Whether a drawing takes the short way; a view that differs fails."""
    decode = decoder(prepare=sketch_views)

    def same_or_left(data: bytes) -> bool:
        view = viewed("sketch", data)
        if view is not None:
            pixels, status = decode(tf.constant([data]))
            assert status[0] == Status.OK
            np.testing.assert_array_equal(view, pixels[0, 0])
        return view is not None

    return same_or_left


def viewed(kind: str, data: bytes, size: int = SIZE, limits: Limits = QUERY_LIMITS) -> np.ndarray | None:
    image = direct.plain_image(data, limits)
    return None if image is None else direct.plain_view(kind, image, size)


def same_or_left(data: bytes, expected, limits: Limits = QUERY_LIMITS) -> bool:
    """Whether it was not left; pixels or a view that differ fail."""
    image = direct.plain_image(data, limits)
    if image is None:
        return False
    pixels, status = images.decode(tf.constant(data), limits)
    assert status == Status.OK
    np.testing.assert_array_equal(image, pixels)
    view, status = expected(data)
    assert status == Status.OK
    np.testing.assert_array_equal(direct.plain_view("photo", image, SIZE), view)
    return True


@pytest.mark.parametrize("name", TAKEN)
def test_usual_photos_take_it(name: str, expected) -> None:
    for limits in (QUERY_LIMITS, PHOTO_LIMITS):
        assert same_or_left(TAKEN[name], expected, limits)


SIDES = [
    (8, 8),
    (8, 500),
    (1500, 8),
    (224, 224),
    (223, 225),
    (448, 100),
    (100, 448),
    (8000, 30),
    (30, 8000),
    (333, 500),
]


@pytest.mark.parametrize("sides", SIDES)
def test_any_sides(sides: tuple[int, int], expected) -> None:
    levels = np.random.default_rng(sum(sides)).integers(0, 256, (*sides, 3), np.uint8)
    assert same_or_left(corpus.encoded(Image.fromarray(levels), "JPEG", quality=90), expected)


def test_sides_of_one_pixel() -> None:
    for sides in ((1, 1), (1, 300), (300, 1)):
        image = np.random.default_rng(0).integers(0, 256, (*sides, 3), np.uint8)
        np.testing.assert_array_equal(direct._squashed(image, SIZE), photo_views(tf.constant(image), SIZE, 0)[0])


def test_real_photos(shared: Path, expected) -> None:
    files = sorted(file for kind in ("*.jpg", "*.JPEG") for file in (shared / "data").rglob(kind))
    some = files[:: len(files) // 60]
    assert sum(same_or_left(file.read_bytes(), expected) for file in some) > 0.9 * len(some)


@pytest.mark.parametrize("name", LEFT)
def test_all_that_needs_care_is_left(name: str) -> None:
    assert direct.plain_image(LEFT[name], QUERY_LIMITS) is None


def test_only_what_says_that_it_lies_on_its_side_is_turned(expected) -> None:
    for orientation in range(1, 9):
        for motorola in (True, False):
            photo = corpus.jpeg_with(JPEG, corpus.exif_segment(orientation, motorola))
            assert same_or_left(photo, expected) == (orientation == 1)


def test_no_decoder_sees_more_than_allowed() -> None:
    for data in (JPEG, TAKEN["PNG"]):
        tight = Limits(bytes=len(data) - 1), Limits(pixels=96 * 80 - 1), Limits(side=95), Limits(smallest_side=81)
        assert all(direct.plain_image(data, limits) is None for limits in tight)
        assert direct.plain_image(data, Limits(len(data), 96 * 80, 96, 80)) is not None


def test_hostile_images_give_the_same_or_nothing(expected) -> None:
    assert sum(same_or_left(payload.data, expected) for payload in corpus.payloads()) > 5


@pytest.mark.parametrize("name", TAKEN)
def test_damaged_photos_give_the_same_or_nothing(name: str, expected) -> None:
    chance = random.Random(name)
    for _ in range(40):
        data = bytearray(TAKEN[name])
        for _ in range(chance.choice((1, 1, 4))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        same_or_left(bytes(data[: chance.choice((len(data), chance.randrange(len(data))))]), expected)


def test_a_model_takes_it_where_its_own_decoder_gives_the_same(monkeypatch) -> None:
    def takes(decode: Decode) -> bool:
        short = direct.short_way("photo", decode, QUERY_LIMITS)
        return short is not None and short(JPEG) is not None

    small = decoder(size=32)
    assert takes(small)
    assert not takes(decoder(views=1, size=32))
    assert not takes(lambda data: (tf.math.nextafter(small(data)[0], 256.0), small(data)[1]))  # as if it rounds up
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert not takes(small)


@pytest.mark.parametrize(
    ("side", "mode"), [(8, "RGB"), (223, "L"), (224, "RGB"), (256, "RGBA"), (1111, "L"), (97, "RGBA")]
)
def test_square_drawings_take_it(side: int, mode: str, drawn) -> None:
    levels = np.random.default_rng(side).integers(0, 256, (side, side, 4), np.uint8)
    assert drawn(corpus.encoded(Image.fromarray(levels, "RGBA").convert(mode), "PNG"))


def test_real_drawings(shared: Path, drawn) -> None:
    files = sorted((shared / "data" / "sketchy_mini" / "sketch").rglob("*.png"))[::60]
    assert sum(drawn(file.read_bytes()) for file in files) > 0.9 * len(files)


def test_drawings_that_need_care_are_left(drawn) -> None:
    square = corpus.encoded(Image.fromarray(np.diag(np.arange(0, 64, dtype=np.uint8))), "PNG")
    assert drawn(square) and drawn(corpus.png_with(square, corpus.png_chunk(b"gAMA", bytes(4))))
    assert drawn(corpus.png_with(square, corpus.png_chunk(b"tEXt", b"a\0b")))
    profile, exif = corpus.png_chunk(b"tEXt", b"Raw profile type exif\0"), corpus.png_chunk(b"eXIf", b"MM\0*")
    for chunk in (profile, exif, corpus.png_chunk(b"tRNS", bytes(2))):
        assert not drawn(corpus.png_with(square, chunk))
    wide, blank = Image.fromarray(np.diag(np.arange(64, dtype=np.uint8))[:40]), Image.new("L", (64, 64), 250)
    assert drawn(corpus.encoded(Image.fromarray(np.eye(64) > 0), "PNG"))
    for image in (wide, blank):
        assert not drawn(corpus.encoded(image, "PNG"))
    assert not drawn(square + b"\0") and not drawn(square[:-12]) and not drawn(square[: len(square) // 2])
    for limits in (
        Limits(bytes=len(square) - 1),
        Limits(pixels=64 * 64 - 1),
        Limits(side=63),
        Limits(smallest_side=65),
    ):
        assert viewed("sketch", square, SIZE, limits) is None


def test_hostile_and_damaged_drawings_give_the_same_or_nothing(drawn) -> None:
    assert sum(drawn(payload.data) for payload in corpus.payloads()) >= 0
    chance, sound = random.Random(0), corpus.encoded(corpus.drawing().resize((64, 64)), "PNG")
    assert drawn(sound)
    for _ in range(150):
        data = bytearray(sound)
        for _ in range(chance.choice((1, 1, 4))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        drawn(bytes(data[: chance.choice((len(data), chance.randrange(len(data))))]))
