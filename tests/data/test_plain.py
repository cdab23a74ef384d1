"""The short way gives the pixels of `images.decode` or an error, never anything else; batches keep order over gaps."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hostile import corpus
from PIL import Image

from tf_ssgn.config import PHOTO_LIMITS, QUERY_LIMITS, Limits
from tf_ssgn.data import images, plain
from tf_ssgn.data.pipeline import image_batches
from tf_ssgn.status import Status

PLAIN = {"jpeg": plain.plain_jpeg, "png": plain.plain_png}
Short = Callable[[bytes], np.ndarray | None]


def traced(decode: Callable, limits: Limits) -> Short:
    """The image, or None where the graph raises."""
    graph = tf.function(lambda data: decode(data, limits), input_signature=[tf.TensorSpec([], tf.string)])

    def run(data: bytes) -> np.ndarray | None:
        try:
            return graph(tf.constant(data)).numpy()
        except tf.errors.InvalidArgumentError:
            return None

    return run


@pytest.fixture(scope="module", params=PLAIN)
def short(request: pytest.FixtureRequest) -> Short:
    return traced(PLAIN[request.param], QUERY_LIMITS)


@pytest.fixture(scope="module", params=PLAIN)
def short_photo(request: pytest.FixtureRequest) -> Short:
    return traced(PLAIN[request.param], PHOTO_LIMITS)


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
    "PNG with a text": corpus.png_with(
        corpus.encoded(corpus.drawing(), "PNG"), corpus.png_chunk(b"tEXt", b"Title\0a drawing")
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_usual_files_go_the_short_way(name: str) -> None:
    short = traced(PLAIN["jpeg" if "JPEG" in name else "png"], PHOTO_LIMITS)
    expected, status = images.decode(tf.constant(TAKEN[name]), PHOTO_LIMITS, photo_formats=True)
    assert status == Status.OK
    np.testing.assert_array_equal(short(TAKEN[name]), expected)


LEFT = {
    "turned": corpus.jpeg_with(JPEG, corpus.exif_segment(6, motorola=True)),
    "alpha": corpus.encoded(corpus.drawing(mode="RGBA"), "PNG"),
    "transparent colour": corpus.encoded(corpus.drawing(), "PNG", transparency=(255, 255, 255)),
    "blank JPEG": corpus.encoded(Image.new("RGB", (32, 32), "white"), "JPEG"),
    "blank PNG": corpus.encoded(Image.new("RGB", (32, 32), "white"), "PNG"),
    "GIF": corpus.encoded(corpus.photo(), "GIF"),
    "BMP": corpus.encoded(corpus.photo(), "BMP"),
    "WebP": corpus.encoded(corpus.photo(), "WEBP"),
    "scans": corpus.jpeg_with_scans(images.SCANS + 1),
    "nothing": b"",
}


@pytest.mark.parametrize("name", LEFT)
def test_all_that_needs_care_is_left(name: str, short: Short) -> None:
    assert short(LEFT[name]) is None


def test_no_decoder_sees_more_bytes_than_allowed() -> None:
    tight = Limits(bytes=len(JPEG) - 1, pixels=10**6, side=1024)
    assert traced(plain.plain_jpeg, tight)(JPEG) is None
    png = TAKEN["PNG"]
    assert traced(plain.plain_png, Limits(bytes=len(png) - 1, pixels=10**6, side=1024))(png) is None
    assert traced(plain.plain_jpeg, Limits(bytes=10**6, pixels=96 * 80 - 1, side=1024))(JPEG) is None
    assert traced(plain.plain_png, Limits(bytes=10**6, pixels=10**6, side=95))(png) is None


def test_hostile_images_give_the_same_or_nothing(short: Short) -> None:
    taken = 0
    for payload in corpus.payloads():
        image = short(payload.data)
        if image is not None:
            expected, status = images.decode(tf.constant(payload.data), QUERY_LIMITS, photo_formats=True)
            assert status == Status.OK, payload
            np.testing.assert_array_equal(image, expected)
            taken += 1
    assert taken > 5


@pytest.mark.parametrize("name", TAKEN)
def test_damaged_files_give_the_same_or_nothing(name: str, short: Short) -> None:
    chance = random.Random(name)
    for _ in range(40):
        data = bytearray(TAKEN[name])
        for _ in range(chance.choice((1, 1, 4))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        damaged = bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
        image = short(damaged)
        if image is not None:
            expected, status = images.decode(tf.constant(damaged), QUERY_LIMITS, photo_formats=True)
            assert status == Status.OK
            np.testing.assert_array_equal(image, expected)


def written(folder: Path, contents: list[bytes]) -> list[str]:
    for number, content in enumerate(contents):
        (folder / f"{number}.image").write_bytes(content)
    return [str(folder / f"{number}.image") for number in range(len(contents))]


def one_by_one(paths: list[str], size: int, modality: str, views: int) -> tuple[np.ndarray, np.ndarray]:
    prepare = images.sketch_views if modality == "sketch" else images.photo_views
    rows = [images.decode(tf.io.read_file(path), PHOTO_LIMITS, photo_formats=True) for path in paths]
    return np.stack([prepare(image, size, views) for image, _ in rows]), np.array([status for _, status in rows])


def coloured(number: int, kind: str) -> bytes:
    """A picture that is like no other."""
    image = corpus.photo((24 + number, 40))
    image.paste((number * 7 % 256, number * 13 % 256, 90), (0, 0, 12, 12))
    return corpus.encoded(image, kind)


@pytest.mark.parametrize(("modality", "kind"), [("sketch", "PNG"), ("photo", "JPEG"), ("contour", "JPEG")])
@pytest.mark.parametrize("out_of_the_ordinary", [(), (0,), (3, 4, 9), (12,), (0, 1, 2, 3, 4, 5, 12)])
def test_batches_keep_order_over_gaps(
    modality: str, kind: str, out_of_the_ordinary: tuple[int, ...], tmp_path: Path
) -> None:
    """The sample that is looked at first takes every fourth file here, so the short way is tried in all of these."""
    others = [coloured(20, "BMP"), b"", JPEG[:200], coloured(21, "GIF"), b"garbage", coloured(22, "BMP"), JPEG[:90]]
    contents = [coloured(number, kind) for number in range(13)]
    for row, other in zip(out_of_the_ordinary, others, strict=False):
        contents[row] = other
    paths = written(tmp_path, contents)
    expected, statuses = one_by_one(paths, 16, modality, 2)
    for batch in (1, 4, 13, 50):
        found = list(image_batches(paths, modality, 16, 2, batch))
        assert [len(status) for _, status in found[:-1]] == [batch] * (len(found) - 1)
        np.testing.assert_array_equal(np.concatenate([status for _, status in found]), statuses)
        np.testing.assert_array_equal(np.concatenate([pictures for pictures, _ in found]), expected)


@pytest.mark.parametrize("kind", ["BMP", "GIF"])
def test_other_formats_come_in_batches_too(kind: str, tmp_path: Path) -> None:
    paths = written(tmp_path, [coloured(number, kind) for number in range(9)])
    found = list(image_batches(paths, "photo", 16, 0, 4))
    assert [len(status) for _, status in found] == [4, 4, 1]
    np.testing.assert_array_equal(
        np.concatenate([pictures for pictures, _ in found]), one_by_one(paths, 16, "photo", 0)[0]
    )


def test_a_photo_that_libjpeg_cannot_read_prints_nothing_new(capfd: pytest.CaptureFixture, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    corpus.photo().save(buffer, "BMP")
    paths = written(tmp_path, [JPEG, JPEG, JPEG, buffer.getvalue(), JPEG])
    assert [status.tolist() for _, status in image_batches(paths, "photo", 16, 0, 5)] == [[0] * 5]
    assert "JPEG" not in capfd.readouterr().err


def test_no_files_make_no_batches() -> None:
    assert list(image_batches([], "photo", 16, 0, 4)) == []


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    paths = [*written(tmp_path, [coloured(number, "JPEG") for number in range(6)]), str(tmp_path / "gone.jpg")]
    with pytest.raises(tf.errors.NotFoundError):
        list(image_batches(paths, "photo", 16, 0, 4))
