"""The taps of a frozen backbone through OpenVINO: the feature cache's faster forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from tf_ssgn.common.cores import cores
from tf_ssgn.common.hashes import versions_sha256
from tf_ssgn.errors import UserError
from tf_ssgn.runtime import network
from tf_ssgn.settings import FURTHEST_TAP


class Taps:
    """A frozen backbone: images float32 `[N, S, S, 3]` to taps float32 `[N, D]`, as many at a time as there are cores.
    UserError: OpenVINO is not installed, cannot convert the backbone, or answers differently from TensorFlow."""

    def __init__(self, backbone: Any, name: str):
        """`name` tells apart all backbones that are not equal in weights, taps and all else."""
        self._size = int(backbone.output_shape[-1])
        folder = network.folder_of(name, versions_sha256())
        model = network.read(folder)
        fresh = None
        if model is None:
            fresh = _taps_function(backbone)
            model = network.convert(fresh.get_concrete_function())
        try:
            self._queue = network.library().AsyncInferQueue(network.compiled(model, cores()), cores())
        except RuntimeError as error:
            raise UserError(f"OpenVINO cannot compute this backbone ({error})") from None
        self._queue.set_callback(self._store)
        self._taps = np.zeros((0, self._size), np.float32)
        if fresh:
            side = int(backbone.input_shape[1])
            picture = np.random.default_rng(0).uniform(0, 255, (1, side, side, 3)).astype(np.float32)
            expected, computed = np.asarray(fresh(picture)), self(picture)
            if not np.abs(expected - computed).max() <= FURTHEST_TAP * max(1.0, float(np.abs(expected).max())):
                raise UserError("OpenVINO's taps of a test picture are not TensorFlow's")
            network.keep(model, folder)

    def _store(self, request: Any, row: int) -> None:
        self._taps[row] = request.get_output_tensor(0).data[0]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self._taps = np.empty((len(images), self._size), np.float32)
        for row in range(len(images)):
            self._queue.start_async({0: images[row : row + 1]}, row)
        self._queue.wait_all()
        return self._taps


def _taps_function(backbone: Any) -> Any:
    import tensorflow as tf

    side = int(backbone.input_shape[1])
    spec = tf.TensorSpec([1, side, side, 3], tf.float32)
    return tf.function(lambda image: backbone(image, training=False), [spec], autograph=False)
