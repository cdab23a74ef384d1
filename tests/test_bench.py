"""`bench`: which subjects there are, and what became of those that are tests now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.long import test_full
from tf_ssgn import bench
from tf_ssgn.benchmarks import raster
from tf_ssgn.data.strokes.raster import Drawing
from tf_ssgn.errors import UserError
from tf_ssgn.settings import RASTER, Raster


@pytest.mark.parametrize("subject", bench.LONG_TESTS)
def test_a_subject_that_is_now_a_test_names_what_runs_it(subject: str) -> None:
    with pytest.raises(UserError, match=f"now a test; in a clone of the repository: make long ONLY={subject}$"):
        bench.main([subject, "--full"])
    assert callable(getattr(test_full, f"test_{subject}"))


def test_a_wrong_subject_lists_the_right_ones() -> None:
    with pytest.raises(UserError, match="is 'sock', expected one of device, evaluate, .*, serve, startup, train$"):
        bench.main(["sock"])


def test_corners_are_cut_and_ends_stay() -> None:
    line = np.array([[0.0, 0.0], [16.0, 0.0], [16.0, 16.0]])
    (smoothed,) = raster.smooth(Drawing("1", "corner", (line,))).strokes
    once = np.array([[0, 0], [4, 0], [12, 0], [16, 4], [16, 12], [16, 16]], float)
    assert len(smoothed) == 2 * (len(once) - 1) + 2
    np.testing.assert_array_equal(smoothed[[0, -1]], line[[0, -1]])
    np.testing.assert_array_equal(smoothed[5:7], [[13, 1], [15, 3]])  # of the piece from (12, 0) to (16, 4)
    dot = Drawing("2", "dot", (np.array([[3.0, 4.0]]),))
    np.testing.assert_array_equal(raster.smooth(dot).strokes[0], dot.strokes[0])


@pytest.mark.shared
def test_ways_to_draw_are_compared(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster, "WAYS", {"as trained": RASTER, "lines of 60": Raster(line_width=60.0)})
    result = raster.run(full=False, data=str(shared / "data"))
    assert (result["classes"], result["drawings"], result["photos"]) == (3, 6, 75)
    rows = result["rows"]
    assert list(rows) == ["as trained", "lines of 60", "as trained, smoothed", "the page"]
    assert rows["the page"] == rows["as trained"] and rows["lines of 60"]["map_all"] < rows["as trained"]["map_all"]
    with pytest.raises(UserError, match="expected sketchy_mini and .* name their folder with --data"):
        raster.run(full=False, data=str(shared))
