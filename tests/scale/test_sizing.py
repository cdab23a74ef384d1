"""The plan's arithmetic and its simulations."""

from __future__ import annotations

import pytest

from tf_ssgn.scale.sizing import PHOTOS, Costs, lost_work, merging, size


def test_a_size_is_what_its_costs_say() -> None:
    found = size(1_000_000_000, Costs(core=100, gpu=2000))
    assert found["core_hours"] == pytest.approx(1e9 / 100 / 3600)
    assert found["parquet_tb"] == pytest.approx(2.248)
    assert (found["parts"], found["segments"]) == (50_000, 1000)
    assert [size(photos, Costs(core=100))["cores_for_a_day"] for photos in PHOTOS] == sorted(
        size(photos, Costs(core=100))["cores_for_a_day"] for photos in PHOTOS
    )


def test_nothing_is_lost_where_nobody_dies() -> None:
    assert lost_work(10, 60, 1e9, 100) == {"slower": 0.0, "lost": 0.0}


def test_more_is_lost_the_longer_a_part_takes() -> None:
    short, long = (lost_work(50, seconds, 1, 1000)["lost"] for seconds in (30, 300))
    assert 0 < short < long < 0.1
    # A part of 5 minutes is interrupted with a chance of 1 in 12, and half of it is lost then.
    assert long == pytest.approx(0.5 / 12, rel=0.4)


@pytest.mark.parametrize("segments", [1, 7, 1000])
def test_merged_answers_are_those_of_the_whole(segments: int) -> None:
    assert merging(segments)["equal"]
