"""One evaluation for people: a self-contained HTML page, charts as files, and a table for the terminal.

Everything here reads the object that `metrics.json` holds, and leaves out the parts that it lacks. Every text that
comes from data (labels, paths, dataset names) is escaped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from tf_ssgn import atomic
from tf_ssgn.config import LEADING_FAMILY
from tf_ssgn.evaluation import charts, pdf
from tf_ssgn.evaluation.metrics import FAMILIES
from tf_ssgn.evaluation.pictures import Grid, Picture, grid_html
from tf_ssgn.evaluation.tables import signed

__all__ = ["Grid", "Picture", "figures", "format_table", "write_figures", "write_report"]

PAGE_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --card: #f6f8fa; --ink: #1f2328; --soft: #57606a; --line: #d8dee4;
  --accent: #0969da; --hit: #1a7f37; --miss: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --card: #161b22; --ink: #e6edf3; --soft: #9198a1;
  --line: #30363d; --accent: #4493f8; --hit: #3fb950; --miss: #f85149; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 40px 24px 80px; max-width: 1280px; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 28px; margin: 0 0 4px; letter-spacing: -.01em; } h2 { font-size: 19px; margin: 44px 0 12px; }
h3 { font-size: 15px; margin: 20px 0 8px; } p { margin: 8px 0; max-width: 78ch; } .soft { color: var(--soft); }
.facts { display: flex; flex-wrap: wrap; gap: 8px; margin: 16px 0; padding: 0; list-style: none; }
.facts li { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 5px 11px; }
.facts b { font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 8px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: 13px; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
.text th, .text td { text-align: left; white-space: normal; }
td small, td small span { display: block; } td small { color: var(--soft); font-size: 11.5px; }
.warn { border-left: 4px solid var(--miss); background: var(--card); padding: 8px 14px; border-radius: 4px; }
.note { border-left: 4px solid var(--line); padding: 2px 14px; color: var(--soft); }
.row { display: flex; align-items: flex-start; gap: 8px; margin: 8px 0; overflow-x: auto; padding-bottom: 4px; }
.arrow { align-self: center; color: var(--soft); font-size: 20px; }
figure { position: relative; margin: 0; flex: 0 0 84px; } figure img { width: 84px; height: 84px; object-fit: contain;
  background: #fff; border: 3px solid var(--line); border-radius: 7px; display: block; }
figure.hit img { border-color: var(--hit); } figure.miss img { border-color: var(--miss); }
.mark { position: absolute; top: 5px; right: 5px; width: 19px; height: 19px; border-radius: 50%; color: #fff;
  font: 700 12px/19px system-ui, sans-serif; text-align: center; }
.hit .mark { background: var(--hit); } .miss .mark { background: var(--miss); }
figcaption { font-size: 11px; color: var(--soft); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
"""

FACTS = {
    "dataset": "dataset",
    "split": "split",
    "model": "model",
    "views": "extra views",
    "seed": "seed",
    "duplicates": "duplicate photos",
}
COUNTS = {
    "queries": "queries",
    "gallery": "photos in the gallery",
    "classes": "query classes",
    "gallery_classes": "gallery classes",
    "queries_without_photo": "queries without a photo of their class",
    "zero_queries": "zero query vectors",
    "zero_photos": "zero photo vectors",
}
QUIET = {"queries_without_photo", "zero_queries", "zero_photos"}  # not worth a word when they are 0


def write_report(
    path: str | os.PathLike,
    metrics: dict[str, Any],
    grids: Sequence[Grid] = (),
    *,
    title: str = "Evaluation",
    points: dict[str, Any] | None = None,
) -> None:
    """Writes one HTML file that needs no network and no other file.

    Args:
        path: the file, replaced atomically.
        metrics: the object of `metrics.json`; None and NaN are both "not defined".
        grids: best, median and worst queries with their photos; an unreadable image becomes a grey box.
        title: the heading.
        points: a map of codes by `protocol.code_map`.
    """
    drawn = figures(metrics, points)
    body = [
        f"<h1>{escape(title)}</h1>",
        '<p class="soft">Sketch-based image retrieval, zero-shot</p>',
        _facts(metrics),
        *(_note(str(note), metrics) for note in metrics.get("notes", ())),
        "<h2>All families</h2>",
        _families(metrics),
        "<p>The families are different definitions and must not be compared with one another: on the same ranking "
        "they differ by a factor of two. Small figures are the ends of 95% bootstrap intervals over queries.</p>",
        _formulas(),
    ]
    body.append(_against(metrics.get("against") or {}, metrics))
    if "curve" in drawn:
        body.append("<h2>Precision and recall</h2><p>Interpolated precision, mean over queries.</p>" + drawn["curve"])
    body += [_section(metrics, *entry) for entry in SECTIONS]
    body.append(_fine_grained(metrics.get("fine_grained") or {}))
    if "classes" in drawn:
        body.append(f"<h2>Per class</h2><p>{escape(_leading(metrics)[2])}.</p>" + drawn["classes"])
    if grids:
        body.append("<h2>Queries and their photos</h2>" + "".join(grid_html(grid) for grid in grids))
    if "confusion" in drawn:
        depth = metrics["confusion"]["depth"]
        body.append(
            f"<h2>Confusion</h2><p>Share of the first {depth} photos, by query class (rows) and photo class.</p>"
        )
        body.append(drawn["confusion"])
    if "map" in drawn:
        share = charts.number((points or {}).get("explained"))
        body.append(
            "<h2>Map of the codes</h2><p>First two principal components of a sample; dots are photos, rings are "
        )
        body.append(f"sketches. They hold {share} of the variance.</p>" + drawn["map"])
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    page = f'<!doctype html><html lang="en"><head>{head}<style>{PAGE_STYLE}{charts.STYLE}</style></head>'
    atomic.write_text(path, f"{page}<body>{''.join(body)}</body></html>\n")


