"""Backbones: an image becomes T pooled taps, the intermediate representations that fusion mixes."""

import hashlib
import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from keras import layers

from tf_ssgn.common.backbones import BACKBONES, Backbone
from tf_ssgn.config import HUB
from tf_ssgn.errors import UserError, reason
from tf_ssgn.models.efficientnet_lite import build_efficientnet_lite
from tf_ssgn.models.hub_backbones import HubFeatures, hub_features
from tf_ssgn.models.package_weights import load_package

POOL = "pool_"  # and the tap: the name of the layer that averages it


def build_backbone(
    name: str,
    image_size: int,
    weights: str = "none",
    taps: Sequence[str] = (),
    finetune_from: str = "",
    pooling: str = "average",
) -> keras.Model:
    """A functional model from images float32 `[B, size, size, 3]` in 0..255 to pooled taps float32 `[B, D]`.

    `D` is the sum of the taps' channels, concatenated in the order of `taps` (empty: the backbone's own list).
    `tap_sizes(model)` tells the taps and how many channels each has.

    Args:
        name: one of `BACKBONES`, or `hub:PRESET` (`models.hub_presets`).
        weights: "package" (an installed package brings them), "imagenet" (Keras downloads them), a weights file, or
            "none"; "" is the first of these that the backbone has, and for a preset its own.
        finetune_from: layers from this one on are trainable ("all": every layer); empty: none is. Batch
            normalisation always keeps its stored statistics where weights were loaded, so that
            a layer gives the same answer in training and at test.
        pooling: "average" over all positions of a tap, or weighted by the "energy" of the last tap at each of them
            (`Energy`).

    Raises UserError: unknown backbone, layer or weights, or weights of another network.
    """
    if len(set(taps)) < len(taps):
        raise UserError(f"--model.taps: received {','.join(taps)}, expected each layer once")
    image = keras.Input((image_size, image_size, 3), name="image")
    if name.startswith(HUB):
        features = hub_features(name, image_size, weights, taps)
        names, parts = features.taps, features.flat.layers
        start = finetune_from if finetune_from in ("", "all") else features.layer_of(finetune_from)
        outputs = features(image)
    else:
        features, spec = _application(name, image_size, weights, taps, finetune_from)
        names, parts, start = list(taps or spec.taps), features.layers, finetune_from
        outputs = features(Preprocess(spec.scale, spec.offset, spec.reverse, name="preprocess")(image))
    concatenated = _pooled(names, _listed(outputs), pooling)
    model = keras.Model(image, concatenated, name="taps" if name.startswith(HUB) else f"{name}_taps")
    _freeze(parts, start, loaded=weights != "none")
    if isinstance(features, HubFeatures):
        features.hold_positions()
    return model


def _pooled(names: Sequence[str], outputs: Sequence, pooling: str):
    """The taps of these names, pooled and concatenated to float32 `[B, D]`."""
    maps = [output for output in outputs if len(output.shape) == 4]
    weights_of = [Energy(name="energy")(maps[-1])] if pooling == "energy" and maps else []
    pooled = [Pool(name=f"{POOL}{tap}")([output, *weights_of]) for tap, output in zip(names, outputs, strict=True)]
    return layers.Concatenate(dtype="float32", name="taps")(pooled) if len(pooled) > 1 else pooled[0]


