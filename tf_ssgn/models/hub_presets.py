"""Presets of keras-hub: a name of its registry, `hf://...`, `kaggle://...`, or a folder that `save_to_preset` wrote.

What is taken from one is the image tower with its weights, and the numbers of its image converter. The presets of
language models, detectors and generators are refused before their weights are downloaded.
"""

import difflib
import importlib.util
import inspect
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from tf_ssgn.common.atomic import write_json
from tf_ssgn.config import HUB
from tf_ssgn.errors import UserError, reason

SCHEMES = ("hf", "kaggle")


@dataclass(frozen=True)
class Preset:
    """An image network as keras-hub builds it, a `keras_hub.models.Backbone` with one input, images `[B, size, size,
    3]`: pixels of 0..255 to what it expects are `x * scale + offset`, of one number or three."""

    network: Any
    scale: Any
    offset: Any


def open_preset(name: str, image_size: int, with_weights: bool) -> Preset:
    """The preset `hub:NAME`, for images of `image_size`. UserError: keras-hub is not installed, the preset is unknown,
    cannot be downloaded, holds no image network, or its weights do not fit this size."""
    import_keras_hub(name)
    from keras_hub.layers import ImageConverter
    from keras_hub.models import Backbone
    from keras_hub.src.utils import preset_utils  # names of the classes before their weights: nothing public has them

    preset = name.removeprefix(HUB)
    _check_name(name, preset)
    try:
        loader = preset_utils.get_preset_loader(preset)
        kind = loader.check_backbone_class()
    except Exception as error:  # of kagglehub, huggingface_hub, requests or keras-hub
        if Path(preset).is_dir():
            fault, hint = "is no preset", "expected a folder that save_to_preset wrote"
        else:
            fault = "could not be downloaded"
            hint = "check the network and the name, or name a local folder that save_to_preset wrote"
        raise UserError(f"{name} {fault} ({reason(error)}); {hint}") from None
    parameters = inspect.signature(kind.__init__).parameters
    towers = {"vision_encoder", "text_encoder"} <= parameters.keys()
    size = next((key for key in ("image_shape", "input_shape") if key in parameters), None)
    if not issubclass(kind, Backbone) or not (towers or size):
        raise UserError(
            f"{name} is a {kind.__name__}, which takes no images; expected an image backbone such as hub:dinov2_small"
        )
    try:
        options = {} if towers or size is None else {size: (image_size, image_size, 3)}
        network = kind.from_preset(preset, load_weights=with_weights, **options)
    except Exception as error:
        sides = loader.config.get("config", {}).get(size or "") or ()
        hint = f"; it was made for {sides[0]} px" if isinstance(sides, (list, tuple)) and sides and sides[0] else ""
        raise UserError(
            f"{name} with --data.image_size {image_size}: its network cannot be built or its weights do not fit"
            f"{hint} ({reason(error)})"
        ) from None
    network = network.vision_encoder if towers else network
    _check_images(name, network, image_size)
    try:
        try:
            converter_class = preset_utils.find_subclass(preset, ImageConverter, kind)
        except ValueError:  # of a tower alone there is none, but its file names one
            converter_class = ImageConverter
        converter = loader.load_image_converter(converter_class)
    except Exception as error:
        raise UserError(
            f"{name} brings no image converter ({reason(error)}), so nobody knows how it wants its pixels; add one by "
            "keras_hub.layers.ImageConverter(...).save_to_preset(FOLDER)"
        ) from None
    return Preset(_settled(network, image_size), *_numbers(name, converter, ImageConverter))


def import_keras_hub(name: str) -> None:
    """Imports keras-hub, which must not be paid for by whoever does not use it."""
    if importlib.util.find_spec("keras_hub") is None:
        raise UserError(f"{name} needs keras-hub, which is not installed; pip install 'tf_ssgn[hub]'")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported
    import keras_hub  # noqa: F401


