"""From many parts to one: merges segments, drops deleted rows, builds the ScaNN index."""

import itertools
import os
import secrets
import shutil
from typing import Any

import numpy as np

from tf_ssgn.common.cli import log
from tf_ssgn.common.progress import Progress
from tf_ssgn.retrieval.folder.rows import Rows
from tf_ssgn.retrieval.folder.segment import Segment, SegmentWriter
from tf_ssgn.retrieval.folder.store import Store, describe_folder
from tf_ssgn.retrieval.search import scann_index
from tf_ssgn.settings import GALLERY, ROWS_TOGETHER


def index_segment(store: Store, name: str, rows: int, dimension: int, first: bool) -> dict[str, Any]:
    """A finished part's entry in the manifest; the first segment gets a ScaNN index where it is large enough."""
    folder = store.part(name)
    shutil.rmtree(folder / scann_index.FOLDER, ignore_errors=True)  # left by a process that was killed while indexing
    segment = Segment(folder, rows, dimension)
    chosen = None
    if first and rows >= GALLERY.exact_below:
        if scann_index.why_not():
            log(f"no ScaNN index: {scann_index.why_not()}; this gallery is searched exactly")
        else:
            log(f"building the ScaNN index of {rows:,} items")
            index = scann_index.ScannIndex.build(segment.vectors)
            index.save(folder / scann_index.FOLDER)
            scann_index.tune(index, segment.vectors)
            chosen = index.parameters
    disorder = "SELECT 1 FROM items a JOIN items b ON b.row = a.row + 1 WHERE b.id <= a.id LIMIT 1"
    ordered = not segment.sql(disorder)
    segment.close()
    return {"folder": name, "rows": rows, "in_id_order": ordered, "scann": chosen, "files": describe_folder(folder)}


def add_part(store: Store, manifest: dict[str, Any], part: str, rows: int) -> dict[str, Any]:
    """The manifest with a finished part as its last segment."""
    segments = manifest["segments"]
    return {**manifest, "segments": [*segments, index_segment(store, part, rows, manifest["dimension"], not segments)]}


def tidied(store: Store, manifest: dict[str, Any], dead: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """Merges what was added last, so that each part but the first is larger than all after it: few parts, however small
    the additions, and no row is written more than log2(rows) times."""
    rows = [entry["rows"] for entry in manifest["segments"]]
    first = len(rows) - 1
    while first > 1 and rows[first - 1] <= sum(rows[first:]):
        first -= 1
    return merge(store, manifest, dead, first) if first < len(rows) - 1 else (manifest, dead)


def merge(store: Store, manifest: dict[str, Any], dead: np.ndarray, first: int) -> tuple[dict[str, Any], np.ndarray]:
    """Replaces the segments from number `first` on by one without deleted rows: (manifest, rows still dead)."""
    dimension = manifest["dimension"]
    kept, merged = manifest["segments"][:first], manifest["segments"][first:]
    start = sum(entry["rows"] for entry in kept)
    segments = [Segment(store.part(entry["folder"]), entry["rows"], dimension) for entry in merged]
    living = Rows(segments, dead[dead >= start] - start, dimension)
    total, name = len(living), secrets.token_hex(6)
    writer = SegmentWriter(store.part(name), dimension)
    with Progress(total, "items") as bar:
        items = living.by_id()
        while some := list(itertools.islice(items, ROWS_TOGETHER)):
            rows = np.array([row for row, _ in some])
            writer.append([item for _, item in some], living.vectors_of(rows), living.extra(rows))
            bar.advance(len(some))
    living.close()
    if total:
        writer.finish()
        kept = [*kept, index_segment(store, name, total, dimension, first=first == 0)]
    else:
        writer.close()
    return {**manifest, "segments": kept}, dead[dead < start]


def compact(folder: str | os.PathLike) -> dict[str, Any]:
    """One segment in the order of ids, nothing deleted, the index rebuilt; returns the manifest. Idempotent."""
    store = Store(folder)
    with store.writing():
        manifest = store.manifest()
        store.collect()
        wants_index = (
            manifest["count"] >= GALLERY.exact_below
            and manifest["segments"][0]["scann"] is None
            and not scann_index.why_not()
        )
        tidy = len(manifest["segments"]) <= 1 and not manifest["dead"] and not wants_index
        if tidy and all(entry["in_id_order"] for entry in manifest["segments"]):
            return manifest
        try:
            changed, dead = merge(store, manifest, store.dead_rows(manifest), 0)
            return store.commit(changed, dead, manifest)
        finally:  # also what a full disk left half-written
            store.collect()


def advice(manifest: dict[str, Any]) -> str:
    """A line that advises to compact where searching has become slow for want of it; else empty."""
    outside = sum(entry["rows"] for entry in manifest["segments"][1:])
    dead = manifest["dead"]["count"] if manifest["dead"] else 0
    limit = GALLERY.advise_compact * max(manifest["count"], GALLERY.exact_below)
    if max(outside, dead) <= limit:
        return ""
    return f"{outside:,} items are outside the index and {dead:,} are deleted; `index compact` makes searching faster"
