"""Training a run: choose the epoch on validation classes, then refit on all seen ones; resumable at every step."""

import functools
import hashlib
from pathlib import Path

import keras
import numpy as np

from tf_ssgn.common.atomic import writing
from tf_ssgn.common.cli import log
from tf_ssgn.common.npz import DAMAGED_ARCHIVE
from tf_ssgn.common.progress import Progress
from tf_ssgn.config import LEADING_FAMILY
from tf_ssgn.data.images.reading import lost_files, refuse_lost
from tf_ssgn.errors import UserError, reason
from tf_ssgn.evaluation import score_features
from tf_ssgn.models.backbones import build_backbone, halves, tap_sizes
from tf_ssgn.models.fusion import principal_axes, unit
from tf_ssgn.runtime.features import FeatureCache
from tf_ssgn.settings import KEEP_DECODED
from tf_ssgn.training.callbacks import Checkpoint, EpochEnd, State, StepProgress, ctrl_c
from tf_ssgn.training.devices import Devices
from tf_ssgn.training.feed import Feed
from tf_ssgn.training.guides import Guides, guided, set_guides, solve_guides
from tf_ssgn.training.images import Images, encode_taps, read_images, taps_now, taps_of
from tf_ssgn.training.run_folder import (
    FINISHED,
    REFIT,
    SELECT,
    Run,
    load_state,
    load_weights,
    save_encoders,
    save_state,
    save_weights,
    trim_history,
)
from tf_ssgn.training.sampler import PairSampler, pair_sampler, require_both
from tf_ssgn.training.tensorboard import Scalars, show_embedding, show_retrieval
from tf_ssgn.training.trainer import Trainer, build_trainer, check_losses, compile_trainer

__all__ = ["Images", "check", "encode_taps", "read_images", "restore_trainer", "train_run"]

NAMES = {SELECT: "training", REFIT: "training again"}  # for people
NOTHING_YET = -1.0  # below any mAP
ONE = Devices()


def check(run: Run, sketches: Images, photos: Images) -> None:
    """Raises UserError for what training would refuse, before a run folder is made."""
    classes, training = run.split.seen, run.config.training
    require_both(sketches.items, photos.items, run.split.all_seen)
    pair_sampler(sketches.of(classes).items, photos.of(classes).items, classes, run.config.data.pairs, training)
    check_losses(run.config)


def train_run(run: Run, sketches: Images, photos: Images, devices: Devices = ONE) -> None:
    """Trains a run to its end, from wherever it stands, on its seen and validation classes; a run that is resumed wants
    the same images."""
    saved, arrays = load_state(run, with_arrays=True)
    begun: State = {"phase": SELECT, "epoch": 0, "step": 0, "best": NOTHING_YET, "best_epoch": 0, "weights": ""}
    state = begun | saved
    items = _digest(sketches, photos)
    if state.setdefault("items", items) != items:
        raise UserError(
            f"the images of {run.data} are others than when the run {run.path} was begun; put them back to resume it, "
            "or name another --run"
        )
    if state["phase"] == SELECT:
        _phase(run, state, arrays, run.split.seen, run.config.training.epochs, sketches, photos, devices)
        state |= {"phase": REFIT if run.split.validation else FINISHED, "epoch": 0, "step": 0}
        arrays = []
        if devices.chief:
            save_state(run, state, arrays)
    if state["phase"] == REFIT:
        log(f"refitting on all {len(run.split.all_seen)} seen classes for {state['best_epoch']} epochs")
        _phase(run, state, arrays, run.split.all_seen, state["best_epoch"], sketches, photos, devices)
        if devices.chief:
            save_state(run, state | {"phase": FINISHED}, [])


