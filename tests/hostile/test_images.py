"""No image, however bad, is more than its row's status: single, in a batch, and in a SavedModel of its own."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from tests.hostile import corpus
from tf_ssgn.common.status import Status
from tf_ssgn.data.images import decode as images
from tf_ssgn.data.images.picture import Unusable, as_query
from tf_ssgn.settings import PHOTO_LIMITS, QUERY_LIMITS

Decode = Callable[[bytes], tuple[np.ndarray, Status]]

SAMPLES = {
    "PNG": corpus.encoded(corpus.drawing(), "PNG"),
    "PNG with alpha": corpus.encoded(corpus.drawing(mode="RGBA"), "PNG"),
    "palette PNG": corpus.encoded(corpus.drawing(mode="P"), "PNG"),
    "JPEG": corpus.jpeg_with(corpus.encoded(corpus.photo(), "JPEG"), corpus.exif_segment(6, motorola=True)),
    "progressive JPEG": corpus.encoded(corpus.photo(), "JPEG", progressive=True),
    "GIF": corpus.encoded(corpus.photo(), "GIF", save_all=True, append_images=[corpus.drawing()]),
    "BMP": corpus.encoded(corpus.photo((12, 10)), "BMP"),
    "BMP with a palette": corpus.encoded(corpus.photo((12, 10)).convert("P"), "BMP"),
    "WebP": corpus.encoded(corpus.photo(), "WEBP"),
    "lossless WebP": corpus.encoded(corpus.drawing(mode="RGBA"), "WEBP", lossless=True),
    "animated WebP": corpus.encoded(corpus.photo(), "WEBP", save_all=True, append_images=[corpus.drawing()]),
}


@pytest.fixture(scope="module")
def decode_photo() -> Decode:
    """All formats under the limits of a query, so that one trace serves every fuzz test."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def traced(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return images.decode(data, QUERY_LIMITS)

    def run(data: bytes) -> tuple[np.ndarray, Status]:
        if not data.startswith((b"\x89PNG", b"\xff\xd8\xff")):
            try:
                data = as_query(data)[2]
            except Unusable as reason:
                return np.full((1, 1, 3), 255, np.uint8), reason.status
        return _plain(*traced(tf.constant(data)))

    return run


