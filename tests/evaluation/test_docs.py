"""The Python in docs/metrics.md runs, and the documented families are the real ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tf_ssgn.evaluation import FAMILIES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_examples_run(capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values: dict = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(code, "docs/metrics.md", "exec"), values)
    first, second, third, fourth = capsys.readouterr().out.splitlines()
    assert "'queries': 60" in third and values["low"] < values["families"]["sake"]["map_all"] < values["high"]
    assert fourth.startswith("ours minus theirs +0.") and (tmp_path / "report.html").exists()
    assert all(0.3 < float(figure) <= 1 for figure in first.split())
    assert "map_at_10" in second and set(values["families"]) == set(FAMILIES)


def test_every_family_and_its_users_are_in_the_table() -> None:
    for name, family in FAMILIES.items():
        assert f"| `{name}` | {family.used_by} |" in PAGE
