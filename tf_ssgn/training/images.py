"""Images with their taps, as training and evaluation hold them, and the codes that a model gives them."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from tf_ssgn.common.cli import log
from tf_ssgn.common.status import Status
from tf_ssgn.data.datasets.items import Example
from tf_ssgn.data.images.reading import refuse_bad_files, refuse_lost
from tf_ssgn.runtime.features import FeatureCache
from tf_ssgn.settings import ENCODED_TOGETHER
from tf_ssgn.training.trainer import Trainer


@dataclass(frozen=True)
class Images:
    """Readable images of some classes with their taps float32 `[N, 1 + views, D]`; photos with contours have their
    contours' taps after them, `[.., 2 D]`."""

    items: Sequence[Example]
    taps: np.ndarray

    @property
    def modality(self) -> str:
        return self.items[0].modality

    @property
    def labels(self) -> list[str]:
        return [item.label for item in self.items]

    @property
    def plain(self) -> "Images":
        """The same without their extra views."""
        return Images(self.items, self.taps[:, :1])

    def of(self, classes: Sequence[str]) -> "Images":
        wanted = set(classes)
        keep = [index for index, item in enumerate(self.items) if item.label in wanted]
        if len(keep) == len(self.items):  # a published set's taps are a gigabyte
            return self
        return Images([self.items[index] for index in keep], self.taps[keep])


def read_taps(
    cache: FeatureCache, items: Sequence[Example], views: int, contours: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Taps of items of one modality, as `Images` holds them, and int32 `[N]` status."""
    taps, status = cache.taps(items, views)
    if contours and items and items[0].modality == "photo":
        drawn, later = cache.taps([dataclasses.replace(item, modality="contour") for item in items], views)
        status = np.where(status == Status.OK, later, status)  # a file may vanish between the two passes
        taps = np.concatenate([taps, drawn], axis=-1)
    return taps, status


def read_images(
    cache: FeatureCache, items: Sequence[Example], views: int, max_bad: float, contours: bool = False
) -> Images:
    """The taps of all readable items; too many unreadable ones are refused, a few are named and left out."""
    taps, status = read_taps(cache, items, views, contours)
    refuse_bad_files(items, status, max_bad)
    keep = np.flatnonzero(status == Status.OK).tolist()
    if len(keep) < len(items):
        log(f"left out {len(items) - len(keep)} of {len(items)} images that cannot be used")
    return Images([items[index] for index in keep], taps[keep] if len(keep) < len(items) else taps)


def encode_taps(
    trainer: Trainer, taps: np.ndarray, modality: str, semantics: np.ndarray | None = None, fine: bool = True
) -> dict[str, np.ndarray]:
    """Codes of taps `[N, D]` (photos `[N, P]`), float32, one row an image: of sketches what `SSGN.retrieve` gives, of
    photos `code`. `semantics` `[N, s]` are class vectors that are given; `fine` False stops after the coarse stage."""
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(taps), ENCODED_TOGETHER):
        rows = slice(start, start + ENCODED_TOGETHER)
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
