"""`tf_ssgn.load`: a run folder or a SavedModel as one embedding model, and what both need to agree on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_ssgn.common.backbones import NoWeights
from tf_ssgn.common.cli import log, prepare_tensorflow
from tf_ssgn.common.folders import cache_folder
from tf_ssgn.config import HUB
from tf_ssgn.data.semantics.vocabulary import NONE
from tf_ssgn.errors import UserError
from tf_ssgn.runtime.resolve import is_shipped, resolve
from tf_ssgn.runtime.shipped import open_shipped
from tf_ssgn.settings import MODEL, MOST_VIEWS, PREPROCESSING_VERSION, RUNTIMES

if TYPE_CHECKING:
    from tf_ssgn.runtime.saved_model import EmbeddingModel
    from tf_ssgn.runtime.signatures import EmbeddingGraph
    from tf_ssgn.training.run_folder import Run


def load(
    path: str | os.PathLike = MODEL, views: int = 0, runtime: str = "auto", photo_views: int | None = None
) -> EmbeddingModel:
    """An embedding model: a shipped one by its name, `saved_models/NAME`, or a run folder.

    Args:
        views: extra views of a sketch averaged into its embedding, for a run; other models have their own number.
        photo_views: the same of a photo; None for as many as of a sketch.
        runtime: what computes it: `tensorflow`, `openvino`, or `auto` for the faster one that is there. Their answers
            agree to a cosine of 0.9999.

    Raises:
        UserError: neither of the two, or damaged; or a runtime that was asked for by name is not there.
    """
    prepare_tensorflow()
    from tf_ssgn.runtime import conversion, openvino_model
    from tf_ssgn.runtime.saved_model import TENSORFLOW, EmbeddingModel, open_saved_model, tensorflow_functions, words_of
    from tf_ssgn.runtime.shipped import words_of_shipped

    if runtime not in RUNTIMES:
        raise UserError(f"runtime: received {runtime!r}, expected one of {', '.join(RUNTIMES)}")
    path = resolve(path)
    module: Any
    begun: openvino_model.Begun = openvino_model.nothing_begun
    if is_shipped(path):
        if runtime != "tensorflow":
            begun = conversion.begin(path)
        module, card = open_shipped(path)
    elif (path / "config.json").exists():
        module, card = from_run(path, views, photo_views)
    else:
        module, card = open_saved_model(path)
    words = words_of_shipped(path) if is_shipped(path) else words_of(module)
    if runtime != "tensorflow":
        reason = openvino_model.why_not(module)
        try:
            if reason:
                raise UserError(reason)
            functions = openvino_model.openvino_functions(module, card["fingerprint"], begun)
            return EmbeddingModel(os.fspath(path), card, functions, openvino_model.OPENVINO, words)
        except NoWeights:
            raise
        except UserError as error:
            if runtime == "openvino":
                raise UserError(f"the runtime openvino cannot be used: {error}") from None
            log(f"computing with TensorFlow, which takes about twice as long: {error}")
    return EmbeddingModel(os.fspath(path), card, tensorflow_functions(module), TENSORFLOW, words)


def from_run(
    path: str | os.PathLike, views: int, photo_views: int | None = None, more_words: Sequence[str] = ()
) -> tuple[EmbeddingGraph, dict[str, Any]]:
    """A run's graph and its card; views as in `load`. Its words are its classes, and `more_words`."""
    from tf_ssgn.training.run_folder import open_run

    photo_views = views if photo_views is None else photo_views
    for name, number in (("views", views), ("photo views", photo_views)):
        if not 0 <= number <= MOST_VIEWS:
            raise UserError(f"{name}: received {number}, expected 0 to {MOST_VIEWS}")
    run = open_run(path)
    import keras  # and TensorFlow, once the run is known to be there

    from tf_ssgn.runtime.publish import model_fingerprint
    from tf_ssgn.runtime.signatures import EmbeddingGraph
    from tf_ssgn.training.fit import restore_trainer

    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"Keras runs on {keras.backend.backend()}, but embedding and export need KERAS_BACKEND=tensorflow; "
            "a run trained on another backend loads there as it is"
        )
    trainer = restore_trainer(run)
    both = (views, photo_views)
    names, vectors = list(run.semantics.names), run.semantics.vectors
    words = _words(run, trainer.ssgn, more_words)
    embedder = EmbeddingGraph(trainer.backbone, trainer.ssgn, *both, names, vectors, words)
    print_ = model_fingerprint(trainer.backbone, trainer.ssgn, run.config.data.image_size, PREPROCESSING_VERSION, *both)
    return embedder, _card(run, views, photo_views, print_)


def _words(run: Run, ssgn: Any, more: Sequence[str]) -> tuple[list[str], np.ndarray] | None:
    """Names and shifts of a run's words: its classes and some more; None where it has no guide for them."""
    from tf_ssgn.data.semantics.vector_cache import cached_vectors, centred

    config = run.config
    if not run.has_words:
        if more:
            raise UserError(f"--vocabulary: {NONE}")
        return None
    names, vectors = list(run.semantics.names), run.semantics.vectors
    if more := [word for word in dict.fromkeys(more) if word not in names]:
        seen = run.split.all_seen
        known = cached_vectors([*seen, *more], config.semantics.vectors, cache_folder())
        names, vectors = names + more, np.concatenate([vectors, centred(known, len(seen))[len(seen) :]])
    return names, vectors @ np.asarray(ssgn.told)


def _card(run: Run, views: int, photo_views: int, fingerprint: str) -> dict[str, Any]:
    backbone = run.config.model.backbone
    if backbone.startswith(f"{HUB}/"):  # a card goes to others, whom the folder of a preset does not concern
        backbone = f"{HUB}{Path(backbone).name}"
    return {
        "fingerprint": fingerprint,
        "dimension": run.config.model.code,
        "semantic_dimension": int(run.semantics.vectors.shape[1]),
        "views": views,
        "photo_views": photo_views,
        "evaluation_views": run.config.evaluation.views,
        "evaluation_photo_views": run.config.evaluation.photo_views,
        "image_size": run.config.data.image_size,
        "backbone": backbone,
        "weights": Path(run.config.model.weights).name,
        "seen": list(run.classes),
        "split": run.split.name,
        "dataset": Path(run.data).name,
        "seed": run.config.training.seed,
        "versions": run.versions,
    }
