"""A gallery that can be searched while it is made: photos come in steps, and each step is a version."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tf_ssgn.common.cli import log
from tf_ssgn.common.progress import Progress
from tf_ssgn.retrieval.embedding import Embedder, Report
from tf_ssgn.retrieval.files import Walk, walk
from tf_ssgn.retrieval.folder import builder
from tf_ssgn.retrieval.folder.compaction import advice, compact
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.store import Store
from tf_ssgn.settings import GALLERY

_FIRST_SECONDS = 4.0  # of the second step; each further one is twice as long, up to `GALLERY.step_seconds`
_TELL_SECONDS = 5.0  # between two lines about a long walk


def grow(
    folder: str | Path,
    folders: Sequence[str | Path],
    model: Embedder,
    expect: Callable[[int], None] = lambda photos: None,
) -> Iterator[Report]:
    """Brings a gallery in step with `folders`, and makes it where there is none; yields after each version.

    The first version has a few photos and does not wait until all folders were looked through. `expect` is called with
    the number of photos below the folders where there are new ones. Where it is stopped, the next call goes on.

    Raises UserError as `builder.build` and `builder.sync` do.
    """
    store = Store(folder)
    if not store.exists():
        yield _first(folder, folders, model)
    found = walk(folders, builder.sources_of(store.manifest()), tell=_teller())
    gallery = Gallery.open(folder)
    todo = builder.pending(gallery, found)
    gallery.close()
    if todo:
        expect(len(found.found))
        with Progress(len(todo), "photos") as bar:
            seconds, most = _FIRST_SECONDS, GALLERY.first_step
            while todo:
                begun = time.monotonic()
                report = builder.update(folder, replace(found, found=todo, problems=[]), model, False, most, bar)
                pace = max(report.embedded, 1) / (time.monotonic() - begun)
                todo, most = report.rest, max(GALLERY.first_step, int(pace * seconds))
                seconds = min(2 * seconds, GALLERY.step_seconds)
                yield report
        found = walk(folders, found.sources, tell=_teller())  # what changed meanwhile, or vanished with its disk
    report = builder.update(folder, found, model, remove=True)
    if advice(store.manifest()):
        report.version = compact(folder)["version"]
    yield report


def _first(folder: str | Path, folders: Sequence[str | Path], model: Embedder) -> Report:
    most = GALLERY.first_step
    while True:
        found = walk(folders, most=most, tell=_teller())
        some = replace(found, found=found.found[:most])
        try:
            return builder.build(folder, folders, model, found=some)
        except builder.NothingEmbedded:
            if len(found.found) < most:
                raise
            most *= 8  # there are more, and some of them may be sound


def look(folders: Sequence[str | Path]) -> Walk:
    """A walk that ends at the first photo: whether there is anything to do is known before a model is loaded."""
    return walk(folders, most=1, tell=_teller())


def _teller() -> Callable[[int, int], None]:
    last = time.monotonic()

    def tell(looked: int, photos: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _TELL_SECONDS:
            last = time.monotonic()
            log(f"looking for photos: {looked:,} folders, {photos:,} photos so far")

    return tell
