"""Class vectors from SavedModels that are built here from real TF-Text ops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text as text

from tf_ssgn.data.semantics.class_vectors import class_vectors, source_digest
from tf_ssgn.errors import UserError

WORDS, SIZE = 997, 16
STRINGS = tf.TensorSpec([None], tf.string)


class Tokens(tf.Module):
    """Folds case, splits at white space and hashes the words, as TF-Text preprocessing models do: ids and lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.splitter = text.WhitespaceTokenizer()

    @tf.function(input_signature=[STRINGS])
    def __call__(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        words = self.splitter.tokenize(text.case_fold_utf8(text.normalize_utf8(texts, "NFKC")))
        ids = tf.ragged.map_flat_values(tf.strings.to_hash_bucket_fast, words, WORDS)
        return {"input_word_ids": ids.to_tensor(default_value=-1), "lengths": ids.row_lengths()}


class Encoder(tf.Module):
    """The mean of a random table's rows."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.table = tf.Variable(np.random.default_rng(0).normal(size=(WORDS, SIZE)).astype(np.float32) + shift)

    @tf.function(input_signature=[{"input_word_ids": tf.TensorSpec([None, None], tf.int64),
                                   "lengths": tf.TensorSpec([None], tf.int64)}])  # fmt: skip
    def __call__(self, tokens: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        known = tokens["input_word_ids"] >= 0
        rows = tf.gather(self.table, tf.maximum(tokens["input_word_ids"], 0)) * tf.cast(known, tf.float32)[..., None]
        mean = tf.reduce_sum(rows, 1) / tf.cast(tokens["lengths"], tf.float32)[:, None]
        return {"pooled_output": mean, "sequence_output": rows}


class Whole(tf.Module):
    """Strings to vectors in one model."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.encoder = Tokens(), Encoder()

    @tf.function(input_signature=[STRINGS])
    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        return self.encoder(self.tokens(texts))["pooled_output"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    whole = Whole()
    tf.saved_model.save(Tokens(), str(folder / "tokens"))
    tf.saved_model.save(Encoder(), str(folder / "encoder"))
    tf.saved_model.save(whole, str(folder / "whole"))
    signature = tf.function(lambda texts: {"embedding": whole(texts)}, input_signature=[STRINGS])
    bare = tf.Module()
    bare.whole = whole
    tf.saved_model.save(
        bare, str(folder / "signature"), signatures={"serving_default": signature.get_concrete_function()}
    )
    return folder


def test_an_encoder_of_strings(models: Path) -> None:
    classes = ["hot-air_balloon", "Hot air balloon", "cat", "hot"]
    vectors = class_vectors(classes, f"hub:{models}/whole")
    assert vectors.shape == (4, SIZE) and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[0], vectors[1])  # the encoder sees words, not a spelling
    parts = class_vectors(["hot", "air", "balloon"], f"hub:{models}/whole")
    np.testing.assert_allclose(vectors[0], parts.mean(axis=0), rtol=1e-5)


def test_preprocessing_and_encoder_and_signatures_agree(models: Path) -> None:
    classes = [f"class {number} {number * 7}" for number in range(70)]  # more than one batch
    expected = class_vectors(classes, f"hub:{models}/whole")
    np.testing.assert_allclose(class_vectors(classes, f"hub:{models}/tokens,{models}/encoder"), expected, rtol=1e-5)
    np.testing.assert_allclose(class_vectors(classes, f"hub:{models}/signature"), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hub:{0}/absent", "cannot be loaded"),
        ("hub:", "cannot be loaded"),
        ("hub:{0}/encoder", "does not take what it is given"),
        ("hub:{0}/tokens", "returns input_word_ids, lengths; expected one of pooled_output"),
        ("hub:{0}/whole,{0}/whole", "does not take what it is given"),
    ],
)
def test_models_that_do_not_fit_are_one_line(models: Path, source: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        class_vectors(["cat", "dog"], source.format(models))
    assert "\n" not in str(caught.value)


def test_the_fingerprint_is_that_of_the_models_files(models: Path, tmp_path: Path) -> None:
    tf.saved_model.save(Encoder(shift=1.0), str(tmp_path / "encoder"))
    assert source_digest(f"hub:{models}/encoder") != source_digest(f"hub:{tmp_path}/encoder")
    assert source_digest(f"hub:{models}/tokens,{models}/encoder") != source_digest(f"hub:{models}/encoder")
    assert source_digest(f"hub:{models}/whole") == source_digest(f"hub:{models}/whole")
    assert source_digest("hub:https://example.org/a") != source_digest("hub:https://example.org/b")
