"""The graph behind every signature: image bytes in, codes or answers out. TensorFlow ops only, exportable as it is.

Preprocessing, backbone, SSGN, views and search are one graph, so every client of every server gets the same answer.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tf_ssgn.common.status import Status
from tf_ssgn.data.semantics.vocabulary import BETWEEN, Vocabulary
from tf_ssgn.models.contours import contours
from tf_ssgn.models.encoders import build_encoders
from tf_ssgn.models.fusion import unit
from tf_ssgn.runtime.decoder import BYTES, Decoder
from tf_ssgn.settings import SERVING

K = tf.TensorSpec([None], tf.int32, name="k")
WORD = tf.TensorSpec([None], tf.string, name="word")


class EmbeddingGraph(Decoder):
    """`embed_sketch`, `embed_photo` and `explain` of one trained model.

    Each is `decode_*` followed by `encode_*` (pixels to codes). The halves are no signatures, but they are kept in the
    SavedModel, for a runtime that computes the second one by other means.

    Args:
        backbone: images `[B, size, size, 3]` to taps `[B, D]`.
        ssgn: the `models.ssgn.SSGN` that goes with it.
        others: those of `Decoder` after the size.
    """

    def __init__(self, backbone, ssgn, *others):
        super().__init__(int(backbone.input_shape[1]), *others)
        # Of the Keras models only the variables belong into a SavedModel, which does not look into functions.
        self._backbone, self._ssgn = lambda: backbone, lambda: ssgn
        self.weights = [variable.value for variable in (*backbone.variables, *ssgn.variables)]
        sketches, photos = (
            tf.TensorSpec([None, 1 + extra, self._size, self._size, 3], tf.float32, name="pixels")
            for extra in (self._views, self._photo_views)
        )
        self.encode_sketch = tf.function(self._encode_sketch, [sketches], autograph=False)
        self.encode_photo = tf.function(self._encode_photo, [photos], autograph=False)
        if hasattr(self, "words"):
            rows = Vocabulary([name.decode() for name in self.word_names.numpy()]).rows
            table = tf.lookup.KeyValueTensorInitializer(list(rows), list(rows.values()), tf.string, tf.int32)
            self.rows_of_words = tf.lookup.StaticHashTable(table, -1)
            self.embed_word = tf.function(self._embed_word, [BYTES, WORD], autograph=False)

    @tf.function(input_signature=[BYTES], autograph=False)
    def embed_sketch(self, image_bytes):
        """string `[B]` to unit `embedding` float32 `[B, d]` and `status` int32 `[B]`; a faulty row is zero."""
        pixels, status = self.decode_sketch(image_bytes)
        return {"embedding": _only_fine(self.encode_sketch(pixels)["code"], status), "status": status}

    @tf.function(input_signature=[BYTES], autograph=False)
    def embed_photo(self, image_bytes):
        """As `embed_sketch`, for photos."""
        pixels, status = self.decode_photo(image_bytes)
        return {"embedding": _only_fine(self.encode_photo(pixels)["code"], status), "status": status}

    def _embed_word(self, image_bytes, word):
        """As `embed_sketch`, with a word string `[B]` beside each drawing; either may be empty (`Words.tell`)."""
        out = self.embed_sketch(image_bytes)
        row = self.rows_of_words.lookup(tf.strings.regex_replace(tf.strings.lower(word, "utf-8"), BETWEEN, ""))
        said, known = tf.strings.length(word) > 0, row >= 0
        drawn = out["status"] == int(Status.OK)
        shift = tf.where((said & known)[:, None], tf.gather(self.shifts, tf.maximum(row, 0)), 0.0)
        alone = said & known & (out["status"] == int(Status.EMPTY))
        status = tf.where(alone, int(Status.OK), out["status"])
        status = tf.where(said & ~known, int(Status.UNKNOWN_WORD), status)
        told = tf.where((said & (drawn | alone))[:, None], unit(out["embedding"] + shift), out["embedding"])
        return {"embedding": _only_fine(told, status), "status": status}

    @tf.function(input_signature=[BYTES], autograph=False)
    def explain(self, image_bytes):
        """What the method makes of sketches: both stages' codes and the classes nearest to the predicted semantics."""
        pixels, status = self.decode_sketch(image_bytes)
        codes = {name: _only_fine(code, status) for name, code in self.encode_sketch(pixels).items()}
        names, vectors = self.classes()
        return {
            **{name: codes[name] for name in ("coarse", "fine", "semantics")},
            "class_names": tf.tile(names[None], [tf.shape(image_bytes)[0], 1]),
            "class_scores": tf.linalg.matmul(codes["semantics"], vectors, transpose_b=True),
            "status": status,
        }

    def encoders(self) -> tuple[Any, Any]:
        """The model as Keras people know it, see `models.encoders`; for one view."""
        return build_encoders(self._backbone(), self._ssgn())

    def _encode_sketch(self, pixels):
        """Pixels to `code`, `coarse`, `fine` float32 `[B, d]` and `semantics` `[B, s]`; a stage that the model was
        built without answers with the code that the next one starts from."""
        codes = self._each_view(pixels, lambda image: self._ssgn().retrieve(self._taps(image)))
        coarse = codes.get("coarse", codes["sketch"])
        fine = codes.get("fine", coarse)
        return {"code": codes["code"], "coarse": coarse, "fine": fine, "semantics": codes["semantics"]}

    def _encode_photo(self, pixels):
        def encode(image):
            drawn = [self._taps(contours(image))] if self._ssgn().config.contours else []
            return {"code": self._ssgn().photo_code(tf.concat([self._taps(image), *drawn], axis=-1))}

        return self._each_view(pixels, encode)

    def _taps(self, image):
        return tf.cast(self._backbone()(image, training=False), tf.float32)

    def _each_view(self, pixels, encode) -> dict[str, Any]:
        """Unit means over the views of what `encode` gives for each; the graph holds the backbone once."""
        views = pixels.shape[1]
        codes = encode(tf.reshape(pixels, [-1, *pixels.shape[2:]]))
        if views == 1:
            return codes
        return {
            key: unit(tf.reduce_mean(tf.reshape(code, [-1, views, code.shape[-1]]), axis=1))
            for key, code in codes.items()
        }


