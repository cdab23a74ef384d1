"""The functional encoders: what the model answers, before and after a `.keras` file."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.docs import graph
from tests.models.test_ssgn import CLASSES, SEMANTIC, TINY, numpy, stir
from tf_ssgn.models.backbones import build_backbone
from tf_ssgn.models.contours import contours
from tf_ssgn.models.encoders import build_encoders
from tf_ssgn.models.ssgn import SSGN

IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")


@pytest.mark.parametrize(
    "changes",
    [
        {"contours": 0.4},
        {"coarse": False, "fusion": "private", "contours": 0.4},
        {"fine": False, "residual": False},
        {"coarse": False, "fine": False},
        {"samples": 1},
    ],
)
def test_encoders_answer_as_the_model_and_survive_a_file(changes, tmp_path):
    keras.utils.set_random_seed(1)
    backbone = build_backbone("tiny", 32, pooling="energy")
    model = SSGN(dataclasses.replace(TINY, **changes), backbone.output_shape[-1], SEMANTIC, CLASSES, 7)
    stir(model)
    sketch_encoder, photo_encoder = build_encoders(backbone, model)
    assert (sketch_encoder.name, photo_encoder.name) == ("sketch_encoder", "photo_encoder")

    expected = numpy(model.retrieve(backbone(IMAGES)))
    expected.setdefault("coarse", expected["sketch"])
    expected.setdefault("fine", expected["coarse"])
    taps = [backbone(IMAGES)] + ([backbone(contours(IMAGES))] if "contours" in changes else [])
    photo = keras.ops.convert_to_numpy(model.photo_code(keras.ops.concatenate(taps, axis=-1)))
    for encoder in (sketch_encoder, photo_encoder):
        encoder.save(tmp_path / f"{encoder.name}.keras")
    for sketches, photos in (
        (sketch_encoder, photo_encoder),
        [keras.saving.load_model(tmp_path / f"{name}_encoder.keras") for name in ("sketch", "photo")],
    ):
        out = numpy(sketches(IMAGES))
        assert set(out) == {"sketch", "coarse", "fine", "semantics", "code"}
        for name, code in out.items():
            np.testing.assert_allclose(code, expected[name], atol=1e-5)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(photos(IMAGES)), photo, atol=1e-5)
        again = keras.Model.from_config(sketches.get_config())
        assert [layer.name for layer in again.layers] == [layer.name for layer in sketches.layers]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="is a page, the same on every backend")
def test_the_page_shows_the_graph_of_the_model():
    assert graph.draw(graph.sketch_encoder()) == graph.FILE.read_text(encoding="utf-8"), "python -m tests.docs.graph"


# What comes first is in place before Keras is, or Keras before it; the model in a file is then known to Keras.
LOADED = """
def loaded(first):
    importlib.import_module(first)
    import tf_ssgn
    print(first, "keras" in sys.modules, flush=True)
    importlib.util.find_spec("keras")  # looks only, as TensorFlow does
    import keras, numpy as np
    np.save(f"{first}.npy", keras.ops.convert_to_numpy(keras.saving.load_model("e.keras")(np.load("x.npy"))["code"]))
"""
ONE = f"import importlib.util, sys{LOADED}loaded(sys.argv[1])"
# TensorFlow is imported once, and goes on without Keras.
EACH = f"""
import importlib.util, os, sys{LOADED}
sys.modules["keras"] = None
import tensorflow
del sys.modules["keras"]
for first in sys.argv[1:]:
    if not os.fork():
        loaded(first)
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="is about imports, the same on every backend")
def test_importing_tf_ssgn_is_enough_for_keras_and_does_not_import_it(tmp_path):
    backbone = build_backbone("tiny", 32)
    model = SSGN(TINY, backbone.output_shape[-1], SEMANTIC, CLASSES, 7)
    encoder = build_encoders(backbone, model)[0]
    encoder.save(tmp_path / "e.keras")
    np.save(tmp_path / "x.npy", IMAGES)
    expected = keras.ops.convert_to_numpy(encoder(IMAGES)["code"])
    for code, firsts in ((ONE, ["tf_ssgn"]), (EACH, ["keras", "tf_ssgn.models.contours"])):
        words = [sys.executable, "-c", code, *firsts]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [f"{first} {first != 'tf_ssgn'}" for first in firsts]
        for first in firsts:
            np.testing.assert_allclose(np.load(tmp_path / f"{first}.npy"), expected, atol=1e-5)