def figures(metrics: dict[str, Any], points: dict[str, Any] | None = None) -> dict[str, str]:
    """The charts that the object has data for, as SVG text: `curve`, `classes`, `confusion`, `map`."""
    curve, matrix = metrics.get("curve"), metrics.get("confusion")
    family, name, _ = _leading(metrics)
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
    """Writes every chart as `<name>.svg`, and with the extra `figures` as `<name>.pdf`; returns the files."""
    written = []
    pdf_too = pdf.available()
    for name, svg in figures(metrics, points).items():
        drawing = charts.standalone(svg)
        written.append(Path(folder) / f"{name}.svg")
        atomic.write_text(written[-1], drawing)
        if pdf_too:
            written.append(Path(folder) / f"{name}.pdf")
            pdf.write_pdf(written[-1], drawing)
    return written


def format_table(metrics: dict[str, Any]) -> str:
    """All families for a terminal, with what the figures were measured on below them."""
    families = metrics["families"]
    names = _metric_names(families, metrics)
    head = ["family", *(_title(name) for name in names)]
    rows = [[family, *(charts.number(values.get(name)) for name in names)] for family, values in families.items()]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    rule = ["─" * width for width in widths]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in [head, rule, *rows]
    ]
    facts = "; ".join(f"{label}: {value}" for label, value in _fact_pairs(metrics))
    ties = f"ties: {metrics['ties']}" if "ties" in metrics else ""
    below = [line for line in (facts, ties, _left_out(metrics)) if line]
    return "\n".join([*lines, "", *below] if below else lines)


def _metric_names(families: dict[str, dict[str, Any]], metrics: dict[str, Any]) -> list[str]:
    """Every metric that some family has, mAP over everything first, then by cut-off; without `_beyond` cut-offs."""
    names = {name for values in families.values() for name in values}
    names = {name for name in names if name.rsplit("_", 1)[1] not in map(str, _beyond(metrics))}
    kinds = ("map", "precision", "recall")

    def place(name: str) -> tuple[int, int]:
        kind, cut = name.split("_")[0], name.rsplit("_", 1)[1]
        return (0 if cut == "all" else int(cut), kinds.index(kind))

    return sorted(names, key=place)


def _beyond(metrics: dict[str, Any]) -> list[int]:
    """Cut-offs larger than the gallery: figures at them are defined, but a table of them would only mislead."""
    photos = metrics.get("counts", {}).get("gallery")
    names = {name for values in metrics["families"].values() for name in values}
    cuts = {int(cut) for cut in (name.rsplit("_", 1)[1] for name in names) if cut.isdigit()}
    return sorted(cut for cut in cuts if photos and cut > photos)


def _left_out(metrics: dict[str, Any]) -> str:
    """Says which cut-offs the tables leave out; empty if they leave out none."""
    cuts, photos = _beyond(metrics), metrics.get("counts", {}).get("gallery")
    shown = ", ".join(map(str, cuts))
    return f"k = {shown}: larger than the gallery of {photos:,}, so left out of the tables" if cuts else ""


def _title(name: str) -> str:
    kind, cut = name.split("_")[0], name.rsplit("_", 1)[1]
    return {"map": "mAP", "precision": "P", "recall": "R"}[kind] + "@" + cut


def _leading(metrics: dict[str, Any]) -> tuple[str, str, str]:
    """Family, metric and text of the one figure that charts per class show."""
    families = metrics.get("families", {})
    family = LEADING_FAMILY if LEADING_FAMILY in families else next(iter(families), LEADING_FAMILY)
    return family, "map_all", f"mAP@all by the {family} definition; the dashed line is the mean over classes"


