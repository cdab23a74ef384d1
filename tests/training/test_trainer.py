"""The weighted sum of losses: switches, precision, class centres, and a backbone in training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.models.hub import save_preset
from tf_ssgn import config as configuration
from tf_ssgn.errors import UserError
from tf_ssgn.training.trainer import CENTRE_MOMENTUM, build_trainer, compile_trainer

CLASSES, SEMANTIC, TAPS, BATCH = 6, 5, 272, 24
SMALL = {
    "model.backbone": "tiny", "model.weights": "none", "model.code": 16, "model.kept": 4, "model.hidden": 12,
    "model.latent": 4, "model.contours": 0.4, "data.image_size": 32,
}  # fmt: skip


ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


# Less to trace, where it is the backbone that counts.
NO_STAGES = {"model__coarse": False, "model__fine": False}


def trainer_of(**changes):
    values = SMALL | {name.replace("__", "."): value for name, value in changes.items()}
    config = configuration.override(configuration.preset("sketchy-mini"), values)
    rows = np.random.default_rng(5).standard_normal((CLASSES, SEMANTIC)).astype("float32")
    return build_trainer(config, rows / np.linalg.norm(rows, axis=1, keepdims=True))


def batches(count, images=False):
    rng = np.random.default_rng(0)
    means = rng.standard_normal((CLASSES, TAPS)).astype("float32")
    for _ in range(count):
        label = np.repeat(np.arange(CLASSES, dtype="int32"), BATCH // CLASSES)
        if images:
            pixels = [rng.uniform(0, 255, (BATCH, 32, 32, 3)).astype("float32") for _ in range(2)]
            yield ({"sketch": pixels[0], "photo": pixels[1], "label": label},)
        else:
            taps = [means[label] + rng.standard_normal((BATCH, TAPS)).astype("float32") for _ in range(3)]
            yield ({"sketch": taps[0], "photo": np.concatenate(taps[1:], axis=1), "label": label},)


def fit(trainer, steps, epochs=1, **options):
    compile_trainer(trainer, steps * epochs)
    return trainer.fit(
        batches(steps * epochs, **options), steps_per_epoch=steps, epochs=epochs, shuffle=False, verbose=0
    ).history


def test_a_backbone_of_keras_hub_is_fine_tuned(tmp_path):
    pytest.importorskip("keras_hub")
    made = NO_STAGES | {"model__backbone": save_preset("dinov2", tmp_path), "model__weights": "", "training__epochs": 1}
    trainer = trainer_of(training__finetune_from="stage2", **made)
    before = [keras.ops.convert_to_numpy(weight) for weight in trainer.backbone.weights]
    assert np.isfinite(fit(trainer, steps=2, images=True)["loss"][0])
    moved = {weight.path for weight, old in zip(trainer.backbone.weights, before, strict=True)
             if not np.array_equal(keras.ops.convert_to_numpy(weight), old)}  # fmt: skip
    assert moved and all("layers_1" in path for path in moved), "the last block alone"


@pytest.mark.parametrize("term", ["reconstruction", "kl", "regression", "classification", "semantic", "contrastive"])
def test_a_weight_of_0_switches_a_loss_off(term):
    trainer = trainer_of(**{f"losses__{term}": 0})
    inputs = next(batches(1))[0]
    terms = trainer.terms(trainer(inputs, training=True))
    assert term not in terms
    assert len(terms) == 5
    assert term not in [tracker.name for tracker in trainer.trackers]


def test_all_losses_off_is_a_mistake():
    off = {
        f"losses__{n}": 0 for n in ("reconstruction", "kl", "regression", "classification", "semantic", "contrastive")
    }
    with pytest.raises(UserError, match="nothing to train"):
        compile_trainer(trainer_of(**off), 10)


def test_centres_are_running_means_and_start_at_the_first():
    trainer = trainer_of()
    rng = np.random.default_rng(0)
    labels = np.array([0, 0, 2], np.int32)
    first, second = (rng.standard_normal((3, 16)).astype("float32") for _ in range(2))
    trainer._update_centres(first, labels)
    trainer._update_centres(second, labels)
    centres = keras.ops.convert_to_numpy(trainer.ssgn.centres.value)
    for label, rows in ((0, [0, 1]), (2, [2])):
        expected = CENTRE_MOMENTUM * first[rows].mean(axis=0) + (1 - CENTRE_MOMENTUM) * second[rows].mean(axis=0)
        np.testing.assert_allclose(centres[label], expected, atol=1e-5)
    assert not centres[[1, 3, 4, 5]].any()


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_codes_in_float32_and_follows_float32(precision):
    exact, mixed = trainer_of(), trainer_of(training__precision=precision)
    mixed.ssgn.set_weights(exact.ssgn.get_weights())
    inputs = next(batches(1))[0]
    ours, theirs = mixed.ssgn.retrieve(inputs["sketch"]), exact.ssgn.retrieve(inputs["sketch"])
    for key in ("sketch", "coarse", "fine", "semantics"):
        left, right = keras.ops.convert_to_numpy(ours[key]), keras.ops.convert_to_numpy(theirs[key])
        assert left.dtype == np.float32
        assert (left * right).sum(axis=1).min() > 0.999
    assert keras.config.dtype_policy().name == "float32"
    history = fit(mixed, steps=15, epochs=2)
    assert history["loss"][-1] < history["loss"][0]
    scaled = isinstance(mixed.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (precision == "mixed_float16")


def test_finetuning_moves_the_backbone_and_its_statistics():
    trainer = trainer_of(training__finetune_from="all", **NO_STAGES)
    before = [keras.ops.convert_to_numpy(weight.value).copy() for weight in trainer.backbone.trainable_variables]
    mean = keras.ops.convert_to_numpy(trainer.ssgn.fuse_sketch.get_layer("standardise_sketch").mean.value).copy()
    fit(trainer, steps=3, images=True)
    after = [keras.ops.convert_to_numpy(weight.value) for weight in trainer.backbone.trainable_variables]
    assert all(np.abs(a - b).max() > 0 for a, b in zip(after, before, strict=True))
    moved = keras.ops.convert_to_numpy(trainer.ssgn.fuse_sketch.get_layer("standardise_sketch").mean.value)
    assert np.abs(moved - mean).max() > 0


def gradients(trainer, inputs):
    """Of the loss by all variables that are trained, as one vector in float32."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = trainer.compute_loss(x=inputs, y_pred=trainer(inputs, training=True))
    return [np.asarray(part, np.float32) for part in tape.gradient(loss, trainer.trainable_variables)]


