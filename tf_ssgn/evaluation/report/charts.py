"""Charts as SVG text: recall-precision curve, per-class bars, class confusion, map of codes.

Colours and fonts come from CSS classes, so that a page can follow the reader's light or dark theme; `standalone` puts
the light colours into the drawing itself, for a paper.
"""

import colorsys
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_ssgn.common import atomic
from tf_ssgn.common.markup import escaped
from tf_ssgn.evaluation.report.facts import leading

STYLE = """
svg.chart { width: 100%; height: auto; font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; }
.chart text { fill: var(--soft, #57606a); }
.chart .name { fill: var(--ink, #1f2328); }
.chart .grid { stroke: var(--line, #d8dee4); stroke-width: 1; }
.chart .axis { stroke: var(--soft, #57606a); stroke-width: 1; }
.chart .curve { stroke: var(--accent, #0969da); stroke-width: 2.5; fill: none; stroke-linejoin: round; }
.chart .under { fill: var(--accent, #0969da); fill-opacity: .12; }
.chart .bar { fill: var(--accent, #0969da); }
.chart .cell { fill: var(--accent, #0969da); }
.chart .mean { stroke: var(--miss, #cf222e); stroke-width: 1.5; stroke-dasharray: 5 4; }
.chart .photo { stroke: none; fill-opacity: .75; }
.chart .sketch { fill: none; stroke-width: 1.5; }
"""
FILE_STYLE = ".chart text { font-family: Helvetica, Arial, sans-serif; font-size: 12px; }\n"


def figures(metrics: dict[str, Any], points: dict[str, Any] | None = None) -> dict[str, str]:
    """The charts that the object has data for, as SVG text: `curve`, `classes`, `confusion`, `map`."""
    curve, matrix = metrics.get("curve"), metrics.get("confusion")
    family, name = leading(metrics), "map_all"
    per_class = {label: entry["families"][family].get(name) for label, entry in metrics.get("per_class", {}).items()}
    macro = metrics.get("macro", {}).get(family, {}).get(name)
    drawn = {
        "curve": recall_precision(curve["recall"], curve["precision"]) if curve else "",
        "classes": class_bars(per_class, macro),
        "confusion": confusion(matrix["rows"], matrix["columns"], matrix["shares"]) if matrix else "",
        "map": code_map(points) if points else "",
    }
    return {name: svg for name, svg in drawn.items() if svg}


def write_figures(
    folder: str | os.PathLike, metrics: dict[str, Any], points: dict[str, Any] | None = None
) -> list[Path]:
    """Writes every chart as `<name>.svg`; returns the files."""
    written = []
    for name, svg in figures(metrics, points).items():
        written.append(Path(folder) / f"{name}.svg")
        atomic.write_text(written[-1], standalone(svg))
    return written


def standalone(svg: str) -> str:
    """The same drawing as a file of its own: light colours, its own size, and no CSS that drawing programs lack."""
    head, rest = svg.split(">", 1)
    width, height = re.findall(r'viewBox="0 0 (\d+) (\d+)"', head)[0]
    style = re.sub(r"var\([^,]+, (#\w+)\)", r"\1", STYLE) + FILE_STYLE
    head = re.sub(r' style="[^"]*"', "", head)
    size = f'xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
    return f"{head} {size}><style>{style}</style>{rest}\n"


