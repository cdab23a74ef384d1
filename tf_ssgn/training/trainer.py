"""The trainer: SSGN, its backbone and the losses, in a Keras model that `fit` can train on any backend."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_ssgn.config import Config
from tf_ssgn.errors import UserError
from tf_ssgn.models.backbones import build_backbone
from tf_ssgn.models.contours import contours
from tf_ssgn.models.fusion import unit
from tf_ssgn.models.ssgn import SSGN
from tf_ssgn.training import losses, replicas
from tf_ssgn.training.devices import distributed_step
from tf_ssgn.training.optimizer import AdamW, WarmUpCosine
from tf_ssgn.training.teacher import Teacher

CENTRE_MOMENTUM = 0.9  # of the running class means; a class comes by about once in three steps


class Trainer(keras.Model):
    """Computes the weighted sum of all losses of the config, for the seen classes' unit vectors `semantics` float32
    `[C, s]`.

    A batch is a dict: `sketch` and `photo`, taps `[B, D]` and `[B, P]` (`models.ssgn`) of a frozen backbone or images
    `[B, size, size, 3]` in 0..255 for one that is fine-tuned, and `label` int32 `[B]`, the pair's seen class.
    """

    def __init__(self, config: Config, backbone: keras.Model, semantics: np.ndarray):
        super().__init__(name="trainer", dtype="float32")
        self.config = config
        self.backbone = backbone
        self.finetuned = bool(config.training.finetune_from)
        # Of images, or of what a frozen half gave (`backbones.halves`); a function, so that no layer is saved twice.
        self.above: Callable[..., Any] = lambda pictures, training: self.backbone(pictures, training=training)
        self.ssgn = SSGN(
            config.model,
            int(backbone.output_shape[-1]),
            semantics.shape[1],
            len(semantics),
            config.training.seed,
            moving=self.finetuned,
            normal=replicas.normal,
        )
        self.semantics = self.add_weight(
            name="semantics", shape=semantics.shape, initializer="zeros", trainable=False, dtype="float32"
        )
        self.semantics.assign(semantics)
        self.preserved = None
        if config.losses.preservation:  # the code's view of the teacher's classes
            shape = (config.losses.teacher_classes, config.model.code - config.model.kept)
            self.preserved = self.add_weight(name="preserved", shape=shape, initializer="glorot_uniform")
        self.teacher: Teacher | None = None
        names = ["loss", *(name for name, weight in _weights(config).items() if weight)]
        self.trackers = [keras.metrics.Mean(name=name) for name in names]
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
        taps = {key: inputs[key] for key in ("sketch", "photo")}
        if self.finetuned:
            # Both modalities in one batch: batch normalisation has one set of statistics for them at test time too.
            pictures = [taps["sketch"], taps["photo"]]
            if self.config.model.contours:
                pictures.append(contours(taps["photo"]))
            parts = ops.split(self.above(ops.concatenate(pictures), training=training), len(pictures))
            taps = {"sketch": parts[0], "photo": ops.concatenate(parts[1:], axis=-1)}
        semantics = ops.take(self.semantics, inputs["label"], axis=0)
        rows = {"label": inputs["label"]}
        if self.teacher is not None:
            rows["soft"] = self.teacher(taps["photo"])
        if self.config.model.contours:  # each photo makes a second pair, with its contours
            rows = {name: ops.concatenate([row, row]) for name, row in rows.items()}
        return self.ssgn(taps | {"semantics": semantics}, training=training) | rows

    def _maybe_symbolic_build(self, iterator=None, data_batch=None) -> None:
        """Nothing: all variables exist, and Keras's own cannot take a dict from several workers (3.15)."""

    def make_train_function(self, force: bool = False):
        """Keras's own, except on several devices, where it cannot bring together the logs of several workers (3.15)."""
        if keras.backend.backend() != "tensorflow" or self.distribute_strategy.num_replicas_in_sync == 1:
            return super().make_train_function(force)
        if force or getattr(self, "train_function", None) is None:
            self.train_function = distributed_step(self, self.distribute_strategy)
        return self.train_function

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The weighted sum; every term is tracked under its own name. Over several devices it is that of the whole
        batch, on each of them, divided by their number, since the optimiser adds up what they have."""
        y_pred = replicas.gather(y_pred)
        if training:
            self._update_centres(y_pred["target"], y_pred["label"])
        terms = self.terms(y_pred)
        total = sum(_weights(self.config)[name] * term for name, term in terms.items())
        for tracker in self.trackers:
            tracker.update_state(total if tracker.name == "loss" else terms[tracker.name])
        return total / replicas.count()

    def terms(self, out: dict[str, Any]) -> dict[str, Any]:
        """The loss terms whose weight is not 0, as scalars, from what `call` returned."""
        weights, temperature, labels = _weights(self.config), self.config.losses.temperature, out["label"]
        target = ops.take(ops.convert_to_tensor(self.semantics), labels, axis=0)
        centre = unit(ops.take(ops.convert_to_tensor(self.ssgn.centres), labels, axis=0))
        synthesised = [out[stage] for stage in ("coarse", "fine") if stage in out]
        terms = {}
        if weights["reconstruction"]:
            pairs = {"coarse_reconstruction": centre, "fine_reconstruction": out["target"]}
            terms["reconstruction"] = _total(losses.reconstruction(out[k], t) for k, t in pairs.items() if k in out)
        if weights["kl"]:
            stages = [stage for stage in ("coarse", "fine") if f"{stage}_mean" in out]
            terms["kl"] = _total(losses.kl(out[f"{s}_mean"], out[f"{s}_log_variance"]) for s in stages)
        if weights["regression"]:
            terms["regression"] = _total(losses.cosine_distance(self.ssgn.regress(c), target) for c in synthesised)
        if weights["classification"]:
            prototypes = unit(self.ssgn.prototypes)
            codes = [self.ssgn.trained(code) for code in (out["sketch"], out["photo"], *synthesised)]
            terms["classification"] = _total(
                losses.classification(code, prototypes, labels, temperature) for code in codes
            ) / len(codes)
        if weights["semantic"]:
            terms["semantic"] = losses.cosine_distance(out["semantics"], target)
        if weights["contrastive"]:
            sketch, photo = (self.ssgn.trained(out[name]) for name in ("sketch", "photo"))
            terms["contrastive"] = losses.contrastive(sketch, photo, labels, temperature)
        if weights["preservation"]:
            prototypes = unit(self.preserved)
            codes = [self.ssgn.trained(out[name]) for name in ("sketch", "photo")]
            terms["preservation"] = _total(
                losses.preservation(code, prototypes, out["soft"], temperature) for code in codes
            ) / len(codes)
        return terms

    def _update_centres(self, photo, labels) -> None:
        """Moves the running mean of each class in the batch; a class's first mean is taken as it is."""
        centres = ops.convert_to_tensor(self.ssgn.centres)
        member = ops.one_hot(labels, centres.shape[0], dtype="float32")
        count = ops.sum(member, axis=0)[:, None]
        mean = ops.transpose(member) @ ops.stop_gradient(photo) / ops.maximum(count, 1.0)
        fresh = ops.sum(ops.abs(centres), axis=-1, keepdims=True) == 0.0
        moved = ops.where(fresh, mean, CENTRE_MOMENTUM * centres + (1.0 - CENTRE_MOMENTUM) * mean)
        self.ssgn.centres.assign(ops.where(count > 0.0, moved, centres))


