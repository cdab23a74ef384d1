"""The drawn dataset: every class in both modalities, what pairs share, the folder and its refusals."""

from __future__ import annotations

import filecmp
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tf_ssgn.common.progress import Progress
from tf_ssgn.data.drawing import dataset as synthetic
from tf_ssgn.data.drawing.instance import SHAPES, placed
from tf_ssgn.data.drawing.semantics import ATTRIBUTES, PARTS, TRAITS, traits
from tf_ssgn.errors import UserError

SIZE = 64


def dice(label: str, *numbers: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(label.encode()), *numbers])


def normalised(mask: np.ndarray) -> np.ndarray:
    """The mask's bounding box, stretched to 48 x 48."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(Image.fromarray(crop).resize((48, 48), Image.Resampling.NEAREST))


def geometry_silhouette(instance: synthetic.Instance) -> np.ndarray:
    parts, _ = placed(instance.parts, 128, 0.7 * instance.tilt, 0.9, (0, 0))
    mask = Image.new("1", (128, 128))
    draw = ImageDraw.Draw(mask)
    for part in parts:
        points = [tuple(point) for point in part.outline.tolist()]
        if part.closed:
            draw.polygon(points, fill=1)
        else:
            draw.line(points, fill=1, width=2)
    return normalised(np.asarray(mask))


def sketch_silhouette(sketch: Image.Image) -> np.ndarray:
    """What cannot be reached from the margin without crossing a line; thickened lines close small gaps."""
    ink = sketch.filter(ImageFilter.MinFilter(3)).point(lambda grey: 0 if grey < 160 else 255)
    padded = Image.new("L", (sketch.width + 2, sketch.height + 2), 255)
    padded.paste(ink, (1, 1))
    ImageDraw.floodfill(padded, (0, 0), 128)
    return normalised(np.asarray(padded) != 128)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_the_split_is_complete_and_disjoint():
    assert len(synthetic.CLASSES) >= 28 and set(synthetic.CLASSES) == set(SHAPES) == set(TRAITS)
    assert not set(synthetic.SEEN) & set(synthetic.UNSEEN)
    assert set(synthetic.SEEN) | set(synthetic.UNSEEN) == set(synthetic.CLASSES)
    assert 20 <= len(synthetic.SEEN) <= 24 and 6 <= len(synthetic.UNSEEN) <= 8


@pytest.mark.parametrize("label", synthetic.CLASSES)
def test_every_class_draws_in_both_modalities(label):
    photos, sketches = [], []
    for number in range(3):
        photo = synthetic.draw_photo(label, dice(label, number), SIZE)
        sketch = synthetic.draw_sketch(label, dice(label, number, 1), SIZE)
        assert photo.mode == "RGB" and sketch.mode == "L" and photo.size == sketch.size == (SIZE, SIZE)
        photos.append(np.asarray(photo, float))
        sketches.append(np.asarray(sketch, float))
    assert min(pixels.std() for pixels in photos) > 10
    for pixels in sketches:
        assert (pixels > 250).mean() > 0.5, "a sketch is mostly paper"
        assert 0.02 < (pixels < 160).mean() < 0.4, "and some ink"
        assert len(np.unique(pixels)) > 4, "with smooth edges"
    for images in (photos, sketches):
        assert np.abs(images[0] - images[1]).mean() > 2 and np.abs(images[1] - images[2]).mean() > 2


@pytest.mark.parametrize("label", ["giraffe", "bicycle", "key"])
def test_the_same_dice_give_the_same_picture(label):
    for draw in (synthetic.draw_photo, synthetic.draw_sketch):
        once, again, other = (draw(label, dice(label, seed), SIZE).tobytes() for seed in (1, 1, 2))
        assert once == again != other


def test_a_sketch_shows_the_geometry_of_its_photo():
    own, others = [], []
    for label in synthetic.CLASSES:
        instances = [synthetic.new_instance(label, dice(label, number)) for number in range(3)]
        silhouettes = [geometry_silhouette(instance) for instance in instances]
        for number, instance in enumerate(instances):
            drawn = sketch_silhouette(synthetic.draw_sketch(label, dice(label, number, 1), SIZE, instance))
            scores = [overlap(drawn, silhouette) for silhouette in silhouettes]
            own.append(scores.pop(number))
            others.append(float(np.mean(scores)))
    assert np.mean(own) > np.mean(others) + 0.05, (np.mean(own), np.mean(others))
    assert np.mean(np.array(own) > np.array(others)) > 0.8


def test_two_photos_of_one_instance_differ():
    instance = synthetic.new_instance("apple", dice("apple", 5))
    one, two = (np.asarray(synthetic.draw_photo("apple", dice("apple", n), SIZE, instance), float) for n in (1, 2))
    assert np.abs(one - two).mean() > 5


@pytest.mark.parametrize("label", synthetic.CLASSES)
def test_attributes_name_the_parts_that_are_drawn(label):
    drawn: set[str] = set()
    for number in range(12):
        drawn |= {part.name for part in synthetic.new_instance(label, dice(label, number)).parts}
    assert drawn & set(PARTS) == set(traits(label)) & set(PARTS)


def test_every_attribute_of_an_unseen_class_is_seen():
    known = {attribute for label in synthetic.SEEN for attribute in traits(label)}
    for label in synthetic.UNSEEN:
        assert set(traits(label)) <= known
    assert all(set(traits(label)) <= set(ATTRIBUTES) for label in synthetic.CLASSES)


def test_class_vectors_keep_the_likeness_of_the_attributes():
    vectors = synthetic.attributes(synthetic.CLASSES)
    assert vectors.dtype == np.float32 and vectors.shape == (len(synthetic.CLASSES), len(ATTRIBUTES))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    table = np.array([[traits(label).get(name, 0) for name in ATTRIBUTES] for label in synthetic.CLASSES])
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    np.testing.assert_allclose(cosines, table @ table.T, atol=1e-5)
    assert (cosines - np.eye(len(cosines))).max() < 0.97, "no two classes are the same"
    nearest = dict(zip(synthetic.CLASSES, np.argsort(-cosines, axis=1)[:, 1], strict=True))
    assert synthetic.CLASSES[nearest["pear"]] == "apple" and synthetic.CLASSES[nearest["teapot"]] == "watering_can"


def test_unknown_classes_are_refused():
    for call in (lambda: synthetic.attributes(["unicorn"]), lambda: synthetic.draw_photo("unicorn", dice("x"), SIZE)):
        with pytest.raises(UserError, match="unicorn"):
            call()


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "set"
    synthetic.write_dataset(folder, photos_per_class=2, sketches_per_class=3, size=32, seed=7)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_layout(written):
    assert sorted(os.listdir(written)) == ["README.txt", "photo", "semantics.npz", "sketch", "split.json"]
    assert sorted(os.listdir(written / "photo")) == sorted(os.listdir(written / "sketch")) == list(synthetic.CLASSES)
    assert sorted(os.listdir(written / "photo" / "cup")) == ["cup_0001.jpg", "cup_0002.jpg"]
    assert sorted(os.listdir(written / "sketch" / "cup")) == ["cup_0001-1.png", "cup_0001-2.png", "cup_0002-1.png"]
    with Image.open(written / "photo" / "cup" / "cup_0001.jpg") as photo:
        assert photo.format == "JPEG" and photo.size == (32, 32)
    with Image.open(written / "sketch" / "cup" / "cup_0001-1.png") as sketch:
        assert sketch.format == "PNG" and sketch.size == (32, 32)
    split = json.loads((written / "split.json").read_text())
    assert split == {"seen": list(synthetic.SEEN), "unseen": list(synthetic.UNSEEN)}
    with np.load(written / "semantics.npz", allow_pickle=False) as semantics:
        assert semantics["names"].tolist() == list(synthetic.CLASSES)
        np.testing.assert_array_equal(semantics["vectors"], synthetic.attributes(synthetic.CLASSES))


def test_the_same_seed_gives_the_same_bytes(written, tmp_path):
    synthetic.write_dataset(tmp_path / "again", photos_per_class=2, sketches_per_class=3, size=32, seed=7)
    names = files(written)
    assert files(tmp_path / "again") == names
    assert filecmp.cmpfiles(written, tmp_path / "again", names, shallow=False) == (names, [], [])


def test_more_pictures_keep_the_first(written, tmp_path):
    with Progress(6, "pictures") as bar:
        synthetic._write_class(tmp_path, "cup", photos=3, sketches=3, size=32, seed=7, bar=bar)
    for name in ("photo/cup/cup_0001.jpg", "photo/cup/cup_0002.jpg", "sketch/cup/cup_0002-1.png"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()
    assert (tmp_path / "photo/cup/cup_0003.jpg").is_file()


def test_a_complete_dataset_is_left_alone(written, capsys):
    before = {name: (written / name).stat().st_mtime_ns for name in files(written)}
    synthetic.write_dataset(written, photos_per_class=2, sketches_per_class=3, size=32, seed=7)
    assert "nothing to do" in capsys.readouterr().err
    assert before == {name: (written / name).stat().st_mtime_ns for name in files(written)}


def test_other_folders_are_refused_and_kept(written, tmp_path):
    with pytest.raises(UserError, match="not this dataset"):
        synthetic.write_dataset(written, photos_per_class=2, sketches_per_class=3, size=32, seed=8)
    holiday = tmp_path / "holiday"
    holiday.mkdir()
    (holiday / "beach.jpg").write_bytes(b"sand")
    with pytest.raises(UserError, match="not this dataset"):
        synthetic.write_dataset(holiday, photos_per_class=1, sketches_per_class=1, size=32)
    assert files(holiday) == ["beach.jpg"]
    with pytest.raises(UserError, match="is a file"):
        synthetic.write_dataset(holiday / "beach.jpg", photos_per_class=1, sketches_per_class=1, size=32)
    with pytest.raises(UserError, match="cannot write"):
        synthetic.write_dataset(holiday / "beach.jpg" / "below", photos_per_class=1, sketches_per_class=1, size=32)
    assert files(tmp_path) == ["holiday/beach.jpg"]


def test_a_dataset_that_lost_a_file_is_named_incomplete(tmp_path):
    synthetic.write_dataset(tmp_path / "set", photos_per_class=1, sketches_per_class=1, size=32)
    (tmp_path / "set" / "photo" / "cow" / "cow_0001.jpg").unlink()
    with pytest.raises(UserError, match="lacks 1 of this dataset.*cow_0001.jpg"):
        synthetic.write_dataset(tmp_path / "set", photos_per_class=1, sketches_per_class=1, size=32)


@pytest.mark.parametrize(
    "wrong",
    [{"photos_per_class": 0}, {"sketches_per_class": -1}, {"size": 8}, {"size": 10**6}, {"seed": -1}, {"size": 64.0}],
)
def test_numbers_out_of_range_are_refused(wrong, tmp_path):
    with pytest.raises(UserError, match=next(iter(wrong))):
        synthetic.write_dataset(tmp_path / "set", **wrong)
    assert not list(tmp_path.iterdir())


def _begun(folder: Path) -> set[str]:
    """The temporary folders that hold at least one picture."""
    return {path.parts[-4] for path in folder.parent.glob(".set.*.tmp/photo/*/*.jpg")}


def _start(folder: Path) -> subprocess.Popen:
    """A writer of a large dataset in a process of its own, caught at work."""
    code = (
        "import sys; from tf_ssgn.data.drawing import dataset; dataset.write_dataset(sys.argv[1], photos_per_class=500)"
    )
    before = len(_begun(folder))
    code = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {code}"  # off in background jobs
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(_begun(folder)) == before:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_interrupting_leaves_nothing(tmp_path):
    process = _start(tmp_path / "set")
    process.send_signal(signal.SIGINT)
    process.wait(30)
    assert not list(tmp_path.iterdir())


def test_the_next_writer_clears_what_a_killed_one_left_but_not_a_living_one(tmp_path):
    killed, living = _start(tmp_path / "set"), _start(tmp_path / "set")
    try:
        killed.kill()
        killed.wait(30)
        assert not (tmp_path / "set").exists() and len(list(tmp_path.iterdir())) == 2
        synthetic.write_dataset(tmp_path / "set", photos_per_class=1, sketches_per_class=1, size=32)
        left = sorted(path.name for path in tmp_path.iterdir())
        assert len(left) == 2 and left[1] == "set" and living.poll() is None
    finally:
        living.send_signal(signal.SIGINT)
        living.wait(30)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
