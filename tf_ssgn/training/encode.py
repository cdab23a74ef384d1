"""Images to the codes of a model that is being trained, or was."""

import keras
import numpy as np

from tf_ssgn.data.images.reading import refuse_lost
from tf_ssgn.runtime.features import FeatureCache
from tf_ssgn.training.images import Images, read_taps
from tf_ssgn.training.trainer import Trainer

BLOCK = 1024  # rows encoded at a time


def encode_taps(
    trainer: Trainer, taps: np.ndarray, modality: str, semantics: np.ndarray | None = None, fine: bool = True
) -> dict[str, np.ndarray]:
    """Codes of taps `[N, D]` (photos `[N, P]`), float32, one row an image: of sketches what `SSGN.retrieve` gives, of
    photos `code`. `semantics` `[N, s]` are class vectors that are given; `fine` False stops after the coarse stage."""
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(taps), BLOCK):
        rows = slice(start, start + BLOCK)
        if modality == "photo":
            out = {"code": trainer.ssgn.photo_code(taps[rows])}
        else:
            out = trainer.ssgn.retrieve(taps[rows], None if semantics is None else semantics[rows], fine)
        for key, value in out.items():
            parts.setdefault(key, []).append(keras.ops.convert_to_numpy(value))
    return {key: np.concatenate(values) for key, values in parts.items()}


def taps_now(trainer: Trainer, images: Images) -> Images:
    """The images with the taps of the backbone as it is now; a backbone in training gives those of the plain view."""
    return taps_of(trainer.backbone, images, bool(trainer.config.model.contours)) if trainer.finetuned else images


def taps_of(backbone: keras.Model, images: Images, contours: bool = False) -> Images:
    """The images with what a network makes of their plain view, computed now."""
    taps, status = read_taps(FeatureCache(None, backbone, backbone.name), images.items, 0, contours)
    refuse_lost(images.items, status)
    return Images(images.items, taps)
