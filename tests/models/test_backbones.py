"""Shapes, taps, freezing and weights of every backbone; no claim of quality where no weights are at hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.models.forward import forward
from tf_ssgn.errors import UserError
from tf_ssgn.models.backbones import BACKBONES, Energy, Pool, build_backbone, halves, pooling_of, tap_sizes

SIZES = {
    "vgg16": (512, 512, 512),
    "mobilenet_v1": (512, 1024, 1024),
    "mobilenet_v2": (160, 320, 1280),
    "efficientnet_v2_b0": (112, 192, 1280),
    "convnext_tiny": (384, 384, 768),
    "efficientnet_lite0": (192, 320, 1280),
    "efficientnet_lite2": (208, 352, 1280),
    "tiny": (48, 96, 128),
}


# On another backend than TensorFlow: ours, and one of keras.applications, whose other networks Keras tests there.
ON_ALL = ("tiny", "efficientnet_lite0", "mobilenet_v2")


@pytest.mark.parametrize("name", BACKBONES if keras.backend.backend() == "tensorflow" else ON_ALL)
def test_taps_have_the_shapes_of_the_network(name):
    backbone = build_backbone(name, 64)
    assert tap_sizes(backbone) == dict(zip(BACKBONES[name].taps, SIZES[name], strict=True))
    taps = forward(backbone, np.full((2, 64, 64, 3), 127.0, np.float32))
    assert taps.shape == (2, sum(SIZES[name]))
    assert taps.dtype == np.float32
    assert np.isfinite(taps).all()
    assert not backbone.trainable_weights


def test_taps_are_averages_of_the_named_layers():
    backbone = build_backbone("tiny", 32, taps=("tap_1", "tap_4"))
    image = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    network = next(layer for layer in backbone.layers if layer.name == "tiny")
    by_hand = network((image / 127.5 - 1).astype("float32"))
    expected = np.concatenate([keras.ops.convert_to_numpy(tap).mean(axis=(1, 2)) for tap in by_hand], axis=1)
    np.testing.assert_allclose(forward(backbone, image), expected, atol=1e-5)


@pytest.mark.parametrize("taps", [("tap_1", "tap_4"), ("tap_4",)])
def test_energy_weighs_the_positions_of_every_tap_by_those_of_the_last(taps):
    backbone = build_backbone("tiny", 32, taps=taps, pooling="energy")
    assert pooling_of(backbone) == "energy" and pooling_of(build_backbone("tiny", 32)) == "average"
    image = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    image[0] = 255
    image[0, 4:9, 20:29] = 0
    network = next(layer for layer in backbone.layers if layer.name == "tiny")
    maps = network((image / 127.5 - 1).astype("float32"))
    maps = [keras.ops.convert_to_numpy(tap) for tap in (maps if len(taps) > 1 else [maps])]
    found = forward(backbone, image)
    for row in range(3):
        weights = (maps[-1][row] ** 2).sum(-1)
        weights = weights / weights.sum()
        last = sum(weights[y, x] * maps[-1][row, y, x] for y in range(2) for x in range(2))
        np.testing.assert_allclose(found[row, -128:], last, atol=1e-3)
    assert np.isfinite(found).all()
    # A finer tap takes the same weights, spread out: all of one position is the average around it.
    if len(taps) > 1:
        share = np.zeros((1, 2, 2, 1), np.float32)
        share[0, 0, 1] = 1
        features = np.ones((1, 16, 16, 5), np.float32) * np.arange(16, dtype=np.float32)[None, None, :, None]
        pooled = keras.ops.convert_to_numpy(Pool()([features, share]))
        assert (pooled > 10).all() and (pooled < 12).all()


def test_an_image_without_any_energy_is_pooled_evenly():
    nothing = keras.ops.convert_to_numpy(Energy()(np.zeros((1, 2, 3, 4), np.float32)))
    np.testing.assert_allclose(nothing, np.full((1, 2, 3, 1), 1 / 6), rtol=1e-6)


def test_a_tap_named_twice_is_refused():
    with pytest.raises(UserError, match="--model.taps: received tap_4,tap_4, expected each layer once"):
        build_backbone("tiny", 32, taps=("tap_4", "tap_4"))


def test_vgg_takes_blue_first_without_the_mean():
    layer = next(layer for layer in build_backbone("vgg16", 32).layers if layer.name == "preprocess")
    pixel = np.array([[[[10.0, 20.0, 30.0]]]], np.float32)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(layer(pixel))[0, 0, 0], [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=1e-6
    )


def test_finetuning_starts_at_the_named_layer():
    backbone = build_backbone("tiny", 32, finetune_from="conv_4")
    assert {weight.path.split("/")[-2] for weight in backbone.trainable_weights} == {"conv_4", "bn_4"}
    assert len(build_backbone("tiny", 32, finetune_from="all").trainable_weights) == 12


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("tiny", "conv_3"),
        ("efficientnet_lite0", "blocks_15_expand_conv"),
        ("efficientnet_lite0", "blocks_14_expand_conv"),  # a residual block's own input
    ],
)
def test_the_halves_of_a_backbone_are_together_the_whole(name, start):
    whole = build_backbone(name, 32, finetune_from=start, pooling="energy")
    below, above = halves(whole)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(forward(above, forward(below, images)), forward(whole, images), rtol=1e-5, atol=1e-5)
    assert not below.trainable_weights
    assert [id(weight) for weight in above.trainable_weights] == [id(weight) for weight in whole.trainable_weights]


@pytest.mark.parametrize(
    ("name", "start"), [("tiny", "all"), ("tiny", ""), ("efficientnet_lite0", "blocks_14_project_conv")]
)
def test_a_backbone_that_cannot_be_cut_stays_whole(name, start):
    assert halves(build_backbone(name, 32, finetune_from=start)) is None


def test_loaded_batch_normalisation_keeps_its_statistics(tmp_path):
    network = next(layer for layer in build_backbone("tiny", 32).layers if layer.name == "tiny")
    full = keras.Model(network.input, network.outputs[-1])
    full.save_weights(tmp_path / "tiny.weights.h5")
    backbone = build_backbone("tiny", 32, str(tmp_path / "tiny.weights.h5"), finetune_from="all")
    assert not any("bn_" in weight.path for weight in backbone.trainable_weights)
    assert backbone.trainable_weights


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet",), "unknown backbone 'resnet'"),
        (("tiny", 32, "none", ("tap_9",)), "no layer 'tap_9'"),
        (("tiny", 32, "none", (), "conv_9"), "no layer 'conv_9'"),
        (("tiny", 32, "imagenet"), "no ImageNet weights of tiny; use --model.weights none or a file"),
        (("tiny", 32, "/nowhere.weights.h5"), "expected package, imagenet, none or an existing file"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        build_backbone(*(arguments + (32,) * (len(arguments) == 1)))


def test_weights_of_another_network_are_refused(tmp_path):
    network = next(layer for layer in build_backbone("tiny", 32).layers if layer.name == "tiny")
    network.save_weights(tmp_path / "tiny.weights.h5")
    with pytest.raises(UserError, match="does not hold weights of mobilenet_v2"):
        build_backbone("mobilenet_v2", 64, str(tmp_path / "tiny.weights.h5"))
    (tmp_path / "text.weights.h5").write_text("no weights")
    with pytest.raises(UserError, match="does not hold weights of tiny"):
        build_backbone("tiny", 32, str(tmp_path / "text.weights.h5"))


@pytest.mark.shared
@pytest.mark.parametrize("version", [1, 2])
def test_real_weights_load_and_tell_images_apart(shared, version):
    weights = shared / f"weights/mobilenet_v{version}_1.0_224_notop.weights.h5"
    backbone = build_backbone(f"mobilenet_v{version}", 224, str(weights))
    from PIL import Image

    def pixels(label):
        files = sorted((shared / "data/sketchy_mini/photo" / label).iterdir())[:4]
        return np.stack([np.asarray(Image.open(file).convert("RGB").resize((224, 224)), np.float32) for file in files])

    taps = forward(backbone, np.concatenate([pixels("giraffe"), pixels("pizza")]))
    taps = (taps - taps.mean(axis=0)) / (taps.std(axis=0) + 1e-6)
    cosines = taps @ taps.T / np.outer(np.linalg.norm(taps, axis=1), np.linalg.norm(taps, axis=1))
    assert cosines[:4, :4].mean() > cosines[:4, 4:].mean() + 0.3
