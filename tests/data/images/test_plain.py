"""The short way gives the pixels of `images.decode` or nothing."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.hostile import corpus
from tf_ssgn.common.status import Status
from tf_ssgn.data.images import decode as images
from tf_ssgn.data.images import direct
from tf_ssgn.settings import PHOTO_LIMITS, QUERY_LIMITS, Limits


def short(data: bytes) -> np.ndarray | None:
    return direct.plain_image(data, QUERY_LIMITS)


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


@pytest.mark.parametrize("name", TAKEN)
def test_usual_files_go_the_short_way(name: str) -> None:
    expected, status = images.decode(tf.constant(TAKEN[name]), PHOTO_LIMITS)
    assert status == Status.OK
    np.testing.assert_array_equal(direct.plain_image(TAKEN[name], PHOTO_LIMITS), expected)


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


@pytest.mark.parametrize("name", LEFT)
def test_all_that_needs_care_is_left(name: str) -> None:
    assert short(LEFT[name]) is None


def test_no_decoder_sees_more_bytes_than_allowed() -> None:
    tight = Limits(bytes=len(JPEG) - 1, pixels=10**6, side=1024)
    assert direct.plain_image(JPEG, tight) is None
    png = TAKEN["PNG"]
    assert direct.plain_image(png, Limits(bytes=len(png) - 1, pixels=10**6, side=1024)) is None
    assert direct.plain_image(JPEG, Limits(bytes=10**6, pixels=96 * 80 - 1, side=1024)) is None
    assert direct.plain_image(png, Limits(bytes=10**6, pixels=10**6, side=95)) is None


def test_hostile_images_give_the_same_or_nothing() -> None:
    taken = 0
    for payload in corpus.payloads():
        image = short(payload.data)
        if image is not None:
            expected, status = images.decode(tf.constant(payload.data), QUERY_LIMITS)
            assert status == Status.OK, payload
            np.testing.assert_array_equal(image, expected)
            taken += 1
    assert taken > 5


@pytest.mark.parametrize("name", TAKEN)
def test_damaged_files_give_the_same_or_nothing(name: str) -> None:
    chance = random.Random(name)
    for _ in range(40):
        data = bytearray(TAKEN[name])
        for _ in range(chance.choice((1, 1, 4))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        damaged = bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
        image = short(damaged)
        if image is not None:
            expected, status = images.decode(tf.constant(damaged), QUERY_LIMITS)
            assert status == Status.OK
            np.testing.assert_array_equal(image, expected)
