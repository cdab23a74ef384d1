"""Taps of keras-hub's networks: levels of their pyramid, their blocks, and the tokens that stand for no place.

A transformer's tap is its grid of patch tokens; the class token in front of it is `NAME.class`, the mean of the
register tokens `NAME.registers`. Encoders that hold their blocks inside one layer are unrolled, so that each block is a
layer `ENCODER_BLOCK` that can be tapped and fine-tuned from.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras import layers, ops

from tf_ssgn.errors import UserError
from tf_ssgn.models.hub_presets import digest_of, import_keras_hub, open_preset, patch_side, write_preset

MOST_TAPS = 3  # by default, the last ones
CLASS, REGISTERS = ".class", ".registers"
OUTPUT = "output"  # of the whole network


@keras.saving.register_keras_serializable("tf_ssgn")
class HubFeatures(layers.Layer):
    """Pixels of 0..255 `[B, size, size, 3]` to a list of taps: maps `[B, h, w, c]` and vectors `[B, c]`.

    It serialises what the network is and not how its layers are linked, from which some of keras-hub's cannot be
    restored.

    Args:
        network: a `keras_hub.models.Backbone`, or its serialised form.
        taps: names of taps; none: the last levels of the pyramid, or blocks.
        scale, offset: of the pixels, as the preset's image converter has them; computed in float32.

    Attributes:
        network: the serialised network.
        flat: the functional model behind it, from prepared pixels; every layer of it is needed for the taps.
    """

    def __init__(self, network: Any, taps: Sequence[str], scale: Any, offset: Any, label: str = "", **options: Any):
        super().__init__(autocast=False, **options)
        self.label = label or "the backbone"
        if isinstance(network, dict):
            import_keras_hub(self.label)
            self.network, network = network, keras.saving.deserialize_keras_object(network)
        else:
            self.network = keras.saving.serialize_keras_object(network)
        self.scale, self.offset = scale, offset
        self.flat, self.taps, self._starts = _tapped(network, tuple(taps), self.label)
        self.built = True

    def call(self, image, training=None):
        x = ops.cast(image, "float32") * ops.convert_to_tensor(self.scale, "float32")
        outputs = self.flat(x + ops.convert_to_tensor(self.offset, "float32"), training=training)
        return outputs if isinstance(outputs, (list, tuple)) else [outputs]

    def get_config(self):
        names = ("network", "taps", "scale", "offset", "label")
        return super().get_config() | {name: getattr(self, name) for name in names}

    @property
    def architecture(self) -> str:
        """What it computes, weights and taps aside."""
        return digest_of(self.network, self.scale, self.offset)

    def layer_of(self, name: str) -> str:
        """The layer that a level of the pyramid comes from; a layer's own name as it is."""
        layer = self._starts.get(name, name)
        names = [part.name for part in self.flat.layers]
        if layer not in names:
            raise UserError(f"{self.label} has no layer {name!r} for its taps; it has {', '.join(names[-12:])}")
        return layer

    def hold_positions(self) -> None:
        """Keeps DINOv2's position embeddings as they are: keras-hub 0.32 saves trained ones only if the sum of all
        changes is positive."""
        for layer in self.flat.layers:
            positions = getattr(layer, "interpolated_position_embeddings", None)
            if positions is not None:
                positions.trainable = False


def hub_features(name: str, image_size: int, weights: str, taps: Sequence[str]) -> HubFeatures:
    """The network of the preset `hub:NAME`, with its weights or, where `weights` is "none", random ones."""
    if weights not in ("", "none"):
        raise UserError(f"--model.weights: received {weights!r}, expected nothing, as {name} brings its own, or none")
    preset = open_preset(name, image_size, with_weights=not weights)
    return HubFeatures(preset.network, taps, preset.scale, preset.offset, name, name="features")


def write_architecture(backbone: keras.Model, folder: Path) -> None:
    """What a hub backbone is, as a preset without weights: a run restores it from there. Nothing for another one."""
    for layer in backbone.layers:
        if isinstance(layer, HubFeatures):
            write_preset(folder, layer.network, int(backbone.input_shape[1]), layer.scale, layer.offset)


