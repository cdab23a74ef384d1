"""What a run is: frozen dataclasses, presets by name, and the flags made from them. Bounds of operation: `settings`.

Every field is a flag of `python -m tf_ssgn.train`: `Config.model.backbone` is `--model.backbone`.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tf_ssgn.errors import UserError


def _option(
    default: Any, text: str, choices: tuple[str, ...] = (), least: float = 0, most: float = 10**9, prefix: str = ""
) -> Any:
    """A field with its help text and what it may be: `least` to `most` for numbers; for text one of `choices`, or what
    starts with `prefix`."""
    bounds = {"choices": choices, "least": least, "most": most, "prefix": prefix}
    return field(default=default, metadata={"help": text} | bounds)


HUB = "hub:"  # before the name of a preset of keras-hub, where a backbone is named
LEADING_FAMILY = "sem_pcyc"  # whose figures stand where there is room for one family, and which validation uses


@dataclass(frozen=True)
class Data:
    """Which images, and how they become training batches."""

    image_size: int = _option(224, "side in pixels of the backbone's input", least=32, most=1024)
    validation_classes: int = _option(20, "seen classes held out to choose the epoch; 0 trains for all epochs")
    pairs: str = _option(
        "instance", "photo of a training sketch: its own where known, or any of its class", ("instance", "class")
    )
    duplicates: bool = _option(
        False, "Sketchy: list the original photos twice, as the published file lists do, not once"
    )
    exclude: tuple[str, ...] = _option(
        (), "files and folders to leave out: globs, as `index build --exclude` has them, comma separated"
    )
    max_bad_files: float = _option(0.01, "share of unreadable files above which training refuses to start", most=1)


@dataclass(frozen=True)
class Semantics:
    """One vector per class, from the class name alone."""

    vectors: str = _option("", "class-name or word vectors (.npz, .bin, .vec, .txt) or hub:HANDLE")


@dataclass(frozen=True)
class Model:
    """Sizes and shapes of SSGN (design: docs/reconstruction.md)."""

    backbone: str = _option(
        "efficientnet_lite0",
        "network that gives the taps; hub:NAME for a preset of keras-hub (docs/presets.md)",
        (
            *("efficientnet_lite0", "efficientnet_lite2", "vgg16", "mobilenet_v1", "mobilenet_v2"),
            *("efficientnet_v2_b0", "convnext_tiny", "tiny"),
        ),
        prefix=HUB,
    )
    weights: str = _option(
        "",
        "package (an installed package brings them), imagenet (Keras downloads them), a weights file, or none; "
        "empty: those of the preset for hub:NAME, package where the backbone has one, else imagenet",
    )
    taps: tuple[str, ...] = _option((), "layers to fuse, comma separated; empty: the backbone's own list")
    pooling: str = _option(
        "average",
        "how a tap is pooled: evenly over its positions, or by the energy of the last tap there",
        ("average", "energy"),
    )
    balance: bool = _option(True, "every tap counts alike in fusion; off: by the number of its channels")
    fusion: str = _option(
        "shared", "the mixing projection: one for both modalities, or one each", ("shared", "private")
    )
    contours: float = _option(
        0.0, "weight of a contour drawing's code in a photo's; contours train as sketches too; 0: none", most=10
    )
    code: int = _option(512, "size d of a fused code", least=2, most=65536)
    kept: int = _option(
        0, "how many of these numbers keep what the backbone knew: principal components, not trained", most=65535
    )
    kept_weight: float = _option(1.0, "length of these numbers beside that of the trained ones", least=1e-3, most=1e3)
    hidden: int = _option(512, "width of the decoders' and encoders' hidden layer", least=1, most=65536)
    latent: int = _option(64, "size of z1 and z2", least=1, most=65536)
    coarse: bool = _option(True, "coarse stage, conditioned on semantics; off: the fine stage sees the sketch alone")
    fine: bool = _option(True, "fine stage, conditioned on the sketch; off: the coarse code is retrieved with")
    told: bool = _option(True, "a guide of its own for class vectors that are given, such as a typed word's")
    residual: bool = _option(True, "decoders predict the difference to the sketch's code")
    samples: int = _option(4, "K noise draws averaged into a retrieval code; saved with the model", least=1, most=1024)


@dataclass(frozen=True)
class Losses:
    """Weights of the losses; 0 switches a loss off."""

    reconstruction: float = _option(1.0, "distance of both stages' output to its target")
    kl: float = _option(0.01, "KL divergence of both latents from the standard normal")
    regression: float = _option(1.0, "distance of the semantics read off the synthesised codes to the class vector")
    classification: float = _option(1.0, "cross-entropy over seen classes of synthesised and real codes")
    semantic: float = _option(1.0, "distance of the projected semantics of the sketch to the class vector")
    contrastive: float = _option(0.5, "cross-modal contrast between the codes of sketches and photos of a batch")
    preservation: float = _option(
        0.0, "keeping what the frozen backbone's own classifier says of a photo (SAKE); needs losses.teacher"
    )
    teacher: str = _option("", ".npz of that classifier, over the last tap: kernel [D, classes], bias [classes]")
    teacher_classes: int = _option(1001, "classes that it tells apart", least=2, most=65536)
    temperature: float = _option(
        0.07, "temperature of the classification and contrastive softmax, on cosines", least=1e-3
    )


@dataclass(frozen=True)
class Training:
    """The optimiser and its schedule."""

    seed: int = _option(0, "seed of everything random")
    epochs: int = _option(30, "passes over the training sketches, at most", least=1)
    patience: int = _option(10, "stop after this many epochs without a better validation mAP; 0 never stops early")
    batch_classes: int = _option(32, "classes in a batch", least=2, most=4096)
    batch_per_class: int = _option(4, "sketch-photo pairs of each class in a batch", least=1, most=4096)
    learning_rate: float = _option(3e-4, "peak learning rate (AdamW, cosine decay)")
    warm_up: float = _option(0.05, "share of all steps in which the learning rate rises from 0", most=1)
    weight_decay: float = _option(1e-4, "decoupled weight decay")
    clip_norm: float = _option(1.0, "gradient norm to clip at; 0 never clips")
    ridge: float = _option(0.02, "strength r of the ridge that the decoders' guides are solved with; 0: no guides")
    told_ridge: float = _option(0.5, "the same of the guide of given class vectors, for the sum over classes")
    precision: str = _option("float32", "Keras dtype policy", ("float32", "mixed_bfloat16", "mixed_float16"))
    finetune_from: str = _option("", "train the backbone from this layer on; empty: frozen, taps cached on disk")
    views: int = _option(0, "extra views of each training sketch in the feature cache, drawn at random", most=15)
    photo_views: int = _option(0, "the same of each training photo", most=15)


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` computes."""

    views: int = _option(0, "extra views of a sketch averaged into its embedding", most=15)
    photo_views: int = _option(0, "extra views of a photo averaged into its embedding", most=15)
    k: tuple[int, ...] = _option((100, 200), "cut-offs of mAP@k, P@k and R@k, comma separated", least=1)


