"""The forward pass of a network in a test."""

from __future__ import annotations

import keras
import numpy as np

from tf_ssgn.runtime.features import jitted


def forward(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """What a network answers. On JAX it is compiled whole: to compile each operation takes five times as long."""
    if keras.backend.backend() == "jax":
        return jitted(network)(images)
    return keras.ops.convert_to_numpy(network(images, training=False))
