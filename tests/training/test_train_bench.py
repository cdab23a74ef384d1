"""`bench train` on the small part: every promise has a figure beside its target."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import pytest

from tf_ssgn.benchmarks import train
from tf_ssgn.errors import UserError

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="measures TensorFlow")


SIDES = {
    "pipeline": ("images_per_s", "bare_images_per_s"),
    "extraction": ("images_per_s", "forward_images_per_s"),
    "epoch": ("uncached_step_s", "step_s"),
    "mixed": ("float32_step_s", "mixed_bfloat16_step_s"),
}


@pytest.mark.parametrize("part", [part for part in train.PARTS if part not in ("memory", "runs")])
def test_a_part_gives_a_ratio_of_two_sides_measured_in_turn(part: str, capsys) -> None:
    found = train.run(False, only=part)
    figures, (ours, other) = found[part], SIDES[part]
    assert list(found) == [part] and figures["target"]
    assert figures["ratio"] == pytest.approx(figures[ours] / figures[other])
    assert capsys.readouterr().out.startswith(f"{train.PARTS[part]}: ")


def test_the_memory_of_a_run_is_that_of_its_process() -> None:
    figures = train.run(False, only="memory")["memory"]
    assert (figures["photos"], figures["sketches"]) == (120, 120)
    assert 0.2 < figures["peak_gib"] < 8


@pytest.mark.shared
def test_runs_are_trained_and_evaluated_from_an_empty_cache(shared: Path, tmp_path: Path) -> None:
    """On eight photos of each class with their sketches."""
    whole, few = shared / "data" / "sketchy_mini", tmp_path / "data" / "sketchy_mini"
    for name in ("weights", "vectors"):
        (tmp_path / name).symlink_to(shared / name)
    for folder in (whole / "photo").iterdir():
        for modality in ("photo", "sketch"):
            (few / modality / folder.name).mkdir(parents=True)
        for photo in sorted(folder.iterdir())[:8]:
            for file in (photo, *(whole / "sketch" / folder.name).glob(f"{photo.stem}-*")):
                shutil.copy(file, few / file.relative_to(whole))
    figures = train.run(False, str(few.parent), only="runs")["runs"]
    assert list(figures) == ["minutes", "target", "sketchy-21, seed 0: mAP@all"]
    photos = 21 * 8  # of the unseen classes
    first = sum(1 / rank for rank in range(1, photos + 1))
    chance = (first + 7 / (photos - 1) * (photos - first)) / photos  # mean average precision of a random order
    # Two steps from random weights are at chance, not below it; above is what real weights reach.
    assert 0.9 * chance < figures["sketchy-21, seed 0: mAP@all"] < 0.3


def test_a_part_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="--only: received 'speed', expected one of pipeline, extraction"):
        train.run(False, only="speed")
