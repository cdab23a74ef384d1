"""SSGN's parts: shapes, determinism, switches, given vectors, and where each decoder starts."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from tf_ssgn.config import Model
from tf_ssgn.models.fusion import Standardise, build_fusion, unit
from tf_ssgn.models.ssgn import SSGN

TAPS, SEMANTIC, CLASSES, BATCH = 20, 6, 5, 8
TINY = Model(code=16, hidden=12, latent=4, samples=3, contours=0.0)


def batch(seed=0):
    rng = np.random.default_rng(seed)
    semantics = rng.standard_normal((BATCH, SEMANTIC)).astype("float32")
    return {
        "sketch": rng.standard_normal((BATCH, TAPS)).astype("float32"),
        "photo": rng.standard_normal((BATCH, TAPS)).astype("float32"),
        "semantics": semantics / np.linalg.norm(semantics, axis=1, keepdims=True),
    }


def make(seed=0, **changes):
    keras.utils.set_random_seed(seed)
    return SSGN(dataclasses.replace(TINY, **changes), TAPS, SEMANTIC, CLASSES, seed)


def numpy(values):
    return {key: keras.ops.convert_to_numpy(value) for key, value in values.items()}


def stir(model):
    """Moves the decoders' last layers and guides away from zero, as training does."""
    rng = np.random.default_rng(1)
    for weight in [*model.trainable_weights, *(weight for weight in model.weights if "guide" in weight.path)]:
        weight.assign(weight + 0.3 * rng.standard_normal(weight.shape).astype("float32"))


def test_call_returns_unit_codes_of_both_paths():
    out = numpy(make()(batch(), training=True))
    codes = ("sketch", "photo", "coarse", "fine", "coarse_reconstruction", "fine_reconstruction")
    for key in codes:
        assert out[key].shape == (BATCH, 16), key
        np.testing.assert_allclose(np.linalg.norm(out[key], axis=1), 1, atol=1e-5)
    assert out["semantics"].shape == (BATCH, SEMANTIC)
    for key in ("coarse_mean", "coarse_log_variance", "fine_mean", "fine_log_variance"):
        assert out[key].shape == (BATCH, 4)


def test_contours_make_a_second_pair_of_each_photo_and_are_part_of_its_code():
    model, data = make(contours=0.4), batch()
    drawn = np.random.default_rng(3).standard_normal((BATCH, TAPS)).astype("float32")
    photos = np.concatenate([data["photo"], drawn], axis=1)
    out = numpy(model(data | {"photo": photos}, training=True))
    plain = numpy(make()(data, training=True))
    assert out["fine"].shape == (2 * BATCH, 16)
    np.testing.assert_allclose(out["sketch"][:BATCH], plain["sketch"], atol=1e-5)
    contour = keras.ops.convert_to_numpy(model.fuse_contour(drawn))
    np.testing.assert_allclose(out["sketch"][BATCH:], contour, atol=1e-5)
    for half in (out["photo"][:BATCH], out["photo"][BATCH:]):
        np.testing.assert_allclose(half, plain["photo"], atol=1e-5)
    expected = plain["photo"] + 0.4 * contour
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model.photo_code(photos)), expected, atol=1e-5)


def test_residual_decoders_start_at_the_sketchs_code():
    out = numpy(make().retrieve(batch()["sketch"]))
    np.testing.assert_allclose(out["coarse"], out["sketch"], atol=1e-5)
    np.testing.assert_allclose(out["fine"], out["sketch"], atol=1e-5)
    other = numpy(make(residual=False).retrieve(batch()["sketch"]))
    assert np.abs(other["fine"] - other["sketch"]).max() > 0.1


def test_the_same_sketch_gives_the_same_code_alone_and_in_a_batch():
    model = make()
    stir(model)
    taps = batch()["sketch"]
    together = numpy(model.retrieve(taps))["code"]
    np.testing.assert_array_equal(together, numpy(model.retrieve(taps))["code"])
    alone = np.concatenate([numpy(model.retrieve(taps[i : i + 1]))["code"] for i in range(BATCH)])
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_retrieval_averages_the_saved_draws():
    model = make()
    stir(model)
    taps = batch()["sketch"]
    sketch = model.fuse_sketch(taps)
    semantics = model.project(sketch)
    noise = keras.ops.convert_to_numpy(model.noise.value)
    total = 0
    for draw in range(3):
        z1, z2 = (keras.ops.convert_to_tensor(np.repeat(noise[draw, stage][None], BATCH, axis=0)) for stage in (0, 1))
        coarse = model.coarse_decoder({"z": z1, "semantics": semantics, "sketch": sketch})
        fine = model.fine_decoder({"z": z2, "sketch": sketch, "coarse": coarse})
        total = total + keras.ops.convert_to_numpy(fine)
    expected = total / np.linalg.norm(total, axis=1, keepdims=True)
    np.testing.assert_allclose(numpy(model.retrieve(taps))["fine"], expected, atol=1e-5)


