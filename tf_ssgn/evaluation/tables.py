"""Tables for the terminal: several runs with their spread, and one run against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tf_ssgn.evaluation.charts import number


def spread(across: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """`statistics.across_seeds` as a table, one figure a line."""
    rows = [
        [family, name, number(entry["mean"]), number(entry["std"]), number(entry["min"]), number(entry["max"])]
        for family, metrics in across.items()
        for name, entry in metrics.items()
    ]
    return aligned(["family", "metric", "mean", "std", "min", "max"], rows)


def comparison(against: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """`statistics.compare` as a table, one figure a line."""
    rows = [
        [family, name, signed(entry["difference"]), signed(entry["low"]), signed(entry["high"]), number(entry["p"])]
        for family, metrics in against.items()
        for name, entry in metrics.items()
    ]
    return aligned(["family", "metric", "difference", "low", "high", "p"], rows)


def signed(value: float | None) -> str:
    text = number(value)
    return f"+{text}" if value is not None and value > 0 else text


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Two columns of text, then columns of numbers."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["─" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
