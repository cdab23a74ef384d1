"""OpenVINO answers as TensorFlow does: the same codes, the same statuses, the same photos found."""

from __future__ import annotations

import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tf_ssgn
from tests.hostile import corpus
from tf_ssgn.benchmarks import runtime as benchmark
from tf_ssgn.errors import UserError
from tf_ssgn.runs.load import from_run
from tf_ssgn.runtime import kept, network, openvino_model
from tf_ssgn.runtime.saved_model import SIGNATURES

pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino")


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("converted")
        patch.setenv("TF_SSGN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def both(chain, cache_folder):
    return tuple(tf_ssgn.load(chain.models, runtime=name) for name in ("tensorflow", "auto"))


def images_of(folder: Path, count: int) -> np.ndarray:
    paths = sorted(folder.glob("*/*"))
    found = np.empty(count, object)
    found[:] = [path.read_bytes() for path in paths[:: len(paths) // count][:count]]
    return found


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", left, right)


def test_it_is_the_default_and_says_what_it_is(both) -> None:
    assert [model.runtime for model in both] == ["tensorflow f32", "openvino f32"]
    assert both[0].fingerprint == both[1].fingerprint


@pytest.mark.parametrize("kind", ["sketch", "photo"])
def test_codes_are_those_of_tensorflow(both, chain, kind) -> None:
    images = images_of(chain.data / kind, 40)
    slow, fast = (model.call(f"embed_{kind}", {"image_bytes": images}) for model in both)
    assert cosines(slow["embedding"], fast["embedding"]).min() >= openvino_model.LOWEST_COSINE
    np.testing.assert_array_equal(slow["status"], fast["status"])
    assert {key: (value.dtype, value.shape) for key, value in slow.items()} == {
        key: (value.dtype, value.shape) for key, value in fast.items()
    }


def test_a_row_does_not_depend_on_its_neighbours(both, chain) -> None:
    images = images_of(chain.data / "sketch", 6)
    together = both[1].call("embed_sketch", {"image_bytes": images})["embedding"]
    for image, code in zip(images, together, strict=True):
        alone = both[1].call("embed_sketch", {"image_bytes": np.array([image], object)})["embedding"][0]
        np.testing.assert_allclose(alone, code, atol=1e-6)


def test_hostile_images_have_the_same_status_and_zero_codes(both) -> None:
    payloads = corpus.payloads()
    images = np.empty(len(payloads), object)
    images[:] = [payload.data for payload in payloads]
    for signature in SIGNATURES:
        slow, fast = (model.call(signature, {"image_bytes": images}) for model in both)
        assert set(slow) == set(fast)
        np.testing.assert_array_equal(slow["status"], fast["status"])
        for key in set(slow) - {"status", "class_names"}:
            np.testing.assert_allclose(slow[key], fast[key], atol=1e-4)
            assert not fast[key][fast["status"] != 0].any()
        if signature == "explain":
            np.testing.assert_array_equal(slow["class_names"], fast["class_names"])
    for payload, status in zip(payloads, fast["status"], strict=True):
        assert status in payload.statuses, payload.name


def test_the_ten_best_are_the_same_up_to_near_ties(both, chain) -> None:
    gallery = tf_ssgn.Gallery.open(chain.gallery)
    images = images_of(chain.data / "sketch", 32)
    slow, fast = (
        gallery.search(model.call("embed_sketch", {"image_bytes": images})["embedding"], k=10) for model in both
    )
    for expected, found in zip(slow, fast, strict=True):
        np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in expected], atol=1e-5)
        last = expected[-1].score
        assert {hit.id for hit in found if hit.score > last + 1e-5} <= {hit.id for hit in expected}


def test_several_callers_at_once_get_their_own_answers(both, chain) -> None:
    images = images_of(chain.data / "sketch", 8)
    expected = both[1].call("embed_sketch", {"image_bytes": images})["embedding"]
    wrong = []

    def ask(first: int) -> None:
        for size in (1, 3, 1, 2):
            rows = [(first + i) % 8 for i in range(size)]
            found = both[1].call("embed_sketch", {"image_bytes": images[rows]})["embedding"]
            if not np.allclose(found, expected[rows], atol=1e-6):
                wrong.append(rows)

    callers = [threading.Thread(target=ask, args=(first,)) for first in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not wrong


def test_the_converted_model_is_kept_and_a_damaged_one_is_made_again(both, chain, cache_folder, monkeypatch) -> None:
    openvino = network.library()
    converted = []
    convert = openvino.convert_model
    monkeypatch.setattr(openvino, "convert_model", lambda *args: converted.append(1) or convert(*args))
    tf_ssgn.load(chain.models, runtime="openvino")
    assert not converted
    files = sorted((cache_folder / "openvino").glob("*/model.xml"))
    assert len(files) == 2 and not list((cache_folder / "openvino").glob(".*"))
    files[0].write_text(files[0].read_text()[:1000])
    files[1].with_suffix(".bin").unlink()
    again = tf_ssgn.load(chain.models, runtime="openvino")
    assert len(converted) == 2
    image = images_of(chain.data / "photo", 1)
    np.testing.assert_allclose(
        again.call("embed_photo", {"image_bytes": image})["embedding"],
        both[1].call("embed_photo", {"image_bytes": image})["embedding"],
        atol=1e-6,
    )


def test_without_openvino_tensorflow_takes_over_unless_it_was_asked_for(chain, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert tf_ssgn.load(chain.models).runtime == "tensorflow f32"
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'tf_ssgn[serve]'" in line
    with pytest.raises(UserError, match="openvino cannot be used.*not installed"):
        tf_ssgn.load(chain.models, runtime="openvino")
    with pytest.raises(UserError, match="expected one of auto, tensorflow, openvino"):
        tf_ssgn.load(chain.models, runtime="gpu")


def test_a_conversion_that_answers_differently_is_neither_used_nor_kept(chain, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("TF_SSGN_CACHE", str(tmp_path))
    monkeypatch.setattr(openvino_model, "LOWEST_COSINE", 1.1)
    assert tf_ssgn.load(chain.models).runtime == "tensorflow f32"
    assert "cosine" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*"))


def test_an_operation_that_openvino_lacks_is_left_to_tensorflow(chain, tmp_path, monkeypatch, capsys) -> None:
    """As it is for every bfloat16 constant of a run in mixed precision."""
    from openvino.frontend import OpConversionFailure

    def fail(*_: object) -> None:
        raise OpConversionFailure("no conversion rule")

    monkeypatch.setenv("TF_SSGN_CACHE", str(tmp_path))
    monkeypatch.setattr(network.library(), "convert_model", fail)
    assert tf_ssgn.load(chain.models).runtime == "tensorflow f32"
    (line,) = capsys.readouterr().err.splitlines()
    assert "no conversion rule" in line


def test_a_run_folder_too(chain, both) -> None:
    model = tf_ssgn.load(chain.run)
    assert model.runtime == "openvino f32"
    images = images_of(chain.data / "sketch", 4)
    codes = model.call("embed_sketch", {"image_bytes": images})["embedding"]
    assert cosines(codes, both[0].call("embed_sketch", {"image_bytes": images})["embedding"]).min() >= 0.9999
    again, card = from_run(chain.run, 0)
    for kind in openvino_model.KINDS:  # Keras calls the layers otherwise by now, and yet the graph is found again
        key = network.graph_hash(network.concrete(getattr(again, f"encode_{kind}")))
        assert kept.is_whole(network.folder_of(f"{card['fingerprint'][:16]}-{kind}", key))


@pytest.mark.shared
def test_mobilenet_on_real_photos_equals_keras(shared) -> None:
    """As in the benchmark: real weights, real photos, files to vectors."""
    weights = shared / "weights" / "mobilenet_v2_1.0_224_notop.weights.h5"
    result = benchmark.run(False, str(shared / "data/sketchy_mini/photo"), "mobilenet_v2", 24, 1, str(weights))
    assert result["lowest_cosine"] >= 0.9999
    assert set(result["ratio"]) == {
        "bare", "vectors_tensorflow", "gallery_tensorflow", "vectors_openvino", "gallery_openvino",
    }  # fmt: skip


def test_the_benchmarks_photos_must_be_there(tmp_path) -> None:
    with pytest.raises(UserError, match="0 photos"):
        benchmark.run(False, str(tmp_path))