@dataclass(frozen=True)
class Config:
    """A whole run: written to `config.json`, enough to repeat it."""

    preset: str = "sketchy-mini"
    data: Data = field(default_factory=Data)
    semantics: Semantics = field(default_factory=Semantics)
    model: Model = field(default_factory=Model)
    losses: Losses = field(default_factory=Losses)
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=Evaluation)


def _sketchy_mini() -> Config:
    """25 sketches and photos of each class: few steps, many views, a code that keeps what the backbone knew."""
    return Config(
        preset="sketchy-mini",
        data=Data(pairs="class"),
        model=Model(code=768, kept=256, kept_weight=1.7, hidden=64, latent=16, pooling="energy"),
        losses=Losses(classification=2.0, temperature=0.2),
        training=Training(epochs=9, learning_rate=1e-3, views=7, photo_views=7),
        evaluation=Evaluation(views=7, photo_views=7, k=(10, 25, 100, 200)),
    )


def _everyday() -> Config:
    """The shipped model: several kinds of drawings and photos, a code that keeps what the backbone knew. A soft
    temperature and few steps: what is learnt by heart is paid for on other people's drawings and photos."""
    return Config(
        preset="everyday",
        data=Data(validation_classes=0, pairs="class"),
        model=Model(code=768, kept=256, hidden=64, latent=16, pooling="energy"),
        losses=Losses(classification=2.0, temperature=0.2),
        training=Training(epochs=6, learning_rate=1e-3, views=7),
        evaluation=Evaluation(views=7, k=(10, 25, 100, 200)),
    )


