"""Class names to vectors through a text encoder from TF-Hub or a local SavedModel, TF-Text preprocessing included."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_ssgn.common.names import printable
from tf_ssgn.errors import UserError, reason
from tf_ssgn.settings import TEXTS_TOGETHER

# Names under which published encoders return their sentence vector, tried in this order.
OUTPUTS = ("pooled_output", "default", "sentence_embedding", "embedding", "outputs", "output_0")


def encode(texts: Sequence[str], handles: str) -> np.ndarray:
    """Vectors float32 `[N, s]` of the texts.

    `handles` is a TF-Hub handle or a SavedModel's folder that takes string `[N]`; or two with a comma between, a
    preprocessing model and the encoder that takes its output (as BERT-like encoders are published). UserError where one
    cannot be had, or does not turn strings into one vector each.
    """
    import tensorflow as tf
    import tensorflow_hub as hub
    import tensorflow_text  # noqa: F401  registers the ops that text models are saved with

    stages = []
    for handle in handles.split(","):
        try:
            stages.append(hub.load(handle))
        except Exception as error:  # a network, a file system and a graph: each has its own exceptions
            raise UserError(
                f"text encoder {printable(handle)}: cannot be loaded ({reason(error)}); expected a TF-Hub "
                f"handle that can be reached from here, or the folder of a SavedModel"
            ) from None
    batches = []
    for start in range(0, len(texts), TEXTS_TOGETHER):
        value: Any = tf.constant(list(texts[start : start + TEXTS_TOGETHER]))
        try:
            for stage in stages:
                value = _call(stage, value)
        except Exception as error:
            raise UserError(
                f"text encoder {printable(handles)}: does not take what it is given ({reason(error)}); expected a "
                f"model of string [N], or PREPROCESSING,ENCODER with a comma between"
            ) from None
        batches.append(_vectors(value, min(TEXTS_TOGETHER, len(texts) - start), handles))
    return np.concatenate(batches)


def _call(model: Any, value: Any) -> Any:
    if callable(model):
        return model(value)
    signature = model.signatures["serving_default"]
    if isinstance(value, dict):
        return signature(**value)
    (name,) = signature.structured_input_signature[1]
    return signature(**{name: value})


def _vectors(value: Any, count: int, handles: str) -> np.ndarray:
    if isinstance(value, dict):
        name = next((name for name in OUTPUTS if name in value), None)
        if name is None and len(value) == 1:
            name = next(iter(value))
        if name is None:
            raise UserError(
                f"text encoder {printable(handles)}: returns {', '.join(sorted(value))}; "
                f"expected one of {', '.join(OUTPUTS)}"
            )
        value = value[name]
    vectors = np.asarray(value)
    if vectors.ndim != 2 or len(vectors) != count or vectors.dtype.kind != "f":
        raise UserError(
            f"text encoder {printable(handles)}: returns {vectors.dtype} {list(vectors.shape)} for {count} texts; "
            f"expected one float vector each"
        )
    return vectors.astype(np.float32)
