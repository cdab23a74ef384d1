"""Batches: any step on gives what an undisturbed feed gives there, for taps, decoded images and files."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from tests.trees import plain
from tf_ssgn import config
from tf_ssgn.data.datasets.items import open_dataset
from tf_ssgn.data.images.reading import decoded_images, lost_files
from tf_ssgn.errors import UserError
from tf_ssgn.training import feed
from tf_ssgn.training.images import Images
from tf_ssgn.training.sampler import pair_sampler

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="is TensorFlow's and NumPy's, the same on every backend"
)
TRAINING = dataclasses.replace(config.preset("demo").training, batch_classes=3, batch_per_class=2)


def make(drawn, image_size, classes=("cup", "giraffe", "apple", "bicycle")):
    dataset = open_dataset(drawn)
    rng = np.random.default_rng(0)
    sides = []
    for items in (dataset.sketches, dataset.photos):
        items = [item for item in items if item.label in classes]
        sides.append(Images(items, rng.standard_normal((len(items), 2, 5)).astype("float32")))
    sampler = pair_sampler(sides[0].items, sides[1].items, classes, "instance", TRAINING)
    return feed.Feed(sampler, *sides, image_size)


def numpy(batch):
    return {key: np.asarray(value) for key, value in batch[0].items()}


@pytest.mark.parametrize("image_size", [0, 32])
def test_any_step_is_a_place_to_begin(image_size, drawn, monkeypatch):
    """For taps, for decoded images, and for images read from files at every step."""
    made = make(drawn, image_size)
    assert made.sampler.steps == 4
    whole = [numpy(batch) for batch in made.batches(0, 0).take(9)]
    assert whole[0]["sketch"].shape == ((6, 5) if not image_size else (6, 32, 32, 3))
    assert not np.array_equal(whole[0]["sketch"], whole[4]["sketch"])
    later = [numpy(batch) for batch in made.batches(1, 2).take(3)]
    monkeypatch.setattr(feed, "KEEP_DECODED", 0)
    later += [numpy(batch) for batch in made.batches(1, 2).take(3)]
    for ours, theirs in zip(later, whole[6:] * 2, strict=True):
        for key in ("sketch", "photo", "label"):
            np.testing.assert_array_equal(ours[key], theirs[key])


def test_fewer_items_than_a_batch_are_drawn_again(tmp_path):
    dataset = open_dataset(plain(tmp_path, photos=1, drawings=1))
    sampler = pair_sampler(dataset.sketches, dataset.photos, ("ant", "bee"), "instance", TRAINING)
    sketches, photos = next(sampler.epoch(0))
    assert sorted(sketches) == sorted(photos) == [0, 0, 1, 1]
    assert sampler.steps == 1


def test_a_file_that_broke_is_named(drawn, tmp_path):
    made = make(drawn, 32)
    path = tmp_path / "cup.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    broken = dataclasses.replace(made.sketches.items[0], path=str(path))
    items = [broken] * len(made.sketches.items)
    harmed = feed.Feed(made.sampler, Images(items, made.sketches.taps), made.photos, 32)
    with pytest.raises(UserError, match=r"cup.png cannot be used any more \(the image is damaged"):
        harmed._kept  # noqa: B018
    with pytest.raises(UserError, match="cup.png cannot be used any more"), lost_files():
        next(iter(harmed.batches(0, 0)))
    with pytest.raises(UserError, match=r"gone.png cannot be used any more \(it is gone"):
        decoded_images([str(tmp_path / "gone.png")], "sketch", 32)
    with pytest.raises(UserError, match="cannot be used any more"):  # a folder took its name
        decoded_images([str(tmp_path)], "sketch", 32)
