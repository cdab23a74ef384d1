"""Backbones of keras-hub: taps against the library's own networks, and what is refused."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.models.forward import forward
from tests.models.hub import OFFSET, SCALE, SIZE, save_preset
from tf_ssgn.errors import UserError
from tf_ssgn.models.backbones import architecture_of, build_backbone, energy_tap, tap_sizes, weights_hash
from tf_ssgn.models.hub_backbones import write_architecture
from tf_ssgn.runtime.features import FeatureCache

keras_hub = pytest.importorskip("keras_hub")

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)


said_once = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="is about files, names and imports, the same on every backend"
)


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """The folder of a family's preset, made when it is first asked for."""
    made: dict[str, str] = {}

    def of(family):
        if family not in made:
            made[family] = save_preset(family, tmp_path_factory.mktemp("presets") / family)
        return made[family]

    return of


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def reference(name, tensors):
    """What keras-hub itself computes: its converter, then its network."""
    folder = name.removeprefix("hub:")
    try:
        network = keras_hub.models.Backbone.from_preset(folder, image_shape=(SIZE, SIZE, 3))
    except (TypeError, ValueError):
        network = keras_hub.models.Backbone.from_preset(folder).vision_encoder
    pixels = IMAGES * np.float32(SCALE) + np.float32(OFFSET)
    np.testing.assert_array_equal(numpy(keras_hub.layers.ImageConverter.from_preset(folder)(IMAGES)), pixels)
    return [forward(keras.Model(network.inputs[0], tensor), pixels) for tensor in tensors(network)]


def mean(values):
    return values.mean(axis=tuple(range(1, values.ndim - 1)))


@pytest.mark.parametrize(("family", "levels"), [
    ("resnet", ["P2", "P3", "P4"]), ("dinov2", ["stem", "stage1", "stage2"]), ("dinov3", ["stem", "stage1", "stage2"]),
])  # fmt: skip
def test_taps_are_the_last_levels_of_the_pyramid(presets, family, levels):
    backbone = build_backbone(presets(family), SIZE, "")
    front = {"resnet": 0, "dinov2": 3, "dinov3": 5}[family]
    outputs = reference(presets(family), lambda network: [network.pyramid_outputs[level] for level in levels])
    expected = [mean(output[:, front:] if front else output) for output in outputs]
    assert list(tap_sizes(backbone)) == levels
    np.testing.assert_allclose(forward(backbone, IMAGES), np.concatenate(expected, axis=1), atol=1e-5)
    assert not backbone.trainable_weights


@pytest.mark.parametrize(("family", "taps"), [
    ("vit", ["vit_encoder_transformer_block_1", "vit_encoder_transformer_block_2"]),
    ("swin", ["stage_0_blocks_1", "stage_1_blocks_0", "stage_1_blocks_1"]),
    ("siglip", ["encoder_block_0", "encoder_block_1"]),
])  # fmt: skip
def test_without_a_pyramid_taps_are_the_last_blocks(presets, family, taps):
    backbone = build_backbone(presets(family), SIZE, "")
    assert [name[-len(tap) :] for name, tap in zip(tap_sizes(backbone), taps, strict=True)] == taps
    assert np.isfinite(forward(backbone, IMAGES)).all()


@pytest.mark.parametrize(("family", "front"), [("vit", 1), ("swin", 0)])
def test_the_output_is_that_of_the_library(presets, family, front):
    expected = reference(presets(family), lambda network: network.outputs)[0]
    taps = ("output", "output.class") if front else ("output",)
    found = forward(build_backbone(presets(family), SIZE, "", taps), IMAGES)
    np.testing.assert_allclose(found[:, : expected.shape[-1]], mean(expected[:, front:]), atol=1e-5)
    if front:
        np.testing.assert_allclose(found[:, expected.shape[-1] :], expected[:, 0], atol=1e-5)


def test_an_image_tower_gives_its_pooled_vector_too(presets):
    folder = presets("siglip").removeprefix("hub:")
    tower = keras_hub.models.Backbone.from_preset(folder).vision_encoder
    expected = forward(tower, IMAGES * np.float32(SCALE) + np.float32(OFFSET))
    found = forward(build_backbone(presets("siglip"), SIZE, "", ("output",), pooling="energy"), IMAGES)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_class_and_register_tokens_stand_apart(presets):
    taps = ("stage2", "stage2.class", "stage2.registers")
    backbone = build_backbone(presets("dinov2"), SIZE, "", taps, pooling="energy")
    tokens = reference(presets("dinov2"), lambda network: [network.pyramid_outputs["stage2"], network.outputs[0]])[0]
    energy = (tokens[:, 3:] ** 2).sum(-1, keepdims=True)
    grid = (tokens[:, 3:] * energy / energy.sum(axis=1, keepdims=True)).sum(axis=1)
    expected = np.concatenate([grid, tokens[:, 0], tokens[:, 1:3].mean(axis=1)], axis=1)
    np.testing.assert_allclose(forward(backbone, IMAGES), expected, atol=1e-4)
    assert energy_tap(backbone) == "stage2"


