"""Contour drawings of photos: what a photo would look like as a sketch, made by arithmetic and not by learning.

A photo's contours excite the backbone much as a sketch of it does, so their code narrows the gap between the
modalities, also for classes that training never saw; and each training photo gives one more drawing that belongs to it.
"""

import math

import keras
import numpy as np
from keras import ops

# Extended difference of Gaussians (Winnemoeller et al. 2012) with a soft threshold at 0.
WIDTH = 1 / 224  # standard deviation of the narrow Gaussian, in sides of the image
RATIO = 1.6  # of the wide Gaussian to the narrow one, where their difference is nearest to a Laplacian
SHARE = 0.98  # of the wide Gaussian that is taken off: a little less than all keeps flat regions white
SLOPE = 60.0  # of the threshold, for grey values of 0..1
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


def contours(images):
    """Photos `[B, S, S, 3]` in 0..255 to dark lines on white, float32 of the same shape and range."""
    grey = ops.sum(ops.cast(images, "float32") * ops.array(LUMINANCE, "float32"), axis=-1, keepdims=True) / 255.0
    width = WIDTH * images.shape[1]
    difference = _blur(grey, width) - SHARE * _blur(grey, RATIO * width)
    lines = 1.0 + ops.tanh(SLOPE * ops.minimum(difference, 0.0))
    return ops.repeat(255.0 * lines, 3, axis=-1)


def _blur(grey, deviation: float):
    """Gaussian blur of `[B, S, S, 1]`, mirrored at the border."""
    reach = max(1, math.ceil(4.0 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel = ops.convert_to_tensor((weights / weights.sum()).astype("float32"))
    padded = ops.pad(grey, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect")
    rows = ops.conv(padded, ops.reshape(kernel, (-1, 1, 1, 1)), data_format="channels_last")
    return ops.conv(rows, ops.reshape(kernel, (1, -1, 1, 1)), data_format="channels_last")


@keras.saving.register_keras_serializable("tf_ssgn")
class Contours(keras.layers.Layer):
    """`contours` as a layer, in float32 whatever the policy."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32", "trainable": False})

    def call(self, images):
        return contours(images)
