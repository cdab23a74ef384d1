"""Fusion networks F_s, F_p and F_c: the T taps of an image are standardised and mixed into one code."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

MOMENTUM = 0.9  # of the moving statistics
FLOOR = 1e-3  # of standard deviations: a channel below it says nothing


@keras.saving.register_keras_serializable("tf_ssgn")
class Standardise(layers.Layer):
    """`(x - mean) / scale * balance` with the statistics of one modality's seen training images, float32: sketches and
    photos excite a photo-trained backbone differently, and would sit apart before any learning begins.

    `moving` is for a backbone that is trained too: training uses the batch's statistics and keeps their moving averages
    for test time, as batch normalisation does.
    """

    def __init__(self, moving: bool = False, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32", "trainable": False})
        self.moving = moving

    def build(self, shape):
        self.mean = self.add_weight(name="mean", shape=(shape[-1],), initializer="zeros", trainable=False)
        self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones", trainable=False)
        self.balance = self.add_weight(name="balance", shape=(shape[-1],), initializer="ones", trainable=False)

    def adapt(self, taps: np.ndarray, sizes: Sequence[int] = ()) -> None:
        """Takes the statistics of taps float32 `[N, D]`; channels that hardly vary keep scale 1. `sizes` are the
        channels of each tap, to give every tap the same length whatever its width; none: every channel."""
        deviation = taps.std(axis=0)
        self.mean.assign(taps.mean(axis=0))
        self.scale.assign(np.where(deviation > FLOOR, deviation, 1.0))
        if sizes:
            self.balance.assign(np.repeat(np.sqrt(sum(sizes) / len(sizes) / np.array(sizes)), sizes))

    def call(self, taps, training=False):
        if not (self.moving and training):
            return (taps - self.mean) / self.scale * self.balance
        # The floor stands below the root: a channel without spread would have an infinite gradient above it.
        mean, deviation = ops.mean(taps, axis=0), ops.sqrt(ops.maximum(ops.var(taps, axis=0), FLOOR**2))
        self.mean.assign(MOMENTUM * self.mean + (1.0 - MOMENTUM) * ops.stop_gradient(mean))
        self.scale.assign(MOMENTUM * self.scale + (1.0 - MOMENTUM) * ops.stop_gradient(deviation))
        return (taps - mean) / deviation * self.balance

    def get_config(self):
        return super().get_config() | {"moving": self.moving}


@keras.saving.register_keras_serializable("tf_ssgn")
class UnitNorm(layers.Layer):
    """Scales each row to one length, in float32 whatever the policy."""

    def __init__(self, length: float = 1.0, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        self.length = length

    def call(self, x):
        return unit(x) * self.length

    def get_config(self):
        return super().get_config() | {"length": self.length}


def unit(x):
    """`x / |x|` along the last axis; a zero row stays zero."""
    x = ops.cast(x, "float32")
    return x / ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), 1e-12))


def build_fusion(
    taps: int, code: int, kind: str, kept: int = 0, moving: bool = False, kept_weight: float = 1.0
) -> tuple[keras.Model, keras.Model, keras.Model]:
    """The fusion networks of sketches, photos and contour drawings, each taps `[B, D]` to a unit code `[B, d]`.

    With `kind` "shared" both use one mixing projection: two separate ones are tied through the seen
    classes only, and that tie does not carry over to unseen ones (measured: 0.03 to 0.06 mAP).
    Contours are drawings: where the projections are private they share that of the sketches.

    The last `kept` numbers of a code are no work of training: a fixed projection of the standardised taps (`keep`),
    `kept_weight` times as long as the trained ones. A trained projection forgets what no seen class needs, and an
    unseen one may.

    `moving` is for backbones that are trained too, see `Standardise`.
    """
    drawn = layers.Dense(code - kept, use_bias=False, name="mix" if kind == "shared" else "mix_sketch")
    shot = drawn if kind == "shared" else layers.Dense(code - kept, use_bias=False, name="mix_photo")
    keep = layers.Dense(kept, use_bias=False, trainable=False, name="keep") if kept else None

    def network(modality: str, mix: layers.Layer) -> keras.Model:
        features = keras.Input((taps,), name=f"{modality}_taps")
        x = Standardise(moving, name=f"standardise_{modality}")(features)
        mixed = mix(x)
        if keep:
            mixed = layers.Concatenate(dtype="float32")([UnitNorm()(mixed), UnitNorm(kept_weight)(keep(x))])
        return keras.Model(features, UnitNorm(name=f"{modality}_code")(mixed), name=f"fuse_{modality}")

    return network("sketch", drawn), network("photo", shot), network("contour", drawn)


def principal_axes(standardised: np.ndarray, count: int) -> np.ndarray:
    """The `count` directions in which rows float32 `[N, D]` vary most, as columns `[D, count]`; signs are fixed. About
    the origin, where the standardised rows of each modality have their mean."""
    rows = standardised.astype(np.float64)
    axes = np.linalg.eigh(rows.T @ rows)[1][:, ::-1][:, :count]
    return (axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])).astype(np.float32)
