"""Knowledge preservation as in SAKE (Liu et al. 2019): codes shall still say what the backbone's own classifier said.

A simpler form of it, on a frozen backbone: the classifier's answer to a photo is the soft label of the photo's code and
of its pair's, without SAKE's weighting by WordNet.
"""

import numpy as np
from keras import ops

from tf_ssgn.common.npz import read_npz
from tf_ssgn.config import Config
from tf_ssgn.errors import UserError
from tf_ssgn.settings import TEACHER_BYTES


class Teacher:
    """The classifier that belongs to a frozen backbone's last tap, among taps of that width; no part of the model that
    is saved. UserError: no such file, or arrays that do not fit."""

    def __init__(self, config: Config, taps: int):
        if config.training.finetune_from:
            raise UserError(
                "--losses.preservation: received a backbone that is trained too; expected a frozen one, whose taps the "
                "teacher knows: leave --training.finetune_from empty"
            )
        file, classes = config.losses.teacher, config.losses.teacher_classes
        if not file:
            raise UserError("--losses.preservation needs the classifier of the backbone: name it with --losses.teacher")
        arrays = read_npz(file, ("kernel", "bias"), TEACHER_BYTES)
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        kernel, bias = (arrays.get(name, np.empty(0)) for name in ("kernel", "bias"))
        fits = (
            kernel.ndim == 2 and len(kernel) <= taps and shapes == {"kernel": [len(kernel), classes], "bias": [classes]}
        )
        if not fits:
            raise UserError(
                f"--losses.teacher: {file} has {shapes}, expected a kernel [D, {classes}] of D up to {taps} and a bias "
                f"[{classes}]; --losses.teacher_classes says how many classes there are"
            )
        self._low, self._taps = taps - len(kernel), taps
        self._kernel, self._bias = kernel.astype(np.float32), bias.astype(np.float32)

    def __call__(self, photo):
        """Soft labels `[B, classes]` of photos' taps `[B, P]`."""
        return ops.softmax(photo[:, self._low : self._taps] @ self._kernel + self._bias)
