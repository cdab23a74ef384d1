"""One evaluation, or the answers to one query, for people: a self-contained HTML page.

Everything but the answers reads the object that `metrics.json` holds, and leaves out the parts that it lacks.
"""

import os
from collections.abc import Sequence
from typing import Any

from tf_ssgn.common import atomic
from tf_ssgn.common.markup import escaped
from tf_ssgn.evaluation.report import charts
from tf_ssgn.evaluation.report import html_tables as report_tables
from tf_ssgn.evaluation.report.facts import leading
from tf_ssgn.evaluation.report.pictures import Grid, grid_html

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
ANSWER_SIDE = 256  # pixels of a picture on a page of answers
ANSWER_STYLE = """
.row { flex-wrap: wrap; gap: 16px; } figure { flex-basis: 176px; } figure img { width: 176px; height: 176px; }
figcaption { font-size: 13px; white-space: pre-line; overflow-wrap: anywhere; }
"""


def write_report(
    path: str | os.PathLike,
    metrics: dict[str, Any],
    grids: Sequence[Grid] = (),
    *,
    title: str = "Evaluation",
    points: dict[str, Any] | None = None,
) -> None:
    """Writes one HTML file that needs no network and no other file; in `metrics` None and NaN are both "not defined".
    `grids` are best, median and worst queries with their photos, `points` a map of codes (`inspection.code_map`)."""
    drawn = charts.figures(metrics, points)
    body = [
        f"<h1>{escaped(title)}</h1>",
        '<p class="soft">Sketch-based image retrieval, zero-shot</p>',
        report_tables.facts(metrics),
        *(report_tables.note(str(note), metrics) for note in metrics.get("notes", ())),
        "<h2>All families</h2>",
        report_tables.families(metrics),
        "<p>The families are different definitions and must not be compared with one another: on the same ranking "
        "they differ by a factor of two. Small figures are the ends of 95% bootstrap intervals over queries.</p>",
        report_tables.formulas(),
    ]
    body.append(report_tables.against(metrics.get("against") or {}, metrics))
    if "curve" in drawn:
        body.append("<h2>Precision and recall</h2><p>Interpolated precision, mean over queries.</p>" + drawn["curve"])
    body += [report_tables.section(metrics, *entry) for entry in report_tables.SECTIONS]
    body.append(report_tables.fine_grained(metrics.get("fine_grained") or {}))
    if "classes" in drawn:
        text = f"mAP@all by the {escaped(leading(metrics))} definition; the dashed line is the mean over classes."
        body.append(f"<h2>Per class</h2><p>{text}</p>{drawn['classes']}")
    if grids:
        body.append("<h2>Queries and their photos</h2>" + "".join(grid_html(grid) for grid in grids))
    if "confusion" in drawn:
        depth = metrics["confusion"]["depth"]
        text = f"Share of the first {depth} photos, by query class (rows) and photo class."
        body.append(f"<h2>Confusion</h2><p>{text}</p>{drawn['confusion']}")
    if "map" in drawn:
        share = charts.number((points or {}).get("explained"))
        text = "First two principal components of a sample; dots are photos, rings are sketches. They hold"
        body.append(f"<h2>Map of the codes</h2><p>{text} {share} of the variance.</p>{drawn['map']}")
    atomic.write_text(path, _document(title, charts.STYLE, body))


def write_answers(path: str | os.PathLike, title: str, grid: Grid, notes: Sequence[str] = ()) -> None:
    """The answers to one query as such a page, with larger pictures."""
    said = [f'<p class="soft">{escaped(note)}</p>' for note in notes]
    body = [f"<h1>{escaped(title)}</h1>", *said, grid_html(grid, ANSWER_SIDE)]
    atomic.write_text(path, _document(title, ANSWER_STYLE, body))


def _document(title: str, style: str, body: Sequence[str]) -> str:
    """A page that may load nothing and run nothing."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{escaped(title)}</title>
<style>{PAGE_STYLE}{style}</style>
</head>
<body>{"".join(body)}</body>
</html>
"""
