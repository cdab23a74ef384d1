"""The whole chain on a backbone of keras-hub: trained, moved without its preset, exported, served without keras-hub."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import tf_ssgn
from tests.end_to_end.test_saved_models import fresh
from tests.models.hub import save_preset
from tf_ssgn.export import export
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
    data = dataclasses.replace(tiny_config.data, validation_classes=0)  # one phase of training is enough here
    config = dataclasses.replace(tiny_config, data=data, model=model, training=training)
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
    ((alone,),) = fresh([(newest_version(models), [(sketches, [])])], before=WITHOUT)
    np.testing.assert_allclose(alone["embed_sketch"]["embedding"], ours, atol=1e-5)


WORKER = """
import json
from tf_ssgn.scale.worker import load_model
model = load_model(sys.argv[1], 'auto')
print(json.dumps([model.runtime, model.embed_photo(sys.argv[2:]).tolist()]))
"""


def test_a_worker_of_spark_computes_it_with_openvino_and_without_keras_hub(trained, drawn):
    pytest.importorskip("openvino")
    run, models = trained
    photos = [str(sorted((drawn / "photo" / label).iterdir())[0]) for label in ("giraffe", "teapot")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + WORKER, str(models), *photos], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    runtime, vectors = json.loads(done.stdout.splitlines()[-1])
    assert runtime.startswith("openvino") and "TensorFlow" not in done.stderr
    np.testing.assert_allclose(vectors, tf_ssgn.load(run, runtime="tensorflow").embed_photo(photos), atol=1e-4)
