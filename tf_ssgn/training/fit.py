"""Training a run: choose the epoch on validation classes, then refit on all seen ones; resumable at every epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tf_ssgn.atomic import writing
from tf_ssgn.cli import log
from tf_ssgn.data.datasets import Item
from tf_ssgn.data.pipeline import PairSampler, decoded_images, pair_batches, pair_sampler, refuse_bad_files
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation import score_features
from tf_ssgn.models.backbones import build_backbone
from tf_ssgn.models.fusion import unit
from tf_ssgn.runtime.features import FeatureCache
from tf_ssgn.status import Status
from tf_ssgn.training.callbacks import EpochEnd, StepProgress, TensorBoardScalars
from tf_ssgn.training.run_folder import FINISHED, Run, load_state, load_weights, save_state, save_weights, trim_history
from tf_ssgn.training.trainer import Trainer, build_trainer, check_losses, compile_trainer

SELECT, REFIT = "select", "refit"
ENCODE_BATCH = 256
KEEP_DECODED = 2**30  # bytes; a small set of images is decoded once, not in every epoch
NOTHING_YET = -1.0  # below any mAP


@dataclass(frozen=True)
class Images:
    """Images of some classes with their taps.

    Attributes:
        items: the readable ones.
        taps: float32 `[N, 1 + views, D]`.
    """

    items: Sequence[Item]
    taps: np.ndarray

    @property
    def modality(self) -> str:
        return self.items[0].modality

    @property
    def labels(self) -> list[str]:
        return [item.label for item in self.items]

    def of(self, classes: Sequence[str]) -> Images:
        wanted = set(classes)
        keep = [index for index, item in enumerate(self.items) if item.label in wanted]
        return Images([self.items[index] for index in keep], self.taps[keep])


def read_images(cache: FeatureCache, items: Sequence[Item], views: int, max_bad: float) -> Images:
    """The taps of all readable items; too many unreadable ones are refused, a few are named and left out."""
    taps, status = cache.taps(items, views)
    refuse_bad_files(items, status, max_bad)
    keep = np.flatnonzero(status == Status.OK).tolist()
    if len(keep) < len(items):
        log(f"left out {len(items) - len(keep)} of {len(items)} images that cannot be used")
    return Images([items[index] for index in keep], taps[keep])


def check(run: Run, sketches: Images, photos: Images) -> None:
    """Raises UserError for what training would refuse, before a run folder is made."""
    classes, training = run.split.seen, run.config.training
    pair_sampler(sketches.of(classes).items, photos.of(classes).items, classes, run.config.data.pairs, training)
    check_losses(run.config)


def train_run(run: Run, sketches: Images, photos: Images) -> None:
    """Trains a run to its end, from wherever it stands.

    Args:
        sketches, photos: of the run's seen and validation classes.
    """
    state, _ = load_state(run)
    if state.get("phase") != REFIT:
        classes = run.split.seen
        state = _phase(run, SELECT, classes, run.config.training.epochs, sketches, photos)
        refit = run.config.training.refit and run.split.validation
        state = {
            "phase": REFIT if refit else FINISHED,
            "epoch": 0,
            "best": state["best"],
            "best_epoch": state["best_epoch"],
        }
        save_state(run, state, [])
    if state["phase"] == REFIT:
        log(f"refitting on all {len(run.split.all_seen)} seen classes for {state['best_epoch']} epochs")
        _phase(run, REFIT, run.split.all_seen, state["best_epoch"], sketches, photos)
        save_state(run, {**state, "phase": FINISHED, "epoch": state["best_epoch"]}, [])


def _phase(
    run: Run, phase: str, classes: tuple[str, ...], epochs: int, sketches: Images, photos: Images
) -> dict[str, Any]:
    """Trains on `classes` for up to `epochs`; returns the state at the end, with the best weights written."""
    training = run.config.training
    train_sketches, train_photos = sketches.of(classes), photos.of(classes)
    sampler = pair_sampler(train_sketches.items, train_photos.items, classes, run.config.data.pairs, training)
    trainer = build_trainer(run.config, run.semantics.of(classes))
    adapt(trainer, train_sketches, train_photos)
    # The schedule spans all epochs in both phases, so that a refit is the same training, stopped where it was best.
    compile_trainer(trainer, sampler.steps * training.epochs)
    variables = state_variables(trainer)
    if trainer.finetuned:
        _keep_untrained(run, trainer)

    state, arrays = load_state(run, with_arrays=True)
    if not arrays:
        fresh = {"phase": phase, "epoch": 0, "best": NOTHING_YET, "best_epoch": 0}
        state = (
            {**fresh, **{key: value for key, value in state.items() if key in ("best", "best_epoch")}}
            if state
            else fresh
        )
    elif [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
        raise UserError(f"{run.state_file} does not fit the config; delete it to train from the start")
    else:
        for variable, value in zip(variables, arrays, strict=True):
            variable.assign(value)
        log(f"continuing {phase} after epoch {state['epoch']}")
    trim_history(run, phase, state["epoch"])

    choosing = phase == SELECT and bool(run.split.validation)
    held_out = (sketches.of(run.split.validation), photos.of(run.split.validation)) if choosing else None
    callbacks = [
        EpochEnd(
            run,
            state,
            (lambda: validation_map(trainer, *held_out)) if held_out else None,
            variables,
            training.patience if choosing else 0,
            epochs,
        ),
        TensorBoardScalars(run, phase, state),
        StepProgress(f"{phase} ({len(classes)} classes)", sampler.steps, state["epoch"], epochs),
    ]
    stopped = choosing and training.patience and state["epoch"] - state["best_epoch"] >= training.patience
    if state["epoch"] < epochs and not stopped:
        trainer.fit(
            _feed(trainer, sampler, train_sketches, train_photos, state["epoch"]),
            steps_per_epoch=sampler.steps,
            initial_epoch=state["epoch"],
            epochs=epochs,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
    if not choosing:
        state["best_epoch"] = state["epoch"]
        save_weights(run, trainer)
    return state


def adapt(trainer: Trainer, sketches: Images, photos: Images) -> None:
    """Gives both fusion networks the tap statistics of their own modality, over the training images."""
    for modality, images in (("sketch", sketches), ("photo", photos)):
        standardise_layer(trainer, modality).adapt(images.taps[:, 0])


def state_variables(trainer: Trainer) -> list:
    """All that training changes; a frozen backbone does not."""
    frozen = set() if trainer.finetuned else {id(variable) for variable in trainer.backbone.variables}
    own = [variable for variable in trainer.variables if id(variable) not in frozen]
    tracked = {id(variable) for variable in own}
    return own + [variable for variable in trainer.optimizer.variables if id(variable) not in tracked]


def _feed(trainer: Trainer, sampler: PairSampler, sketches: Images, photos: Images, first_epoch: int) -> Iterator:
    """Batches for `fit`, without end: cached taps, or images when the backbone is trained too."""
    if trainer.finetuned and _decoded_bytes(trainer, sketches, photos) <= KEEP_DECODED:
        size = trainer.config.data.image_size
        pixels = [decoded_images([item.path for item in i.items], i.modality, size) for i in (sketches, photos)]
        for sketch_rows, photo_rows in sampler.batches(first_epoch):
            labels = sampler.labels[sketch_rows]
            yield ({"sketch": pixels[0][sketch_rows], "photo": pixels[1][photo_rows], "label": labels},)
    if trainer.finetuned:
        dataset = pair_batches(sampler, sketches.items, photos.items, trainer.config.data.image_size, first_epoch)
        for rows, sketch, photo in dataset.as_numpy_iterator():
            yield ({"sketch": sketch, "photo": photo, "label": sampler.labels[rows]},)
        return
    for epoch in itertools.count(first_epoch):
        rng = np.random.default_rng((sampler.seed, epoch, 1))
        for sketch_rows, photo_rows in sampler.epoch(epoch):
            sketch, photo = (
                images.taps[rows, rng.integers(images.taps.shape[1], size=len(rows))]
                for images, rows in ((sketches, sketch_rows), (photos, photo_rows))
            )
            yield ({"sketch": sketch, "photo": photo, "label": sampler.labels[sketch_rows]},)


def _decoded_bytes(trainer: Trainer, sketches: Images, photos: Images) -> int:
    return (len(sketches.items) + len(photos.items)) * trainer.config.data.image_size**2 * 3 * 4


def untrained_features(run: Run, trainer: Trainer, images: Images) -> np.ndarray:
    """Unit rows of the taps before training, standardised per modality and averaged over the views: the baseline."""
    taps, modality = images.taps, images.modality
    layer = standardise_layer(trainer, modality)
    mean, scale = (keras.ops.convert_to_numpy(weight.value) for weight in (layer.mean, layer.scale))
    if trainer.finetuned:
        backbone = build_backbone(run.config.model.backbone, run.config.data.image_size, taps=run.config.model.taps)
        backbone.load_weights(_untrained_files(run)[0])
        taps, _ = FeatureCache(None, backbone, run.config.model.backbone).taps(images.items, taps.shape[1] - 1)
        with np.load(_untrained_files(run)[1], allow_pickle=False) as stored:
            mean, scale = stored[f"{modality}_mean"], stored[f"{modality}_scale"]
    standard = keras.ops.convert_to_numpy(unit((taps - mean) / scale))
    return keras.ops.convert_to_numpy(unit(standard.sum(axis=1)))


def _untrained_files(run: Run) -> tuple[Path, Path]:
    """What a fine-tuned run began with: its backbone, and the statistics of that backbone's taps."""
    folder = run.path / "checkpoints"
    return folder / "untrained_backbone.weights.h5", folder / "untrained_statistics.npz"


