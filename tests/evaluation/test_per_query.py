"""Values per query on disk: small, as exact as a comparison needs, and never compared with something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.conftest import Arrays
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation import per_query, per_query_features
from tf_ssgn.evaluation.statistics import compare

NAMES = [f"sketch/{number}.png" for number in range(40)]
PHOTOS = [f"photo/{number}.jpg" for number in range(150)]


def test_what_is_written_is_read(tmp_path: Path, arrays: Arrays) -> None:
    values = per_query_features(*arrays, (5, 20))
    per_query.save(tmp_path, values, NAMES, PHOTOS)
    kept = per_query.load(tmp_path)
    assert kept.queries == NAMES and kept.gallery == per_query.digest(PHOTOS[::-1])
    assert kept.per_query.gallery == 150 and list(kept.per_query.values) == list(values.values)
    for family, metrics in values.mean().items():
        for name, value in metrics.items():
            assert kept.per_query.mean()[family][name] == pytest.approx(value, abs=1e-6, nan_ok=True)
    assert (tmp_path / per_query.FILE).stat().st_size < 40 * 250 + 15_000


def test_paired_whatever_the_order(tmp_path: Path, arrays: Arrays) -> None:
    ours = per_query_features(*arrays, 5)
    worse = arrays._replace(queries=arrays.queries + 2 * np.random.default_rng(0).standard_normal((40, 16)))
    theirs = per_query_features(*worse, 5)
    turned = np.random.default_rng(1).permutation(40)
    expected = compare(ours, theirs)["sake"]["map_all"]
    here = per_query.Kept(ours, NAMES, "g")
    there = per_query.Kept(per_query._rows(theirs, turned), [NAMES[row] for row in turned], "g")
    found = per_query.paired(here, there)["sake"]["map_all"]
    assert found["difference"] == pytest.approx(expected["difference"]) and found["difference"] > 0
    assert found["p"] == pytest.approx(expected["p"], abs=0.01)


def test_a_run_beside_itself_does_not_differ(tmp_path: Path, arrays: Arrays) -> None:
    values = per_query_features(*arrays, (5, 20))
    per_query.save(tmp_path, values, NAMES, PHOTOS)
    found = per_query.paired(per_query.Kept(values, NAMES, per_query.digest(PHOTOS)), per_query.load(tmp_path))
    for metrics in found.values():
        for name, result in metrics.items():
            assert result["difference"] == 0 and result["p"] == 1, name


def test_other_queries_and_galleries_are_refused(arrays: Arrays) -> None:
    values = per_query_features(*arrays, 5)
    kept = per_query.Kept(values, NAMES, "g")
    with pytest.raises(UserError, match="40 and 40 queries, 39 in both"):
        per_query.paired(kept, per_query.Kept(values, [*NAMES[1:], "x"], "g"))
    with pytest.raises(UserError, match="other galleries"):
        per_query.paired(kept, per_query.Kept(values, NAMES, "h"))
    with pytest.raises(UserError, match="different k"):
        per_query.paired(kept, per_query.Kept(per_query_features(*arrays, 6), NAMES, "g"))


def test_missing_and_damaged_files_are_one_line(tmp_path: Path, arrays: Arrays) -> None:
    with pytest.raises(UserError, match="evaluate that run on the same data first"):
        per_query.load(tmp_path)
    per_query.save(tmp_path, per_query_features(*arrays, 5), NAMES, PHOTOS)
    path = tmp_path / per_query.FILE
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match="is damaged"):
            per_query.load(tmp_path)
