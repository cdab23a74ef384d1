"""Kills, fuzz, soak, reloads, resumed runs and the page under load, each at its full counts: `make long`.

One of them alone: `make long ONLY=soak`. The tests of every day run small parts of the same functions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette")

from tests.long import crash, fuzz, page, reload, resume, served, soak
from tests.serving import browser
from tf_ssgn import bench

pytestmark = pytest.mark.skipif("TF_SSGN_LONG" not in os.environ, reason="takes minutes; `make long` runs it")


@pytest.fixture(autouse=True)
def shown(capsys: pytest.CaptureFixture) -> Iterator[dict]:
    """What a test puts in here is printed below the machine's facts."""
    figures: dict = {}
    yield figures
    with capsys.disabled():
        print("", bench.machine(), *(f"{name}: {value}" for name, value in figures.items()), sep="\n  ")


def test_crash(tmp_path: Path, shown: dict) -> None:
    shown |= (found := crash.measure(tmp_path, photos=600, kills=25))
    for counts in found.values():
        assert counts["kills"] == 25 == counts["old"] + counts["new"] >= counts["acknowledged"]


def test_fuzz(tmp_path: Path, shown: dict) -> None:
    folders = served.write(tmp_path, 1_000)
    with served.running(folders, tmp_path / "log") as server:
        shown |= (found := fuzz.measure(server, folders.drawings, 100_000))
    assert (found["ours"], found["hangs"], found["crashes"]) == (0, 0, 0), found["bad"]
    assert found["extra_mb"] < 200
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8", errors="replace")


def test_soak(tmp_path: Path, shown: dict) -> None:
    folders = served.write(tmp_path, 5_000)
    with served.running(folders, tmp_path / "log") as server:
        shown |= (found := soak.measure(server, folders, 100_000))
    assert (found["failed"], found["wrong"], found["crashes"]) == (0, 0, 0)
    assert found["hostile"] > 4_000 and found["growth_percent"] < 2


def test_reload(tmp_path: Path, shown: dict) -> None:
    folders = served.write(tmp_path, 5_000)
    with served.running(folders, tmp_path / "log") as server:
        shown |= (found := reload.measure(server, folders, galleries=180, models=20, warm_up=3))
    assert (found["failed"], found["wrong"], found["crashes"]) == (0, 0, 0)
    assert found["growth_percent"] < 10


def test_resume(drawn: Path, tmp_path: Path, shown: dict) -> None:
    shown |= (found := resume.measure(resume.small_config(epochs=6, patience=0), drawn, tmp_path, kills=20))
    assert len(found["kills"]) == 20 and found["history_equal"] and found["largest_difference"] <= 1e-6


def test_page(tmp_path: Path, shown: dict) -> None:
    pytest.importorskip("playwright", reason="no Playwright (pip install 'tf_ssgn[dev]')")
    if browser.executable() is None:
        pytest.skip("no Chromium on this machine")
    shown |= (found := page.measure(page.folders(tmp_path, photos=40), tmp_path / "log", strokes=30))
    assert found["page_bytes"] < 200_000 and found["axe_serious"] == 0
    assert found["answer_ms"]["count"] == found["photos_ms"]["count"] == 30
