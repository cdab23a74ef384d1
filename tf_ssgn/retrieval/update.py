"""Photos into a gallery, wherever it is kept: `build` and `add`.

Both look at the folders, compare what is there with what the gallery has (`plan.py`), and embed what is new or
changed. They commit as they go, at first soon, so that a reader finds the first photos while the rest is embedded.
After a kill the same call goes on where that was stopped.
"""

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tf_ssgn.common.progress import Progress
from tf_ssgn.data.folders import READ
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.files import PhotoFile, Walk, to_text, walk
from tf_ssgn.retrieval.items import Item
from tf_ssgn.retrieval.metadata import Metadata, Table, read_table
from tf_ssgn.retrieval.photos import Embedder, Photo, PhotoBatch, Skipped, embed_ahead, item_of, read_ahead
from tf_ssgn.retrieval.plan import Scope, plan
from tf_ssgn.retrieval.writer import Change, Report, Writer
from tf_ssgn.settings import GALLERY, SECOND_STEP_SECONDS, SERVING

File = str | os.PathLike
Folders = Sequence[File]


class NothingEmbedded(UserError):
    """None of the photos that a gallery was to be made of can be used."""


def build(
    writer: Writer,
    folders: Folders,
    model: Embedder,
    metadata: File | None = None,
    exclude: Sequence[str] = (),
    walked: Walk | None = None,
) -> Report:
    """Makes a gallery of every photo below `folders`; the same call after a kill resumes it.

    `metadata` is a table of labels and further columns (`metadata.read_table`); `walked` a walk that was done already.

    Raises UserError where a gallery is already there, another build is unfinished, or no photo could be embedded.
    """
    writer.check_new()
    table = read_table(metadata) if metadata else None
    walked = walked or walk(folders, exclude=exclude)
    if not walked.files:
        raise UserError(f"no photos ({READ}) below {', '.join(to_text(str(f)) for f in folders)}")
    with writer.change(model, table.digest if table else "", walked) as change:
        report = last(steps(change, walked, model, table, remove=True))
        report.resumed, report.unchanged = report.resumed + report.unchanged, 0  # what an earlier call had embedded
        return report


def add(
    writer: Writer,
    folders: Folders,
    model: Embedder,
    metadata: File | None = None,
    exclude: Sequence[str] = (),
    remove: bool = False,
) -> Report:
    """Embeds what is new or changed below `folders`; what is unchanged is not read, what vanished stays.

    A file of which `metadata` says something new gets a new row with the vector it had. The globs of `exclude` are
    kept: later calls follow them as well. With `remove` what vanished goes; without folders, all that were ever added.
    """
    table = read_table(metadata) if metadata else None
    with writer.change(model, table.digest if table else "") as change:
        exclude = sorted({*change.exclude, *exclude})
        walked = walk(folders or [source.folder for source in change.sources], change.sources, exclude)
        return last(steps(change, walked, model, table, remove))


def last(reports: Iterator[Report]) -> Report:
    """The report of a change that was followed to its end."""
    (report,) = deque(reports, maxlen=1)
    return report


def steps(
    change: Change,
    walked: Walk,
    model: Embedder,
    table: Table | None = None,
    remove: bool = False,
    expect: Callable[[int], None] = lambda photos: None,
) -> Iterator[Report]:
    """Brings a gallery in step with what a walk found, and reports after each version; with `remove` what vanished
    goes, with the last one. `expect` is called with the number of photos where some of them are new."""
    known = change.known(walked.prefixes)
    # What a table said once stays until another one says something else.
    files = [file._replace(label=known[file.id].label) if file.id in known else file for file in walked.files]
    about = Metadata(table, walked.sources, change.columns, change.extra(known) if change.columns else {})
    files = about.apply(files)
    retold = {file.id for file in files if file.id in known and about.changed(file, known[file.id])}
    scope = Scope(walked.prefixes, [problem.id for problem in walked.problems])
    todo = plan((file._replace(path=to_text(file.path)) for file in files), known, scope, remove, retold)

    report = Report(skipped=[(to_text(problem.path), problem.reason) for problem in walked.problems])
    report.left_out, report.unmatched, report.unchanged = walked.left_out, about.unmatched(), len(todo.same)
    wanted = set(todo.read)
    left = {file.id: file for file in files if file.id in wanted}
    if left:
        expect(len(files))
    resumed = change.resume(left)
    report.resumed = len(resumed)
    lost: set[str] = set()
    for enough in _embed(change, [left[id] for id in left if id not in resumed], known, model, about, report, lost):
        if enough:
            change.commit(walked, last=False)
            report.count, report.version = change.count, change.version
            yield report
    if change.new and not (resumed or report.embedded or report.reused):
        path, reason = report.skipped[0] if report.skipped else ("", "")
        raise NothingEmbedded(
            f"none of the {len(files):,} photos could be embedded (the first: {path!r}: {reason}); no gallery was made"
        )
    gone = {*todo.gone, *(lost & known.keys() if remove else ())}  # is there no more, or is no photo any more
    change.commit(walked, gone)
    report.removed, report.count, report.version = len(gone), change.count, change.version
    yield report