@said_once
@pytest.mark.parametrize(("family", "start", "trained"), [
    ("dinov2", "stage2", {"layers_1"}), ("vit", "vit_encoder_transformer_block_2", {"transformer_block_2"}),
])  # fmt: skip
def test_finetuning_starts_at_a_block(presets, family, start, trained):
    backbone = build_backbone(presets(family), SIZE, "", finetune_from=start)
    assert len(backbone.trainable_weights) == {"dinov2": 18, "vit": 16}[family]
    assert all(any(block in weight.path for block in trained) for weight in backbone.trainable_weights)


@said_once
def test_everything_but_dinov2s_positions_can_be_trained(presets):
    backbone = build_backbone(presets("dinov2"), SIZE, "", finetune_from="all")
    still = {weight.path.rpartition("/")[2] for weight in backbone.non_trainable_weights}
    assert still == {"position_embeddings", "interpolated_position_embeddings"}
    trained = build_backbone(presets("resnet"), SIZE, "", finetune_from="all")
    assert trained.trainable_weights and not any("_bn" in weight.path for weight in trained.trainable_weights)


def test_it_is_the_same_from_a_run_from_a_keras_file_and_with_saved_weights(presets, tmp_path):
    backbone = build_backbone(presets("dinov2"), SIZE, "")
    write_architecture(backbone, tmp_path / "backbone")
    again = build_backbone(f"hub:{tmp_path / 'backbone'}", SIZE, "none")
    assert architecture_of(again) == architecture_of(backbone) and weights_hash(again) != weights_hash(backbone)
    backbone.save_weights(tmp_path / "w.weights.h5")
    again.load_weights(tmp_path / "w.weights.h5")
    assert weights_hash(again) == weights_hash(backbone)
    backbone.save(tmp_path / "backbone.keras")
    for other in (again, keras.saving.load_model(tmp_path / "backbone.keras")):
        np.testing.assert_array_equal(forward(other, IMAGES), forward(backbone, IMAGES))


def test_mixed_precision_computes_in_bfloat16_and_answers_in_float32(presets):
    exact = forward(build_backbone(presets("vit"), SIZE, ""), IMAGES)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        backbone = build_backbone(presets("vit"), SIZE, "")
    finally:
        keras.config.set_dtype_policy("float32")
    mixed = forward(backbone, IMAGES)
    assert mixed.dtype == np.float32 and 0 < np.abs(mixed - exact).max() < 0.1 * np.abs(exact).max()
    assert {weight.dtype for weight in backbone.weights} == {"float32"}


def test_features_are_what_the_backbone_computes(presets):
    """On JAX too, whose `predict` refuses DINOv2: two of its variables are one buffer, and it gives each away."""
    backbone = build_backbone(presets("dinov2"), SIZE, "")
    features = FeatureCache(None, backbone, "x")
    for _ in range(2):
        np.testing.assert_allclose(
            np.asarray(features._forward(IMAGES)), numpy(backbone(IMAGES, training=False)), atol=1e-5
        )


@said_once
def test_the_cache_goes_by_content_and_not_by_place(presets, tmp_path):
    def folder(name, pooling="average"):
        return FeatureCache(tmp_path / "cache", build_backbone(name, SIZE, "", pooling=pooling), name).folder.name

    place = tmp_path / "elsewhere" / "dinov2"
    shutil.copytree(presets("dinov2").removeprefix("hub:"), place)
    first = folder(presets("dinov2"))
    assert folder(f"hub:{place}") == first and folder(f"hub:{place}", "energy") != first
    config = place / "image_converter.json"
    config.write_text(config.read_text().replace("-2.1", "-2.2"))
    assert folder(f"hub:{place}") != first


