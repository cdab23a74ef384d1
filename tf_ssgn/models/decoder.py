"""The conditional VAEs of both stages: q(z | ...) and p(x | z, ...)."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from tf_ssgn.models.fusion import UnitNorm


def build_posterior(name: str, sizes: dict[str, int], hidden: int, latent: int) -> keras.Model:
    """q(z | conditions): the named inputs `[B, size]` to mean and log-variance, each float32 `[B, latent]`."""
    conditions = {key: keras.Input((size,), name=key) for key, size in sizes.items()}
    x = _hidden(list(conditions.values()), hidden)
    mean = layers.Dense(latent, dtype="float32", name="mean")(x)
    log_variance = layers.Dense(latent, kernel_initializer="zeros", dtype="float32", name="log_variance")(x)
    return keras.Model(conditions, [mean, log_variance], name=name)


def build_decoder(name: str, sizes: dict[str, int], base: str, hidden: int, code: int, residual: bool) -> keras.Model:
    """p(x | conditions): the named inputs `[B, size]` to a unit code `[B, d]`.

    With `residual` the network predicts what to add to the input called `base` (the sketch's code), and its
    last layer starts at zero: training begins at the sketch's own code and moves away only where that helps.
    `base` is not seen by the network unless `sizes` names it too.
    """
    conditions = {key: keras.Input((size,), name=key) for key, size in sizes.items()}
    x = _hidden(list(conditions.values()), hidden)
    start = "zeros" if residual else "glorot_uniform"
    x = layers.Dense(code, kernel_initializer=start, dtype="float32", name="last")(x)
    inputs = dict(conditions)
    if residual:
        if base not in inputs:
            inputs[base] = keras.Input((code,), name=base)
        x = layers.Add(dtype="float32")([inputs[base], x])
    return keras.Model(inputs, UnitNorm(name="code")(x), name=name)


def build_projector(name: str, code: int, hidden: int, semantic: int) -> keras.Model:
    """A code `[B, d]` to a unit semantic vector `[B, s]`; `hidden` 0 makes it linear."""
    inputs = keras.Input((code,), name="code")
    x = _hidden([inputs], hidden) if hidden else inputs
    x = layers.Dense(semantic, dtype="float32", name="last")(x)
    return keras.Model(inputs, UnitNorm(name="semantics")(x), name=name)


def _hidden(parts: Sequence, width: int):
    x = layers.Concatenate()(list(parts)) if len(parts) > 1 else parts[0]
    return layers.Activation("gelu")(layers.Dense(width)(x))
