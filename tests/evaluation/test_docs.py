"""The Python in docs/metrics.md runs, and the documented families are the real ones."""

from __future__ import annotations

import re
from pathlib import Path

from tf_ssgn.evaluation import FAMILIES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    values: dict = {}
    exec(compile(code, "docs/metrics.md", "exec"), values)
    first, second = capsys.readouterr().out.splitlines()
    assert all(0.3 < float(figure) <= 1 for figure in first.split())
    assert "map_at_10" in second and set(values["families"]) == set(FAMILIES)


def test_every_family_and_its_users_are_in_the_table() -> None:
    for name, family in FAMILIES.items():
        assert f"| `{name}` | {family.used_by} |" in PAGE
