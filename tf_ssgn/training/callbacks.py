"""What happens after an epoch: validation, best weights, history, checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import keras

from tf_ssgn.errors import UserError
from tf_ssgn.progress import Progress
from tf_ssgn.training.run_folder import Run, append_history, save_state, save_weights

State = dict[str, Any]


class EpochEnd(keras.callbacks.Callback):
    """Validates, keeps the best weights, writes history and checkpoint; stops when patience runs out.

    Args:
        run: the run folder.
        state: `phase`, `epoch` (done so far), `best` and `best_epoch`; changed in place and saved.
        validate: () -> mAP@all on the validation classes, or None for a phase that does not choose.
        variables: all variables that the state of training consists of.
        patience: epochs without a better value after which to stop; 0 never stops.
    """

    def __init__(
        self, run: Run, state: State, validate: Callable[[], float] | None, variables: list, patience: int, epochs: int
    ):
        super().__init__()
        self.run, self.state, self.validate, self.variables = run, state, validate, variables
        self.patience, self.epochs = patience, epochs
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        row: dict[str, Any] = {"phase": self.state["phase"], "epoch": epoch + 1}
        row |= {key: float(value) for key, value in (logs or {}).items()}
        broken = [key for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
        if broken:
            raise UserError(
                f"the loss became {row['loss']} in epoch {epoch + 1} (terms: {', '.join(broken)}); the state before it "
                f"is kept in {self.run.path}; lower --training.learning_rate or use --training.precision float32"
            )
        if self.validate:
            row["validation_map_all"] = value = self.validate()
            if value > self.state["best"]:
                self.state |= {"best": value, "best_epoch": epoch + 1}
                save_weights(self.run, self.model)
        self.state["epoch"] = epoch + 1
        row["seconds"] = round(time.monotonic() - self._start, 3)
        append_history(self.run, row)
        save_state(self.run, self.state, [keras.ops.convert_to_numpy(variable.value) for variable in self.variables])
        if self.validate and self.patience and epoch + 1 - self.state["best_epoch"] >= self.patience:
            self.model.stop_training = True


class StepProgress(keras.callbacks.Callback):
    """One progress line for a whole phase, with the loss and the time left."""

    def __init__(self, what: str, steps: int, first_epoch: int, epochs: int):
        super().__init__()
        self.what, self.steps, self.left = what, steps, (epochs - first_epoch) * steps

    def on_train_begin(self, logs=None) -> None:
        self.bar = Progress(self.left, self.what)

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        self.bar.advance()

    def on_train_end(self, logs=None) -> None:
        self.bar.__exit__(None, None, None)


class TensorBoardScalars(keras.callbacks.Callback):
    """Loss terms and validation mAP for TensorBoard, one folder per phase."""

    def __init__(self, run: Run, phase: str, state: State):
        super().__init__()
        import tensorflow as tf

        self.tf, self.state = tf, state
        self.writer = tf.summary.create_file_writer(str(run.path / "tensorboard" / phase))

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        with self.writer.as_default(step=epoch + 1):
            for key, value in (logs or {}).items():
                self.tf.summary.scalar(f"loss/{key}", value)
            if self.state["best_epoch"]:
                self.tf.summary.scalar("validation/best_map_all", self.state["best"])
        self.writer.flush()