def test_noise_follows_the_seed_and_travels_with_the_weights(tmp_path):
    model, other = make(seed=1), make(seed=2)
    stir(model)
    assert np.abs(keras.ops.convert_to_numpy(model.noise - other.noise)).max() > 0.1
    model.save_weights(tmp_path / "m.weights.h5")
    other.load_weights(tmp_path / "m.weights.h5")
    taps = batch()["sketch"]
    np.testing.assert_allclose(numpy(other.retrieve(taps))["code"], numpy(model.retrieve(taps))["code"], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "present", "code"),
    [
        ({"coarse": False}, {"fine"}, "fine"),
        ({"fine": False}, {"coarse"}, "coarse"),
        ({"coarse": False, "fine": False}, set(), "sketch"),
    ],
)
@pytest.mark.parametrize("residual", [True, False])
def test_every_stage_can_be_switched_off(changes, present, code, residual):
    model = make(**changes, residual=residual)
    stir(model)
    out = numpy(model(batch(), training=True))
    assert {"coarse", "fine"} & set(out) == present
    found = numpy(model.retrieve(batch()["sketch"]))
    assert {"coarse", "fine"} & set(found) == present
    np.testing.assert_array_equal(found["code"], found[code])


def test_a_given_vector_changes_the_answer_and_nothing_else_reads_the_true_vector():
    model = make(told=False)
    stir(model)
    data = batch()
    plain, given = numpy(model.retrieve(data["sketch"])), numpy(model.retrieve(data["sketch"], data["semantics"]))
    assert np.abs(plain["code"] - given["code"]).max() > 1e-3
    np.testing.assert_array_equal(plain["semantics"], given["semantics"])
    # With a guide of its own a given vector is added to the code.
    told = make(told=True)
    stir(told)
    told.told.assign(np.random.default_rng(3).standard_normal(told.told.shape).astype("float32"))
    without, beside = numpy(told.retrieve(data["sketch"])), numpy(told.retrieve(data["sketch"], data["semantics"]))
    shift = data["semantics"] @ np.asarray(told.told)
    expected = without["code"] + shift
    np.testing.assert_allclose(beside["code"], expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    # The path that the losses shape is the one of test time: it does not see the true vector either.
    swapped = data | {"semantics": np.roll(data["semantics"], 1, axis=0)}
    left, right = make(), make()
    stir(left), stir(right)
    a, b = numpy(left(data, training=True)), numpy(right(swapped, training=True))
    np.testing.assert_allclose(a["fine"], b["fine"], atol=1e-6)
    assert np.abs(a["coarse_reconstruction"] - b["coarse_reconstruction"]).max() > 1e-3


def test_fusion_is_shared_or_private():
    shared = build_fusion(TAPS, 16, "shared")
    assert shared[0].get_layer("mix") is shared[1].get_layer("mix") is shared[2].get_layer("mix")
    private = build_fusion(TAPS, 16, "private")
    assert private[0].get_layer("mix_sketch") is not private[1].get_layer("mix_photo")
    assert private[2].get_layer("mix_sketch") is private[0].get_layer("mix_sketch")


@pytest.mark.parametrize("dead", [True, False])
def test_standardise_adapts_to_its_data_and_survives_a_channel_that_hardly_varies(dead):
    taps = np.random.default_rng(0).normal(3, 5, (200, 4)).astype("float32")
    taps[:, 2] = 7 if dead else 7 + 1e-4 * taps[:, 1]
    layer = Standardise()
    layer.build((None, 4))
    layer.adapt(taps)
    out = keras.ops.convert_to_numpy(layer(taps))
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(axis=0)[[0, 1, 3]], 1, atol=1e-4)
    np.testing.assert_allclose(out[:, 2], 0, atol=1e-5 if dead else 3e-3)
    elsewhere = keras.ops.convert_to_numpy(layer(np.full((1, 4), 8.0, np.float32)))
    assert abs(elsewhere[0, 2] - 1) < 0.01, "what an unseen class excites there does not drown all else"


@pytest.mark.parametrize("moving", [False, True])
def test_balanced_taps_have_the_same_length_whatever_their_width(moving):
    taps = np.random.default_rng(0).normal(3.0, 5.0, (4000, 14)).astype(np.float32)
    layer = Standardise(moving=moving)
    layer.build((None, 14))
    layer.adapt(taps, (2, 12))
    found = keras.ops.convert_to_numpy(layer(taps, training=moving)) ** 2
    np.testing.assert_allclose([found[:, :2].sum(1).mean(), found[:, 2:].sum(1).mean()], [7.0, 7.0], rtol=1e-3)


def test_moving_statistics_reach_those_of_the_data():
    taps = np.random.default_rng(0).normal(3, 5, (64, 4)).astype("float32")
    layer = Standardise(moving=True)
    layer.build((None, 4))
    for _ in range(100):
        trained = keras.ops.convert_to_numpy(layer(taps, training=True))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(taps)), trained, atol=1e-2)


def test_unit_keeps_a_zero_row():
    out = keras.ops.convert_to_numpy(unit(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)))
    np.testing.assert_allclose(out, [[0.6, 0.8], [0, 0]], atol=1e-6)
