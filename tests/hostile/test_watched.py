"""The real command, watched from outside: a hundredth of the long fuzz, soak and reload, one server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from tests.long import fuzz, reload, served, soak


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, chain: Any) -> served.Folders:
    return served.write(tmp_path_factory.mktemp("watched"), 500, chain.models)


@pytest.fixture(scope="module")
def server(folders: served.Folders) -> Iterator[Any]:
    log = folders.model.parent / "log"
    with served.running(folders, log) as running:
        yield running
        assert "Traceback" not in Path(log).read_text(encoding="utf-8", errors="replace")


def test_no_fuzzed_request_is_an_error_of_ours_or_hangs(server, folders) -> None:
    found = fuzz.measure(server, folders.drawings, 1_000)
    assert (found["ours"], found["crashes"]) == (0, 0), found["bad"]
    assert found["slowest"] < 20, "2 s on a machine that does nothing else"
    assert sum(found["codes"].values()) == 1_000 and found["codes"]["INVALID_ARGUMENT"] > 200 < found["codes"]["OK"]
    assert found["extra_mb"] < 200


def test_a_request_is_made_from_its_number_alone(folders) -> None:
    again = [fuzz.request(number, folders.drawings) for number in range(50)]
    assert again == [fuzz.request(number, folders.drawings) for number in range(50)]
    assert len({made.body for made in again}) > 40 and any(made.method for made in again)


def test_hostile_neighbours_change_no_answer(server, folders) -> None:
    found = soak.measure(server, folders, 1_000)
    assert (found["failed"], found["wrong"], found["crashes"]) == (0, 0, 0), found
    assert 20 < found["hostile"] < 100
    assert found["growth_percent"] < 10, "2 on 100,000 requests"


def test_a_wrong_neighbour_is_noticed(folders) -> None:
    ids, scores = folders.ids[0], folders.scores[0].tolist()
    assert folders.right(0, ids, scores)
    assert not folders.right(0, folders.ids[1], folders.scores[1].tolist())
    assert not folders.right(0, [ids[0]] * 10, scores) and not folders.right(0, ids[:9], scores[:9])
    assert not folders.right(0, ids, [scores[0] - 0.01, *scores[1:]])


def test_versions_come_and_go_unnoticed(server, folders) -> None:
    found = reload.measure(server, folders, 2, 1, warm_up=0, looks=1)
    assert (found["failed"], found["wrong"], found["crashes"]) == (0, 0, 0), found
    assert found["requests"] > 20