def _digest(*sides: Images) -> str:
    """Which images these are: what a step is, and so where a run stands, depends on them."""
    names = sorted(f"{item.modality}/{item.label}/{Path(item.path).name}" for side in sides for item in side.items)
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def _phase(
    run: Run,
    state: State,
    arrays: list[np.ndarray],
    classes: tuple[str, ...],
    epochs: int,
    sketches: Images,
    photos: Images,
    devices: Devices,
) -> None:
    """Trains on `classes` for up to `epochs`, from `state` and `arrays` on; the best weights are written at its end."""
    training = run.config.training
    train_sketches, train_photos = sketches.of(classes), photos.of(classes)
    sampler = pair_sampler(train_sketches.items, train_photos.items, classes, run.config.data.pairs, training)
    devices.check_batch(sampler.batch)
    with devices.scope():
        trainer = build_trainer(run.config, run.semantics.of(classes))
        adapt(trainer, train_sketches, train_photos)
        # The schedule spans all epochs in both phases, so that a refit is the same training, stopped where it was best.
        compile_trainer(trainer, sampler.steps * training.epochs)
    if trainer.finetuned and devices.chief:
        _keep_untrained(run, trainer)
    variables, metrics = state_variables(trainer)
    _continue(run, state, arrays, variables, sampler.steps)
    if devices.chief:
        trim_history(run, state["phase"], state["epoch"])

    choosing = state["phase"] == SELECT and bool(run.split.validation)
    trained = (train_sketches, train_photos)
    held_out = (sketches.of(run.split.validation), photos.of(run.split.validation)) if choosing else None
    total = (epochs - state["epoch"]) * sampler.steps - state["step"]
    stopped = choosing and training.patience and state["epoch"] - state["best_epoch"] >= training.patience
    if total and not stopped:
        with ctrl_c() as interrupted, Progress(total, f"{NAMES[state['phase']]} ({len(classes)} classes)") as bar:
            callbacks = [
                EpochEnd(
                    run,
                    state,
                    functools.partial(_validate, trainer, classes, trained, held_out) if held_out else None,
                    patience=training.patience if choosing else 0,
                    devices=devices,
                ),
                *([Scalars(run, state)] if devices.chief else []),
                Checkpoint(run, state, variables, metrics, sampler.steps, interrupted, devices),
                StepProgress(bar),
            ]
            _fit(trainer, _feed(trainer, sampler, trained), state, epochs, callbacks)
        if held_out and devices.chief:
            codes = _held_out_codes(trainer, classes, trained, held_out)
            show_retrieval(run, state, codes, held_out)
            show_embedding(run, codes, held_out)
    if not choosing:
        state["best_epoch"] = state["epoch"]
        set_guides(trainer.ssgn, _guides(trainer, classes, trained))
        state["weights"] = save_weights(run, trainer, devices.chief)
        if devices.chief:
            # Of a model of this process alone: reading the variables of several workers takes all of them.
            save_encoders(run, trainer if devices.workers == 1 else restore_trainer(run))


def _feed(trainer: Trainer, sampler: PairSampler, trained: tuple[Images, Images]) -> Feed:
    """Taps; for a backbone in training images, or what its frozen half gives where that is little enough to keep."""
    config = trainer.config
    cut = halves(trainer.backbone) if trainer.finetuned and not config.model.contours else None
    if cut is None:
        return Feed(sampler, *trained, config.data.image_size if trainer.finetuned else 0)
    below, above = cut
    if 4 * sum(len(images.items) for images in trained) * below.output_shape[-1] > KEEP_DECODED:
        return Feed(sampler, *trained, config.data.image_size)
    trainer.above = lambda maps, training: above(maps, training=training)
    return Feed(sampler, taps_of(below, trained[0]), taps_of(below, trained[1]), 0)


def _fit(trainer: Trainer, feed: Feed, state: State, epochs: int, callbacks: list) -> None:
    """`fit`, twice where training continues within an epoch: it wants equally long ones."""
    trainer.stop_training = False
    left = feed.sampler.steps - state["step"]
    for steps, last in ((left, state["epoch"] + 1), (feed.sampler.steps, epochs)):
        if state["epoch"] < last and not trainer.stop_training:
            with lost_files():
                trainer.fit(
                    feed.batches(state["epoch"], state["step"]),
                    steps_per_epoch=steps,
                    initial_epoch=state["epoch"],
                    epochs=last,
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )


def _continue(run: Run, state: State, arrays: list[np.ndarray], variables: list, steps: int) -> None:
    """Gives the variables the values of a checkpoint, if there is one."""
    if (state["epoch"] or state["step"]) and not arrays or not 0 <= state["step"] < steps:
        raise UserError(f"{run.state_file} does not hold what it should; delete it to train from the start")
    if arrays:
        if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
            raise UserError(f"{run.state_file} does not fit the config; delete it to train from the start")
        for variable, value in zip(variables, arrays, strict=True):
            variable.assign(value)
        step = f", step {state['step']}" if state["step"] else ""
        log(f"continuing {state['phase']} after epoch {state['epoch']}{step}")


