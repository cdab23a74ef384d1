"""Photos into a gallery: `build`, `add` and `sync`, which go on after a kill where they were stopped."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.common.progress import Progress
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.embedding import Embedder, Report, embed
from tf_ssgn.retrieval.files import Found, Source, Walk, to_file, to_text, walk
from tf_ssgn.retrieval.folder.compaction import index_segment, merge
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.segment import Item, SegmentWriter
from tf_ssgn.retrieval.folder.store import Store
from tf_ssgn.retrieval.metadata import Metadata, read
from tf_ssgn.settings import GALLERY


class NothingEmbedded(UserError):
    """None of the photos that a gallery was to be made of can be used."""


@dataclass
class _Plan:
    """What has to be done: files to look at, living rows (by id) that they may replace, rows that vanished."""

    todo: list[Found]
    old: dict[str, tuple[int, Item]] = field(default_factory=dict)
    vanished: dict[str, int] = field(default_factory=dict)
    remove: bool = False


def build(
    folder: str | Path,
    folders: Sequence[str | Path],
    model: Embedder,
    metadata: str | Path | None = None,
    exclude: Sequence[str] = (),
    found: Walk | None = None,
) -> Report:
    """Makes a gallery of every photo below `folders`; the same call after a kill resumes it.

    `metadata` is a table of labels and further columns (`metadata.read`); `found` a walk that was done already.

    Raises UserError where a gallery is already there, another build is unfinished, or no photo could be embedded.
    """
    store = Store(folder)
    store.refuse_foreign()
    table = read(metadata) if metadata else None
    found = found or walk(folders, exclude=exclude)
    about = Metadata(table, found.sources)
    found.found = about.apply(found.found)
    if not found.found:
        raise UserError(f"no photos (PNG, JPEG, WebP, BMP, GIF) below {', '.join(to_text(str(f)) for f in folders)}")
    asked = {"kind": "build", "sources": _plain(found.sources), "exclude": sorted(exclude), **_made_by(model, about)}
    with store.writing(create=True):
        journal = store.journal()
        resumes = journal is not None and {key: journal.get(key) for key in asked} == asked
        if store.exists():
            if not resumes:
                raise UserError(
                    f"{store.folder} already is a gallery; use `index add` or `index sync`, or another folder"
                )
            store.finish()  # that build was killed after its last step
            manifest = store.manifest()
            return Report(manifest["count"], manifest["version"], resumed=manifest["count"])
        if journal and not resumes:
            raise UserError(
                f"{store.folder} holds an unfinished {journal.get('kind')} of other folders or with another model; "
                "run that command again, or build into another folder"
            )
        journal = journal or store.new_part(**asked)
        store.collect()
        try:
            return _write(store, journal, None, found, _Plan(found.found), model, about, sorted(exclude))
        except (UserError, OSError, sqlite3.Error):
            if not store.has_rows(journal):
                store.abandon()
            raise


def update(
    folder: str | Path, found: Walk, model: Embedder, remove: bool, most: int | None = None, bar: Progress | None = None
) -> Report:
    """`add` or, where `remove`, `sync` of what a walk found already; at most so many photos are embedded.

    What is left is `Report.rest`.
    """
    return _update(folder, (), model, None, (), remove, found, most, bar)


def pending(gallery: Gallery, found: Walk) -> list[Found]:
    """The files of a walk that are new or changed."""
    return _plan(gallery, replace(found), False, Metadata(None, found.sources)).todo


def add(
    folder: str | Path,
    folders: Sequence[str | Path],
    model: Embedder,
    metadata: str | Path | None = None,
    exclude: Sequence[str] = (),
) -> Report:
    """Embeds what is new or changed below `folders`; what is unchanged is not read, what vanished stays.

    A file of which `metadata` says something new gets a new row with the vector it had. The globs of `exclude` are
    kept: later calls follow them as well.
    """
    return _update(folder, folders, model, metadata, exclude, remove=False)


def sync(
    folder: str | Path,
    folders: Sequence[str | Path],
    model: Embedder,
    metadata: str | Path | None = None,
    exclude: Sequence[str] = (),
) -> Report:
    """Like `add`, and removes what vanished below `folders`; without folders, below all that were ever added."""
    return _update(folder, folders, model, metadata, exclude, remove=True)


def _update(
    folder: str | Path,
    folders: Sequence[str | Path],
    model: Embedder,
    metadata: str | Path | None,
    exclude: Sequence[str],
    remove: bool,
    found: Walk | None = None,
    most: int | None = None,
    bar: Progress | None = None,
) -> Report:
    store = Store(folder)
    table = read(metadata) if metadata else None
    with store.writing():
        gallery = Gallery.open(folder)
        gallery.require_model(model.fingerprint)
        known = sources_of(gallery.manifest)
        exclude = sorted({*gallery.manifest.get("exclude", ()), *exclude})
        found = replace(found) if found else walk(folders or [source.folder for source in known], known, exclude)
        about = Metadata(table, found.sources)
        plan = _plan(gallery, found, remove, about)
        asked = _made_by(model, about)
        journal = store.unfinished()
        if journal and {key: journal.get(key) for key in asked} != asked:
            journal = None  # vectors of another model, or labels of another table: of no use here
        journal = journal or store.new_part(kind="add", **asked)
        store.collect()
        return _write(store, journal, gallery, found, plan, model, about, exclude, most, bar)


def sources_of(manifest: dict[str, Any]) -> list[Source]:
    return [Source(to_file(entry["folder"]), entry["prefix"]) for entry in manifest["sources"]]


def _plain(sources: Iterable[Source]) -> list[dict[str, str]]:
    return [{"folder": to_text(source.folder), "prefix": source.prefix} for source in sources]


def _made_by(model: Embedder, about: Metadata) -> dict[str, Any]:
    return {"fingerprint": model.fingerprint, "dimension": model.dimension, "metadata": about.digest or None}


def _plan(gallery: Gallery, found: Walk, remove: bool, about: Metadata) -> _Plan:
    covered: dict[str, tuple[int, Item]] = {}
    for prefix in found.prefixes:
        # '0' is the character after '/', so this range is everything that starts with the prefix.
        covered |= {
            item.id: (row, item) for row, item in gallery.where("id >= ? AND id < ?", (prefix, prefix[:-1] + "0"))
        }
    # What a table said once stays until another one says something else.
    found.found = [
        file._replace(label=covered[file.id][1].label) if file.id in covered else file for file in found.found
    ]
    about.columns = gallery.columns
    if gallery.columns:
        rows = np.array([row for row, _ in covered.values()], np.int64)
        about.known = dict(zip(covered, gallery.extra(rows), strict=True))
    found.found = about.apply(found.found)
    todo = []
    for file in found.found:
        known = covered.get(file.id)
        same = known and (known[1].size, known[1].modified, known[1].path) == (
            file.size,
            file.modified,
            to_text(file.path),
        )
        if known is None or not same or about.changed(file, known[1]):
            todo.append(file)
    vanished: dict[str, int] = {}
    if remove:
        present = {file.id for file in found.found}
        hidden = tuple(problem.id for problem in found.problems)
        vanished = {id: row for id, (row, _) in covered.items() if id not in present and not _below(id, hidden)}
        for prefix in found.prefixes:
            before = sum(id.startswith(prefix) for id in covered)
            if before and before == sum(id.startswith(prefix) for id in vanished):
                raise UserError(
                    f"none of the {before:,} items under {prefix[:-1]!r} has its photo any more; nothing was removed: "
                    "is the disk mounted? To remove them all use `index delete --path`"
                )
    return _Plan(todo, covered, vanished, remove)


def _below(id: str, folders: tuple[str, ...]) -> bool:
    return any(id == folder or id.startswith(folder + "/") for folder in folders)


def _write(
    store: Store,
    journal: dict[str, Any],
    gallery: Gallery | None,
    found: Walk,
    plan: _Plan,
    model: Embedder,
    about: Metadata,
    exclude: Sequence[str],
    most: int | None = None,
    bar: Progress | None = None,
) -> Report:
    """Embeds the plan into the journal's part, then makes it and the deletions the current version."""
    report = Report(skipped=[(to_text(problem.path), problem.reason) for problem in found.problems])
    report.unchanged = len(found.found) - len(plan.todo)
    report.unmatched = about.unmatched()
    report.left_out = found.left_out
    part = store.part(journal["part"])
    writer = SegmentWriter(part, model.dimension)
    living, dead = _resume(writer, plan, report)
    if bar:
        bar.advance(report.resumed)
    if most is not None:
        plan.todo, report.rest = plan.todo[:most], plan.todo[most:]
    lost = embed(plan.todo, writer, gallery, plan.old, model, report, living, about, bar)

    replaced = {plan.old[id][0] for id in living if id in plan.old}
    removed = set(plan.vanished.values())
    if plan.remove:  # what is there no more, or is no photo any more
        removed |= {plan.old[id][0] for id in lost if id in plan.old}
    report.removed = len(removed)
    if gallery is None and not living:
        writer.close()
        reasons = report.skipped[0] if report.skipped else ("", "")
        raise NothingEmbedded(
            f"none of the {len(found.found):,} photos could be embedded (the first: {reasons[0]!r}: {reasons[1]}); "
            "no gallery was made"
        )
    manifest: dict[str, Any] = dict(gallery.manifest) if gallery else first_manifest(model)
    manifest["sources"], manifest["exclude"] = _plain(found.sources), list(exclude)
    gone = np.array(sorted(replaced | removed), np.int64)
    total = sum(entry["rows"] for entry in manifest["segments"])
    tombstones = [store.dead_rows(manifest) if gallery else np.empty(0, np.int64), gone]
    if living:
        tombstones.append(np.array(sorted(dead), np.int64) + total)
        writer.finish()
        manifest = add_part(store, manifest, journal["part"], writer.rows)
    else:
        writer.close()
    if gallery is None or living or gone.size or _asked(manifest) != _asked(gallery.manifest):
        dead_rows = np.concatenate(tombstones)
        if len(manifest["segments"]) > GALLERY.merge_deltas:
            manifest, dead_rows = merge(store, manifest, dead_rows, 1)
        manifest = store.commit(manifest, dead_rows, gallery.manifest if gallery else None)
    store.finish()
    report.count, report.version = manifest["count"], manifest["version"]
    return report


