"""Training on several devices: `tf.distribute` strategies by name, and which process writes the run folder."""

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from tf_ssgn.errors import UserError


@dataclass(frozen=True)
class Devices:
    """Where a run trains: a `tf.distribute.Strategy`, or None for one device.

    What `workers` that train together read from variables some of them sum up across all, so all must read the same at
    the same time, also where only the `chief` writes the run folder, which all read.
    """

    strategy: Any = None
    workers: int = 1
    chief: bool = True

    @property
    def replicas(self) -> int:
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    def scope(self) -> AbstractContextManager:
        return self.strategy.scope() if self.strategy else nullcontext()

    def check_batch(self, batch: int) -> None:
        if batch % self.replicas:
            raise UserError(
                f"a batch of {batch} pairs cannot be shared out evenly over {self.replicas} devices; change "
                "--training.batch_classes or --training.batch_per_class"
            )


def open_devices(name: str | None) -> Devices:
    """The devices behind `--strategy`, before TensorFlow computes anything, as several workers need it: "mirrored"
    takes all GPUs of this machine, or its CPU devices where it has none; "multiworker" all workers that TF_CONFIG
    lists, each of which runs the same command."""
    if name is None:
        return Devices()
    import keras
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        raise UserError(f"--strategy: Keras runs on {keras.backend.backend()}, but strategies need TensorFlow")
    if name == "mirrored":
        gpus = tf.config.list_logical_devices("GPU")
        devices = gpus or tf.config.list_logical_devices("CPU")
        return Devices(tf.distribute.MirroredStrategy([device.name for device in devices]))
    try:
        content = json.loads(os.environ["TF_CONFIG"])
        cluster, task = content["cluster"], content["task"]
        workers = sum(len(cluster.get(kind, [])) for kind in ("chief", "worker"))
        chief = task["type"] == "chief" or ("chief" not in cluster and int(task["index"]) == 0)
    except (KeyError, TypeError, ValueError):
        raise UserError(
            "--strategy multiworker needs TF_CONFIG in the environment of every worker, such as "
            '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'
        ) from None
    return Devices(tf.distribute.MultiWorkerMirroredStrategy(), workers, chief)


def distributed_step(trainer, strategy) -> Callable[[Any], Any]:
    """A training step over all replicas, for `Trainer.make_train_function`: an iterator of batches to the logs."""
    import tensorflow as tf

    @tf.function(autograph=False)
    def step(iterator):
        logs = strategy.run(trainer.train_step, args=(next(iterator),))
        # The metrics behind them are kept equal on all replicas.
        return {key: strategy.experimental_local_results(value)[0] for key, value in logs.items()}

    return step