def _embed(
    change: Change,
    files: Sequence[PhotoFile],
    known: Mapping[str, Item],
    model: Embedder,
    about: Metadata,
    report: Report,
    lost: set[str],
) -> Iterator[bool]:
    """Appends every file that is a photo, counts in `report`, and yields after each batch whether to commit now. A file
    whose content and metadata are those of its item is left alone. `lost` gets the ids whose file is there no more, or
    is no photo any more."""
    if not files:
        return
    waiting, seconds, since = report.resumed, 0.0, time.monotonic()
    taken: set[str] = set()  # contents that are being embedded, or that no vector can be had of
    faults: dict[str, str] = {}
    with Progress(len(files), "photos") as bar:
        for batch, (fresh, bad) in embed_ahead(model, _batches(change, files, known, about, taken)):
            taken -= fresh.keys()
            faults |= bad
            report.skipped += [(to_text(file.path), skipped.reason) for file, skipped in batch.skipped]
            report.unchanged += batch.unchanged
            unusable = _append(change, batch.photos, fresh, faults, about, report)
            lost |= unusable | {file.id for file, skipped in batch.skipped if skipped.lost}
            waiting += len(batch.photos) - len(unusable)
            bar.advance(batch.looked)
            enough = waiting >= GALLERY.first_step and time.monotonic() - since >= seconds and bar.done < len(files)
            yield enough
            if enough:  # the first photos soon, then in steps that are twice as long each time
                waiting, since = 0, time.monotonic()
                seconds = min(max(SECOND_STEP_SECONDS, 2 * seconds), GALLERY.step_seconds)


def _batches(
    change: Change, files: Sequence[PhotoFile], known: Mapping[str, Item], about: Metadata, taken: set[str]
) -> Iterator[PhotoBatch]:
    """The files, read; of contents whose vector is known, or that are `taken`, no image is to be embedded again."""
    outcomes = read_ahead(files)
    while some := list(itertools.islice(outcomes, SERVING.batch)):
        batch = PhotoBatch(len(some))
        for file, outcome in some:
            if isinstance(outcome, Skipped):
                batch.skipped.append((file, outcome))
                continue
            item = known.get(file.id)
            if item and item.sha256 == outcome.sha256 and not about.changed(file, item):
                batch.unchanged += 1  # only its time of change is another
            else:
                batch.photos.append(outcome)
        new = {photo.sha256: photo.image for photo in batch.photos if photo.sha256 not in taken}
        there = change.vectors_of(new)
        batch.images = {content: image for content, image in new.items() if content not in there}
        taken |= batch.images.keys()
        yield batch


def _append(
    change: Change,
    photos: Sequence[Photo],
    fresh: Mapping[str, np.ndarray],
    faults: Mapping[str, str],
    about: Metadata,
    report: Report,
) -> set[str]:
    """Appends photos with their vectors, fresh ones and those that the gallery has; returns ids that are no photo."""
    good = [photo for photo in photos if photo.sha256 not in faults]
    bad = [photo for photo in photos if photo.sha256 in faults]
    vectors = {**change.vectors_of({photo.sha256 for photo in good} - fresh.keys()), **fresh}
    report.embedded += len(fresh)
    report.reused += len(good) - len(fresh)
    report.skipped += [(to_text(photo.file.path), faults[photo.sha256]) for photo in bad]
    if good:
        extra = [about.extra(photo.file.id) for photo in good]
        change.append([item_of(photo) for photo in good], np.stack([vectors[photo.sha256] for photo in good]), extra)
    return {photo.file.id for photo in bad}
