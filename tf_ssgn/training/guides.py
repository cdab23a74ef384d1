"""The decoders' guides: the linear part of each residual, solved in closed form by ridge regression.

A decoder trained by gradients alone learns the seen classes by heart before it learns anything that carries over; a
ridge keeps to the few directions in which all seen classes agree. With the conditions X `[N, i]`, the targets T
`[N, d]` and the codes C `[N, d]` that the decoder gives without its guide, it is
G = (X'X / N + r I)^-1 X'(T - C) / N (Hoerl and Kennard 1970).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tf_ssgn.models.fusion import unit
from tf_ssgn.training.images import Images
from tf_ssgn.training.trainer import Trainer

BLOCK = 1024  # rows decoded at a time
CONDITIONS = {"coarse": ("semantics",), "fine": ("sketch", "coarse")}  # as the decoders take them, without the latent


def solve_guides(trainer: Trainer, sketches: Images, photos: Images) -> None:
    """Solves the guides of both decoders anew, the coarse one first: the fine one builds on it.

    The coarse target of a sketch is the mean code of its class's photos, the fine one that of the photo it was drawn
    from, and where that is not known the coarse one. Every view of a sketch is a row; photos are the mean of theirs.

    Args:
        sketches, photos: of the classes trained on, with their taps from the backbone as it is now.
    """
    model = trainer.config.model
    if not (model.residual and trainer.config.training.ridge):
        return
    targets = _targets(trainer, sketches, photos)
    for stage, names in CONDITIONS.items():
        decoder = getattr(trainer.ssgn, f"{stage}_decoder", None)
        if decoder is None:
            continue
        guide = decoder.get_layer("guide").kernel
        guide.assign(keras.ops.zeros(guide.shape))
        size, code = guide.shape
        gram, cross, rows = np.zeros((size, size)), np.zeros((size, code)), 0
        for out, indices in _decoded(trainer, sketches, fine=stage == "fine"):
            conditions = keras.ops.concatenate([out[name] for name in names if name in out], axis=1)
            missing = keras.ops.convert_to_tensor(targets[stage][indices]) - out[stage]
            gram += _numpy(keras.ops.transpose(conditions) @ conditions)
            cross += _numpy(keras.ops.transpose(conditions) @ missing)
            rows += len(indices)
        ridge = trainer.config.training.ridge * rows
        guide.assign(np.linalg.solve(gram + ridge * np.eye(size), cross).astype(np.float32))


def _targets(trainer: Trainer, sketches: Images, photos: Images) -> dict[str, np.ndarray]:
    """The unit code `[S, d]` that each stage should synthesise from each sketch."""
    views = photos.taps.shape[1]
    codes = sum(_numpy(_photo_codes(trainer, photos.taps[:, view])) for view in range(views))
    codes = _numpy(unit(codes))
    labels = np.array(photos.labels)
    centres = {label: _numpy(unit(codes[labels == label].mean(axis=0))) for label in sorted(set(photos.labels))}
    coarse = np.stack([centres[label] for label in sketches.labels])
    own = {(item.label, item.instance): row for row, item in enumerate(photos.items)}
    fine = coarse.copy()
    for row, item in enumerate(sketches.items):
        if item.instance and (item.label, item.instance) in own:
            fine[row] = codes[own[item.label, item.instance]]
    return {"coarse": coarse, "fine": fine}


def _photo_codes(trainer: Trainer, taps: np.ndarray) -> np.ndarray:
    parts = [trainer.ssgn.photo_code(taps[start : start + BLOCK]) for start in range(0, len(taps), BLOCK)]
    return np.concatenate([_numpy(part) for part in parts])


def _decoded(trainer: Trainer, sketches: Images, fine: bool) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """What `SSGN.retrieve` gives for blocks of all views of all sketches, and the rows of the sketches."""
    for view in range(sketches.taps.shape[1]):
        for start in range(0, len(sketches.items), BLOCK):
            indices = np.arange(start, min(start + BLOCK, len(sketches.items)))
            yield trainer.ssgn.retrieve(sketches.taps[indices, view], fine=fine), indices


def _numpy(values) -> np.ndarray:
    return keras.ops.convert_to_numpy(values)
