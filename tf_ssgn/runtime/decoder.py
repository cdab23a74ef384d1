"""Image bytes to the pixels that a backbone sees: the first half of every signature. TensorFlow ops only, no Keras."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_ssgn.data.images import decode as images
from tf_ssgn.data.images import views
from tf_ssgn.runtime import kept
from tf_ssgn.settings import QUERY_LIMITS

BYTES = tf.TensorSpec([None], tf.string, name="image_bytes")


class Decoder(tf.Module):
    """The half of a model that needs no weights: `decode_*` (bytes to pixels and status), and its classes.

    Args:
        size: side in pixels of the backbone's input.
        extra_views: views of a sketch averaged into its embedding besides the plain one.
        photo_views: the same of a photo.
        class_names, class_vectors: classes that `explain` compares a drawing with; unit vectors float32 `[C, s]`.
        words: names and shifts float32 `[N, d]` of the words that can be told (`runtime.words`); None for none.
    """

    def __init__(
        self,
        size: int,
        extra_views: int,
        photo_views: int,
        class_names: list[str],
        class_vectors: np.ndarray,
        words: tuple[list[str], np.ndarray] | None = None,
    ):
        super().__init__()
        self._size, self._views, self._photo_views = size, extra_views, photo_views
        self.class_names = tf.constant(class_names, tf.string)
        self.class_vectors = tf.constant(class_vectors, tf.float32)
        if words is not None:
            self.word_names, self.shifts = tf.constant(words[0], tf.string), tf.constant(words[1], tf.float32)
            self.words = tf.function(lambda: (self.word_names, self.shifts), [], autograph=False)

    @tf.function(input_signature=[BYTES], autograph=False)
    def decode_sketch(self, image_bytes):
        """string `[B]` to pixels float32 `[B, 1 + views, size, size, 3]` and `status` int32 `[B]`."""
        return self._decode(image_bytes, views.sketch_views, self._views)

    @tf.function(input_signature=[BYTES], autograph=False)
    def decode_photo(self, image_bytes):
        """As `decode_sketch`, for photos."""
        return self._decode(image_bytes, views.photo_views, self._photo_views)

    @tf.function(input_signature=[], autograph=False)
    def classes(self):
        """Names string `[C]` and unit vectors float32 `[C, s]` of the classes that `explain` knows."""
        return self.class_names, self.class_vectors

    def _decode(self, image_bytes, prepare, extra: int) -> tuple[Any, Any]:
        return images.decode_batch(image_bytes, QUERY_LIMITS, partial(prepare, size=self._size, views=extra))


HALVES = ("decode_sketch", "decode_photo")


def keep(decoder: Decoder, folder: Path) -> None:
    """Writes both functions of a decoder as a SavedModel: tracing takes four times as long as reading it."""
    module = tf.Module()
    for half in HALVES:
        setattr(module, half, getattr(decoder, half))
    kept.keep(folder, lambda place: tf.saved_model.save(module, str(place)))


def use_kept(decoder: Decoder, folder: Path) -> None:
    """Puts the kept functions in the place of a decoder's own; what is unsound is removed, and made anew some time."""
    if not kept.is_there(folder):
        return
    try:
        if not kept.is_whole(folder):
            raise ValueError(folder)
        loaded = tf.saved_model.load(str(folder))
        functions = {half: getattr(loaded, half).concrete_functions[0] for half in HALVES}
    except (OSError, ValueError, LookupError, AttributeError, tf.errors.OpError):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        for half, function in functions.items():
            setattr(decoder, half, function)
