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


def variants(metrics: Mapping[str, Any], family: str) -> str:
    """Stages, generalized protocol and binary codes by one family, then fine-grained accuracy; empty without any.

    Shows mAP over everything, and mAP and precision at the first cut-off that the gallery has photos for.
    """
    photos = metrics["counts"]["gallery"]
    cuts = (name.removeprefix("map_at_") for name in metrics["families"][family] if name.startswith("map_at_"))
    cut = next((cut for cut in cuts if int(cut) <= photos), "")
    shown = {"map_all": "mAP@all"} | ({f"map_at_{cut}": f"mAP@{cut}", f"precision_at_{cut}": f"P@{cut}"} if cut else {})
    rows = [
        [part, f"{name} bits" if part == "binary" else name, *(number(entry[family].get(key)) for key in shown)]
        for part in ("stages", "generalized", "binary")
        for name, entry in (metrics.get(part) or {}).items()
        if family in entry
    ]
    own = metrics.get("fine_grained") or {}
    found = [f"acc@{key.rsplit('_', 1)[1]} {number(value)}" for key, value in own.items() if key.startswith("acc_at")]
    lines = [aligned(["part", "", *shown.values()], rows)] if rows else []
    return "\n".join(
        lines + ([f"fine-grained, {own['queries']:,} sketches: {', '.join(found)}"] if own.get("queries") else [])
    )


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
