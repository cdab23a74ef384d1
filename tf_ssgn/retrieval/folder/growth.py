"""A gallery that can be searched while it is made: photos come in steps, and each step is a version."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from tf_ssgn.common.cli import log
from tf_ssgn.retrieval import update
from tf_ssgn.retrieval.files import Walk, walk
from tf_ssgn.retrieval.folder.builder import FolderWriter
from tf_ssgn.retrieval.photos import Embedder
from tf_ssgn.retrieval.update import Folders
from tf_ssgn.retrieval.writer import Report
from tf_ssgn.settings import GALLERY, TELL_SECONDS


def grow(
    folder: str | os.PathLike, folders: Folders, model: Embedder, expect: Callable[[int], None] = lambda photos: None
) -> Iterator[Report]:
    """Brings a gallery in step with `folders`, and makes it where there is none; yields after each version, the first
    of a few photos, before all folders were looked through.

    `expect` is called with the number of photos below the folders where there are new ones. Where it is stopped, the
    next call goes on. UserError as `update.build` and `update.add`.
    """
    writer = FolderWriter(folder)
    if not writer.exists():
        yield _first(writer, folders, model)
    with writer.change(model) as change:
        walked = walk(folders, change.sources, change.exclude, tell=_teller())
        for report in update.steps(change, walked, model, expect=expect):
            if report.embedded or report.reused or report.resumed:
                yield report
    with writer.change(model) as change:  # what changed meanwhile, or vanished with its disk
        walked = walk(folders, change.sources, change.exclude, tell=_teller())
        report = update.last(update.steps(change, walked, model, remove=True))
    if writer.advice():
        report.version = writer.compact().version
    yield report


def _first(writer: FolderWriter, folders: Folders, model: Embedder) -> Report:
    most = GALLERY.first_step
    while True:
        walked = walk(folders, most=most, tell=_teller())
        try:
            return update.build(writer, folders, model, walked=replace(walked, files=walked.files[:most]))
        except update.NothingEmbedded:
            if len(walked.files) < most:
                raise
            most *= 8  # there are more, and some of them may be sound


def look(folders: Folders) -> Walk:
    """A walk that ends at the first photo: whether there is anything to do is known before a model is loaded."""
    return walk(folders, most=1, tell=_teller())


def _teller() -> Callable[[int, int], None]:
    last = time.monotonic()

    def tell(looked: int, photos: int) -> None:
        nonlocal last
        if time.monotonic() - last >= TELL_SECONDS:
            last = time.monotonic()
            log(f"looking for photos: {looked:,} folders, {photos:,} photos so far")

    return tell
