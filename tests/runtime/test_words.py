"""A word beside a drawing: the same answer from Python, from the exported graph and from both runtimes."""

from __future__ import annotations

import numpy as np
import pytest

import tf_ssgn
from tf_ssgn.common.status import Status
from tf_ssgn.common.vectors import unit
from tf_ssgn.errors import UserError
from tf_ssgn.export import export, read_words


@pytest.fixture(scope="module")
def model(chain):
    return tf_ssgn.load(chain.models, runtime="tensorflow")


@pytest.fixture(scope="module")
def sketches(chain) -> list[bytes]:
    return [sorted((chain.data / f"sketch/{name}").iterdir())[0].read_bytes() for name in ("giraffe", "apple")]


def test_a_word_is_a_shift_of_the_code(model, sketches) -> None:
    words = model.words
    shift = words.shifts[words.vocabulary.find("giraffe")]
    code = model.embed_sketch(sketches[0])
    np.testing.assert_allclose(model.embed_sketch(sketches[0], word="Giraffes"), unit(code + shift), atol=1e-6)
    np.testing.assert_allclose(model.embed_sketch(None, word="giraffe"), unit(shift), atol=1e-6)
    both = model.embed_sketch(sketches, word="giraffe")
    np.testing.assert_allclose(both[0], model.embed_sketch(sketches[0], word="giraffe"), atol=1e-6)
    assert 0.1 < float(both[0] @ code) < 0.999


def test_the_shift_is_the_guide_of_the_class_vector(chain) -> None:
    from tf_ssgn.training.fit import restore_trainer
    from tf_ssgn.training.run_folder import open_run

    run = open_run(chain.run)
    ssgn = restore_trainer(run).ssgn
    row = list(run.semantics.names).index("giraffe")
    expected = unit(run.semantics.vectors[row] @ np.asarray(ssgn.told))
    np.testing.assert_allclose(tf_ssgn.load(chain.run).embed_sketch(None, word="giraffe"), expected, atol=1e-5)


ROWS = [
    (True, "giraffe", Status.OK), (True, "", Status.OK), (False, "giraffe", Status.OK), (False, "", Status.EMPTY),
    (True, "griraffe", Status.UNKNOWN_WORD), (False, "<b>", Status.UNKNOWN_WORD), (True, "APPLES", Status.OK),
    (None, "giraffe", Status.UNKNOWN_FORMAT), (None, "no word", Status.UNKNOWN_WORD),
    (True, "Ä" * 99, Status.UNKNOWN_WORD),
]  # fmt: skip


def test_the_exported_graph_answers_as_python_does(chain, model, sketches) -> None:
    import tensorflow as tf

    images = [{True: sketches[0], False: b"", None: b"text"}[drawn] for drawn, _, _ in ROWS] + [sketches[0]] * 2
    said = [word.encode() for _, word, _ in ROWS] + [b"\xff\xfe", b"gi\x00raffe"]
    ours = model.call("embed_word", {"image_bytes": np.array(images, object), "word": np.array(said, object)})
    module = tf.saved_model.load(str(chain.models / "embed/1"))
    theirs = module.signatures["embed_word"](image_bytes=tf.constant(images), word=tf.constant(said))
    assert ours["status"].tolist() == theirs["status"].numpy().tolist()
    assert ours["status"].tolist() == [*(status for _, _, status in ROWS), Status.UNKNOWN_WORD, Status.UNKNOWN_WORD]
    np.testing.assert_allclose(ours["embedding"], theirs["embedding"].numpy(), atol=1e-6)
    assert not ours["embedding"][ours["status"] != 0].any()


def test_an_unknown_word_in_a_request_costs_no_search_for_spellings(model, monkeypatch) -> None:
    from tf_ssgn.data.semantics.vocabulary import Vocabulary

    monkeypatch.setattr(Vocabulary, "nearest", lambda *_: pytest.fail("looked for the nearest spellings"))
    out = model.words.tell(
        np.eye(2, model.dimension, dtype=np.float32), np.zeros(2, np.int32), [b"girafe", "x" * 10**6]
    )
    assert out["status"].tolist() == [Status.UNKNOWN_WORD] * 2


def test_search_word_of_the_exported_gallery_finds_what_the_gallery_finds(chain, model, sketches) -> None:
    import tensorflow as tf

    module = tf.saved_model.load(str(chain.models / "search_exact/1"))
    out = module.signatures["search_word"](
        image_bytes=tf.constant([sketches[1], b""]), word=tf.constant(["giraffe", "giraffe"]), k=tf.constant([5, 5])
    )
    gallery = tf_ssgn.Gallery.open(chain.gallery)
    for row, image in enumerate((sketches[1], None)):
        hits = gallery.search(model.embed_sketch(image, word="giraffe"), k=5)
        assert [item.decode() for item in out["ids"][row].numpy()] == [hit.id for hit in hits]


def test_both_runtimes_agree(chain, model, sketches) -> None:
    fast = tf_ssgn.load(chain.models, runtime="openvino")
    for image in (sketches[0], None):
        assert fast.embed_sketch(image, word="apple") @ model.embed_sketch(image, word="apple") > 0.9999


def test_more_words_come_from_where_the_classes_vectors_came_from(chain, tmp_path) -> None:
    (tmp_path / "words.txt").write_text("\ufeffgiraffe\n\nsofa\nsofa\n", encoding="utf-8")
    assert read_words(tmp_path / "words.txt") == ["giraffe", "sofa"]
    try:
        export(chain.run, tmp_path / "m", words=read_words(tmp_path / "words.txt"))
    except UserError as error:  # the drawn dataset's own table has its classes only
        assert "no vector for 1 of" in str(error) and "sofa" in str(error)
    else:
        assert len(tf_ssgn.load(tmp_path / "m").words.names) == len(tf_ssgn.load(chain.models).words.names) + 1


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"a" * 65 + b"\n"])
def test_a_list_of_words_that_cannot_be_read_is_one_line(tmp_path, content) -> None:
    if content is not None:
        (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(UserError, match="--vocabulary") as caught:
        read_words(tmp_path / "words.txt")
    assert "\n" not in str(caught.value)


def test_a_model_without_words_says_how_to_get_some(model, sketches) -> None:
    from tf_ssgn.runtime.saved_model import EmbeddingModel

    bare = EmbeddingModel("x", model.card, model._functions)
    assert not bare.has_words
    with pytest.raises(UserError, match="without words"):
        bare.embed_sketch(sketches[0], word="giraffe")
    with pytest.raises(UserError, match="neither a drawing nor a word"):
        model.embed_sketch(None)
