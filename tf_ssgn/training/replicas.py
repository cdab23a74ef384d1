"""A batch shared out over several devices, seen as one: what the losses and the latent draws need for that.

`tf.distribute` gives each replica some rows of a batch. A contrastive loss looks at pairs of rows, class centres at
all rows of a class, and a draw belongs to its row: with the functions here every replica sees the whole batch there,
so that any number of devices follows the loss curve of one. Outside a strategy, and on other backends, they do nothing.
"""

from typing import Any

import keras
from keras import ops

from tf_ssgn.models import ssgn


def count() -> int:
    """Replicas that share the batch under way."""
    among = context()
    return among.num_replicas_in_sync if among else 1


def gather(values: dict[str, Any]) -> dict[str, Any]:
    """The rows `[B, ...]` of all replicas in order, on each; gradients flow back to the replica of each row. Each adds
    its rows to zeros where the others' belong: `all_gather` wants to know the device of a tensor, which a replica of
    several workers does not tell (TensorFlow 2.20)."""
    among = context()
    if not among:
        return values
    import tensorflow as tf

    mine = ops.one_hot(among.replica_id_in_sync_group, among.num_replicas_in_sync, dtype="float32")
    shares = [
        ops.reshape(mine, (-1,) + (1,) * len(rows.shape)) * ops.cast(rows, "float32")[None] for rows in values.values()
    ]
    wholes = among.all_reduce(tf.distribute.ReduceOp.SUM, shares)
    return {
        key: ops.cast(ops.reshape(whole, (-1, *rows.shape[1:])), rows.dtype)
        for (key, rows), whole in zip(values.items(), wholes, strict=True)
    }


def normal(shape: Any, seed: keras.random.SeedGenerator, parts: int) -> Any:
    """Standard normal draws float32 `[B, L]` for this replica's rows, those that one device would draw for them; each
    of the equal `parts` that the rows consist of is shared out over the replicas."""
    among = context()
    if not among:
        return ssgn.normal(shape, seed, parts)
    rows = shape[0] // parts
    whole = (parts, among.num_replicas_in_sync, rows, shape[1])
    draws = keras.random.normal((whole[0] * whole[1] * rows, shape[1]), dtype="float32", seed=seed)
    return ops.reshape(ops.reshape(draws, whole)[:, among.replica_id_in_sync_group], shape)


def context() -> Any:
    """TensorFlow's replica context where there are several replicas, else None."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    return replica if replica and replica.num_replicas_in_sync > 1 else None