@said_once
@pytest.mark.parametrize(
    ("name", "size", "options", "message"),
    [
        ("hub:dinov2_smal", 32, {}, "unknown preset hub:dinov2_smal; .* did you mean dinov2_small"),
        ("hub:gs://bucket/x", 32, {}, "received gs://, expected hf:// or kaggle://"),
        ("hub:/", 32, {}, "hub:/ is no preset .*expected a folder that save_to_preset wrote"),
        ("bert", 32, {}, "is a BertBackbone, which takes no images; expected an image backbone such as hub:dinov2"),
        ("dinov2", 36, {}, "--data.image_size: received 36, expected a multiple of 8, the side of a patch"),
        ("vit", 36, {}, "with --data.image_size 36: its network cannot be built"),
        ("vit", 40, {}, "image_size 40: .* or its weights do not fit; it was made for 32 px"),
        ("siglip", 40, {}, "--data.image_size: received 40, expected 32, the only size that"),
        ("vit", 32, {"weights": "imagenet"}, "--model.weights: received 'imagenet', expected nothing"),
        ("vit", 32, {"taps": ("stage9",)}, "has no layer 'stage9'; it has .*vit_encoder_transformer_block_2"),
        ("swin", 32, {"taps": ("output.class",)}, "has no class token"),
        ("vit", 32, {"taps": ("output.registers",)}, "has no registers token"),
        ("vit", 32, {"finetune_from": "block_9"}, "has no layer 'block_9' for its taps"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(presets, name, size, options, message):
    name = name if name.startswith("hub:") else presets(name)
    with pytest.raises(UserError, match=message) as caught:
        build_backbone(name, size, **{"weights": ""} | options)
    assert "\n" not in str(caught.value)


@said_once
def test_weights_of_another_shape_and_a_missing_converter_are_one_line(presets, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(presets("dinov2").removeprefix("hub:"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["config"]["hidden_dim"] = 16
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="cannot be built or its weights do not fit"):
        build_backbone(f"hub:{folder}", SIZE, "")
    (folder / "image_converter.json").unlink()
    with pytest.raises(UserError, match="brings no image converter .*save_to_preset"):
        build_backbone(f"hub:{folder}", SIZE, "none")


ALONE = """
import sys
import tf_ssgn.models.backbones as backbones
assert 'keras_hub' not in sys.modules and 'kagglehub' not in sys.modules
def say(name):
    try:
        taps = backbones.build_backbone(name, 32, '')
        import keras, numpy as np
        out = keras.ops.convert_to_numpy(taps(np.zeros((1, 32, 32, 3), np.float32), training=False))
        print(taps.output_shape[-1], float(abs(out).sum()))
    except backbones.UserError as error:
        print(error)
if sys.argv[1]:
    sys.modules['keras_hub'] = None
    import importlib.util
    found = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if name == 'keras_hub' else found(name, *rest)
    say(sys.argv[1])
    importlib.util.find_spec = found
    del sys.modules['keras_hub']
if sys.argv[2]:
    import socket
    def refuse(self, address):
        raise AssertionError(f'{address} was called')
    kept = socket.socket.connect, socket.socket.connect_ex
    socket.socket.connect = socket.socket.connect_ex = refuse
    say(sys.argv[2])
    socket.socket.connect, socket.socket.connect_ex = kept
for name in sys.argv[3:]:
    say(name)
"""


def alone(*names, without="", silent="", **environment):
    """What a process of its own says of each backbone: of the first one without keras-hub, of the second one where a
    connection would end it, then of the others."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, without, silent, *names],
        capture_output=True, text=True, timeout=300, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-(len(names) + bool(without) + bool(silent)) :]


@said_once
def test_keras_hub_is_imported_for_its_backbones_alone_and_asked_for_what_is_not_here(presets, tmp_path):
    """Its absence is one line, a local preset calls nobody, and no network is one line."""
    names = ("hub:dinov2_small", "hub:hf://keras/no_such_preset")
    nowhere = "http://127.0.0.1:9"
    proxies = dict.fromkeys(
        ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), nowhere
    )
    caches = {"KAGGLEHUB_CACHE": str(tmp_path), "HF_HOME": str(tmp_path)}
    absent, local, *lines = alone(
        *names, without=names[0], silent=presets("dinov2"), **proxies, NO_PROXY="", no_proxy="", **caches
    )
    assert absent.endswith("needs keras-hub, which is not installed; pip install 'tf_ssgn[hub]'")
    width, total = local.split()
    assert int(width) == 36 and math.isfinite(float(total))
    for name, said in zip(names, lines, strict=True):
        assert said.startswith(f"{name} could not be downloaded (") and "name a local folder" in said


def test_jax_computes_the_same(presets):
    pytest.importorskip("jax")
    other = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
    (said,) = alone(presets("dinov2"), KERAS_BACKEND=other)
    ours = numpy(build_backbone(presets("dinov2"), SIZE, "")(np.zeros((1, SIZE, SIZE, 3), np.float32)))
    assert float(said.split()[1]) == pytest.approx(float(np.abs(ours).sum()), rel=1e-4)
