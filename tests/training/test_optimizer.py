"""The optimiser and its schedule against Keras's own and against a loop."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from tf_ssgn.training.optimizer import AdamW, WarmUpCosine

RNG = np.random.default_rng(0)


# Keras's own compiles two branches at every step on JAX, where `test_against_a_loop` takes a longer schedule.
@pytest.mark.parametrize("steps", [3, 40, 100] if keras.backend.backend() == "tensorflow" else [3])
def test_the_schedule_is_that_of_keras(steps):
    ours = WarmUpCosine(3e-4, steps, 0.05)
    theirs = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, round(0.95 * steps)), warmup_target=3e-4, warmup_steps=max(1, round(0.05 * steps))
    )
    for step in range(steps + 5):
        assert float(ours(step)) == pytest.approx(float(theirs(step)), abs=1e-9)
    assert float(ours(0)) == 0
    assert float(ours(10 * steps)) == 0


def test_against_a_loop():
    """Adam with decoupled decay, clipping by the global norm, in plain NumPy."""
    start = [RNG.standard_normal(shape).astype("float32") for shape in ((5, 3), (4,))]
    variables = [keras.Variable(value) for value in start]
    optimizer = AdamW(WarmUpCosine(0.01, 20, 0.1), 0.1, 1.0)
    optimizer.build(variables)
    weights = [value.astype(np.float64) for value in start]
    first, second = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for step in range(12):
        gradients = [RNG.standard_normal(w.shape).astype("float32") for w in weights]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
        norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients))
        rate = 0.01 * min(step / 2, 0.5 * (1 + math.cos(math.pi * min(1, max(0, (step - 2) / 18)))))
        for i, g in enumerate(gradients):
            g = g / max(1.0, norm)
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g**2
            hat = first[i] / (1 - 0.9 ** (step + 1)), second[i] / (1 - 0.999 ** (step + 1))
            # Kingma and Ba's second form, as Keras has it: epsilon is added before the correction of the root.
            root = np.sqrt(hat[1]) + 1e-7 / math.sqrt(1 - 0.999 ** (step + 1))
            weights[i] = weights[i] * (1 - 0.1 * rate) - rate * hat[0] / root
    for variable, expected in zip(variables, weights, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, atol=2e-6)


@pytest.mark.parametrize("clip", [1.0, 0.0])
def test_a_compiled_model_is_saved_and_goes_on_as_it_would_have(tmp_path, clip):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(AdamW(WarmUpCosine(0.1, 6, 0.2), 0.1, clip), "mse")
    inputs, targets = RNG.standard_normal((8, 3)).astype("float32"), np.ones((8, 2), "float32")
    model.fit(inputs, targets, batch_size=4, epochs=1, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, AdamW) and loaded.optimizer.get_config() == model.optimizer.get_config()
    for other in (model, loaded):
        other.fit(inputs, targets, batch_size=4, epochs=1, verbose=0, shuffle=False)
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
