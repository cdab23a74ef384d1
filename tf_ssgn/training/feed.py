"""The batches of one phase, from any step on: cached taps, or images when the backbone is trained too."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tf_ssgn.data.images.reading import decoded_images
from tf_ssgn.settings import KEEP_DECODED
from tf_ssgn.training.images import Images
from tf_ssgn.training.sampler import PairSampler

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass
class Feed:
    """What `fit` trains on: sketches and photos of the classes trained on, as taps, or as images of `image_size` where
    that is not 0, for a backbone in training.

    Everything follows from the sampler's seed, the epoch and the step, so training continues exactly where it was left.
    """

    sampler: PairSampler
    sketches: Images
    photos: Images
    image_size: int

    def batches(self, epoch: int, step: int) -> tf.data.Dataset:
        """A dataset without end of what `fit` takes, from `step` of `epoch` on: a dict in a tuple of one. It is no
        generator, since `fit` looks at its first batch and then wants to begin again."""
        import tensorflow as tf

        shapes = [self._image or images.taps.shape[2:] for images in (self.sketches, self.photos)]
        spec = {
            side: tf.TensorSpec((None, *shape), tf.float32)
            for side, shape in zip(("sketch", "photo"), shapes, strict=True)
        } | {"label": tf.TensorSpec((None,), tf.int32)}
        draw = self._images if self.image_size else self._taps
        batches = tf.data.Dataset.from_generator(lambda: draw(epoch, step), output_signature=spec)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return batches.map(lambda batch: (batch,)).prefetch(tf.data.AUTOTUNE).with_options(options)

    @property
    def _image(self) -> tuple[int, ...]:
        return (self.image_size, self.image_size, 3) if self.image_size else ()

    def _taps(self, epoch: int, step: int) -> Iterator[dict[str, np.ndarray]]:
        for number in itertools.count(epoch):
            rng = np.random.default_rng((self.sampler.seed, number, 1))
            for index, (sketch_rows, photo_rows) in enumerate(self.sampler.epoch(number)):
                chosen = [
                    (images.taps, rows, rng.integers(images.taps.shape[1], size=len(rows)))
                    for images, rows in ((self.sketches, sketch_rows), (self.photos, photo_rows))
                ]
                if number > epoch or index >= step:
                    sketch, photo = (taps[rows, views] for taps, rows, views in chosen)
                    yield {"sketch": sketch, "photo": photo, "label": self.sampler.labels[sketch_rows]}

    def _images(self, epoch: int, step: int) -> Iterator[dict[str, np.ndarray]]:
        count = len(self.sketches.items) + len(self.photos.items)
        small = 4 * count * math.prod(self._image) <= KEEP_DECODED
        for sketch_rows, photo_rows in self.sampler.batches(epoch, step):
            sketch, photo = (
                self._kept[images.modality][rows] if small else self._decoded(images, rows)
                for images, rows in ((self.sketches, sketch_rows), (self.photos, photo_rows))
            )
            yield {"sketch": sketch, "photo": photo, "label": self.sampler.labels[sketch_rows]}

    @functools.cached_property
    def _kept(self) -> dict[str, np.ndarray]:
        """All images, decoded once."""
        sides = (self.sketches, self.photos)
        return {images.modality: self._decoded(images, range(len(images.items))) for images in sides}

    def _decoded(self, images: Images, rows: Iterable[int]) -> np.ndarray:
        return decoded_images([images.items[row].path for row in rows], images.modality, self.image_size)