def build_trainer(config: Config, semantics: np.ndarray, weights: str | None = None) -> Trainer:
    """Backbone, SSGN and losses under the config's dtype policy and seed, for the seen classes' unit vectors float32
    `[C, s]`; not compiled. `weights` take the place of `config.model.weights`: "none" where a checkpoint is loaded
    next."""
    keras.utils.set_random_seed(config.training.seed)
    keras.config.set_dtype_policy(config.training.precision)
    try:
        backbone = build_backbone(
            config.model.backbone,
            config.data.image_size,
            config.model.weights if weights is None else weights,
            config.model.taps,
            config.training.finetune_from,
            config.model.pooling,
        )
        trainer = Trainer(config, backbone, semantics)
        if config.losses.preservation and weights is None:
            trainer.teacher = Teacher(config, trainer.ssgn.taps)
        return trainer
    finally:
        keras.config.set_dtype_policy("float32")


def check_losses(config: Config) -> None:
    if not any(_weights(config).values()):
        raise UserError("every loss has weight 0, so there is nothing to train; raise one of --losses.*")


def compile_trainer(trainer: Trainer, steps: int) -> None:
    """AdamW with warm-up and cosine decay over `steps`; `mixed_float16` scales its loss by itself."""
    training = trainer.config.training
    check_losses(trainer.config)
    optimizer = AdamW(
        WarmUpCosine(training.learning_rate, steps, training.warm_up), training.weight_decay, training.clip_norm
    )
    if training.precision == "mixed_float16":  # `fit` would only wrap it for a model whose own policy is float16
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    trainer.compile(optimizer=optimizer, auto_scale_loss=False)
    trainer.optimizer.build(trainer.trainable_variables)
    if keras.backend.backend() == "jax":  # whose `fit` gives all buffers away, of which DINOv2 comes with one twice
        for variable in trainer.variables:
            variable.assign(ops.copy(variable.value))


def _weights(config: Config) -> dict[str, float]:
    names = ("reconstruction", "kl", "regression", "classification", "semantic", "contrastive", "preservation")
    return {name: getattr(config.losses, name) for name in names}


def _total(terms):
    return sum(terms, ops.zeros(()))