def halves(backbone: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """A backbone that is trained from a layer on, cut there: its frozen half, images to what the other half needs of
    them, float32 `[B, M]`, and the half that is trained, from these to taps `[B, D]`. Both share its layers.

    None where the trained half needs more than what its first layer and the frozen taps see, as within a residual
    block, where nothing is frozen, and for a backbone of keras-hub.
    """
    network = next((layer for layer in backbone.layers if isinstance(layer, keras.Model)), None)
    first = next((layer for layer in network.layers if layer.trainable_weights), None) if network else None
    if network is None or first is None or first.input is network.layers[0].output:
        return None
    frozen = set(network.layers[: network.layers.index(first)])
    below = [tap._keras_history.operation in frozen for tap in network.outputs]
    needed = [first.input, *itertools.compress(network.outputs, below)]
    try:
        above = keras.Model(
            first.input, [tap for tap in network.outputs if not any(tap is part for part in needed[1:])]
        )
    except ValueError:  # the graph between them is disconnected
        return None
    maps = keras.Model(network.input, needed)(backbone.get_layer("preprocess").output)
    lower = keras.Model(backbone.input, layers.Concatenate(dtype="float32")([layers.Flatten()(part) for part in maps]))
    flat = keras.Input((lower.output_shape[-1],))
    ends = np.cumsum([0, *(math.prod(part.shape[1:]) for part in needed)]).tolist()
    parts = [
        layers.Reshape(part.shape[1:])(flat[:, low:high])
        for part, (low, high) in zip(needed, itertools.pairwise(ends), strict=True)
    ]
    computed, kept = iter(_listed(above(parts[0]))), iter(parts[1:])
    outputs = [next(kept) if is_below else next(computed) for is_below in below]
    return lower, keras.Model(flat, _pooled(list(tap_sizes(backbone)), outputs, pooling_of(backbone)))


def _listed(outputs) -> Sequence:
    return outputs if isinstance(outputs, (list, tuple)) else [outputs]


def tap_sizes(backbone: keras.Model) -> dict[str, int]:
    """Channels of each tap, in order; their sum is `D`."""
    pools = [layer for layer in backbone.layers if layer.name.startswith(POOL)]
    return {layer.name.removeprefix(POOL): int(layer.output.shape[-1]) for layer in pools}


def energy_tap(backbone: keras.Model) -> str:
    """The tap that the others are weighted by: the last one with positions; "" if they are averaged evenly."""
    pools = [layer for layer in backbone.layers if isinstance(layer, Pool)]
    weighted = [pool.name for pool in pools if isinstance(pool.input, list) and len(pool.input[0].shape) == 4]
    return weighted[-1].removeprefix(POOL) if weighted else ""


def architecture_of(backbone: keras.Model) -> str:
    """What a backbone of keras-hub computes, weights and taps aside; "" for those that their names tell of."""
    return next((layer.architecture for layer in backbone.layers if isinstance(layer, HubFeatures)), "")


def pooling_of(backbone: keras.Model) -> str:
    """The `pooling` that a backbone was built with."""
    return "energy" if any(isinstance(layer, Energy) for layer in backbone.layers) else "average"


def weights_hash(model) -> str:
    """sha256 over shapes and values of all weights of a Keras model, in order."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(f"{weight.shape}{weight.dtype}".encode())
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


@keras.saving.register_keras_serializable("tf_ssgn")
class Preprocess(layers.Layer):
    """Pixels of 0..255 to what the backbone's weights expect; computed in float32."""

    def __init__(self, scale: float, offset: Sequence[float], reverse: bool, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32", "trainable": False})
        self.scale, self.offset, self.reverse = scale, tuple(offset), reverse

    def call(self, image):
        if self.reverse:
            image = keras.ops.flip(image, axis=-1)
        return image / self.scale - keras.ops.convert_to_tensor(self.offset, dtype="float32")

    def get_config(self):
        return super().get_config() | {"scale": self.scale, "offset": self.offset, "reverse": self.reverse}


@keras.saving.register_keras_serializable("tf_ssgn")
class Energy(layers.Layer):
    """The share of each position in a feature map's energy: `[B, h, w, c]` to float32 `[B, h, w, 1]`, which sums to 1.

    A sketch is mostly empty paper, which an average over all positions dilutes it with. The weight of a position is
    the squared length of its features, as in spatially weighted sum pooling (Kalantidis et al. 2016, whose weights are
    sums of activations).
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32", "trainable": False})

    def call(self, features):
        energy = keras.ops.sum(keras.ops.square(features), axis=-1, keepdims=True) + 1e-6  # nothing anywhere: uniform
        return energy / keras.ops.sum(energy, axis=(1, 2), keepdims=True)


@keras.saving.register_keras_serializable("tf_ssgn")
class Pool(layers.Layer):
    """Averages a feature map `[B, h, w, c]` over its positions, evenly or by weights `[B, h', w', 1]` after it. A
    vector `[B, c]`, which has no positions, stays as it is."""

    def __init__(self, **kwargs):
        # Averages run over many positions: float32 whatever the policy.
        super().__init__(**kwargs | {"dtype": "float32", "trainable": False})

    def call(self, inputs):
        features, *weights = inputs
        if len(features.shape) == 2:
            return features
        if not weights:
            return keras.ops.mean(features, axis=(1, 2))
        share = weights[0]
        if share.shape[1:3] != features.shape[1:3]:  # an earlier tap is finer
            share = keras.ops.image.resize(share, features.shape[1:3], data_format="channels_last")
            share = share / keras.ops.sum(share, axis=(1, 2), keepdims=True)
        return keras.ops.sum(features * share, axis=(1, 2))


def _application(
    name: str, image_size: int, weights: str, taps: Sequence[str], finetune_from: str
) -> tuple[keras.Model, Backbone]:
    """A listed network, from prepared pixels to its taps."""
    if name not in BACKBONES:
        raise UserError(f"unknown backbone {name!r}; expected one of {', '.join(BACKBONES)}, or {HUB}PRESET")
    spec = BACKBONES[name]
    network = _network(name, spec, image_size, weights or ("package" if spec.package else "imagenet"))
    names = [layer.name for layer in network.layers]
    for tap in [*taps, *([finetune_from] if finetune_from not in ("", "all") else [])]:
        if tap not in names:
            raise UserError(f"backbone {name} has no layer {tap!r}; its last ones are {', '.join(names[-12:])}")
    return keras.Model(network.input, [network.get_layer(tap).output for tap in taps or spec.taps], name=name), spec


def _network(name: str, spec: Backbone, image_size: int, weights: str) -> keras.Model:
    if weights == "package" and not spec.package:
        raise UserError(f"no package brings weights of {name}; use --model.weights imagenet, none or a file")
    if weights == "imagenet" and not spec.application:
        has = "package, none" if spec.package else "none"
        raise UserError(f"Keras has no ImageNet weights of {name}; use --model.weights {has} or a file")
    if not spec.application:
        network = _tiny(image_size) if not spec.package else build_efficientnet_lite(name, image_size, *spec.scaling)
    else:
        build = getattr(keras.applications, spec.application)
        shape = (image_size, image_size, 3)
        if weights != "imagenet":
            network = build(weights=None, include_top=False, input_shape=shape)
        else:
            try:
                network = build(weights="imagenet", include_top=False, input_shape=shape)
            except Exception as error:  # Keras raises a bare Exception when a download fails
                raise UserError(
                    f"the ImageNet weights of {name} could not be downloaded ({error}); "
                    "name a local file with --model.weights"
                ) from None
    if weights == "package" and spec.package:
        load_package(network, spec.package)
    elif weights not in ("imagenet", "none"):
        _load(network, name, weights)
    return network


def _load(network: keras.Model, name: str, weights: str) -> None:
    path = Path(weights)
    if not path.is_file():
        raise UserError(f"--model.weights: received {weights!r}, expected package, imagenet, none or an existing file")
    if not path.name.endswith((".weights.h5", ".h5")):
        raise UserError(f"--model.weights: received {path.name!r}, expected a Keras file named *.weights.h5 or *.h5")
    try:
        network.load_weights(os.fspath(path))
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise UserError(f"{path} does not hold weights of {name} without its classifier: {reason(error)}") from None


def _freeze(parts: Sequence[layers.Layer], finetune_from: str, loaded: bool) -> None:
    trainable = finetune_from == "all"
    for layer in parts:
        trainable = trainable or layer.name == finetune_from
        layer.trainable = trainable
        for part in layer._flatten_layers():
            if loaded and isinstance(part, layers.BatchNormalization):
                part.trainable = False


def _tiny(image_size: int) -> keras.Model:
    """Four strided convolutions: small enough for tests and for training from scratch in the demo."""
    image = keras.Input((image_size, image_size, 3))
    x = image
    for index, width in enumerate((24, 48, 96, 128), start=1):
        x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name=f"conv_{index}")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"bn_{index}")(x)
        x = layers.Activation("relu", name=f"tap_{index}")(x)
    return keras.Model(image, x, name="tiny")
