"""An embedding model, from a SavedModel or still in memory, and the forward pass through TensorFlow."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.common.status import Status
from tf_ssgn.common.vectors import unit
from tf_ssgn.data.images.content import ImageError, describe, image_bytes, is_picture
from tf_ssgn.data.images.picture import encoded
from tf_ssgn.data.semantics.vocabulary import NONE
from tf_ssgn.errors import UserError
from tf_ssgn.runtime.resolve import is_shipped, resolve
from tf_ssgn.runtime.shipped import shipped_fingerprint
from tf_ssgn.runtime.words import Words
from tf_ssgn.settings import QUERY_LIMITS, SERVING

CARD = Path("assets.extra") / "model.json"
SIGNATURES = ("embed_sketch", "embed_photo", "explain")
EMBED_WORD = "embed_word"  # of a model with words
TENSORFLOW = "tensorflow f32"

# Contents of image files to a signature's outputs, one row for each.
Function = Callable[[list[bytes]], dict[str, np.ndarray]]


class EmbeddingModel:
    """Images to unit vectors.

    Attributes:
        path: where it was loaded from.
        card: what `export` wrote about it; `fingerprint`, `dimension`, `views` (extra ones of a sketch) and
            `photo_views` are taken from there.
        runtime: what computes it, and in which precision.
        has_words: whether it has `embed_word`, and `words`, those that can be told beside a drawing.
    """

    def __init__(
        self,
        path: str,
        card: dict[str, Any],
        functions: dict[str, Function],
        runtime: str = TENSORFLOW,
        words: Callable[[], tuple[Sequence[str], np.ndarray]] | None = None,
    ):
        self.path, self.card, self.runtime, self._functions, self._words = path, card, runtime, functions, words
        self.fingerprint: str = card["fingerprint"]
        self.dimension: int = card["dimension"]
        self.views: int = card["views"]
        self.photo_views: int = card.get("photo_views", self.views)  # models of earlier versions have one number

    @property
    def has_words(self) -> bool:
        return self._words is not None

    @cached_property
    def words(self) -> Words:
        """The words that can be told; UserError for a model without any."""
        if self._words is None:
            raise UserError(NONE)
        return Words(*self._words())

    def call(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature on `image_bytes` object or bytes `[B]`, and for `embed_word` on `word` `[B]` too; its
        outputs as arrays are in the table of docs/serving.md."""
        values = [bytes(value) for value in np.asarray(inputs["image_bytes"], dtype=object).reshape(-1)]
        if signature != EMBED_WORD:
            return self._functions[signature](values)
        drawn = self._functions["embed_sketch"](values)
        return self.words.tell(drawn["embedding"], drawn["status"], list(inputs["word"]))

    def embed_sketch(self, images: Any, word: str = "") -> np.ndarray:
        """A picture as `given.image_bytes` takes it, or an iterable of several, to unit float32 `[d]` or `[B, d]`.

        Args:
            word: what is drawn, as a person calls it; with `images` None the word alone is embedded.

        Raises:
            UserError: an image that cannot be used or a word that is not known; the message says which and why.
        """
        if not word:
            if images is None:
                raise UserError("received neither a drawing nor a word, expected one of them or both")
            return self._embed("embed_sketch", images)
        row = self.words.vocabulary.find(word)
        shift = self.words.shifts[row]
        return unit(shift if images is None else self._embed("embed_sketch", images) + shift)

    def embed_photo(self, images: Any) -> np.ndarray:
        """As `embed_sketch`, for photos."""
        return self._embed("embed_photo", images)

    def _embed(self, signature: str, images: Any) -> np.ndarray:
        single = is_picture(images) or not isinstance(images, Iterable)
        named: Sequence[Any] = [images] if single else list(images)
        vectors = []
        for start in range(0, len(named), SERVING.batch):
            batch = [image_bytes(image) for image in named[start : start + SERVING.batch]]
            out = self.call(signature, {"image_bytes": np.array(batch, dtype=object)})
            for image, status in zip(named[start : start + SERVING.batch], out["status"], strict=True):
                if status != Status.OK:
                    raise ImageError(describe(image), int(status))
            vectors.append(out["embedding"])
        if not vectors:
            return np.zeros((0, self.dimension), np.float32)
        return vectors[0][0] if single else np.concatenate(vectors)


