"""The benchmark's small part: it measures what it says, at linear cost and in bounded memory."""

from __future__ import annotations

import pytest

from tf_ssgn.benchmarks import evaluate


def test_small_benchmark(capsys):
    results = evaluate.run(False)
    (row,) = results.values()
    assert (row["queries"], row["photos"]) == (1904, 2138)
    assert row["ratio"] == pytest.approx(row["all_families_s"] / row["floor_s"])
    # A tenth of the full size; whoever forms all scores and ranks at once in float64 needs several times this.
    assert row["peak_mb"] < 150
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("sketchy-25 / 8") and f"ratio {row['ratio']:,.4g}" in line
