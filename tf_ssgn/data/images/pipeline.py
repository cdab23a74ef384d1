"""Items to batches of pairs: class-balanced sampling, and the tf.data pipeline that reads pairs for fine-tuning."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tf_ssgn import config as configuration
from tf_ssgn.common.status import Status
from tf_ssgn.data.datasets.items import Example
from tf_ssgn.data.images.reading import UNREADABLE, loader, path_bytes
from tf_ssgn.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf


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


def pair_batches(
    sampler: PairSampler,
    sketches: Sequence[Example],
    photos: Sequence[Example],
    image_size: int,
    first_epoch: int = 0,
    first_step: int = 0,
) -> tf.data.Dataset:
    """An endless dataset of (sketch indices `[B]`, sketch and photo images `[B, size, size, 3]`), for fine-tuning. A
    file that cannot be used any more fails the iteration; `lost_files` names it."""
    import tensorflow as tf

    sketch_paths = tf.constant([path_bytes(item.path) for item in sketches], tf.string)
    photo_paths = tf.constant([path_bytes(item.path) for item in photos], tf.string)
    load_sketch, load_photo = loader("sketch", image_size, 0), loader("photo", image_size, 0)

    @tf.autograph.experimental.do_not_convert
    def load(sketch: tf.Tensor, photo: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        images = []
        for read, path in ((load_sketch, tf.gather(sketch_paths, sketch)), (load_photo, tf.gather(photo_paths, photo))):
            views, status = read(path)
            before, between, after = UNREADABLE.split("{}")
            named = tf.strings.join([before, path, between, tf.strings.as_string(status), after])
            with tf.control_dependencies([tf.debugging.Assert(status == Status.OK, [named], summarize=1)]):
                images.append(tf.identity(views[0]))
        return sketch, images[0], images[1]

    spec = (tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None,), tf.int64))
    pairs = tf.data.Dataset.from_generator(lambda: sampler.batches(first_epoch, first_step), output_signature=spec)
    images = pairs.unbatch().map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return images.batch(sampler.batch, drop_remainder=True).prefetch(2)
