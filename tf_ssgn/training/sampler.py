"""Batches of sketch-photo pairs in which every class weighs the same."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tf_ssgn import config as configuration
from tf_ssgn.data.datasets.items import Example
from tf_ssgn.errors import UserError


@dataclass(frozen=True)
class PairSampler:
    """Draws batches of sketch-photo pairs in which every class weighs the same.

    `labels` int32 `[N]` are the classes of the training sketches, `candidates` the photos that each may be paired with.
    Everything about epoch e follows from `(seed, e)`, so a resumed run draws what an uninterrupted one would.
    """

    labels: np.ndarray
    candidates: tuple[np.ndarray, ...]
    batch_classes: int
    batch_per_class: int
    seed: int

    @property
    def classes(self) -> np.ndarray:
        return np.unique(self.labels)

    @property
    def batch(self) -> int:
        return min(self.batch_classes, len(self.classes)) * self.batch_per_class

    @property
    def steps(self) -> int:
        """Batches of one epoch: about as many pairs as there are sketches."""
        return max(1, round(len(self.labels) / self.batch))

    def epoch(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields `steps` pairs of index arrays (sketches `[B]`, photos `[B]`)."""
        rng = np.random.default_rng((self.seed, epoch))
        members = {label: _endless(np.flatnonzero(self.labels == label), rng) for label in self.classes}
        order = _endless(self.classes, rng)
        for _ in range(self.steps):
            classes = itertools.islice(order, min(self.batch_classes, len(self.classes)))
            sketches = np.array([next(members[label]) for label in classes for _ in range(self.batch_per_class)])
            yield sketches, np.array([rng.choice(self.candidates[sketch]) for sketch in sketches])

    def batches(self, first_epoch: int = 0, first_step: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All batches from `first_step` of `first_epoch` on, without end."""
        yield from itertools.islice(self.epoch(first_epoch), first_step, None)
        for epoch in itertools.count(first_epoch + 1):
            yield from self.epoch(epoch)


def _endless(values: np.ndarray, rng: np.random.Generator) -> Iterator:
    while True:
        yield from rng.permutation(values)


def require_both(sketches: Sequence[Example], photos: Sequence[Example], classes: Sequence[str]) -> None:
    """Raises UserError unless each class, trained on or held out, has sketches and photos."""
    for what, items in (("photos", photos), ("sketches", sketches)):
        present = {item.label for item in items}
        if missing := [name for name in classes if name not in present]:
            raise UserError(
                f"class {missing[0]!r} has no readable {what}, but training needs both of every seen class; "
                "add some or take the class out of the split"
            )


def pair_sampler(
    sketches: Sequence[Example],
    photos: Sequence[Example],
    classes: Sequence[str],
    pairs: str,
    training: configuration.Training,
) -> PairSampler:
    """A sampler over training items of `classes`. "instance" pairs a sketch with the photo it was drawn from where that
    is known and present, else, like "class", with any photo of its class."""
    number = {name: index for index, name in enumerate(classes)}
    of_class: dict[str, list[int]] = {name: [] for name in classes}
    of_instance: dict[tuple[str, str], list[int]] = {}
    for index, photo in enumerate(photos):
        of_class[photo.label].append(index)
        of_instance.setdefault((photo.label, photo.instance), []).append(index)
    require_both(sketches, photos, classes)
    if len(classes) < 2:
        raise UserError(f"received {len(classes)} seen class(es), but telling classes apart needs at least 2")

    def candidates(sketch: Example) -> np.ndarray:
        own = of_instance.get((sketch.label, sketch.instance), []) if pairs == "instance" and sketch.instance else []
        return np.array(own or of_class[sketch.label])

    return PairSampler(
        labels=np.array([number[sketch.label] for sketch in sketches], dtype=np.int32),
        candidates=tuple(candidates(sketch) for sketch in sketches),
        batch_classes=training.batch_classes,
        batch_per_class=training.batch_per_class,
        seed=training.seed,
    )
