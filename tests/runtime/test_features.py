"""The feature cache: computed once, keyed by content, shared, repaired."""

from __future__ import annotations

import dataclasses
import os
import shutil
from importlib.util import find_spec

import keras
import numpy as np
import pytest

from tf_ssgn.common.folders import cache_folder
from tf_ssgn.common.status import Status
from tf_ssgn.data.datasets.items import open_dataset
from tf_ssgn.data.images.reading import refuse_lost
from tf_ssgn.errors import UserError
from tf_ssgn.models.backbones import build_backbone, tap_sizes
from tf_ssgn.runtime import features
from tf_ssgn.runtime import taps as computed
from tf_ssgn.runtime.features import FeatureCache
from tf_ssgn.training.images import read_taps


@pytest.fixture(scope="module")
def backbone():
    keras.utils.set_random_seed(0)
    return build_backbone("tiny", 32)


@pytest.fixture(scope="module")
def items(drawn):
    dataset = open_dataset(drawn)
    return [*dataset.sketches[:5], *dataset.photos[:5]]


class Counting(FeatureCache):
    """With a count of the images that go through the backbone."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.images, forward = 0, self._forward

        def counted(images):
            self.images += len(images)
            return forward(images)

        self._forward = counted


def test_computed_once_and_equal_to_the_backbone(backbone, items, tmp_path):
    cache = Counting(tmp_path, backbone, "tiny")
    taps, status = cache.taps(items, views=1)
    assert taps.shape == (10, 2, 272)
    assert taps.dtype == np.float32
    assert not status.any()
    assert cache.images == 20
    other = Counting(tmp_path, backbone, "tiny")
    again, _ = other.taps(items[::-1], views=1)
    np.testing.assert_array_equal(again, taps[::-1])
    assert other.images == 0
    cache.taps(items, views=2)
    assert cache.images == 50, "only images without their third view are computed, with all their views"
    plain, _ = FeatureCache(None, backbone, "tiny").taps(items, views=0)
    np.testing.assert_allclose(plain[:, 0], taps[:, 0], atol=1e-5)


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino")
def test_openvino_computes_the_same_taps(backbone, items, tmp_path, capsys, monkeypatch):
    fast = FeatureCache(tmp_path / "fast", backbone, "tiny")
    taps, _ = fast.taps(items, 1)
    assert isinstance(fast._forward, computed.Taps)

    def refuse(*_):
        raise UserError("no such luck")

    monkeypatch.setattr(computed, "Taps", refuse)
    slow, _ = FeatureCache(tmp_path / "slow", backbone, "tiny").taps(items, 1)
    np.testing.assert_allclose(taps, slow, atol=1e-4 * np.abs(slow).max())
    assert "features through TensorFlow, which takes about twice as long: no such luck" in capsys.readouterr().err


def test_a_renamed_file_keeps_its_features(backbone, items, tmp_path):
    cache = Counting(tmp_path / "c", backbone, "tiny")
    cache.taps(items[:1], 0)
    shutil.copy(items[0].path, tmp_path / "other.png")
    moved = dataclasses.replace(items[0], path=str(tmp_path / "other.png"))
    cache.taps([moved], 0)
    assert cache.images == 1


def test_other_weights_have_another_folder(backbone, tmp_path):
    keras.utils.set_random_seed(1)
    other = build_backbone("tiny", 32)
    assert FeatureCache(tmp_path, backbone, "tiny").folder != FeatureCache(tmp_path, other, "tiny").folder


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "foreign"])
def test_a_damaged_pack_is_made_again(harm, backbone, items, tmp_path, capsys):
    cache = FeatureCache(tmp_path, backbone, "tiny")
    taps, _ = cache.taps(items, 0)
    for pack in cache.folder.glob("*.npz"):
        content = bytearray(pack.read_bytes())
        if harm == "cut":
            content = content[: len(content) // 2]
        elif harm == "flip":
            content[len(content) // 2] ^= 0xFF
        elif harm == "empty":
            content = bytearray()
        else:
            content = bytearray(b"not a pack")
        pack.write_bytes(content)
    again, _ = FeatureCache(tmp_path, backbone, "tiny").taps(items, 0)
    np.testing.assert_array_equal(again, taps)
    assert "is damaged" in capsys.readouterr().err
    for pack in cache.folder.glob("*.npz"):
        np.load(pack)["tap_2"]


def test_fewer_taps_are_read_from_packs_with_more_of_them(backbone, items, tmp_path, capsys):
    all_taps, _ = FeatureCache(tmp_path, backbone, "tiny").taps(items, 1)
    sizes = tap_sizes(backbone)
    network = next(layer for layer in backbone.layers if layer.name == "tiny")
    assert list(sizes) == ["tap_2", "tap_3", "tap_4"] and sum(sizes.values()) == all_taps.shape[-1]
    for taps, columns in ((("tap_4",), slice(144, 272)), (("tap_4", "tap_3"), np.r_[144:272, 48:144])):
        other = build_backbone("tiny", 32, taps=taps)
        other.get_layer("tiny").set_weights(network.get_weights())
        cache = Counting(tmp_path, other, "tiny")
        found, _ = cache.taps(items, 1)
        assert cache.images == 0
        np.testing.assert_array_equal(found, all_taps[..., columns])
    packs = set(tmp_path.rglob("*.npz"))
    more = build_backbone("tiny", 32, taps=("tap_1", "tap_4"))
    more.get_layer("tiny").set_weights(network.get_weights())
    FeatureCache(tmp_path, more, "tiny").taps(items, 1)
    assert packs < set(tmp_path.rglob("*.npz"))
    assert "damaged" not in capsys.readouterr().err


@pytest.mark.parametrize("pooling", ["average", "energy"])
def test_taps_of_another_precision_are_others(pooling, items, tmp_path):
    """The same weights, and yet other numbers: a run would depend on which came first."""
    folders = []
    for policy in ("float32", "mixed_bfloat16"):
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(policy)
        try:
            built = build_backbone("tiny", 32, pooling=pooling)
        finally:
            keras.config.set_dtype_policy("float32")
        cache = FeatureCache(tmp_path, built, "tiny")
        folders.append(cache.folder)
        # A backbone that may change is not converted: its taps are TensorFlow's.
        plain = FeatureCache(None, built, "tiny").taps(items, 0)[0]
        np.testing.assert_allclose(cache.taps(items, 0)[0], plain, atol=1e-4)
    assert folders[0] != folders[1]


def test_taps_weighed_by_another_last_one_are_others(items, tmp_path):
    built = [
        build_backbone("tiny", 32, taps=taps, pooling="energy") for taps in (("tap_3", "tap_4"), ("tap_4", "tap_3"))
    ]
    network = [next(layer for layer in one.layers if layer.name == "tiny") for one in built]
    network[1].set_weights(network[0].get_weights())
    for backbone in built:
        found, _ = FeatureCache(tmp_path, backbone, "tiny").taps(items, 0)
        np.testing.assert_allclose(found, FeatureCache(None, backbone, "tiny").taps(items, 0)[0], atol=1e-5)


def test_a_file_that_changes_before_its_turn_is_not_kept_under_its_old_content(backbone, items, tmp_path, monkeypatch):
    copy = tmp_path / "copy.png"
    shutil.copy(items[0].path, copy)
    changing = dataclasses.replace(items[0], path=str(copy))
    hashed = features._content_hash

    def hash_then_change(path):
        digest = hashed(path)
        shutil.copy(items[1].path, copy)
        return digest

    monkeypatch.setattr(features, "_content_hash", hash_then_change)
    FeatureCache(tmp_path / "cache", backbone, "tiny").taps([changing], 0)
    monkeypatch.undo()
    found, _ = FeatureCache(tmp_path / "cache", backbone, "tiny").taps(items[:2], 0)
    np.testing.assert_allclose(found, FeatureCache(None, backbone, "tiny").taps(items[:2], 0)[0], atol=1e-5)


def test_a_file_that_vanishes_before_its_turn_is_one_line(backbone, items, tmp_path, monkeypatch):
    copy = tmp_path / "copy.png"
    shutil.copy(items[0].path, copy)
    hashed = features._content_hash

    def vanishing(path):
        digest = hashed(path)
        copy.unlink(missing_ok=True)
        return digest

    monkeypatch.setattr(features, "_content_hash", vanishing)
    with pytest.raises(UserError, match="copy.png cannot be used any more .it is gone"):
        FeatureCache(None, backbone, "tiny").taps([dataclasses.replace(items[0], path=str(copy))], 0)


def test_a_photo_that_vanishes_before_its_contours_are_drawn_is_not_used(backbone, items, tmp_path):
    copy = tmp_path / "copy.png"
    shutil.copy(items[-1].path, copy)
    cache = FeatureCache(None, backbone, "tiny")

    class Vanishing:
        def taps(self, *asked):
            found = cache.taps(*asked)
            copy.unlink(missing_ok=True)
            return found

    taps, status = read_taps(Vanishing(), [dataclasses.replace(items[-1], path=str(copy)), items[-1]], 0, True)
    assert taps.shape[-1] == 2 * 272 and (status == Status.OK).tolist() == [False, True]
    with pytest.raises(UserError, match="copy.png cannot be used any more"):
        refuse_lost([dataclasses.replace(items[-1], path=str(copy)), items[-1]], status)


def test_bad_and_vanished_files_are_rows_not_errors(backbone, items, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    bad = dataclasses.replace(items[0], path=str(tmp_path / "bad.png"))
    gone = dataclasses.replace(items[0], path=str(tmp_path / "gone.png"))
    taps, status = FeatureCache(tmp_path / "c", backbone, "tiny").taps([bad, gone, items[1]], 0)
    assert status[0] != Status.OK
    assert status[1] != Status.OK
    assert status[2] == Status.OK
    assert not taps[:2].any()
    assert taps[2].any()


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("TF_SSGN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("TF_SSGN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "tf_ssgn"


@pytest.mark.parametrize("home", ["/dev/null", "/proc/self", None], ids=["a file", "unwritable", "unset and unknown"])
def test_without_a_home_that_can_be_written_the_cache_is_a_temporary_folder(home, monkeypatch):
    for name in ("TF_SSGN_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if home:
        monkeypatch.setenv("HOME", home)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 54321)  # that the system does not know, as in `docker run --user`
    folder = cache_folder()
    (folder / "kept").write_text("x")
    assert cache_folder() == folder and folder.name.startswith("tf_ssgn-")
    (folder / "kept").unlink()
