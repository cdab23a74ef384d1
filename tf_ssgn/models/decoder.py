"""The conditional VAEs of both stages: q(z | ...) and p(x | z, ...)."""

from collections.abc import Sequence

import keras
from keras import layers

from tf_ssgn.models.fusion import UnitNorm

# Of the residual's network. Adam moves every weight by about the learning rate whatever its gradient, so that a network
# of full strength learns the seen classes by heart long before the shared code is trained. mAP@all lost to the sketch's
# own code on unseen classes, before the guides: 0.024 at 0.03, 0.012 at 0.003, nothing at 3e-4.
STEP = 3e-4


def build_posterior(name: str, sizes: dict[str, int], hidden: int, latent: int) -> keras.Model:
    """q(z | conditions): the named inputs `[B, size]` to mean and log-variance, each float32 `[B, latent]`."""
    conditions = {key: keras.Input((size,), name=key) for key, size in sizes.items()}
    x = _hidden(list(conditions.values()), hidden)
    mean = layers.Dense(latent, dtype="float32", name="mean")(x)
    log_variance = layers.Dense(latent, kernel_initializer="zeros", dtype="float32", name="log_variance")(x)
    return keras.Model(conditions, [mean, log_variance], name=name)


def build_decoder(name: str, sizes: dict[str, int], base: str, hidden: int, code: int, residual: bool) -> keras.Model:
    """p(x | conditions): the named inputs `[B, size]` to a unit code `[B, d]`.

    With `residual` it predicts what to add to the input called `base` (the sketch's code), as the sum of the network
    (`last`, from all of its inputs) and of a linear map (`guide`, from all but the latent). Both start at zero, so
    that training begins at the sketch's own code and moves away only where that helps. The guide is no work of the
    gradient: `training.guides` solves it. `base` is not seen by them unless `sizes` names it too.
    """
    conditions = {key: keras.Input((size,), name=key) for key, size in sizes.items()}
    x = _hidden(list(conditions.values()), hidden)
    start = "zeros" if residual else "glorot_uniform"
    x = layers.Dense(code, kernel_initializer=start, dtype="float32", name="last")(x)
    inputs = dict(conditions)
    if residual:
        if base not in inputs:
            inputs[base] = keras.Input((code,), name=base)
        guide = layers.Dense(code, use_bias=False, kernel_initializer="zeros", dtype="float32", name="guide")
        guide.trainable = False
        guided = guide(_joined([value for key, value in conditions.items() if key != "z"]))
        x = layers.Add(dtype="float32")([inputs[base], layers.Rescaling(STEP, dtype="float32")(x), guided])
    return keras.Model(inputs, UnitNorm(name="code")(x), name=name)


def build_projector(name: str, code: int, hidden: int, semantic: int) -> keras.Model:
    """A code `[B, d]` to a unit semantic vector `[B, s]`; `hidden` 0 makes it linear."""
    inputs = keras.Input((code,), name="code")
    x = _hidden([inputs], hidden) if hidden else inputs
    x = layers.Dense(semantic, dtype="float32", name="last")(x)
    return keras.Model(inputs, UnitNorm(name="semantics")(x), name=name)


def _hidden(parts: Sequence, width: int):
    return layers.Activation("gelu")(layers.Dense(width)(_joined(parts)))


def _joined(parts: Sequence):
    return layers.Concatenate()(list(parts)) if len(parts) > 1 else parts[0]