def write_preset(folder: Path, network: dict[str, Any], image_size: int, scale: Any, offset: Any) -> None:
    """A preset without weights, which tells a run what its backbone is where the original preset is not at hand."""
    import keras_hub

    folder.mkdir(exist_ok=True)
    converter = keras_hub.layers.ImageConverter((image_size, image_size), scale=scale, offset=offset)
    write_json(folder / "image_converter.json", keras.saving.serialize_keras_object(converter))
    write_json(folder / "config.json", network)


def _check_name(name: str, preset: str) -> None:
    import keras_hub

    scheme, separator, _ = preset.partition("://")
    known = keras_hub.models.Backbone.presets
    if preset in known or Path(preset).is_dir() or (separator and scheme in SCHEMES):
        return
    if separator:
        raise UserError(f"{name}: received {scheme}://, expected {' or '.join(f'{s}://' for s in SCHEMES)}")
    near = difflib.get_close_matches(preset, known, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "docs/presets.md lists some"
    raise UserError(
        f"unknown preset {name}; expected a name of keras-hub, hf://USER/NAME or a folder that save_to_preset wrote; "
        f"{hint}"
    )


def _check_images(name: str, network: Any, image_size: int) -> None:
    shapes = [tuple(tensor.shape[1:]) for tensor in network.inputs]
    wanted = (image_size, image_size, 3)
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise UserError(f"{name} takes {len(shapes)} inputs of shapes {shapes}, expected one image {wanted}")
    if shapes[0] != wanted:
        raise UserError(
            f"--data.image_size: received {image_size}, expected {shapes[0][0]}, the only size that {name} takes"
        )
    side = patch_side(network)
    if side and image_size % side:
        raise UserError(
            f"--data.image_size: received {image_size}, expected a multiple of {side}, the side of a patch of {name}"
        )


def patch_side(network: Any) -> int:
    """Pixels along one side of a patch; 0 for a network without patches."""
    side = getattr(network, "patch_size", 0)
    return int(side[0] if isinstance(side, (tuple, list)) else side)


def _numbers(name: str, converter: Any, base: type) -> tuple[Any, Any]:
    """`scale` and `offset` of a converter that does no more than these; squares of the right size come in already."""
    if converter is None:
        raise UserError(
            f"{name} is in a format whose image converter keras-hub cannot read; take a preset that it wrote itself"
        )
    if any(getattr(type(converter), part) is not getattr(base, part) for part in ("call", "_call_python", "_call_tf")):
        raise UserError(f"{name} prepares its images by {type(converter).__name__}, which does more than scale them")

    def plain(value: Any, default: float) -> Any:
        if value is None:
            return default
        return [float(part) for part in value] if isinstance(value, (list, tuple)) else float(value)

    return plain(converter.scale, 1.0), plain(converter.offset, 0.0)


def _settled(network: Any, image_size: int) -> Any:
    """The same network without what belongs to other sizes and to pretraining.

    DINOv2 keeps the positions of its pretraining size and interpolates them anew whenever it is loaded, which differs
    between backends in the last bits; a run keeps those of its own size. Mask tokens stand for patches that pretraining
    hides.
    """
    config = network.get_config()
    changed: dict[str, Any] = {}
    if "position_embedding_shape" in config:
        changed["position_embedding_shape"] = (image_size, image_size, 3)
    if config.get("use_mask_token"):
        changed["use_mask_token"] = False
    if not changed:
        return network
    settled = type(network).from_config(config | changed)
    values = {variable.path: variable for variable in network.variables}
    for variable in settled.variables:
        own = variable.path.replace("/position_embeddings", "/interpolated_position_embeddings")
        variable.assign(values[own if own in values else variable.path])
    return settled


def digest_of(network: dict[str, Any], *numbers: Any) -> str:
    """What a network computes, weights aside, as text: its class and sizes without names and precision."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            left_out = ("name", "trainable", "dtype", "build_config", "compile_config", "shared_object_id")
            return {key: plain(part) for key, part in value.items() if key not in left_out}
        return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value

    return json.dumps([plain(network), *numbers], sort_keys=True)
