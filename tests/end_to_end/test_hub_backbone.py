"""The whole chain on a backbone of keras-hub: trained, moved without its preset, exported, served without keras-hub."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

import tf_ssgn
from tests.eagerly import eagerly
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
    with eagerly():
        train(config, str(drawn), None, str(folder / "run"), str(folder / "cache"))
    assert any(path.name.startswith("preset-32-") for path in (folder / "cache").iterdir())
    shutil.rmtree(folder / "preset")
    export(folder / "run", folder / "models")
    return folder / "run", folder / "models"


@pytest.fixture(scope="module")
def sketches(drawn):
    return [sorted((drawn / "sketch" / label).iterdir())[0] for label in ("giraffe", "teapot")]


@pytest.fixture(scope="module")
def ours(trained):
    return tf_ssgn.load(trained[0], runtime="tensorflow")


# In the same process: tf_ssgn is there again, keras-hub is not.
WORKER = """
del sys.modules['tf_ssgn'], sys.modules['keras']
from tf_ssgn.scale.worker import load_model
model = load_model(sys.argv[2], 'auto')
print(json.dumps([model.runtime, model.embed_photo(sys.argv[3:]).tolist()]))
"""


@pytest.fixture(scope="module")
def photos(drawn):
    return [str(sorted((drawn / "photo" / label).iterdir())[0]) for label in ("giraffe", "teapot")]


@pytest.fixture(scope="module")
def without(trained, sketches, photos):
    """What a process without keras-hub computes: with TensorFlow alone, then as a worker of Spark; and what it said."""
    models = trained[1]
    asked = [(newest_version(models), [(sketches, [])], "")]
    return fresh(asked, before=WITHOUT, after=WORKER, more=(models, *photos))


def test_a_run_needs_no_preset_and_a_served_model_no_keras_hub(ours, sketches, without):
    ((alone,),) = without[0]
    np.testing.assert_allclose(alone["embed_sketch"]["embedding"], ours.embed_sketch(sketches), atol=1e-5)


def test_a_worker_of_spark_computes_it_with_openvino_and_without_keras_hub(ours, photos, without):
    pytest.importorskip("openvino")
    _, (runtime, vectors), said = without
    assert runtime.startswith("openvino") and "TensorFlow" not in said
    np.testing.assert_allclose(vectors, ours.embed_photo(photos), atol=1e-4)