def adapt(trainer: Trainer, sketches: Images, photos: Images) -> None:
    """Gives the fusion networks the tap statistics of their own modality, over the training images."""
    width, model = trainer.ssgn.taps, trainer.config.model
    sizes = tuple(tap_sizes(trainer.backbone).values()) if model.balance else ()
    # Of all views: bold and shaded strokes excite the backbone in other ways than thin ones.
    standardise_layer(trainer, "sketch").adapt(sketches.taps.reshape(-1, width), sizes)
    standardise_layer(trainer, "photo").adapt(photos.taps[:, 0, :width], sizes)
    if model.contours:
        standardise_layer(trainer, "contour").adapt(photos.taps[:, 0, width:], sizes)
    if model.kept:
        sides = {"sketch": sketches.taps[:, 0], "photo": photos.taps[:, 0, :width]}
        rows = [keras.ops.convert_to_numpy(standardise_layer(trainer, side)(taps)) for side, taps in sides.items()]
        trainer.ssgn.fuse_sketch.get_layer("keep").kernel.assign(principal_axes(np.concatenate(rows), model.kept))


def state_variables(trainer: Trainer) -> tuple[list, list]:
    """All that training changes (a frozen backbone does not), and those of them that every epoch resets."""
    frozen = set() if trainer.finetuned else {id(variable) for variable in trainer.backbone.variables}
    metrics = trainer.metrics_variables
    by_id = {id(v): v for v in [*trainer.variables, *trainer.optimizer.variables, *metrics] if id(v) not in frozen}
    return list(by_id.values()), metrics


def untrained_features(run: Run, trainer: Trainer, images: Images) -> np.ndarray:
    """Unit rows of the taps before training, standardised per modality and averaged over the views: the baseline."""
    taps, modality = images.taps[..., : trainer.ssgn.taps], images.modality
    layer = standardise_layer(trainer, modality)
    mean, scale = (keras.ops.convert_to_numpy(weight.value) for weight in (layer.mean, layer.scale))
    if trainer.finetuned:
        model = run.portable.model
        backbone = build_backbone(model.backbone, run.config.data.image_size, taps=model.taps, pooling=model.pooling)
        weights, statistics = _untrained_files(run)
        try:
            backbone.load_weights(weights)
            with np.load(statistics, allow_pickle=False) as stored:
                mean, scale = stored[f"{modality}_mean"], stored[f"{modality}_scale"]
        except DAMAGED_ARCHIVE as error:
            raise UserError(
                f"{weights.parent} lacks the untrained backbone that a fine-tuned run is compared with, or it is "
                f"damaged ({reason(error)}); take {weights.name} and {statistics.name} from a copy of the run"
            ) from None
        taps, status = FeatureCache(None, backbone, model.backbone).taps(images.items, taps.shape[1] - 1)
        refuse_lost(images.items, status)
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
    network = getattr(trainer.ssgn, f"fuse_{modality}")
    return network.get_layer(f"standardise_{modality}")


def _guides(trainer: Trainer, classes: tuple[str, ...], trained: tuple[Images, Images]) -> Guides:
    sketches, photos = (taps_now(trainer, images) for images in trained)
    return solve_guides(trainer, sketches, photos, classes)


def _held_out_codes(
    trainer: Trainer, classes: tuple[str, ...], trained: tuple[Images, Images], held_out: tuple[Images, Images]
) -> list[np.ndarray]:
    """The retrieval codes of sketches and photos of held-out classes, with the guides that the model would get now;
    from the plain views alone, as all of them would take longer than the epoch."""
    sketches, photos = (taps_now(trainer, images).taps[:, 0] for images in held_out)
    guides = _guides(trainer, classes, (trained[0].plain, trained[1].plain))
    with guided(trainer.ssgn, guides):
        return [encode_taps(trainer, taps, side)["code"] for taps, side in ((sketches, "sketch"), (photos, "photo"))]


def _validate(
    trainer: Trainer, classes: tuple[str, ...], trained: tuple[Images, Images], held_out: tuple[Images, Images]
) -> float:
    """mAP@all (`config.LEADING_FAMILY`) on classes held out of training."""
    queries, gallery = _held_out_codes(trainer, classes, trained, held_out)
    scores = score_features(queries, held_out[0].labels, gallery, held_out[1].labels, k=(1,))
    return float(scores[LEADING_FAMILY]["map_all"])


def restore_trainer(run: Run) -> Trainer:
    """The run's model with its best weights, on this machine: nothing outside the run folder is needed."""
    trainer = build_trainer(run.portable, run.semantics.of(run.classes), weights="none")
    load_weights(run, trainer)
    return trainer
