"""Batches of images come in order and in one size, whichever way each file was read."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.hostile import corpus
from tf_ssgn.data.images import decode as images
from tf_ssgn.data.images.picture import Unusable, as_query
from tf_ssgn.data.images.reading import image_batches
from tf_ssgn.errors import UserError
from tf_ssgn.settings import QUERY_LIMITS

JPEG = corpus.encoded(corpus.photo(), "JPEG")


def written(folder: Path, contents: list[bytes]) -> list[str]:
    for number, content in enumerate(contents):
        (folder / f"{number}.image").write_bytes(content)
    return [str(folder / f"{number}.image") for number in range(len(contents))]


def one_by_one(paths: list[str], size: int, modality: str, views: int) -> tuple[np.ndarray, np.ndarray]:
    prepare = images.sketch_views if modality == "sketch" else images.photo_views
    rows = [decoded(Path(path).read_bytes()) for path in paths]
    return np.stack([prepare(image, size, views) for image, _ in rows]), np.array([status for _, status in rows])


def decoded(content: bytes) -> tuple[tf.Tensor, int]:
    try:
        image, status = images.decode(tf.constant(as_query(content)[2]), QUERY_LIMITS)
        return image, int(status)
    except Unusable as reason:
        return tf.fill([1, 1, 3], tf.constant(255, tf.uint8)), int(reason.status)


def coloured(number: int, kind: str) -> bytes:
    """A picture that is like no other."""
    image = corpus.photo((24 + number, 40))
    image.paste((number * 7 % 256, number * 13 % 256, 90), (0, 0, 12, 12))
    return corpus.encoded(image, kind)


SOME = (3, 4, 9)
GAPS: list[tuple[int, ...]] = [(), (0,), SOME, (12,), (0, 1, 2, 3, 4, 5, 12)]
CASES = [(modality, kind, gaps) for modality, kind in (("sketch", "PNG"), ("photo", "JPEG")) for gaps in GAPS]


@pytest.mark.parametrize(("modality", "kind", "out_of_the_ordinary"), [*CASES, ("contour", "JPEG", SOME)])
def test_batches_keep_order_over_gaps(
    modality: str, kind: str, out_of_the_ordinary: tuple[int, ...], tmp_path: Path
) -> None:
    others = [coloured(20, "BMP"), b"", JPEG[:200], coloured(21, "GIF"), b"garbage", coloured(22, "BMP"), JPEG[:90]]
    contents = [coloured(number, kind) for number in range(13)]
    for row, other in zip(out_of_the_ordinary, others, strict=False):
        contents[row] = other
    paths = written(tmp_path, contents)
    expected, statuses = one_by_one(paths, 16, modality, 2)
    for batch in (1, 4, 13, 50) if out_of_the_ordinary == SOME else (4,):
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
    with pytest.raises(UserError, match=r"gone.jpg cannot be used any more \(it is gone"):
        list(image_batches(paths, "photo", 16, 0, 4))
