"""`notebooks/minimal.py` in small: it trains, finds more than chance does, and its metric is the package's."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from tf_ssgn.evaluation import score_features

FILE = Path(__file__).resolve().parents[2] / "notebooks" / "minimal.py"


@pytest.fixture(scope="module")
def minimal():
    return runpy.run_path(str(FILE))


def test_from_images_to_map_on_unseen_classes(minimal):
    found = minimal["main"](images=10, epochs=10)
    assert list(found) == ["the sketch's own code", "coarse stage", "fine stage"]
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 10)  # the unseen classes
    codes = generator.standard_normal((2, 80, 16))
    chance = minimal["mean_average_precision"](codes[0], labels, codes[1], labels)
    assert all(1.1 * chance < value < 1 for value in found.values()), (chance, found)


def test_its_metric_is_the_packages(minimal):
    generator = np.random.default_rng(1)
    queries, gallery = (generator.standard_normal((count, 8)) for count in (30, 50))
    queries, gallery = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, gallery))
    labels = generator.integers(0, 4, 30), np.arange(50) % 4
    expected = score_features(queries, labels[0], gallery, labels[1], k=(10,))["sem_pcyc"]["map_all"]
    found = minimal["mean_average_precision"](queries, labels[0], gallery, labels[1])
    assert found == pytest.approx(expected, abs=1e-6)


def test_it_needs_nothing_of_the_package_but_the_drawn_dataset():
    lines = [line for line in FILE.read_text(encoding="utf-8").splitlines() if "import" in line and "tf_ssgn" in line]
    assert lines == ["from tf_ssgn.data.drawing.dataset import write_dataset"]
