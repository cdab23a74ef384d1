"""Views: exact where they can be, fixed, in range, and white where there is no drawing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.hostile import corpus
from tf_ssgn.data.images import views

SIZE = 32
Views = Callable[..., tf.Tensor]


@functools.cache
def traced(function: Views, size: int, count: int) -> Any:
    return tf.function(
        lambda image: function(image, size, count),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
        autograph=False,
    )


def run(function: Views, image: np.ndarray, count: int, size: int = SIZE) -> np.ndarray:
    return traced(function, size, count)(image).numpy()


def drawing(width: int, height: int) -> np.ndarray:
    return np.asarray(corpus.drawing((width, height)))


def photo(width: int, height: int) -> np.ndarray:
    return np.asarray(corpus.photo((width, height)))


@pytest.mark.parametrize("function", [views.sketch_views, views.photo_views])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 15])
def test_shape_range_and_repeatability(function: Views, count: int) -> None:
    image = drawing(70, 50)
    assert traced(function, SIZE, count).get_concrete_function().output_shapes == (1 + count, SIZE, SIZE, 3)
    found = run(function, image, count)
    assert found.dtype == np.float32 and found.min() >= -1e-3 and found.max() <= 255.001
    np.testing.assert_array_equal(found, run(function, image, count))
    # View i is the same transform whatever the count.
    np.testing.assert_array_equal(found, run(function, image, 15)[: 1 + count])


@pytest.mark.parametrize("function", [views.sketch_views, views.photo_views])
def test_all_views_differ(function: Views) -> None:
    found = run(function, photo(80, 60), 15)
    for one in range(16):
        for other in range(one):
            assert np.abs(found[one] - found[other]).max() > 3, (one, other)


@pytest.mark.parametrize("function", [views.sketch_views, views.photo_views])
def test_an_image_of_the_right_size_is_left_alone(function: Views) -> None:
    image = photo(SIZE, SIZE)
    np.testing.assert_array_equal(run(function, image, 0)[0], image)


@pytest.mark.parametrize("function", [views.sketch_views, views.photo_views])
@pytest.mark.parametrize("count", [-1, 16])
def test_a_count_without_a_table_row_is_refused(function: Views, count: int) -> None:
    with pytest.raises(ValueError, match=f"received {count} views, expected 0 to 15"):
        function(tf.zeros([8, 8, 3], tf.uint8), SIZE, count)


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (8192, 8), (3, 5), (1, 1)])
def test_a_sketch_is_padded_with_white_to_a_square(size: tuple[int, int]) -> None:
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    plain = run(views.sketch_views, image, 0)[0]
    longest = max(size)
    # Black covers the middle; its area is that of the image in the square.
    assert abs((255 - plain[..., 0]).sum() / 255 - SIZE * SIZE * width * height / longest**2) < SIZE
    np.testing.assert_allclose(plain, plain[::-1, ::-1], atol=0.01)
    if width == 64:
        band = np.full((SIZE, SIZE, 3), 255)
        band[SIZE // 4 : -SIZE // 4] = 0
        np.testing.assert_allclose(plain, band, atol=1e-3)


def test_large_images_are_averaged_and_not_sampled() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), 160)[None, :, None] * np.ones((320, 1, 3), np.uint8)
    for function in (views.sketch_views, views.photo_views):
        np.testing.assert_allclose(run(function, stripes, 0)[0, 2:-2, 2:-2], 127.5, atol=10)


def test_the_ink_crop_encloses_the_ink_with_a_margin() -> None:
    image = np.full((200, 300, 3), 255, np.uint8)
    image[40:140, 150:250] = 0
    crop = run(views.sketch_views, image, 1, size=110)[1, ..., 0]
    np.testing.assert_allclose(crop[5:105, 5:105], 0, atol=0.1)
    crop[5:105, 5:105] = 255
    np.testing.assert_allclose(crop, 255, atol=0.1)


def test_the_ink_crop_of_an_elongated_drawing_is_square_and_leaves_the_image() -> None:
    image = np.full((100, 400, 3), 255, np.uint8)
    image[0:10, 100:300] = 0
    crop = run(views.sketch_views, image, 1, size=110)[1, ..., 0]
    ink = np.argwhere(crop < 128)
    assert ink.min(axis=0).tolist() == [52, 5] and ink.max(axis=0).tolist() == [57, 104]


def test_a_dot_is_not_blown_up_and_an_empty_sheet_stays_empty() -> None:
    dot = np.full((256, 256, 3), 255, np.uint8)
    np.testing.assert_allclose(run(views.sketch_views, dot, 15), 255, atol=1e-3)
    dot[100:102, 30:32] = 0
    crop = run(views.sketch_views, dot, 1)[1, ..., 0]
    assert abs((255 - crop).sum() / 255 - 1) < 0.01  # 2 x 2 of the 64 x 64 pixels around it are 1 of 32 x 32
    np.testing.assert_allclose(np.delete(np.delete(crop, slice(14, 18), 0), slice(14, 18), 1), 255, atol=1e-3)


def test_faint_pencil_is_ink_and_paper_noise_is_not() -> None:
    image = np.random.default_rng(0).integers(246, 256, (100, 100, 3)).astype(np.uint8)
    image[50:80, 20:50] = 190
    crop = run(views.sketch_views, image, 1, size=33)[1, ..., 0]
    assert crop[3:-3, 3:-3].max() < 195 and crop[0].min() > 230


def test_mirrored_views_are_exact() -> None:
    image = drawing(70, 50)
    sketch = run(views.sketch_views, image, 15)
    np.testing.assert_array_equal(sketch[0], run(views.sketch_views, image, 0)[0])
    np.testing.assert_array_equal(sketch[2:4], sketch[0:2, :, ::-1])
    np.testing.assert_array_equal(sketch[5::2], sketch[4::2, :, ::-1])
    picture = run(views.photo_views, image, 3)
    np.testing.assert_array_equal(picture[1], picture[0][:, ::-1])
    np.testing.assert_array_equal(picture[3], picture[2][:, ::-1])


def test_affine_views_turn_scale_and_shift_as_their_table_says() -> None:
    """A dot right of the centre, where it should be after each view's turn, scale and shift."""
    size = 101
    image = np.full((size, size, 3), 255, np.uint8)
    image[49:52, 79:82] = 0
    found = 255 - run(views.sketch_views, image, 15, size=size)[4::2, ..., 0]
    for view, (cropped, degrees, scale, x, y, _) in zip(found, views.SKETCH_WARPS, strict=True):
        if cropped:
            continue
        angle = np.radians(degrees)
        rows, columns = np.mgrid[:size, :size]
        centre = (view * rows).sum() / view.sum() - 50, (view * columns).sum() / view.sum() - 50
        expected = 30 * scale * np.sin(angle) + y * size, 30 * scale * np.cos(angle) + x * size
        np.testing.assert_allclose(centre, expected, atol=0.3)