def _keep_untrained(run: Run, trainer: Trainer) -> None:
    weights, statistics = _untrained_files(run)
    if weights.exists() and statistics.exists():
        return
    with writing(weights) as temporary:
        trainer.backbone.save_weights(temporary)
    values = {}
    for modality in ("sketch", "photo"):
        layer = standardise_layer(trainer, modality)
        values[f"{modality}_mean"] = keras.ops.convert_to_numpy(layer.mean.value)
        values[f"{modality}_scale"] = keras.ops.convert_to_numpy(layer.scale.value)
    with writing(statistics) as temporary:
        np.savez(temporary, **values)


def standardise_layer(trainer: Trainer, modality: str):
    network = trainer.ssgn.fuse_sketch if modality == "sketch" else trainer.ssgn.fuse_photo
    return network.get_layer(f"standardise_{modality}")


def validation_map(trainer: Trainer, sketches: Images, photos: Images) -> float:
    """mAP@all (`sem_pcyc`) of the retrieval codes on classes held out of training, plain view."""
    queries = encode(trainer, sketches)["code"]
    gallery = encode(trainer, photos)["code"]
    scores = score_features(queries, sketches.labels, gallery, photos.labels, k=(1,))
    return float(scores["sem_pcyc"]["map_all"])


def encode(trainer: Trainer, images: Images, semantics: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Codes of images of one modality, from their plain view.

    Returns:
        For sketches what `SSGN.retrieve` gives; for photos `code`. Arrays of float32, one row an image.
    """
    taps = images.taps[:, 0]
    if trainer.finetuned:  # the backbone has moved since these taps were read
        cache = FeatureCache(None, trainer.backbone, trainer.config.model.backbone)
        taps = cache.taps(images.items, 0)[0][:, 0]
    return encode_taps(trainer, taps, images.modality, semantics)


def encode_taps(
    trainer: Trainer, taps: np.ndarray, modality: str, semantics: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """`encode` for taps float32 `[N, D]` that are at hand; `semantics` `[N, s]` is the oracle's condition."""
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(taps), ENCODE_BATCH):
        rows = slice(start, start + ENCODE_BATCH)
        if modality == "photo":
            out = {"code": trainer.ssgn.photo_code(taps[rows])}
        else:
            out = trainer.ssgn.retrieve(taps[rows], None if semantics is None else semantics[rows])
        for key, value in out.items():
            parts.setdefault(key, []).append(keras.ops.convert_to_numpy(value))
    return {key: np.concatenate(values) for key, values in parts.items()}


def restore_trainer(run: Run) -> Trainer:
    """The run's model with its best weights, on this machine: nothing outside the run folder is needed."""
    trainer = build_trainer(run.config, run.semantics.of(run.classes), weights="none")
    load_weights(run, trainer)
    return trainer
