"""The benchmarks' small parts: load from a second process, and figures that belong together."""

from __future__ import annotations

import math
import os
import shutil

import pytest

from tf_ssgn.benchmarks import page, serve


def test_small_benchmark(capsys) -> None:
    result = serve.run(False)
    assert result["items"] == 2_000
    single, throughput, overload = result["single"], result["throughput"], result["overload"]
    assert single["in_process"] > 0 and single["difference"] == pytest.approx(single["grpc"] - single["in_process"])
    bound = 1 / (1 / throughput["direct"] + 1 / throughput["constant"])
    assert throughput["ratio"] == pytest.approx(throughput["served"] / bound)
    assert throughput["ratio"] > 0.2, "0.9 on a machine that does nothing else"
    assert overload["codes"]["OK"] > 0 and set(overload["codes"]) <= {"OK", "RESOURCE_EXHAUSTED"}
    assert math.isfinite(overload["p99_accepted"])
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.skipif("TF_SSGN_LONG" not in os.environ, reason="takes minutes; `make long` runs it")
def test_small_benchmark_of_the_page() -> None:
    pytest.importorskip("playwright", reason="no Playwright (pip install 'tf_ssgn[dev]')")
    if not any(shutil.which(name) for name in page.BROWSERS):
        pytest.skip("no Chromium on this machine")
    result = page.run(False)
    assert result["page_bytes"] < 200_000 and result["axe_serious"] == 0
    assert 0 < result["answer_ms"]["p50"] <= result["answer_ms"]["p95"] and result["answer_ms"]["count"] == 6
