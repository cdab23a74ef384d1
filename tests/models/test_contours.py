"""Contour drawings: the formula against a naive loop, and what they make of simple pictures."""

from __future__ import annotations

import math

import keras
import numpy as np

from tf_ssgn.models.contours import LUMINANCE, RATIO, SHARE, SLOPE, WIDTH, Contours, contours

SIDE = 24


def drawn(images):
    return keras.ops.convert_to_numpy(contours(images.astype("float32")))


def naive_blur(grey, deviation):
    reach = max(1, math.ceil(4 * deviation))
    out = np.zeros_like(grey)
    offsets = range(-reach, reach + 1)
    total = sum(math.exp(-(o**2) / (2 * deviation**2)) for o in offsets)

    def mirrored(index):
        index = abs(index)
        return 2 * (SIDE - 1) - index if index >= SIDE else index

    for y in range(SIDE):
        for x in range(SIDE):
            for dy in offsets:
                for dx in offsets:
                    weight = math.exp(-(dy**2 + dx**2) / (2 * deviation**2)) / total**2
                    out[y, x] += weight * grey[mirrored(y + dy), mirrored(x + dx)]
    return out


def test_formula_against_a_naive_loop():
    image = np.random.default_rng(0).uniform(0, 255, (1, SIDE, SIDE, 3))
    grey = image[0] @ np.array(LUMINANCE) / 255
    difference = naive_blur(grey, WIDTH * SIDE) - SHARE * naive_blur(grey, RATIO * WIDTH * SIDE)
    expected = 255 * (1 + np.tanh(SLOPE * np.minimum(difference, 0)))
    np.testing.assert_allclose(drawn(image)[0, :, :, 1], expected, atol=0.05)


def test_flat_pictures_are_white_and_edges_dark():
    for grey in (0, 90, 255):
        np.testing.assert_allclose(drawn(np.full((1, 64, 64, 3), grey)), 255, atol=1e-3)
    step = np.full((1, 224, 224, 3), 200.0)
    step[:, :, 112:] = 60.0
    lines = drawn(step)[0, 100, :, 0]
    assert lines[110:116].min() < 40
    np.testing.assert_allclose(lines[:100], 255, atol=1)
    np.testing.assert_allclose(lines[125:], 255, atol=1)


def test_shape_range_and_the_layer():
    images = np.random.default_rng(1).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    out = drawn(images)
    assert out.shape == images.shape and out.dtype == np.float32
    assert out.min() >= 0 and out.max() <= 255
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(Contours()(images)), out)