def _demo() -> Config:
    """The drawn dataset: a minute on two cores once the features are there, so no class is held out."""
    return Config(
        preset="demo",
        data=Data(validation_classes=0, pairs="class"),
        model=Model(code=256, hidden=128, latent=16, pooling="energy"),
        training=Training(epochs=6, batch_classes=12, learning_rate=1e-3),
        evaluation=Evaluation(k=(10, 20)),
    )


def _full(preset: str, classes: int) -> Config:
    """The published benchmarks: the era's backbone, the same head."""
    return Config(preset=preset, data=Data(validation_classes=classes), model=Model(backbone="vgg16"))


# Fields of earlier versions: the value with which a run is the same without them, and what to do instead.
DROPPED: dict[str, tuple[Any, str]] = {
    "semantics.dimension": (0, "reduce the vectors in their file"),
    "model.dropout": (0.0, "it gained nothing on unseen classes; leave it out"),
    "training.average": (0.0, "no preset and no result used it; leave it out"),
    "training.refit": (
        True,
        "to train once, on all seen classes, set --data.validation_classes 0 and --training.epochs",
    ),
}


# Fields of the model that came later, with the value that runs from before were made with.
ADDED: dict[str, Any] = {"model.kept": 0, "model.kept_weight": 1.0, "model.told": False}


def _dinov2(preset: str, classes: int) -> Config:
    """The published benchmarks with features of the field of today; the class token stands beside the grids, as in
    DINOv2's own linear evaluation."""
    model = Model(backbone="hub:dinov2_small", weights="", taps=("stage10", "stage11", "stage12", "stage12.class"))
    return Config(preset=preset, data=Data(validation_classes=classes), model=model)


PRESETS: dict[str, typing.Callable[[], Config]] = {
    "demo": _demo,
    "everyday": _everyday,
    "sketchy-mini": _sketchy_mini,
    "sketchy": lambda: _full("sketchy", 20),
    "tuberlin": lambda: _full("tuberlin", 30),
    "quickdraw": lambda: _full("quickdraw", 15),
    "sketchy-dinov2": lambda: _dinov2("sketchy-dinov2", 20),
    "tuberlin-dinov2": lambda: _dinov2("tuberlin-dinov2", 30),
    "quickdraw-dinov2": lambda: _dinov2("quickdraw-dinov2", 15),
}


def preset(name: str) -> Config:
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]()


def fields(config: Any, prefix: str = "") -> dict[str, tuple[Any, dataclasses.Field, Any]]:
    """`{"model.backbone": (type, field, value)}` of every leaf of a config."""
    all_fields: dict[str, tuple[Any, dataclasses.Field, Any]] = {}
    hints = typing.get_type_hints(type(config))
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            all_fields |= fields(value, f"{prefix}{item.name}.")
        else:
            all_fields[prefix + item.name] = (hints[item.name], item, value)
    return all_fields