@pytest.fixture(scope="module")
def decode_query() -> Decode:
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def traced(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return images.decode(data, QUERY_LIMITS)

    return lambda data: _plain(*traced(tf.constant(data)))


def _plain(image: tf.Tensor, status: tf.Tensor) -> tuple[np.ndarray, Status]:
    return image.numpy(), Status(int(status))


def _check(image: np.ndarray, status: Status) -> None:
    """What holds of every answer."""
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if status == Status.OK:
        assert max(image.shape) <= QUERY_LIMITS.side and image.shape[0] * image.shape[1] <= QUERY_LIMITS.pixels
        assert min(image.shape[:2]) >= QUERY_LIMITS.smallest_side
        assert np.ptp(image, axis=(0, 1)).max() >= QUERY_LIMITS.contrast
    else:
        assert (image == 255).all()


@pytest.mark.parametrize("payload", corpus.payloads(), ids=lambda payload: payload.name)
def test_every_payload_gets_its_status(payload: corpus.Payload, decode_query: Decode) -> None:
    image, status = decode_query(payload.data)
    assert status in payload.statuses
    _check(image, status)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_cut_file_is_corrupt_or_an_image_and_never_an_error(name: str, decode_photo: Decode) -> None:
    data = SAMPLES[name]
    image, status = decode_photo(data)
    assert status == Status.OK
    statuses = [decode_photo(data[: len(data) * percent // 100])[1] for percent in range(10, 100, 10)]
    # An animation is whole once its first frame is.
    whole = Status.OK if name in ("GIF", "animated WebP") else Status.CORRUPT
    assert set(statuses) <= {Status.CORRUPT, whole}


@pytest.mark.parametrize("name", SAMPLES)
def test_flipped_bits_are_a_status_or_an_image(name: str, decode_photo: Decode) -> None:
    chance = random.Random(name)
    for _ in range(60):
        data = bytearray(SAMPLES[name])
        for _ in range(chance.choice((1, 1, 3, 30))):
            # Headers are where a wrong bit changes sizes and offsets.
            at = chance.randrange(len(data) if chance.random() < 0.5 else 64)
            data[at] ^= 1 << chance.randrange(8)
        _check(*decode_photo(bytes(data)))


@settings(max_examples=60, deadline=None)
@given(
    magic=st.sampled_from([data[:cut] for data in SAMPLES.values() for cut in (4, 12, 34)]),
    rest=st.binary(max_size=400),
)
def test_random_bytes_behind_any_magic_are_a_status(decode_photo: Decode, magic: bytes, rest: bytes) -> None:
    _check(*decode_photo(magic + rest))


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_a_status(decode_query: Decode, data: bytes) -> None:
    image, status = decode_query(data)
    assert status in (Status.EMPTY, Status.UNKNOWN_FORMAT, Status.CORRUPT)
    _check(image, status)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("GIF", b"GIF89a" + b"\xff\xff\xff\xff\0\0\0" + b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\0;"),
        ("WebP", corpus.webp_header(16383, 16383)),
        ("BMP", b"BM" + bytes(8) + b"\x36\0\0\0\x28\0\0\0" + b"\0\0\1\0" * 2 + b"\1\0\x18\0" + bytes(24)),
    ],
)
def test_photo_formats_are_bounded_by_their_headers(name: str, data: bytes, decode_photo: Decode) -> None:
    assert decode_photo(data)[1] == Status.TOO_LARGE


def test_a_gif_of_very_many_frames_is_cut_before_it_is_decoded(decode_photo: Decode) -> None:
    """301 frames of 500 x 500 would be 225 MB."""
    first, second = corpus.photo((500, 500)), corpus.drawing((500, 500))
    two, three = (corpus.encoded(first, "GIF", save_all=True, append_images=[second, first][:more]) for more in (1, 2))
    alone = corpus.encoded(first, "GIF")
    data = three[:-1] + three[len(two) - 1 : -1] * 298 + b";"
    assert sum(1 for _ in ImageSequence.Iterator(Image.open(io.BytesIO(data)))) == 301
    image, status = decode_photo(data)
    assert status == Status.OK
    np.testing.assert_array_equal(image, decode_photo(alone)[0])


def test_a_bad_row_leaves_its_neighbours_bit_identical() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def traced(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return images.decode_batch(data, QUERY_LIMITS, lambda image: images.sketch_views(image, 32, 1))

    good = [SAMPLES["PNG"], SAMPLES["JPEG"], SAMPLES["palette PNG"]]
    expected = [traced(tf.constant([data]))[0][0].numpy() for data in good]
    bad = [payload for payload in corpus.payloads() if Status.OK not in payload.statuses]
    views, status = traced(tf.constant([good[0], *[payload.data for payload in bad[:60]], good[1], b"", good[2]]))
    assert [status[0], status[-3], status[-2], status[-1]] == [Status.OK, Status.OK, Status.EMPTY, Status.OK]
    for row, view in zip((0, -3, -1), expected, strict=True):
        np.testing.assert_array_equal(views[row], view)
    for payload, row, found in zip(bad[:60], views[1:-3], status[1:-3], strict=True):
        assert int(found) in payload.statuses, payload.name
        assert (row.numpy() == 255).all()
    for payload in bad[60:64]:  # a batch of one is not special
        alone, found = traced(tf.constant([payload.data]))
        assert alone.shape == (1, 2, 32, 32, 3) and int(found[0]) in payload.statuses
    nothing, found = traced(tf.constant([], tf.string))
    assert nothing.shape == (0, 2, 32, 32, 3) and found.shape == (0,)


SERVED = """
import json, pathlib, resource, sys
import tensorflow as tf
folder = pathlib.Path(sys.argv[1])
signature = tf.saved_model.load(str(folder / "model")).signatures["decode"]
rows = [path.read_bytes() for path in sorted(folder.glob("*.bin"), key=lambda path: int(path.stem))]
signature(image_bytes=tf.constant(rows[:1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
status = [int(signature(image_bytes=tf.constant([row]))["status"][0]) for row in rows]
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
together = signature(image_bytes=tf.constant(rows))["status"].numpy().tolist()
print(json.dumps({"status": status, "together": together, "kilobytes": grown, "ours": "tf_ssgn" in sys.modules}))
"""


def test_a_saved_model_needs_tensorflow_alone_and_refuses_bombs_without_decoding(tmp_path: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def decode(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        views, status = images.decode_batch(image_bytes, QUERY_LIMITS, lambda image: images.photo_views(image, 32, 0))
        return {"views": views, "status": status}

    module = tf.Module()
    module.decode = decode
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"decode": decode})
    chosen = [payload for payload in (*corpus.drawings(), *corpus.damaged(), *corpus.bombs())]
    for number, payload in enumerate(chosen):
        (tmp_path / f"{number}.bin").write_bytes(payload.data)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    answer = subprocess.run(
        [sys.executable, "-c", SERVED, str(tmp_path)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout.splitlines()[-1])
    assert not found["ours"]
    for payload, status in zip(chosen, found["status"], strict=True):
        assert status in payload.statuses, payload.name
    assert found["together"] == found["status"]
    assert found["kilobytes"] < 60_000  # decoding the 100 Mpx file alone would take 300 MB


def test_a_photo_may_be_larger_than_a_query() -> None:
    data = corpus.encoded(corpus.photo((3000, 2700)), "JPEG")
    for limits, expected in ((QUERY_LIMITS, Status.TOO_LARGE), (PHOTO_LIMITS, Status.OK)):
        assert images.decode(tf.constant(data), limits)[1] == expected