def _tapped(network: Any, taps: tuple[str, ...], label: str) -> tuple[keras.Model, list[str], dict[str, str]]:
    """The functional model from prepared pixels to taps over the network's own layers, the taps' names, and the
    operations that the levels of the pyramid come from."""
    pyramid = dict(getattr(network, "pyramid_outputs", {}))
    whole = keras.Model(network.inputs[0], [*pyramid.values(), *network.outputs])
    seen: dict[str, list[Any]] = {}

    def call(layer, *args, **kwargs):
        tokens = bool(args) and len(getattr(args[0], "shape", ())) == 3
        blocks = _repeated(_held(layer)) if tokens and isinstance(layer, layers.Layer) else []
        try:
            outputs = layer.call(*args, **kwargs) if blocks else layer(*args, **kwargs)
        except ValueError:  # what DeiT's blocks return is no tensor
            if not blocks:
                raise
            blocks, outputs = [], layer(*args, **kwargs)
        for part in _held(layer) if blocks else []:
            part.name = f"{layer.name}_{part.name}"
            with contextlib.suppress(AttributeError, ValueError):  # not called, or more than once
                seen[part.name] = [part.output]
        seen.setdefault(layer.name, []).append(outputs)
        return outputs

    flat = keras.models.clone_model(whole, clone_function=lambda layer: layer, call_function=call)
    points = dict(zip([*pyramid, *[OUTPUT] * (len(network.outputs) == 1)], flat.outputs, strict=False))
    for layer in flat.layers:
        outputs = seen.get(layer.name, [])
        if len(outputs) == 1 and isinstance(outputs[0], keras.KerasTensor):
            points.setdefault(layer.name, outputs[0])
    blocks = [block.name for block in _repeated(flat.layers) if block.name in points]
    names = list(taps or list(pyramid)[-MOST_TAPS:] or blocks[-MOST_TAPS:] or [OUTPUT])
    last = ", ".join([*list(pyramid), *[layer.name for layer in flat.layers if layer.name in points][-12:], OUTPUT])
    side = patch_side(network)
    patches = network.inputs[0].shape[1] // side if side else 0
    counts = _counts(flat, points)
    outputs = [_tap(points, counts, name, patches, label, last) for name in names]
    starts = {name: points[name]._keras_history.operation.name for name in pyramid}
    return keras.Model(flat.inputs[0], outputs, name="flat"), names, starts


def _counts(flat: keras.Model, points: dict[str, Any]) -> dict[str, int]:
    """How many tokens each tensor `[B, n, c]` has, by computing them once: SigLIP's declare one more than they are."""
    tokens = {name: tensor for name, tensor in points.items() if len(tensor.shape) == 3}
    if not tokens:
        return {}
    outputs = keras.Model(flat.inputs[0], [flat.inputs[0], *tokens.values()])(ops.zeros((1, *flat.inputs[0].shape[1:])))
    return {name: int(output.shape[1]) for name, output in zip(tokens, outputs[1:], strict=True)}


def _tap(points: dict[str, Any], counts: dict[str, int], name: str, patches: int, label: str, last: str) -> Any:
    """The tensor of one tap: a map, a vector, or of tokens `[B, n, c]` their grid or what stands in front of it."""
    layer, part = name, ""
    if name not in points and name.endswith((CLASS, REGISTERS)):
        layer, _, part = name.rpartition(".")
    if layer not in points:
        raise UserError(f"{label} has no layer {name!r}; it has {last}; of tokens also NAME{CLASS} and NAME{REGISTERS}")
    tensor = points[layer]
    if len(tensor.shape) in (2, 4) and not part:
        return tensor
    if len(tensor.shape) != 3:
        raise UserError(f"{label}: the layer {layer} is {tuple(tensor.shape)}, expected a map, tokens or a vector")
    count, width = counts[layer], tensor.shape[-1]
    # Windowed transformers merge patches on the way and have no tokens besides them.
    side = patches if count >= patches**2 else math.isqrt(count)
    front = count - side**2
    if count < patches**2 and front:
        raise UserError(f"{label}: the {count} tokens of {layer} are no square grid")
    if not part:
        return ops.reshape(tensor[:, front:], (-1, side, side, width))
    if front < (1 if part == "class" else 2):
        raise UserError(f"{label} has no {part} token; its {count} tokens are {front} beside a grid of {side} x {side}")
    return tensor[:, 0] if part == "class" else ops.mean(tensor[:, 1:front], axis=1)


def _held(layer: layers.Layer) -> list[layers.Layer]:
    return list(layer._flatten_layers(include_self=False, recursive=False))


def _repeated(candidates: Any) -> list[layers.Layer]:
    """Those of the kind that comes most often, of the layers that hold others."""
    holders = [layer for layer in candidates if _held(layer)]
    kinds = Counter(type(layer) for layer in holders)
    kind, count = kinds.most_common(1)[0] if kinds else (None, 0)
    return [layer for layer in holders if type(layer) is kind] if count > 1 else []