@pytest.mark.skipif(not ON_TENSORFLOW, reason="takes its gradients with TensorFlow's tape")
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_gradients_of_mixed_precision_are_those_of_float32(precision):
    """The loss takes softmax, norms and KL in float32: only the matrix products are coarse."""
    exact, mixed = trainer_of(), trainer_of(training__precision=precision)
    rng = np.random.default_rng(1)
    weights = [
        weight + 0.1 * rng.standard_normal(weight.shape).astype("float32") for weight in exact.ssgn.get_weights()
    ]
    exact.ssgn.set_weights(weights)
    mixed.ssgn.set_weights(weights)
    inputs = next(batches(1))[0]
    ours, theirs = gradients(mixed, inputs), gradients(exact, inputs)
    for variable, left, right in zip(exact.trainable_variables, ours, theirs, strict=True):
        cosine = (left * right).sum() / (np.linalg.norm(left) * np.linalg.norm(right) + 1e-12)
        assert cosine > 0.99 or np.linalg.norm(right) < 1e-4, variable.path
    total = [np.sqrt(sum((part**2).sum() for part in parts)) for parts in (ours, theirs)]
    assert total[0] == pytest.approx(total[1], rel=0.03)


@pytest.mark.skipif(not ON_TENSORFLOW, reason="on JAX Keras's loss scaling works within a compiled step only")
def test_float16_scales_its_loss_and_survives_an_overflow():
    trainer = trainer_of(training__precision="mixed_float16")
    compile_trainer(trainer, 10)
    scale = float(trainer.optimizer.dynamic_scale)
    assert float(trainer.optimizer.scale_loss(keras.ops.convert_to_tensor(2.0))) == 2 * scale > 1000
    before = [keras.ops.convert_to_numpy(variable.value) for variable in trainer.trainable_variables]
    trainer.optimizer.apply([np.full(value.shape, np.inf, "float32") for value in before], trainer.trainable_variables)
    for variable, value in zip(trainer.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable.value), value)
    assert float(trainer.optimizer.dynamic_scale) == scale / 2


ON_THE_OTHER = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from tests.training.test_trainer import batches, keras, trainer_of
assert keras.backend.backend() == "tensorflow"
trainer = trainer_of()
trainer.load_weights(sys.argv[2] + "/t.weights.h5")
codes = trainer.ssgn.retrieve(next(batches(1))[0]["sketch"])
np.savez(sys.argv[2] + "/codes.npz", **{key: keras.ops.convert_to_numpy(value) for key, value in codes.items()})
"""


@pytest.mark.skipif(ON_TENSORFLOW, reason="compares another backend with TensorFlow")
def test_the_codes_are_those_of_tensorflow(tmp_path):
    trainer = trainer_of()
    trainer.save_weights(tmp_path / "t.weights.h5")
    done = subprocess.run(
        [sys.executable, "-c", ON_THE_OTHER, Path(__file__).resolve().parents[2], tmp_path],
        env=os.environ | {"KERAS_BACKEND": "tensorflow"}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours = trainer.ssgn.retrieve(next(batches(1))[0]["sketch"])
    with np.load(tmp_path / "codes.npz") as theirs:
        assert set(theirs.files) == set(ours)
        for key in theirs.files:
            np.testing.assert_allclose(keras.ops.convert_to_numpy(ours[key]), theirs[key], atol=1e-5)
