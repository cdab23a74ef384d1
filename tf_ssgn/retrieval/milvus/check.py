"""A gallery in Milvus looked at as a whole: `index verify` and `stats`."""

from typing import Any

import numpy as np

from tf_ssgn.common.progress import Progress
from tf_ssgn.retrieval.milvus.gallery import VECTOR, MilvusGallery
from tf_ssgn.settings import SAME_COSINE, SELF_K, SELF_QUERIES, SELF_RECALL, UNIT_TOLERANCE


def verify(where: str) -> dict[str, Any]:
    """As `verify.verify`: walks over all items once, and searches for some of them."""
    with MilvusGallery.open(where) as gallery:
        result: dict[str, Any] = {"count": 0, "damage": [], "leftovers": [], "unfinished": None, "self_recall": None}
        result["unfinished"] = "build" if "building" in gallery.about else None
        total = gallery.count()
        ids: set[str] = set()
        rows = 0
        with Progress(total, "items") as bar:
            for row in gallery.rows(fields=("id", VECTOR)):
                rows += 1
                ids.add(row["id"])
                length = float(np.linalg.norm(np.array(row[VECTOR], np.float64)))
                if not abs(length - 1) <= 2 * UNIT_TOLERANCE and len(result["damage"]) < 10:
                    result["damage"].append(f"the vector of {row['id']!r} has length {length:.6g}, expected 1")
                bar.advance()
        result["count"] = rows
        if len(ids) != rows:
            result["damage"].append(f"{rows - len(ids):,} items are there more than once")
        if rows != total:
            result["damage"].append(f"the server counts {total:,} items and gives {rows:,}; is another writer at work?")
        hits = gallery.own_hits(SELF_QUERIES, SELF_K, SAME_COSINE)
        result["self_recall"] = recall = float(np.mean(hits)) if hits else None
        if recall is not None and recall < SELF_RECALL:
            result["damage"].append(f"only {recall:.0%} of its own items are found again")
        return result


def stats(where: str) -> dict[str, Any]:
    """What `index stats` prints."""
    with MilvusGallery.open(where) as gallery:
        about = gallery.about
        index = gallery.index()
        return {
            "count": gallery.count(),
            "version": gallery.version,
            "format": about["format"],
            "written": None,
            "model": about["model"],
            "dimension": gallery.dimension,
            "search": index.get("index_type"),
            "index": index,
            "columns": gallery.columns,
            "server": about.get("server"),
            "sources": about["sources"],
            "unfinished": "build" if "building" in about else None,
        }