def tensorflow_functions(module: Any) -> dict[str, Function]:
    """The signatures of a loaded SavedModel, or of an `EmbeddingGraph`, as plain functions."""
    import tensorflow as tf

    def plain(name: str) -> Function:
        def call(images: list[bytes]) -> dict[str, np.ndarray]:
            # Looked up in the module each time, which keeps it alive: a `tf.function` holds its module weakly.
            signature = module.signatures[name] if hasattr(module, "signatures") else getattr(module, name)
            outputs = signature(image_bytes=tf.constant(images, tf.string, shape=[len(images)]))
            return {key: value.numpy() for key, value in outputs.items()}

        return call

    return {name: plain(name) for name in SIGNATURES}


def words_of(module: Any) -> Callable[[], tuple[list[str], np.ndarray]] | None:
    """What gives the words (names and shifts) of a loaded SavedModel or an `EmbeddingGraph`; None where it has none."""
    if not hasattr(module, "words"):
        return None

    def words() -> tuple[list[str], np.ndarray]:
        names, shifts = module.words()
        return [name.decode("utf-8") for name in names.numpy()], shifts.numpy()

    return words


def open_saved_model(path: str | os.PathLike) -> tuple[Any, dict[str, Any]]:
    """Loads `saved_models/NAME` (its newest `embed` version), an `embed` folder, or one version folder: the SavedModel,
    which has `SIGNATURES`, and its card."""
    version = newest_version(path)
    import tensorflow as tf

    try:
        card = json.loads((version / CARD).read_text(encoding="utf-8"))
        if not all(key in card for key in ("fingerprint", "dimension", "views")):
            raise ValueError(f"{CARD} is not whole")
        loaded = tf.saved_model.load(str(version))
        for name in SIGNATURES:
            loaded.signatures[name]
        return loaded, card
    except (OSError, ValueError, LookupError, TypeError, tf.errors.OpError) as error:
        raise UserError(
            f"{version} is not a whole SavedModel of tf_ssgn ({error}); write it anew with `python -m tf_ssgn.export`"
        ) from None


def fingerprint_of(path: str | os.PathLike) -> str:
    """The fingerprint of a shipped model or an exported one, from its files alone; empty for what has to be loaded."""
    try:
        if is_shipped(folder := resolve(path)):
            return shipped_fingerprint(folder)
        return str(json.loads((newest_version(path) / CARD).read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, LookupError, UserError):
        return ""


def newest_version(path: str | os.PathLike) -> Path:
    """The version folder that `path` means: itself, or the highest number below it or below `embed/`."""
    path = Path(path)
    if (path / "saved_model.pb").exists():
        return path
    for folder in (path / "embed", path):
        versions = [entry for entry in folder.glob("*") if entry.name.isdigit() and (entry / "saved_model.pb").exists()]
        if versions:
            return max(versions, key=lambda entry: int(entry.name))
    raise UserError(
        f"{path} holds no exported model (no embed/<version>/saved_model.pb); "
        "write one with `python -m tf_ssgn.export RUN --to saved_models/NAME`"
    )


def warm_up_drawing() -> bytes:
    """A PNG of a circle, in place of a query: in the warm-up requests, and when a server tries a new model."""
    from PIL import Image, ImageDraw

    side = max(64, 2 * QUERY_LIMITS.smallest_side)
    image = Image.new("L", (side, side), 255)
    ImageDraw.Draw(image).ellipse((8, 8, side - 8, side - 8), outline=0, width=3)
    return encoded(image, "PNG")
