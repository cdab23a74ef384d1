"""SavedModels with numbered versions, warm-up requests and a model card."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_ssgn.common.atomic import making, write_json, write_text
from tf_ssgn.common.cli import log
from tf_ssgn.errors import UserError
from tf_ssgn.runtime import wire
from tf_ssgn.runtime.saved_model import CARD, warm_up_drawing
from tf_ssgn.settings import NAMED_CLASSES, SERVING

WARM_UP_BATCHES = (1, SERVING.batch)


def model_fingerprint(backbone, ssgn, image_size: int, preprocessing: int, views: int, photo_views: int) -> str:
    """sha256 of all that an embedding depends on, weights and noise draws, preprocessing, views: equal for every export
    and every runtime of one run with the same numbers of views."""
    from tf_ssgn.models.backbones import architecture_of, pooling_of, weights_hash

    # Not all weights of `ssgn` are part of an embedding, but all are fixed once training is over.
    # Equal numbers of views are one number, as they were before there were two.
    both = views if views == photo_views else [views, photo_views]
    parts = [weights_hash(backbone), pooling_of(backbone), weights_hash(ssgn), image_size, preprocessing, both]
    if architecture := architecture_of(backbone):  # two networks may have weights of the same shapes
        parts.append(architecture)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def publish(
    folder: Path,
    module: tf.Module,
    signatures: dict[str, Any],
    card: dict[str, Any],
    requests: list[bytes],
    encoders: Sequence[Any] = (),
) -> Path:
    """Writes the next version below `folder`, whole or not at all; returns it, or the newest one if nothing changed, by
    the `content` of `card`, which goes to `assets.extra/model.json`.

    `signatures` are functions by name, perhaps with `serving_default`, not yet traced: saving would trace them again.
    `requests` are serialised `PredictionLog`s that TF Serving replays when it loads the model; the Keras models
    `encoders` go to `assets.extra/<name>.keras`.
    """
    versions = sorted(int(entry.name) for entry in folder.glob("*") if entry.name.isdigit())
    if versions:
        newest = folder / str(versions[-1])
        try:
            if json.loads((newest / CARD).read_text(encoding="utf-8"))["content"] == card["content"]:
                return newest
        except (OSError, ValueError, KeyError):
            pass  # a version that cannot say what it is gets a successor
    target = folder / str(versions[-1] + 1 if versions else 1)
    log(f"writing {folder.name}/{target.name}: {', '.join(signatures)}; this takes up to a minute")
    try:
        with making(target) as temporary:
            tf.saved_model.save(module, str(temporary), signatures=signatures)
            extra = temporary / "assets.extra"
            extra.mkdir()
            with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
                for request in requests:
                    writer.write(request)
            for encoder in encoders:
                encoder.save(extra / f"{encoder.name}.keras")
            write_json(temporary / CARD, card)
            write_text(temporary / "README.md", model_card(card))
    except (OSError, tf.errors.OpError) as error:
        reason = error.message.splitlines()[0] if isinstance(error, tf.errors.OpError) else error.strerror or error
        raise UserError(f"cannot write {target}: {reason}; check the space and the rights there") from None
    return target


def warm_up_requests(signatures: list[str], with_k: bool) -> list[bytes]:
    """One `PredictionLog` per signature and batch size, as bytes; the image is a drawn circle."""
    image = warm_up_drawing()
    logs = []
    for signature in signatures:
        inputs: dict[str, Any] = {"image_bytes": image}
        inputs |= {"word": b""} if signature.endswith("_word") else {}
        inputs |= {"k": SERVING.default_k} if with_k else {}
        for rows in WARM_UP_BATCHES:
            entry = wire.PredictionLog()
            request = entry.predict_log.request
            request.model_spec.name = SERVING.name
            request.model_spec.signature_name = signature
            for name, value in inputs.items():
                tensor = tf.make_tensor_proto([value] * rows, tf.int32 if name == "k" else tf.string)
                request.inputs[name].ParseFromString(tensor.SerializeToString())
            logs.append(entry.SerializeToString())
    return logs


def content_hash(*parts: Any) -> str:
    """sha256 over JSON values and arrays: two exports of equal content are one version."""
    digest = hashlib.sha256()
    for part in parts:
        array = isinstance(part, np.ndarray)
        digest.update(np.ascontiguousarray(part).tobytes() if array else json.dumps(part).encode())
    return digest.hexdigest()


def model_card(card: dict[str, Any]) -> str:
    """The card as Markdown, for people."""
    gallery = card.get("gallery")
    lines = [
        f"# {card['name']}",
        "",
        "Zero-shot sketch-based image retrieval with SSGN, exported by tf_ssgn. A reconstruction from the abstract of",
        "arXiv 1904.01971: no figure here is the paper's.",
        "",
        f"- backbone {card['backbone']}, image side {card['image_size']}",
        f"- embedding float32 [{card['dimension']}], unit length",
        f"- extra views averaged into an embedding: {card['views']} of a sketch, {card['photo_views']} of a photo "
        f"(evaluation used {card['evaluation_views']} and {card['evaluation_photo_views']})",
        f"- trained on {len(card['seen'])} classes of {card['dataset']}, split {card['split']}; seed {card['seed']}",
        f"- fingerprint {card['fingerprint']}",
    ]
    if gallery:
        facts = f"version {gallery['version']}, {gallery['count']} photos, {card['search']} search"
        lines.append(f"- gallery {gallery['path']}, {facts}")
    if card.get("metrics"):
        values = ", ".join(f"{key} {value:.4f}" for key, value in card["metrics"].items())
        lines.append(f"- measured on the unseen classes, {card['metrics_views']} extra views: {values}")
    else:
        lines.append("- not evaluated when it was exported: how good it is, nobody measured")
    lines += [
        "",
        "Signatures: "
        + ", ".join(f"`{name}`" for name in card["signatures"])
        + ". Faults of one image are that row's `status`.",
        "A SavedModel is code: load only what you trust.",
    ]
    if card.get("search") == "scann":
        lines.append("Import `scann` before loading this one: it holds ScaNN's ops.")
    seen = ", ".join(card["seen"][:NAMED_CLASSES]) + (", ..." if len(card["seen"]) > NAMED_CLASSES else "")
    lines += [
        "",
        "## Use",
        "",
        f"    python -m tf_ssgn.serve --model saved_models/{card['name']} --gallery G",
        f"    tf_ssgn.load('saved_models/{card['name']}').embed_sketch('drawing.png')",
        "",
        "Meant for finding photos by a drawing of one thing: dark lines on light paper. Classes that training did not",
        "see are found less well than those it saw; scores rank photos, they are no probabilities.",
        "",
        "## Limits",
        "",
        f"- Seen classes: {seen}. What lies far from all of them in meaning and shape is found badly.",
        "- Not meant for telling people apart, nor for any decision about a person.",
        "- What bias the photos, the sketches and the backbone's weights have, the answers have.",
        "- Licences: tf_ssgn is Apache 2.0. Those of the photos, the sketches and the backbone's weights "
        f"({card['weights']}) are not known to it; look them up before you pass this on.",
    ]
    return "\n".join(lines) + "\n"
