"""The benchmark's small part: load from a second process, and figures that belong together."""

from __future__ import annotations

import math

import pytest

from tf_ssgn.benchmarks import serve


def test_small_benchmark(capsys) -> None:
    result = serve.run(False)
    assert result["items"] == 2_000
    single, throughput, overload = result["single"], result["throughput"], result["overload"]
    assert single["difference"] == pytest.approx(single["grpc"] - single["in_process"])
    bound = 1 / (1 / throughput["direct"] + 1 / throughput["constant"])
    assert throughput["ratio"] == pytest.approx(throughput["served"] / bound)
    assert throughput["to_tensorflow"] == pytest.approx(throughput["served"] / throughput["tensorflow"])
    # Some are answered at five times the capacity, and the others are refused, not failed.
    assert {"OK"} <= set(overload["codes"]) <= {"OK", "RESOURCE_EXHAUSTED"}
    assert math.isfinite(overload["p99_accepted"])
    assert len(capsys.readouterr().out.splitlines()) == 3
