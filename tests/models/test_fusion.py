"""Codes that keep what the backbone knew beside what training made of it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tf_ssgn import config
from tf_ssgn.errors import UserError
from tf_ssgn.models.fusion import build_fusion, principal_axes
from tf_ssgn.models.ssgn import SSGN

TAPS = np.random.default_rng(0).standard_normal((7, 10)).astype(np.float32)


def test_half_of_a_code_is_the_kept_projection():
    sketch, photo, _ = build_fusion(10, 6, "shared", kept=2)
    axes = principal_axes(TAPS, 2)
    photo.get_layer("keep").kernel.assign(axes)
    code = keras.ops.convert_to_numpy(sketch(TAPS))
    np.testing.assert_allclose(np.linalg.norm(code, axis=1), 1, atol=1e-6)
    kept = TAPS @ axes
    np.testing.assert_allclose(code[:, 4:], kept / np.linalg.norm(kept, axis=1, keepdims=True) / np.sqrt(2), atol=1e-6)
    mixed = TAPS @ keras.ops.convert_to_numpy(sketch.get_layer("mix").kernel)
    np.testing.assert_allclose(
        code[:, :4], mixed / np.linalg.norm(mixed, axis=1, keepdims=True) / np.sqrt(2), atol=1e-6
    )
    assert [weight.path.split("/")[-2] for weight in sketch.trainable_weights] == ["mix"]


def test_principal_axes_are_those_of_the_singular_value_decomposition():
    axes = principal_axes(TAPS, 3)
    expected = np.linalg.svd(TAPS, full_matrices=False)[2][:3].T
    np.testing.assert_allclose(np.abs(np.einsum("ij,ij->j", axes, expected)), 1, atol=1e-4)
    largest = np.abs(axes).argmax(axis=0)
    assert (axes[largest, range(3)] > 0).all(), "the same on every machine"


def test_training_sees_what_it_shapes_and_no_more():
    model = SSGN(config.Model(code=6, kept=2, hidden=4, latent=2), 10, 5, 3)
    assert model.prototypes.shape == (3, 4)
    code = keras.ops.convert_to_numpy(model.retrieve(TAPS)["sketch"])
    seen = keras.ops.convert_to_numpy(model.trained(code))
    np.testing.assert_allclose(seen, code[:, :4] / np.linalg.norm(code[:, :4], axis=1, keepdims=True), atol=1e-6)


def test_keeping_everything_is_refused():
    with pytest.raises(UserError, match="--model.kept: received 6, expected fewer than model.code 6"):
        SSGN(config.Model(code=6, kept=6), 10, 5, 3)