def recall_precision(recall: Sequence[float], precision: Sequence[float | None]) -> str:
    """The mean interpolated precision over recall; empty text where nothing is defined."""
    points = [(r, p) for r, p in zip(recall, precision, strict=True) if defined(p)]
    if not points:
        return ""
    left, top, width, height = 46, 12, 440, 280
    place = [(left + width * r, top + height * (1 - p)) for r, p in points]  # type: ignore[operator]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in place)
    floor = top + height
    parts = [_frame(left, top, width, height)]
    parts.append(f'<polygon class="under" points="{place[0][0]:.1f},{floor} {line} {place[-1][0]:.1f},{floor}"/>')
    parts.append(f'<polyline class="curve" points="{line}"/>')
    parts.append(f'<text x="{left + width / 2}" y="{floor + 36}" text-anchor="middle">recall</text>')
    middle = top + height / 2
    parts.append(f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">precision</text>')
    return _svg(left + width + 14, floor + 44, "Precision over recall", parts)


def class_bars(values: dict[str, float | None], mean: float | None) -> str:
    """One bar per class, best first, and the mean as a dashed line; undefined classes have no bar."""
    if not values:
        return ""
    order = sorted(values.items(), key=lambda item: (-(item[1] if defined(item[1]) else -1.0), item[0]))  # type: ignore[operator]
    step, left, width, top = 22, 170, 400, 6
    parts = []
    for i, (name, value) in enumerate(order):
        y = top + i * step
        shown = number(value)
        parts.append(f'<text class="name" x="{left - 8}" y="{y + 14}" text-anchor="end">{_short(name, 24)}</text>')
        if defined(value):
            length = max(1.0, width * value)  # type: ignore[operator]
            parts.append(f'<rect class="bar" x="{left}" y="{y + 3}" width="{length:.1f}" height="{step - 7}" rx="2">')
            parts.append(f"<title>{escaped(name)}: {shown}</title></rect>")
        parts.append(f'<text x="{left + width + 8}" y="{y + 14}">{shown}</text>')
    bottom = top + step * len(order)
    parts.append(f'<line class="axis" x1="{left}" x2="{left}" y1="{top}" y2="{bottom}"/>')
    if defined(mean):
        x = left + width * mean  # type: ignore[operator]
        parts.append(f'<line class="mean" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">mean {number(mean)}</text>')
    return _svg(left + width + 60, bottom + 22, "Per class", parts)


def confusion(rows: Sequence[str], columns: Sequence[str], shares: Sequence[Sequence[float]]) -> str:
    """Query classes down, photo classes across; the darker a cell, the more of the first photos it holds."""
    if not rows or not columns:
        return ""
    cell = max(8, min(26, 640 // len(columns)))
    left, top = 160, 120
    parts = []
    for j, name in enumerate(columns):
        x = left + j * cell + cell / 2 + 4
        turn = f'transform="rotate(-55 {x:.1f} {top - 6})"'
        parts.append(f'<text class="name" x="{x:.1f}" y="{top - 6}" {turn}>{_short(name, 18)}</text>')
    for i, name in enumerate(rows):
        y = top + i * cell
        parts.append(
            f'<text class="name" x="{left - 8}" y="{y + cell / 2 + 4}" text-anchor="end">{_short(name, 22)}</text>'
        )
        for j, share in enumerate(shares[i]):
            if share:
                tip = f"{escaped(name)} → {escaped(columns[j])}: {share:.0%}"
                box = f'x="{left + j * cell}" y="{y}" width="{cell - 1}" height="{cell - 1}" rx="2"'
                parts.append(f'<rect class="cell" {box} fill-opacity="{share:.3f}"><title>{tip}</title></rect>')
    width, height = cell * len(columns), cell * len(rows)
    parts.append(f'<rect class="grid" x="{left}" y="{top}" width="{width}" height="{height}" fill="none"/>')
    return _svg(left + width + 70, top + height + 8, "Confusion between classes", parts)


def code_map(points: dict[str, Any]) -> str:
    """Photo codes as dots and sketch codes as rings, one colour per class."""
    if not points["x"]:
        return ""
    names = sorted(set(points["label"]))
    # Steps of the golden angle keep neighbouring classes apart for any number of classes.
    colours = {name: _colour(i * 137.508 % 360, (0.44, 0.56)[i % 2]) for i, name in enumerate(names)}
    size, margin = 520, 14
    low_x, low_y = min(points["x"]), min(points["y"])
    span = max(max(points["x"]) - low_x, max(points["y"]) - low_y) or 1.0
    parts = []
    for x, y, label, modality in zip(points["x"], points["y"], points["label"], points["modality"], strict=True):
        spot = f'cx="{margin + size * (x - low_x) / span:.1f}" cy="{margin + size * (1 - (y - low_y) / span):.1f}"'
        paint = f'r="3.2" fill="{colours[label]}"' if modality == "photo" else f'r="4" stroke="{colours[label]}"'
        tip = f"<title>{escaped(modality)}: {escaped(label)}</title>"
        parts.append(f'<circle class="{escaped(modality)}" {spot} {paint}>{tip}</circle>')
    per_column = max(1, (size + 2 * margin) // 18)
    for i, name in enumerate(names):
        x, y = size + 3 * margin + 170 * (i // per_column), margin + 18 * (i % per_column)
        parts.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{colours[name]}"/>')
        parts.append(f'<text class="name" x="{x + 10}" y="{y + 4}">{_short(name, 22)}</text>')
    return _svg(size + 3 * margin + 170 * math.ceil(len(names) / per_column), size + 2 * margin, "Map of codes", parts)


def _colour(hue: float, lightness: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue / 360, lightness, 0.62))


def defined(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def number(value: float | None) -> str:
    """Four decimals, or a dash for what is not defined."""
    return f"{value:.4f}" if defined(value) else "–"


def _frame(left: float, top: float, width: float, height: float) -> str:
    """Grid lines and labels of two axes from 0 to 1."""
    parts = []
    for i in range(6):
        x, y = left + width * i / 5, top + height * (1 - i / 5)
        kind = "axis" if i == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{x}" x2="{x}" y1="{top}" y2="{top + height}"/>')
        parts.append(f'<line class="{kind}" x1="{left}" x2="{left + width}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{x}" y="{top + height + 17}" text-anchor="middle">{i / 5:.1f}</text>')
        parts.append(f'<text x="{left - 7}" y="{y + 4}" text-anchor="end">{i / 5:.1f}</text>')
    return "".join(parts)


def _short(name: str, length: int) -> str:
    return escaped(name if len(name) <= length else name[: length - 1] + "…")


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    box = f'viewBox="0 0 {width:.0f} {height:.0f}"'
    # A chart is drawn at its own size at most: text in a stretched drawing is larger than the page's.
    head = f'<svg class="chart" role="img" aria-label="{escaped(title)}" style="max-width:{width:.0f}px" {box}>'
    return f"{head}{''.join(parts)}</svg>"