def _asked(manifest: dict[str, Any]) -> tuple[Any, Any]:
    """What later calls go by; a manifest made before there was `--exclude` has none."""
    return manifest["sources"], manifest.get("exclude", [])


def add_part(store: Store, manifest: dict[str, Any], part: str, rows: int) -> dict[str, Any]:
    """The manifest with a finished part as its last segment."""
    segments = manifest["segments"]
    return {**manifest, "segments": [*segments, index_segment(store, part, rows, manifest["dimension"], not segments)]}


def first_manifest(model: Embedder) -> dict[str, Any]:
    about = {"path": to_text(os.path.abspath(model.path)), "fingerprint": model.fingerprint, "views": model.views}
    about["runtime"] = model.runtime
    return {
        "model": about,
        "dimension": model.dimension,
        "normalisation": "l2",
        "similarity": "cosine",
        "sources": [],
        "segments": [],
        "dead": None,
    }


def _resume(writer: SegmentWriter, plan: _Plan, report: Report) -> tuple[dict[str, int], set[int]]:
    """Takes over the rows of a killed run: ({id: row} that still hold, rows that do not); shortens the plan."""
    wanted = {file.id: file for file in plan.todo}
    living: dict[str, int] = {}
    dead: set[int] = set()
    for row, item in writer.items():
        file = wanted.get(item.id)
        if file is None or (item.size, item.modified, item.path) != (file.size, file.modified, to_text(file.path)):
            dead.add(row)
            continue
        if item.id in living:
            dead.add(living[item.id])
        living[item.id] = row
    report.resumed = len(living)
    plan.todo = [file for file in plan.todo if file.id not in living]
    return living, dead