class Search(tf.Module):
    """`search` and `search_photo` of a gallery, over an embedder and a module `neighbours` (`retrieval.search.graph`),
    whose rows have the `ids` string `[N]`."""

    def __init__(self, embedder: EmbeddingGraph, ids: list[bytes], neighbours: tf.Module):
        super().__init__()
        self.embedder, self.neighbours = embedder, neighbours
        self.ids = tf.constant(ids, tf.string, shape=[len(ids)])
        if hasattr(embedder, "words"):
            self.search_word = tf.function(self._search_word, [BYTES, WORD, K], autograph=False)

    @tf.function(input_signature=[BYTES, K], autograph=False)
    def search(self, image_bytes, k):
        """Sketches: string `[B]` and k int32 `[B]` to `ids`, `scores` `[B, K]`, `count` and `status` `[B]`."""
        return self._answer(self.embedder.embed_sketch(image_bytes), k)

    @tf.function(input_signature=[BYTES, K], autograph=False)
    def search_photo(self, image_bytes, k):
        """As `search`, for photos as queries."""
        return self._answer(self.embedder.embed_photo(image_bytes), k)

    def _search_word(self, image_bytes, word, k):
        """As `search`, with a word string `[B]` beside each sketch; either may be empty."""
        return self._answer(self.embedder.embed_word(image_bytes, word), k)

    def _answer(self, embedded, k):
        good = (k >= 1) & (k <= SERVING.k)
        status = tf.where(good, embedded["status"], int(Status.BAD_K))
        width = tf.maximum(tf.reduce_max(tf.where(good, k, 0)), 0)
        # Some searchers refuse k = 0; the columns past `width` are cut off again.
        rows, scores = self.neighbours.search(embedded["embedding"], tf.maximum(width, 1))
        rows, scores = rows[:, :width], scores[:, :width]
        missing = width - tf.shape(scores)[1]
        rows = tf.pad(rows, [[0, 0], [0, missing]])
        scores = tf.pad(scores, [[0, 0], [0, missing]], constant_values=np.nan)
        wanted = tf.where(status == int(Status.OK), k, 0)
        valid = (tf.range(width)[None, :] < wanted[:, None]) & ~tf.math.is_nan(scores)
        return {
            "ids": tf.where(valid, tf.gather(self.ids, rows), ""),
            "scores": tf.where(valid, scores, np.nan),
            "count": tf.reduce_sum(tf.cast(valid, tf.int32), axis=1),
            "status": status,
        }


def _only_fine(values, status):
    """Zeroes the rows whose status is not 0."""
    return tf.where((status == int(Status.OK))[:, None], values, 0.0)
