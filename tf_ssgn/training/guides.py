"""The decoders' guides: the linear part of each residual, solved in closed form by ridge regression.

A decoder trained by gradients alone learns the seen classes by heart before it learns anything that carries over; a
ridge keeps to the few directions in which all seen classes agree. With the conditions X `[N, i]`, the targets T
`[N, d]` and the codes C `[N, d]` that the decoder gives without its guide, it is
G = (X'X / N + r I)^-1 X'(T - C) / N (Hoerl and Kennard 1970).
"""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_ssgn.models.fusion import unit
from tf_ssgn.models.ssgn import SSGN
from tf_ssgn.settings import ENCODED_TOGETHER
from tf_ssgn.training.images import Images, encode_taps
from tf_ssgn.training.trainer import Trainer

CONDITIONS = {"coarse": ("semantics",), "fine": ("sketch", "coarse")}  # as the decoders take them, without the latent

TOLD = "told"
Guides = dict[str, np.ndarray]  # stage -> kernel float32 `[i, d]`


def solve_guides(trainer: Trainer, sketches: Images, photos: Images, classes: Sequence[str]) -> Guides:
    """The kernels of both decoders' guides, the coarse one first, as the fine one builds on it; none for a model
    without residuals or with `training.ridge` 0. The model stays as it is.

    The coarse target of a sketch is the mean code of its class's photos, the fine one that of the photo it was drawn
    from, and where that is not known the coarse one. Every view of a sketch is a row; photos are the mean of theirs.
    `classes` are in the order of the trainer's class vectors, and taps from the backbone as it is now.
    """
    if not (trainer.config.model.residual and trainer.config.training.ridge):
        return {}
    targets = _targets(trainer, sketches, photos)
    variables = _kernels(trainer.ssgn)
    guides = {stage: np.zeros(variable.shape, np.float32) for stage, variable in variables.items()}
    if trainer.config.model.told:
        guides[TOLD] = _told(trainer, sketches, targets["coarse"], classes)
    images, views = sketches.taps.shape[:2]
    for stage in (stage for stage in CONDITIONS if stage in guides):
        size, code = guides[stage].shape
        gram, cross = np.zeros((size, size)), np.zeros((size, code))
        for view, start in itertools.product(range(views), range(0, images, ENCODED_TOGETHER)):
            rows = slice(start, start + ENCODED_TOGETHER)
            with guided(trainer.ssgn, guides):
                out = encode_taps(trainer, sketches.taps[rows, view], "sketch", fine=stage == "fine")
            conditions = np.concatenate([out[name] for name in CONDITIONS[stage] if name in out], axis=1)
            gram += conditions.T @ conditions
            cross += conditions.T @ (targets[stage][rows] - out[stage])
        ridge = trainer.config.training.ridge * images * views
        guides[stage] = np.linalg.solve(gram + ridge * np.eye(size), cross).astype(np.float32)
    return guides


def guided(ssgn: SSGN, guides: Guides) -> keras.StatelessScope:
    """Within it the model answers with these guides; its own weights do not change."""
    variables = _kernels(ssgn)
    return keras.StatelessScope(
        state_mapping=[(variables[stage], keras.ops.convert_to_tensor(kernel)) for stage, kernel in guides.items()]
    )


def set_guides(ssgn: SSGN, guides: Guides) -> None:
    """Puts the guides into the model, once its training is over."""
    variables = _kernels(ssgn)
    for stage, kernel in guides.items():
        variables[stage].assign(kernel)


def _kernels(ssgn: SSGN) -> dict[str, Any]:
    if not ssgn.config.residual:
        return {}
    decoders = {stage: getattr(ssgn, f"{stage}_decoder", None) for stage in CONDITIONS}
    kernels = {stage: decoder.get_layer("guide").kernel for stage, decoder in decoders.items() if decoder}
    return kernels | ({TOLD: ssgn.told} if ssgn.config.told else {})


def _told(trainer: Trainer, sketches: Images, centres: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The guide of given class vectors: from the true vector of each seen class to the mean code of its photos."""
    rows = {label: row for row, label in enumerate(sketches.labels)}
    drawn = [place for place, name in enumerate(classes) if name in rows]
    targets = centres[[rows[classes[place]] for place in drawn]]
    vectors = keras.ops.convert_to_numpy(trainer.semantics)[drawn]
    ridge = trainer.config.training.told_ridge * np.eye(vectors.shape[1])
    return np.linalg.solve(vectors.T @ vectors + ridge, vectors.T @ targets).astype(np.float32)


def _targets(trainer: Trainer, sketches: Images, photos: Images) -> dict[str, np.ndarray]:
    """The unit code `[S, d]` that each stage should synthesise from each sketch."""
    views = range(photos.taps.shape[1])
    codes = _unit(sum(encode_taps(trainer, photos.taps[:, view], "photo")["code"] for view in views))
    labels = np.array(photos.labels)
    centres = {label: _unit(codes[labels == label].mean(axis=0)) for label in sorted(set(photos.labels))}
    coarse = np.stack([centres[label] for label in sketches.labels])
    own = {(item.label, item.instance): row for row, item in enumerate(photos.items)}
    fine = coarse.copy()
    for row, item in enumerate(sketches.items):
        if item.instance and (item.label, item.instance) in own:
            fine[row] = codes[own[item.label, item.instance]]
    return {"coarse": coarse, "fine": fine}


def _unit(codes) -> np.ndarray:
    return keras.ops.convert_to_numpy(unit(codes))
