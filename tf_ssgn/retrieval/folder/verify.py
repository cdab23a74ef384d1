"""Is a gallery sound, and what is in it: `index verify` and `index stats`."""

import math
import os
import sqlite3
from collections import Counter
from typing import Any

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder import compaction
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.segment import ITEMS, Segment
from tf_ssgn.retrieval.folder.store import Store
from tf_ssgn.settings import ROWS_TOGETHER, SELF_K, SELF_QUERIES, SELF_RECALL, UNIT_TOLERANCE


def verify(folder: str | os.PathLike) -> dict[str, Any]:
    """Checks everything: `{"count", "damage": [...], "leftovers": [...], "unfinished", "self_recall"}`.

    `damage` empty means sound. `leftovers` and an unfinished write are harmless: a crash left them, the next writer
    removes or resumes them. Raises UserError where there is no gallery at all, or its pointer or manifest is damaged.
    """
    store = Store(folder)
    result: dict[str, Any] = {"count": 0, "damage": [], "leftovers": [], "unfinished": None, "self_recall": None}
    journal = store.unfinished()
    result["unfinished"] = journal["kind"] if journal else None
    if journal and not store.exists():
        return result  # a first build that was killed: there is nothing yet to be damaged
    manifest = store.manifest()
    result["leftovers"] = [str(path) for path in store.leftovers()]
    damage: list[str] = result["damage"]
    try:
        store.dead_rows(manifest)
    except UserError as error:
        damage.append(str(error))
    for entry in manifest["segments"]:
        damage += store.damaged(entry, math.inf)
    if damage:
        return result
    for entry in manifest["segments"]:
        try:
            damage += _segment(Segment(store.part(entry["folder"]), entry["rows"], manifest["dimension"]))
        except (UserError, sqlite3.Error) as error:
            damage.append(str(error))
    if damage:
        return result
    gallery = Gallery.open(folder)
    result["count"] = len(gallery)
    if len(gallery) != manifest["count"]:
        damage.append(f"it has {len(gallery):,} items, its manifest says {manifest['count']:,}")
    if len(set(gallery.ids)) != len(gallery):
        damage.append("an id comes more than once")
    result["self_recall"] = recall = self_recall(gallery)
    if recall is not None and recall < SELF_RECALL:
        damage.append(f"only {recall:.0%} of its own items are found again by {gallery.method} search")
    return result


def _segment(segment: Segment) -> list[str]:
    damage = []
    answer = segment.sql("PRAGMA integrity_check")[0][0]
    if answer != "ok":
        damage.append(f"{segment.folder / ITEMS}: {answer}")
    for low in range(0, segment.rows, ROWS_TOGETHER):
        lengths = np.linalg.norm(segment.vectors[low : low + ROWS_TOGETHER].astype(np.float64), axis=1)
        bad = np.flatnonzero(~(np.abs(lengths - 1) <= 2 * UNIT_TOLERANCE))
        if bad.size:
            damage.append(f"{segment.folder}: the vector of row {low + bad[0]} does not have length 1")
            break
    segment.close()
    return damage


def self_recall(gallery: Gallery) -> float | None:
    """Recall@10 of the gallery's own search against exact search, for 32 of its items as queries; None when empty.
    Counted by score and not by id, so that one of two equal photos is as good as the other."""
    if not len(gallery):
        return None
    chosen = np.unique(np.linspace(0, len(gallery) - 1, SELF_QUERIES).astype(np.int64))
    queries = np.ascontiguousarray(gallery.vectors[chosen])
    truth = gallery.rows(queries, SELF_K, "exact")
    ranked = gallery.rows(queries, SELF_K, "auto")
    hits = [
        np.mean(scores >= exact[-1] - 1e-6) * len(scores) / len(exact)
        for (_, exact), (_, scores) in zip(truth, ranked, strict=True)
    ]
    return float(np.mean(hits))


def stats(folder: str | os.PathLike) -> dict[str, Any]:
    """What `index stats` prints; `count` is the number of living items."""
    gallery = Gallery.open(folder)
    manifest = gallery.manifest
    labels = Counter(item.label for item in gallery.items())
    parts = [about["bytes"] for entry in manifest["segments"] for about in entry["files"].values()]
    unfinished = Store(folder).unfinished()
    return {
        "count": len(gallery),
        "version": gallery.version,
        "format": manifest["format"],
        "written": manifest["written"],
        "model": manifest["model"],
        "dimension": gallery.dimension,
        "search": gallery.method,
        "index": manifest["segments"][0]["scann"] if manifest["segments"] else None,
        "columns": gallery.columns,
        "segments": [entry["rows"] for entry in manifest["segments"]],
        "deleted": manifest["dead"]["count"] if manifest["dead"] else 0,
        "bytes": sum(parts),
        "labels": len(labels),
        "largest_labels": dict(sorted(labels.items(), key=lambda pair: (-pair[1], pair[0]))[:10]),
        "sources": manifest["sources"],
        "unfinished": unfinished["kind"] if unfinished else None,
        "advice": compaction.advice(manifest) or None,
    }
