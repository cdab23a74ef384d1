"""What the object of `metrics.json` says in words: which figures a table shows, and what they were measured on."""

from typing import Any

from tf_ssgn.config import LEADING_FAMILY

# What every report, table and page says of the rows that are given the class of a query.
TOLD = "told the class name"
NAME_ALONE = "class name alone"
NOT_ZERO_SHOT = (
    "These queries were told their class: no zero-shot sketch figures, and never to be set beside published ones."
)

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


def metric_names(families: dict[str, dict[str, Any]], metrics: dict[str, Any]) -> list[str]:
    """Every metric that some family has, mAP over everything first, then by cut-off; none `beyond` the gallery."""
    names = {name for values in families.values() for name in values}
    names = {name for name in names if name.rsplit("_", 1)[1] not in map(str, beyond(metrics))}
    kinds = ("map", "precision", "recall")

    def place(name: str) -> tuple[int, int]:
        kind, cut = name.split("_")[0], name.rsplit("_", 1)[1]
        return (0 if cut == "all" else int(cut), kinds.index(kind))

    return sorted(names, key=place)


def beyond(metrics: dict[str, Any]) -> list[int]:
    """Cut-offs larger than the gallery: figures at them are defined, but a table of them would only mislead."""
    photos = metrics.get("counts", {}).get("gallery")
    names = {name for values in metrics["families"].values() for name in values}
    cuts = {int(cut) for cut in (name.rsplit("_", 1)[1] for name in names) if cut.isdigit()}
    return sorted(cut for cut in cuts if photos and cut > photos)


def left_out(metrics: dict[str, Any]) -> str:
    """Says which cut-offs the tables leave out; empty if they leave out none."""
    cuts, photos = beyond(metrics), metrics.get("counts", {}).get("gallery")
    shown = ", ".join(map(str, cuts))
    return f"k = {shown}: larger than the gallery of {photos:,}, so left out of the tables" if cuts else ""


def heading(name: str) -> str:
    """`map_at_100` as a column's head: mAP@100."""
    kind, cut = name.split("_")[0], name.rsplit("_", 1)[1]
    return {"map": "mAP", "precision": "P", "recall": "R"}[kind] + "@" + cut


def leading(metrics: dict[str, Any]) -> str:
    """The family that stands where there is room for one."""
    families = metrics.get("families", {})
    return LEADING_FAMILY if LEADING_FAMILY in families else next(iter(families), LEADING_FAMILY)


def fact_pairs(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, value) of everything that the figures were measured on."""
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
