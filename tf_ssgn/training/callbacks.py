"""What happens after a batch and an epoch: validation, history, checkpoint, progress."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from tf_ssgn.common.progress import Progress
from tf_ssgn.errors import UserError
from tf_ssgn.settings import CHECKPOINT_SHARE, STEP_CHECKPOINT_SECONDS
from tf_ssgn.training.devices import Devices
from tf_ssgn.training.run_folder import Run, append_history, save_state

State = dict[str, Any]
VALIDATION = "validation_map_all"  # its name in the history


class EpochEnd(keras.callbacks.Callback):
    """Stops at a loss that is not finite, validates, writes history; stops at no progress.

    `state`, changed in place, has `phase`, `epoch` (done so far), `step` (done in the epoch after them), `best` and
    `best_epoch`. `validate` gives mAP@all on the validation classes, or None for a phase that does not choose; after
    `patience` epochs without a better one it stops, 0 never. The chief of `devices` writes.
    """

    def __init__(self, run: Run, state: State, validate: Callable[[], float] | None, patience: int, devices: Devices):
        super().__init__()
        self.run, self.state, self.validate = run, state, validate
        self.patience, self.devices = patience, devices
        self._start = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._refuse_broken(self.state["epoch"] + 1, logs or {})

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._refuse_broken(epoch + 1, logs or {})
        row: dict[str, Any] = {"phase": self.state["phase"], "epoch": epoch + 1}
        row |= {key: float(value) for key, value in (logs or {}).items()}
        if self.validate:
            row[VALIDATION] = value = self.validate()
            if value > self.state["best"]:
                self.state |= {"best": value, "best_epoch": epoch + 1}
            if logs is not None:
                logs[VALIDATION] = value  # for the callbacks after this one
        self.state |= {"epoch": epoch + 1, "step": 0}
        row["seconds"] = round(time.monotonic() - self._start, 3)
        if self.devices.chief:
            append_history(self.run, row)
        if self.validate and self.patience and epoch + 1 - self.state["best_epoch"] >= self.patience:
            self.model.stop_training = True

    def _refuse_broken(self, epoch: int, logs: dict[str, float]) -> None:
        if math.isfinite(float(logs.get("loss", 0.0))):
            return
        broken = [key for key, value in logs.items() if key != "loss" and not math.isfinite(float(value))]
        raise UserError(
            f"the loss became {float(logs['loss'])} in epoch {epoch} (terms: {', '.join(broken) or 'their sum'}); the "
            f"state before it is kept in {self.run.path}; lower --training.learning_rate or use "
            "--training.precision float32"
        )


class Checkpoint(keras.callbacks.Callback):
    """Writes the state of training: after an epoch, within a long one of more `steps`, and on Ctrl-C (`ctrl_c`).

    Training goes on from any state as if nothing had happened, so writing takes at most `CHECKPOINT_SHARE` of the time.
    `EpochEnd` comes before this in the list of callbacks. `variables` are all that the state consists of, `metrics`
    those of them that `fit` resets when an epoch begins, which it must not in the middle of one. Several workers write
    after every epoch and at no other time, as they must agree on when.
    """

    def __init__(
        self,
        run: Run,
        state: State,
        variables: list,
        metrics: list,
        steps: int,
        interrupted: threading.Event,
        devices: Devices,
    ):
        super().__init__()
        self.run, self.state, self.variables, self.metrics, self.steps = run, state, variables, metrics, steps
        self.interrupted, self.devices = interrupted, devices
        self._begun = values(metrics)
        self._saved, self._cost = time.monotonic(), 0.0

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        if self.state["step"]:
            for variable, value in zip(self.metrics, self._begun, strict=True):
                variable.assign(value)

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        self.state["step"] += 1
        if self.state["step"] < self.steps:  # after the last one the epoch's end is still to come
            self._save_if(self.devices.workers == 1 and self._due(STEP_CHECKPOINT_SECONDS))

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        last = self.model.stop_training or epoch + 1 == self.params["epochs"]
        self._save_if(last or self.devices.workers > 1 or self._due(0.0))

    def _save_if(self, due: bool) -> None:
        interrupted = self.interrupted.is_set()
        if due or interrupted and self.devices.workers == 1:
            self.save()
        if interrupted:
            raise KeyboardInterrupt

    def _due(self, seconds: float) -> bool:
        return time.monotonic() - self._saved >= max(seconds, self._cost / CHECKPOINT_SHARE)

    def save(self) -> None:
        """Writes the state, unless its values are broken: a finite loss can still have had an infinite gradient."""
        start = time.monotonic()
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        arrays = values(self.variables)
        for variable, array in zip(self.variables, arrays, strict=True):
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise UserError(
                    f"{variable.path} is no longer finite in epoch {self.state['epoch']}; the state before it is kept "
                    f"in {self.run.path}; lower --training.learning_rate or set --training.clip_norm"
                )
        if self.devices.chief:
            save_state(self.run, self.state, arrays)
        self._saved = time.monotonic()
        self._cost = self._saved - start


def values(variables: list) -> list[np.ndarray]:
    """What variables hold, also those that a strategy keeps on several devices."""
    return [keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable)) for variable in variables]


@contextmanager
def ctrl_c() -> Iterator[threading.Event]:
    """Within it Ctrl-C only sets the event, so that the step under way ends; a second one interrupts at once."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = signal.getsignal(signal.SIGINT)

    def press(number, frame) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


class StepProgress(keras.callbacks.Callback):
    """One progress line for a whole phase, with the time left."""

    def __init__(self, bar: Progress):
        super().__init__()
        self.bar = bar

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        self.bar.advance()