def test_bold_strokes_are_wider_and_shaded_ones_have_a_soft_surrounding() -> None:
    image = np.full((1, 224, 224, 3), 255, np.float32)
    image[:, :, 100:102] = 0
    bold = 255 - views.STROKES["bold"](image).numpy()[0, 100, :, 0]
    np.testing.assert_array_equal(np.flatnonzero(bold), [99, 100, 101, 102])
    shaded = 255 - views.STROKES["shaded"](image).numpy()[0, 100, :, 0]
    assert shaded.argmax() in (100, 101) and shaded.max() == 255  # the stroke's own place stays the darkest
    assert np.flatnonzero(shaded > 0.01).tolist() == list(range(89, 113))
    right = shaded[101:]
    assert (np.diff(right) <= 1e-4).all() and 0 < right[2] < 128
    # At a border nothing darkens or lightens: the average is of what is there.
    np.testing.assert_allclose(views.STROKES["shaded"](image).numpy()[0, 0], views.STROKES["shaded"](image)[0, 100])


def test_a_photo_is_squashed_and_its_crops_are_85_percent() -> None:
    ramp = np.linspace(0, 255, 400)[None, :, None] * np.ones((100, 1, 3))
    found = run(views.photo_views, ramp.astype(np.uint8), 4, size=85)
    for view, first, last in ((0, 0.0, 1.0), (2, 0.075, 0.925), (4, 0.0, 0.85)):
        row = found[view, 40, :, 0] / 255
        assert abs(row[0] - first) < 0.012 and abs(row[-1] - last) < 0.012
