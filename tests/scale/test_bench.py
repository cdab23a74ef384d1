"""A small part of what `bench scale --full` measures; Spark's part is in test_spark.py."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_milvus_gives_the_exact_answers(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    from tf_ssgn.benchmarks import scale

    found = scale.milvus(scale.SMALL, tmp_path)
    assert {key: value for key, value in found.items() if key.startswith("recall")} == {
        "recall_at_10_plain": 1.0,
        "recall_at_10_label": 1.0,
        "recall_at_10_where": 1.0,
    }
