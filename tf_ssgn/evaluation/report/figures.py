"""The charts of one evaluation: for the report, and as files for papers."""

import os
from pathlib import Path
from typing import Any

from tf_ssgn.common import atomic
from tf_ssgn.evaluation.report import charts
from tf_ssgn.evaluation.report.facts import leading


def figures(metrics: dict[str, Any], points: dict[str, Any] | None = None) -> dict[str, str]:
    """The charts that the object has data for, as SVG text: `curve`, `classes`, `confusion`, `map`."""
    curve, matrix = metrics.get("curve"), metrics.get("confusion")
    family, name, _ = leading(metrics)
    per_class = {label: entry["families"][family].get(name) for label, entry in metrics.get("per_class", {}).items()}
    macro = metrics.get("macro", {}).get(family, {}).get(name)
    drawn = {
        "curve": charts.recall_precision(curve["recall"], curve["precision"]) if curve else "",
        "classes": charts.class_bars(per_class, macro),
        "confusion": charts.confusion(matrix["rows"], matrix["columns"], matrix["shares"]) if matrix else "",
        "map": charts.code_map(points) if points else "",
    }
    return {name: svg for name, svg in drawn.items() if svg}


def write_figures(
    folder: str | os.PathLike, metrics: dict[str, Any], points: dict[str, Any] | None = None
) -> list[Path]:
    """Writes every chart as `<name>.svg`; returns the files."""
    written = []
    for name, svg in figures(metrics, points).items():
        written.append(Path(folder) / f"{name}.svg")
        atomic.write_text(written[-1], charts.standalone(svg))
    return written
