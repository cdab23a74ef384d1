"""Models that come with the package, by name: a head in a folder beside this file, joined with its backbone's weights.

A head folder holds `config.json`, `head.npz` (the weights that retrieval needs, float16 but for vectors) and
`words.npz` (the vocabulary, and the classes of training). The backbone's weights come from their own package.
Through OpenVINO the joined model is kept in converted form in the user's cache folder, so that TensorFlow's graph is
built at the first use only.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import importlib
import json
import operator
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_ssgn import config as configuration
from tf_ssgn.common import npz
from tf_ssgn.common.backbones import BACKBONES, Package
from tf_ssgn.common.hashes import versions_sha256
from tf_ssgn.common.vectors import unit
from tf_ssgn.errors import UserError
from tf_ssgn.runtime import kept
from tf_ssgn.runtime.resolve import CONFIG, FILES, HEAD, HEADS, WORDS
from tf_ssgn.settings import HEAD_BYTES, MODEL, PREPROCESSING_VERSION

if TYPE_CHECKING:
    from tf_ssgn.models.ssgn import SSGN
    from tf_ssgn.runtime.signatures import Decoder

COMPILING = "compile"  # the thread of `conversion`, which has no use for Keras


def shipped_fingerprint(folder: Path) -> str:
    """Of a shipped model, without putting it together: sha256 over its files, the backbone's and the preprocessing."""
    digest = hashlib.sha256()
    for file in FILES:
        digest.update((folder / file).read_bytes())
    package = package_of(folder)
    digest.update(f"{package.sha256 if package else ''} {PREPROCESSING_VERSION}".encode())
    return digest.hexdigest()


def package_of(folder: Path) -> Package | None:
    """What brings the weights of a shipped model's backbone."""
    return BACKBONES[about(folder)["config"]["model"]["backbone"]].package


def about(folder: Path) -> dict[str, Any]:
    """What `config.json` of a shipped model says: `config`, `seen` classes, and what its `card` adds."""
    try:
        values: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return values
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / CONFIG} is damaged ({error}); install tf_ssgn again") from None


def open_shipped(folder: Path) -> tuple[Decoder, dict[str, Any]]:
    """A shipped model as `openvino_functions` and `tensorflow_functions` want it, and its card; built when asked."""
    import_tensorflow_alone()
    from tf_ssgn.runtime.decoder import Decoder, use_kept

    stated = about(folder)
    config = configuration.from_dict(stated["config"])
    model, evaluation = config.model, config.evaluation
    extra = (evaluation.views, evaluation.photo_views)
    stored = npz.read_npz(folder / WORDS, ("class_vectors",), HEAD_BYTES)
    classes = (stated["seen"], stored["class_vectors"].astype(np.float32))
    mark = shipped_fingerprint(folder)

    class Joined(Decoder):
        """Decodes at once; what needs the weights is built when it is first asked for."""

        graph_key = versions_sha256()

        @functools.cached_property
        def embedder(self) -> Any:
            import keras  # noqa: F401  before all that imports it: it makes our layers known as it comes

            from tf_ssgn.runtime.signatures import EmbeddingGraph

            return EmbeddingGraph(*_networks(folder, config, classes[1].shape), *extra, *classes)

    for part in ("encode_sketch", "encode_photo", "embed_sketch", "embed_photo", "explain"):
        setattr(Joined, part, property(operator.attrgetter(f"embedder.{part}")))
    card = stated["card"] | {
        "fingerprint": mark,
        "dimension": model.code,
        "semantic_dimension": int(classes[1].shape[1]),
        "views": extra[0],
        "photo_views": extra[1],
        "evaluation_views": extra[0],
        "evaluation_photo_views": extra[1],
        "image_size": config.data.image_size,
        "backbone": model.backbone,
        "seen": stated["seen"],
        "seed": config.training.seed,
    }
    joined = Joined(config.data.image_size, *extra, *classes)
    use_kept(joined, kept.decoders_of(mark))
    return joined, card


def import_tensorflow_alone() -> None:
    """TensorFlow's import ends with Keras's, a third of its seconds, which a converted model never needs: where no
    thread could miss it, Keras is not found meanwhile. TensorFlow goes on without, and who imports Keras later has it.
    """
    others = [thread for thread in threading.enumerate() if not thread.name.startswith(COMPILING)]
    if "tensorflow" in sys.modules or "keras" in sys.modules or len(others) > 1:
        return
    sys.modules["keras"] = None  # type: ignore[assignment]
    collects = gc.isenabled()
    gc.disable()  # nothing of what it makes could be freed
    try:
        importlib.import_module("tensorflow")
    finally:
        del sys.modules["keras"]
        if collects:
            gc.enable()


def _networks(folder: Path, config: configuration.Config, classes: tuple[int, ...]) -> tuple[Any, SSGN]:
    """The backbone with its package's weights, and SSGN with the head's."""
    from tf_ssgn.models.backbones import build_backbone
    from tf_ssgn.models.ssgn import SSGN

    model = config.model
    backbone = build_backbone(model.backbone, config.data.image_size, model.weights, model.taps, pooling=model.pooling)
    ssgn = SSGN(model, int(backbone.output_shape[-1]), classes[1], classes[0], config.training.seed)
    variables = head(ssgn)
    arrays = npz.read_npz(folder / HEAD, variables, HEAD_BYTES)
    for key, variable in variables.items():
        if key not in arrays or arrays[key].shape != tuple(variable.shape):
            raise UserError(f"{folder / HEAD} lacks {key} of shape {list(variable.shape)}; install tf_ssgn again")
        variable.assign(arrays[key].astype(np.float32))
    return backbone, ssgn


def word_names(folder: Path) -> list[str]:
    """The vocabulary of a shipped model; its vectors are not read."""
    return npz.read_npz(folder / WORDS, ("names",), HEAD_BYTES)["names"].tolist()


def words(folder: Path = HEADS / MODEL) -> tuple[list[str], np.ndarray]:
    """The vocabulary of a shipped model, and its unit vectors float32 `[N, s]`, centred as the classes' were."""
    stored = npz.read_npz(folder / WORDS, ("names", "vectors", "centre"), HEAD_BYTES)
    vectors = stored["vectors"].astype(np.float32) - stored["centre"]
    return stored["names"].tolist(), unit(vectors)


def words_of_shipped(folder: Path) -> Callable[[], tuple[list[str], np.ndarray]]:
    """What gives the words of a shipped model and their shifts (`runtime.words`); its network is not needed for it."""

    def with_shifts() -> tuple[list[str], np.ndarray]:
        names, vectors = words(folder)
        guide = npz.read_npz(folder / HEAD, ("told",), HEAD_BYTES)["told"].astype(np.float32)
        return names, vectors @ guide

    return with_shifts


def head(ssgn: SSGN) -> dict[str, Any]:
    """The variables of all that retrieval needs, by names that do not depend on Keras's counting."""
    parts = [ssgn.fuse_sketch, ssgn.fuse_photo, ssgn.project]
    parts += [getattr(ssgn, f"{stage}_decoder") for stage in ("coarse", "fine") if getattr(ssgn.config, stage)]
    arrays: dict[str, Any] = {"noise": ssgn.noise} | ({"told": ssgn.told} if ssgn.config.told else {})
    taken: set[int] = set()
    for part in parts:
        for number, variable in enumerate(part.weights):
            if id(variable) not in taken:  # the projection that both modalities share
                taken.add(id(variable))
                arrays[f"{part.name}-{number}"] = variable
    return arrays
