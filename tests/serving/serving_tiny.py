"""A small real model for the tests of the service: a SavedModel on disk with all signatures, decoding for real."""

from __future__ import annotations

import functools
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tf_ssgn
from tf_ssgn.runtime.saved_model import EmbeddingModel

DIMENSION, SEMANTIC, CLASSES = 16, 4, ("circle", "square", "cross")
FINGERPRINT = "f" * 64
PHOTOS = 12


def write(folder: Path) -> Path:
    """Writes `folder/embed/1`: fixed random projections of 8 x 8 grey pixels."""
    import tensorflow as tf

    from tf_ssgn.data.images import decode as images
    from tf_ssgn.data.images import views
    from tf_ssgn.settings import QUERY_LIMITS

    rng = np.random.default_rng(0)
    mixing = tf.constant(rng.normal(size=(64, DIMENSION)).astype(np.float32))
    reading = tf.constant(rng.normal(size=(DIMENSION, SEMANTIC)).astype(np.float32))
    batch = [tf.TensorSpec([None], tf.string, name="image_bytes")]

    def embed(image_bytes: Any, prepare: Any) -> tuple[Any, Any]:
        pictures, status = images.decode_batch(image_bytes, QUERY_LIMITS, partial(prepare, size=8, views=0))
        flat = tf.reshape(256.0 - tf.reduce_mean(pictures[:, 0], axis=-1), [-1, 64])
        unit = tf.math.l2_normalize(flat @ mixing, axis=1)
        return tf.where((status == 0)[:, None], unit, 0.0), status

    module = tf.Module()

    def signature(prepare: Any) -> Any:
        return tf.function(
            lambda image_bytes: dict(zip(("embedding", "status"), embed(image_bytes, prepare), strict=True)), batch
        )

    @tf.function(input_signature=batch)
    def explain(image_bytes: Any) -> dict[str, Any]:
        code, status = embed(image_bytes, views.sketch_views)
        rows = tf.shape(code)[0]
        return {
            "coarse": code,
            "fine": code,
            "semantics": code @ reading,
            "class_names": tf.tile(tf.constant([CLASSES]), [rows, 1]),
            "class_scores": code[:, : len(CLASSES)],
            "status": status,
        }

    functions = {
        "embed_sketch": signature(views.sketch_views),
        "embed_photo": signature(views.photo_views),
        "explain": explain,
    }
    names, shifts = tf.constant(CLASSES), tf.constant(rng.normal(size=(len(CLASSES), DIMENSION)).astype(np.float32))
    module.words = tf.function(lambda: (names, shifts), [])
    module.kept = (names, shifts)
    module.functions = list(functions.values())
    version = folder / "embed" / "1"
    tf.saved_model.save(module, str(version), signatures=functions)
    card = {
        "fingerprint": FINGERPRINT,
        "dimension": DIMENSION,
        "views": 0,
        "semantic_dimension": SEMANTIC,
        "classes": list(CLASSES),
    }
    (version / "assets.extra").mkdir()
    (version / "assets.extra" / "model.json").write_text(json.dumps(card))
    return folder


def drawing(seed: int, side: int = 48, kind: str = "PNG") -> bytes:
    """A drawing of a few random strokes, different for each seed."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        pen.line([tuple(point) for point in rng.integers(0, side, (3, 2)).tolist()], fill="black", width=3)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


# Made once per session, whichever test files ask for them; `base` is the session's temporary folder.


@functools.cache
def model_folder(base: Path) -> Path:
    return write(base / "saved_models" / "tiny")


@functools.cache
def model(base: Path) -> EmbeddingModel:
    return tf_ssgn.load(model_folder(base), runtime="tensorflow")


@functools.cache
def photos(base: Path) -> Path:
    """`photo/<class>/<n>.png`: drawings, so that a drawing finds itself."""
    folder = base / "data" / "photo"
    for seed in range(PHOTOS):
        path = folder / CLASSES[seed % 3] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawing(seed))
    return folder


@functools.cache
def gallery_folder(base: Path) -> Path:
    from tf_ssgn.retrieval.folder import builder

    folder = base / "galleries" / "tiny"
    builder.build(folder, [photos(base)], model(base))
    return folder


@functools.cache
def gallery(base: Path) -> Any:
    from tf_ssgn.retrieval.folder.gallery import Gallery

    return Gallery.open(gallery_folder(base))