def override(config: Config, values: dict[str, Any]) -> Config:
    """A copy with `{"model.backbone": "vgg16"}` applied; values are text or of the field's type, and checked."""
    known = fields(config)
    for name, value in values.items():
        if name in DROPPED:
            raise UserError(f"--{name} is no longer there: {DROPPED[name][1]}")
        if name not in known:
            raise UserError(f"unknown config field {name!r}; `python -m tf_ssgn.train --help` lists them")
        kind, item, _ = known[name]
        bounds = {key: bound for key, bound in item.metadata.items() if key != "help"}
        config = _replace(config, name.split("."), _parse(name, value, kind, **bounds))
    return config


def _replace(config: Any, path: list[str], value: Any) -> Any:
    if len(path) > 1:
        value = _replace(getattr(config, path[0]), path[1:], value)
    return dataclasses.replace(config, **{path[0]: value})


def _parse(
    name: str, value: Any, kind: Any, choices: Sequence[str] = (), least: float = 0, most: float = 0, prefix: str = ""
) -> Any:
    try:
        parsed = _convert(value, kind)
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"--{name}: received {value!r}, expected {_describe(kind)}") from None
    if choices and parsed not in choices and not (prefix and parsed.startswith(prefix)):
        also = f" or {prefix}NAME" if prefix else ""
        raise UserError(f"--{name}: received {value!r}, expected one of {', '.join(choices)}{also}")
    numbers = parsed if isinstance(parsed, tuple) else (parsed,)
    if least and not numbers:
        raise UserError(f"--{name}: received nothing, expected at least one number")
    for number in numbers:
        if isinstance(number, (int, float)) and not isinstance(number, bool) and not least <= number <= most:
            raise UserError(f"--{name}: received {value!r}, expected {_describe(kind)} from {least:g} to {most:g}")
    return parsed


def _convert(value: Any, kind: Any) -> Any:
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        parts = [part for part in value.split(",") if part] if isinstance(value, str) else value
        return tuple(_convert(part, inner) for part in parts)
    if kind is bool:
        return ("false", "true", "0", "1", "off", "on").index(str(value).lower()) % 2 == 1
    if kind is int and isinstance(value, float) and value != int(value):
        raise ValueError
    return kind(value)


def _describe(kind: Any) -> str:
    if typing.get_origin(kind) is tuple or isinstance(kind, types.GenericAlias):
        return f"comma-separated {_describe(typing.get_args(kind)[0])}"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]


def to_dict(config: Config) -> dict[str, Any]:
    """Nested plain values, as `config.json` holds them."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(values: dict[str, Any]) -> Config:
    """The inverse of `to_dict`; fields that the file lacks keep their preset's value, unknown ones are refused.

    Dropped fields count for nothing: what they did is in the weights (`dropped` names them). Fields of the model have
    to be there: weights mean nothing without them.
    """
    flat: dict[str, Any] = {}

    def walk(branch: dict[str, Any], prefix: str) -> None:
        for key, value in branch.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            else:
                flat[prefix + key] = value

    walk(values, "")
    flat = ADDED | {name: value for name, value in flat.items() if name not in DROPPED}
    config = override(preset(flat.get("preset", Config.preset)), flat)
    lacking = [name for name in fields(config) if name.startswith("model.") and name not in flat]
    if lacking:
        raise UserError(
            f"received a config without {', '.join(lacking)}, expected all fields of the model; it comes from another "
            "version of tf_ssgn: use that one, or train again"
        )
    return config


def dropped(values: dict[str, Any]) -> dict[str, Any]:
    """The dropped fields of a `to_dict` of an earlier version that had another value than their default."""
    earlier = {name: values.get(name.split(".")[0], {}).get(name.split(".")[1], DROPPED[name][0]) for name in DROPPED}
    return {name: value for name, value in earlier.items() if value != DROPPED[name][0]}


def differences(ours: Config, theirs: Config) -> list[str]:
    """`["training.epochs: 40 here, 60 there"]` for every field in which two configs differ."""
    left, right = fields(ours), fields(theirs)
    return [
        f"{name}: {left[name][2]!r} here, {right[name][2]!r} there" for name in left if left[name][2] != right[name][2]
    ]
