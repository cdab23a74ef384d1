"""The gallery's benchmarks: and its kills: small parts of what `--full` and `make long` run, with fixed seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.long import crash
from tf_ssgn.benchmarks import index


def test_writers_that_are_killed_for_real(tmp_path: Path) -> None:
    for counts in crash.measure(tmp_path, photos=80, kills=1).values():
        assert counts["kills"] == 1 == counts["old"] + counts["new"] >= counts["acknowledged"]


def test_figures_of_a_small_gallery(tmp_path: Path) -> None:
    size = index.IndexSize(items=3000, dimension=16, clusters=30, queries=64, added=100)
    cosines = list(index.prepare(size, tmp_path).values())
    assert cosines == sorted(cosines, reverse=True) and 0 < cosines[-1] < cosines[0] < 1
    vectors, queries = np.load(tmp_path / "vectors.npy"), np.load(tmp_path / "queries.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "truth.npy"), np.argsort(-(queries @ vectors.T), axis=1)[:, :10])
    built = index.build_ours(size, tmp_path)
    assert built["disk_mb"] > vectors.nbytes / 2**20
    assert index.filtered(size, tmp_path)["recall_at_10"] == 1.0
    added = index.add(size, tmp_path)
    assert added["recall_at_10"] == 1.0 and added["add_s"] < added["searchable_in_a_new_reader_s"]
    if "note" not in (flat := index.faiss_index(size, tmp_path, "Flat")):
        assert flat["recall_at_10"] == 1.0
