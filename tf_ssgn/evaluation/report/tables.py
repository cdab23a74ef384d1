"""Tables for the terminal: all families, several runs with their spread, and one run against another."""

from collections.abc import Mapping, Sequence
from typing import Any

from tf_ssgn.evaluation.report.charts import defined, number
from tf_ssgn.evaluation.report.facts import NOT_ZERO_SHOT, fact_pairs, heading, left_out, metric_names
from tf_ssgn.evaluation.statistics import SIGN_FLIPS

UNITS = {"binary": " bits", "transductive": " neighbours"}


def format_table(metrics: dict[str, Any]) -> str:
    """All families with their intervals, and what the figures were measured on below them."""
    intervals = metrics.get("intervals", {})
    names = metric_names(metrics["families"], metrics)
    rows = []
    for family, values in metrics["families"].items():
        rows.append([family, *(number(values.get(name)) for name in names)])
        ends = [intervals.get(family, {}).get(name) or (None, None) for name in names]
        if any(defined(low) for low, _ in ends):
            rows.append(["  95% from", *(number(low) for low, _ in ends)])
            rows.append(["      to", *(number(high) for _, high in ends)])
    facts = "; ".join(f"{label}: {value}" for label, value in fact_pairs(metrics))
    ties = f"ties: {metrics['ties']}" if "ties" in metrics else ""
    below = [line for line in (facts, ties, left_out(metrics)) if line]
    table = aligned(["family", *(heading(name) for name in names)], rows, texts=1)
    return "\n".join([table, "", *below] if below else [table])


def spread(across: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """`statistics.across_seeds` as a table, one figure a line."""
    rows = [
        [family, name, *(number(entry[key]) for key in ("mean", "low", "high", "std", "min", "max"))]
        for family, metrics in across.items()
        for name, entry in metrics.items()
    ]
    return aligned(["family", "metric", "mean", "95% from", "to", "std", "min", "max"], rows)


def comparison(against: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """`statistics.compare` as a table, one figure a line."""
    rows = [
        [family, name, signed(entry["difference"]), signed(entry["low"]), signed(entry["high"]), chance(entry["p"])]
        for family, metrics in against.items()
        for name, entry in metrics.items()
    ]
    return aligned(["family", "metric", "difference", "low", "high", "p"], rows)


def told(metrics: Mapping[str, Any], family: str) -> str:
    """The rows whose queries were told their class, in a table of their own; empty where there are none."""
    if not metrics.get("told"):
        return ""
    own = metrics.get("told_fine_grained") or {}
    accuracy = "; ".join(f"{name} {number(value)}" for name, value in own.items())
    table = variants({**metrics, "fine_grained": None}, family, ("told",))
    return "\n".join([NOT_ZERO_SHOT, table, *([f"acc@1 within the class: {accuracy}"] if accuracy else [])])


def variants(
    metrics: Mapping[str, Any], family: str, parts: Sequence[str] = ("stages", "generalized", "binary", "transductive")
) -> str:
    """Stages, generalized protocol, binary codes, transductive figures by one family, then fine-grained accuracy: mAP
    over everything, and mAP and precision at the first cut-off that the gallery has photos for. Empty where there is
    none."""
    photos = metrics["counts"]["gallery"]
    cuts = (name.removeprefix("map_at_") for name in metrics["families"][family] if name.startswith("map_at_"))
    cut = next((cut for cut in cuts if int(cut) <= photos), "")
    shown = {"map_all": "mAP@all"} | ({f"map_at_{cut}": f"mAP@{cut}", f"precision_at_{cut}": f"P@{cut}"} if cut else {})
    rows = [
        [part, f"{name}{UNITS.get(part, '')}", *(number(entry[family].get(key)) for key in shown)]
        for part in parts
        for name, entry in (metrics.get(part) or {}).items()
        if family in entry
    ]
    own = metrics.get("fine_grained") or {}
    words = [f"acc@{key.rsplit('_', 1)[1]} {number(value)}" for key, value in own.items() if key.startswith("acc_at")]
    lines = [aligned(["part", "", *shown.values()], rows)] if rows else []
    lines += [f"fine-grained, {own['queries']:,} sketches: {', '.join(words)}"] if own.get("queries") else []
    return "\n".join(lines)


def direction(other: Mapping[str, Any]) -> str:
    """Whose differences the `against` of a `metrics.json` holds, and how to read them."""
    ours, theirs = other.get("of", "ours"), other["name"]
    return (
        f"difference = {ours} minus {theirs}, paired over queries: above 0 where {ours} is better; 95% bootstrap "
        f"interval; two-sided p of {SIGN_FLIPS:,} random sign flips, which show no less than {1 / (SIGN_FLIPS + 1):.4f}"
    )


def chance(p: float | None) -> str:
    """A p-value of `statistics.compare`; the smallest that it can give is only a bound."""
    return f"≤{p:.4f}" if p is not None and p < 1.5 / (SIGN_FLIPS + 1) else number(p)


def signed(value: float | None) -> str:
    text = number(value)
    return f"+{text}" if value is not None and value > 0 else text


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 2) -> str:
    """So many columns of text, then columns of numbers."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["─" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
