"""The tables of the HTML page. Every text that comes from data (labels, paths, dataset names) is escaped."""

from collections.abc import Sequence
from typing import Any

from tf_ssgn.common.markup import escaped
from tf_ssgn.evaluation.metrics import FAMILIES
from tf_ssgn.evaluation.report import charts
from tf_ssgn.evaluation.report.facts import NOT_ZERO_SHOT, beyond, fact_pairs, heading, leading, left_out, metric_names
from tf_ssgn.evaluation.report.tables import chance, direction, signed


def facts(metrics: dict[str, Any]) -> str:
    """What the figures were measured on, as a list, and the tie rule."""
    items = "".join(f"<li>{escaped(label)} <b>{escaped(value)}</b></li>" for label, value in fact_pairs(metrics))
    ties = f'<p class="soft">Ties: {escaped(metrics["ties"])}.</p>' if "ties" in metrics else ""
    return f'<ul class="facts">{items}</ul>{ties}'


def note(text: str, metrics: dict[str, Any]) -> str:
    """What puts the figures in doubt stands out: classes that the model was trained on."""
    doubtful = text.startswith("NOT zero-shot") and metrics.get("trained_on")
    return f'<p class="{"warn" if doubtful else "note"}">{escaped(text)}</p>'


def families(metrics: dict[str, Any]) -> str:
    """Every definition, with the ends of the intervals below each figure."""
    names, intervals = metric_names(metrics["families"], metrics), metrics.get("intervals", {})
    rows = []
    for family, values in metrics["families"].items():
        used = f"<small>{escaped(FAMILIES[family].used_by)}</small>" if family in FAMILIES else ""
        cells = [f"<b>{escaped(family)}</b>{used}"]
        for name in names:
            low, high = intervals.get(family, {}).get(name) or (None, None)
            ends = f"<span>{charts.number(low)}</span><span>{charts.number(high)}</span>"
            cells.append(charts.number(values.get(name)) + (f"<small>{ends}</small>" if charts.defined(low) else ""))
        rows.append(_row(cells))
    below = f'<p class="soft">{escaped(left_out(metrics))}.</p>' if beyond(metrics) else ""
    return _table(["family", *(heading(name) for name in names)], rows) + below


def formulas() -> str:
    """The definitions, as `metrics.FAMILIES` words them."""
    rows = [_row([name, *map(escaped, family[1:])]) for name, family in FAMILIES.items()]
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
        "transductive",
        "Transductive",
        "Query and database expansion; rows are neighbours. Uses the whole unlabelled gallery: no zero-shot figure.",
    ),
    ("stages", "Stages", "What each part of the model adds."),
    ("told", "With the class name", NOT_ZERO_SHOT),
)


def section(metrics: dict[str, Any], key: str, title: str, text: str) -> str:
    """A table of one family, one row per named variant."""
    family = leading(metrics)
    entries = (metrics.get(key) or {}).items()
    parts = {name: entry[family] for name, entry in entries if isinstance(entry.get(family), dict)}
    if not parts:
        return ""
    names = metric_names(parts, metrics)
    rows = [
        _row([escaped(str(name)), *(charts.number(values.get(n)) for n in names)]) for name, values in parts.items()
    ]
    table = _table([family, *(heading(name) for name in names)], rows)
    return f"<h2>{title}</h2><p>{text} By the {escaped(family)} definition.</p>{table}"


def against(other: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Paired differences to another evaluation, with their intervals and p-values."""
    if not other:
        return ""
    names = metric_names(other["families"], metrics)
    rows = []
    for family, values in other["families"].items():
        cells = [escaped(family)]
        for name in names:
            entry = values.get(name) or {}
            parts = (signed(entry.get("low")), signed(entry.get("high")), f"p {chance(entry.get('p'))}")
            spread = "".join(f"<span>{part}</span>" for part in parts) if entry else ""
            cells.append(f"{signed(entry.get('difference'))}<small>{spread}</small>")
        rows.append(_row(cells))
    table = _table(["family", *(heading(name) for name in names)], rows)
    return f"<h2>Against {escaped(other['name'])}</h2><p>{escaped(direction(other))}.</p>{table}"


def fine_grained(values: dict[str, Any]) -> str:
    """acc@k; empty without any."""
    names = [name for name in values if name.startswith("acc_at_")]
    if not names:
        return ""
    row = _row(["own photo found", *(charts.number(values[name]) for name in names)])
    table = _table(["", *(f"acc@{name.rsplit('_', 1)[1]}" for name in names)], [row])
    text = f"{values.get('queries', 0):,} sketches, each against the photos of its class."
    return f"<h2>Fine-grained</h2><p>{text}</p>{table}"


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th>{escaped(text)}</th>" for text in head)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