def _fact_pairs(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    pairs = [(label, metrics[key]) for key, label in FACTS.items() if metrics.get(key) is not None]
    counts = metrics.get("counts", {})
    shown = [key for key in COUNTS if key in counts and (counts[key] or key not in QUIET)]
    pairs += [(COUNTS[key], counts[key]) for key in shown]
    return [(label, _plain(value)) for label, value in pairs]


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        if "checksum" in value:
            return f"{value['name']} (sha256 {value['checksum'][:16]})"
        return str(value.get("name", ", ".join(f"{key} {_plain(item)}" for key, item in value.items())))
    return ", ".join(_plain(item) for item in value) if isinstance(value, (list, tuple)) else str(value)


def _facts(metrics: dict[str, Any]) -> str:
    items = "".join(f"<li>{escape(label)} <b>{escape(value)}</b></li>" for label, value in _fact_pairs(metrics))
    ties = f'<p class="soft">Ties: {escape(metrics["ties"])}.</p>' if "ties" in metrics else ""
    return f'<ul class="facts">{items}</ul>{ties}'


def _note(text: str, metrics: dict[str, Any]) -> str:
    """What puts the figures in doubt stands out: classes that the model was trained on."""
    doubtful = text.startswith("NOT zero-shot") and metrics.get("trained_on")
    return f'<p class="{"warn" if doubtful else "note"}">{escape(text)}</p>'


def _families(metrics: dict[str, Any]) -> str:
    families, intervals = metrics["families"], metrics.get("intervals", {})
    names = _metric_names(families, metrics)
    rows = []
    for family, values in families.items():
        used = f"<small>{escape(FAMILIES[family].used_by)}</small>" if family in FAMILIES else ""
        cells = [f"<td><b>{escape(family)}</b>{used}</td>"]
        for name in names:
            low, high = intervals.get(family, {}).get(name) or (None, None)
            ends = f"<span>{charts.number(low)}</span><span>{charts.number(high)}</span>"
            spread = f"<small>{ends}</small>" if charts.defined(low) else ""
            cells.append(f"<td>{charts.number(values.get(name))}{spread}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    left_out = f'<p class="soft">{escape(_left_out(metrics))}.</p>' if _beyond(metrics) else ""
    return _table(["family", *(_title(name) for name in names)], rows) + left_out


def _formulas() -> str:
    rows = [
        f"<tr><td>{name}</td>" + "".join(f"<td>{escape(text)}</td>" for text in family[1:]) + "</tr>"
        for name, family in FAMILIES.items()
    ]
    table = _table(["family", "AP", "AP at k", "precision at k"], rows)
    legend = (
        "Sums run over the ranks i of the hits. N photos, R of them relevant; H(k) hits in the first k; "
        "P(i) = H(i) / i. Recall is H(k) / R in every family."
    )
    return f'<h3>Formulas</h3><div class="text">{table}</div><p class="soft">{legend}</p>'


SECTIONS = (
    ("generalized", "Generalized zero-shot", "Seen and unseen photos in one gallery; harmonic is 2us / (u + s)."),
    ("binary", "Binary codes", "ITQ codes by Hamming distance; rows are bits."),
    (
        "stages",
        "Stages",
        "What each part of the model adds. The oracle is conditioned on the true class vector, which no query brings.",
    ),
)


def _section(metrics: dict[str, Any], key: str, title: str, text: str) -> str:
    """A table of one family, one row per named variant."""
    family = _leading(metrics)[0]
    found = {}
    for name, entry in (metrics.get(key) or {}).items():
        values = entry.get(family)
        if isinstance(values, dict):
            found[name] = values
    if not found:
        return ""
    names = _metric_names(found, metrics)
    rows = [
        f"<tr><td>{escape(str(name))}</td>"
        + "".join(f"<td>{charts.number(values.get(n))}</td>" for n in names)
        + "</tr>"
        for name, values in found.items()
    ]
    table = _table([family, *(_title(name) for name in names)], rows)
    return f"<h2>{title}</h2><p>{text} By the {escape(family)} definition.</p>{table}"


def _against(other: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Paired differences to another evaluation, with their intervals and p-values."""
    if not other:
        return ""
    names = _metric_names(other["families"], metrics)
    rows = []
    for family, values in other["families"].items():
        cells = [f"<td>{escape(family)}</td>"]
        for name in names:
            entry = values.get(name) or {}
            parts = (signed(entry.get("low")), signed(entry.get("high")), f"p {charts.number(entry.get('p'))}")
            spread = "".join(f"<span>{part}</span>" for part in parts) if entry else ""
            cells.append(f"<td>{signed(entry.get('difference'))}<small>{spread}</small></td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    table = _table(["family", *(_title(name) for name in names)], rows)
    text = "Ours minus theirs, query by query; 95% bootstrap interval, two-sided p of random sign flips."
    return f"<h2>Against {escape(str(other['name']))}</h2><p>{text}</p>{table}"


def _fine_grained(values: dict[str, Any]) -> str:
    names = [name for name in values if name.startswith("acc_at_")]
    if not names:
        return ""
    cells = "".join(f"<td>{charts.number(values[name])}</td>" for name in names)
    table = _table(
        ["", *(f"acc@{name.rsplit('_', 1)[1]}" for name in names)], [f"<tr><td>own photo found</td>{cells}</tr>"]
    )
    text = f"{values.get('queries', 0):,} sketches, each against the photos of its class."
    return f"<h2>Fine-grained</h2><p>{text}</p>{table}"


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th>{escape(text)}</th>" for text in head)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
