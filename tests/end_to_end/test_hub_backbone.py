"""The whole chain on a backbone of keras-hub: trained, moved without its preset, exported, served without keras-hub."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import tf_ssgn
from tests.end_to_end.test_saved_models import FRESH
from tests.models.hub import save_preset
from tf_ssgn.export import export
from tf_ssgn.runtime.openvino_model import LOWEST_COSINE
from tf_ssgn.runtime.saved_model import newest_version
from tf_ssgn.train import train

pytest.importorskip("keras_hub")

WITHOUT = "import sys\nsys.modules['keras_hub'] = sys.modules['kagglehub'] = None\n"


@pytest.fixture(scope="module")
def trained(drawn, tiny_config, tmp_path_factory):
    """Run folder and exported models; the preset is gone."""
    folder = tmp_path_factory.mktemp("hub")
    name = save_preset("dinov2", folder / "preset")
    model = dataclasses.replace(tiny_config.model, backbone=name, weights="", taps=("stage1", "stage2", "stage2.class"))
    training = dataclasses.replace(tiny_config.training, epochs=1)
    config = dataclasses.replace(tiny_config, model=model, training=training)
    train(config, str(drawn), None, str(folder / "run"), str(folder / "cache"))
    assert any(path.name.startswith("preset-32-") for path in (folder / "cache").iterdir())
    shutil.rmtree(folder / "preset")
    export(folder / "run", folder / "models")
    return folder / "run", folder / "models"


@pytest.fixture(scope="module")
def sketches(drawn):
    return [sorted((drawn / "sketch" / label).iterdir())[0] for label in ("giraffe", "teapot")]


def test_a_run_needs_no_preset_and_a_served_model_no_keras_hub(trained, sketches):
    run, models = trained
    ours = tf_ssgn.load(run, runtime="tensorflow").embed_sketch(sketches)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + FRESH, "embed", str(newest_version(models)), "[]", *map(str, sketches)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    alone = json.loads(done.stdout.splitlines()[-1])["embed_sketch"]["embedding"]
    np.testing.assert_allclose(alone, ours, atol=1e-5)


def test_openvino_answers_as_tensorflow_does(trained, drawn, sketches):
    pytest.importorskip("openvino")
    photos = [sorted((drawn / "photo" / label).iterdir())[0] for label in ("giraffe", "teapot", "chair")]
    slow, fast = (tf_ssgn.load(trained[1], runtime=name) for name in ("tensorflow", "openvino"))
    assert np.einsum("nd,nd->n", slow.embed_sketch(sketches), fast.embed_sketch(sketches)).min() >= LOWEST_COSINE
    assert np.einsum("nd,nd->n", slow.embed_photo(photos), fast.embed_photo(photos)).min() >= LOWEST_COSINE


def test_a_worker_of_spark_loads_it_without_keras_hub(trained, sketches):
    run, models = trained
    script = WITHOUT + (
        "import tf_ssgn\n"
        "print(*tf_ssgn.load(sys.argv[1], runtime='tensorflow').embed_photo(sys.argv[2]))\n"
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, str(models), str(sketches[0])],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    expected = tf_ssgn.load(run, runtime="tensorflow").embed_photo(sketches[0])
    np.testing.assert_allclose(np.array(done.stdout.split(), float), expected, atol=1e-5)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_it_is_finetuned_from_a_block_on_in_mixed_precision(backend, drawn, tiny_config, tmp_path):
    if backend == "jax":
        pytest.importorskip("jax")
    name = save_preset("vit", tmp_path / "preset")
    flags = {
        "data.image_size": 32, "data.validation_classes": 0, "model.backbone": name, "model.weights": "",
        "model.code": 16, "model.hidden": 16, "model.latent": 4, "model.contours": 0.2, "training.epochs": 1,
        "training.batch_classes": 4, "training.precision": "mixed_bfloat16",
        "training.finetune_from": "vit_encoder_transformer_block_2",
    }  # fmt: skip
    words = [word for key, value in flags.items() for word in (f"--{key}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "tf_ssgn.train", "--preset", "demo", "--data", str(drawn),
         "--run", str(tmp_path / "run"), "--cache", str(tmp_path / "cache"), *words],
        capture_output=True, text=True, timeout=500, env=os.environ | {"KERAS_BACKEND": backend},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    shutil.rmtree(tmp_path / "preset")
    assert np.isfinite(tf_ssgn.load(tmp_path / "run").embed_sketch(sorted((drawn / "sketch").glob("*/*"))[:2])).all()
