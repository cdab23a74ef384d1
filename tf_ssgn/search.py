"""Finds photos of yours by drawing: indexes what is new in some folders, then opens a page to draw on.

The index is kept in your own data folder; nothing is written into the folders of photos. The page opens as soon as the
first photos can be found, and more come while it is used. Stop it with Ctrl-C; the next time it goes on."""

from __future__ import annotations

import argparse
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_ssgn import query
from tf_ssgn.common import cli
from tf_ssgn.data.folders import READ
from tf_ssgn.errors import UserError
from tf_ssgn.settings import MODEL, SERVING

if TYPE_CHECKING:
    from tf_ssgn.retrieval.writer import Report
    from tf_ssgn.serving.core.service import Service

EXAMPLES = (
    "search ~/Pictures",
    "search ~/Pictures /media/disk/scans --no-open",
    "search ~/Pictures --sketch giraffe.png -k 5 --html answers.html",
)
SHOWN = 3  # photos that could not be used, named one by one


def parser() -> cli.Parser:
    command = cli.Parser(prog="python -m tf_ssgn.search", description=__doc__, examples=EXAMPLES)
    flag = command.add_argument
    flag("folders", nargs="+", metavar="FOLDER", help="photos, with all folders below")
    flag("--sketch", metavar="FILE", help="a drawing: answer it here in the terminal, without a page")
    flag("--word", type=query.word, metavar="W", help="what is drawn; without --sketch the word alone is searched with")
    flag(
        "-k",
        type=cli.number(1, SERVING.k),
        default=SERVING.default_k,
        help=f"answers to it, 1 to {SERVING.k} (%(default)s)",
    )
    flag("--html", metavar="FILE", help="write the answers to it there as a grid of pictures")
    flag("--json", action="store_true", help="print one JSON object instead of the table")
    flag("--model", default=MODEL, metavar="M", help="name or folder of a model (%(default)s)")
    flag("--to", metavar="G", help="keep the index there [in the user's data folder]")
    flag(
        "--port",
        type=cli.number(1, 65535, "a port from "),
        metavar="P",
        help=f"of the page [{SERVING.http_port}, else any free one]",
    )
    flag("--no-open", action="store_true", help="print the page's address and open no browser")
    return command


def main(argv: list[str] | None = None) -> int | None:
    args = parser().parse_args(argv)
    asked = args.sketch is not None or args.word
    _check(args)
    from tf_ssgn.retrieval.folder import growth
    from tf_ssgn.runtime.resolve import is_shipped, resolve
    from tf_ssgn.runtime.saved_model import fingerprint_of
    from tf_ssgn.serving.core.notes import Claim, claimed, gallery_of

    first = growth.look(args.folders)
    if not first.files:
        unread = "".join(f"; {problem.path!a}: {problem.reason}" for problem in first.problems[:1])
        raise UserError(f"no photos ({READ}) below {', '.join(map(ascii, args.folders))}{unread}")
    args.model = str(resolve(args.model))
    if args.word and is_shipped(Path(args.model)):  # a mistake is told before anything is loaded
        from tf_ssgn.data.semantics.vocabulary import Vocabulary
        from tf_ssgn.runtime.shipped import word_names

        Vocabulary(word_names(Path(args.model))).find(args.word)
    model = None if args.to or fingerprint_of(args.model) else _load(args.model)  # a run's is known once it is loaded
    fingerprint = model.fingerprint if model else fingerprint_of(args.model)
    gallery = Path(os.path.abspath(args.to)) if args.to else gallery_of(args.folders, fingerprint)
    with claimed(gallery) as claim:
        if not isinstance(claim, Claim):
            return _join(args, gallery, claim)
        model = Stoppable(model or _load(args.model))
        if args.word:
            model.words.vocabulary.find(args.word)  # before any photo is looked at
        if asked:
            _report(growth.grow(gallery, args.folders, model), gallery)
            return _answer(args, gallery, model)
        return _serve(args, gallery, model, claim)


class Stopped(Exception):
    """The process is about to end."""


class Stoppable:
    """A model that embeds photos until it is told to stop; what was embedded by then is kept."""

    def __init__(self, model: Any):
        self._model = model
        self.stop = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def call(self, signature: str, inputs: Any) -> Any:
        if self.stop.is_set() and signature == "embed_photo":
            raise Stopped
        return self._model.call(signature, inputs)


def _check(args: argparse.Namespace) -> None:
    """Mistakes that can be told before anything is loaded."""
    if args.sketch is None and not args.word:
        for flag in ("html", "json"):
            if getattr(args, flag):
                raise UserError(f"--{flag} is about the answers to a drawing; name one with --sketch FILE or --word W")
        from tf_ssgn.serve import WEB_NEEDS
        from tf_ssgn.serving import SERVER_NEEDS, require_extra
        from tf_ssgn.serving.core.addresses import is_free

        require_extra(SERVER_NEEDS)
        for package in WEB_NEEDS:
            if importlib.util.find_spec(package) is None:
                raise UserError(f"{cli.missing_package(package)}; or answer one drawing with --sketch FILE")
        if args.port and not is_free(SERVING.host, args.port):
            raise UserError(f"--port {args.port}: in use or not allowed; expected a free port, or no --port for any")
    elif args.sketch is not None and not os.path.isfile(args.sketch):
        raise UserError(f"--sketch: there is no file {args.sketch}; expected a PNG or JPEG file of a drawing")
    query.refuse_folder(args.html)


def _load(name: str) -> Any:
    from tf_ssgn import serve

    serve.begin_early(Path(name))
    return serve.load_model(Path(name))


def _serve(args: argparse.Namespace, gallery: Path, model: Stoppable, claim: Any) -> int | None:
    """The page on what is there, while the rest comes in a thread."""
    from tf_ssgn import serve
    from tf_ssgn.retrieval.folder import growth
    from tf_ssgn.retrieval.folder.store import Store
    from tf_ssgn.serving.core.addresses import is_free
    from tf_ssgn.serving.core.service import Service

    service = Service()
    steps = growth.grow(gallery, args.folders, model, lambda photos: setattr(service, "expected", photos))
    if not Store(gallery).exists():
        cli.log(f"looking at the photos for the first time; what is learnt is kept in {gallery}")
        service.expected = 0
        next(steps)
    port = args.port or (SERVING.http_port if is_free(SERVING.host, SERVING.http_port) else 0)
    words = ["--model", model.path, "--gallery", str(gallery), "--port", "0", "--http-port", str(port)]
    options = serve.parser().parse_args(words + ([] if args.no_open else ["--open"]))
    thread = threading.Thread(target=_index, args=(steps, service, gallery, model), name="index")

    def begin(page: str) -> Callable[[], None]:
        claim.tell(page)
        thread.start()

        def stop() -> None:
            model.stop.set()
            thread.join()

        return stop

    return serve.run(options, service, lambda folder: model, begin)


def _index(steps: Iterator[Report], service: Service, gallery: Path, model: Stoppable) -> None:
    """Takes all steps; whatever ends them, the page goes on with what it has."""
    try:
        _report(steps, gallery)
    except Stopped:
        cli.log("stopped before all photos were looked at; what is done is kept, the same command goes on")
    except UserError as error:
        cli.log(f"error: {error}; the page goes on with the photos it has")
    finally:
        service.expected = None


def _report(steps: Iterator[Report], gallery: Path) -> None:
    """Takes all steps, and says what came of them."""
    *_, report = steps
    for path, reason in report.skipped[:SHOWN]:
        cli.log(f"skipped {path!a}: {reason}")
    more = len(report.skipped) - SHOWN
    if more > 0:
        cli.log(f"... and {more:,} more (all of them: python -m tf_ssgn.index sync --to {gallery} --json)")
    cli.log(f"all {report.count:,} photos can be found")


def _answer(args: argparse.Namespace, gallery: Path, model: Any) -> int:
    from tf_ssgn.retrieval.files import to_file
    from tf_ssgn.retrieval.folder.gallery import Gallery

    opened = Gallery.open(gallery)
    opened.require_model(model.fingerprint)
    hits = opened.search(model.embed_sketch(args.sketch, word=args.word or ""), k=args.k)
    query.show(args, hits, {hit.id: to_file(hit.path) for hit in hits}, gallery=str(gallery))
    return 0


def _join(args: argparse.Namespace, gallery: Path, other: dict[str, Any]) -> int:
    """What a second `search` on the same folders does: it shows the first one's page, or asks the photos so far."""
    from tf_ssgn import serve
    from tf_ssgn.retrieval.folder.store import Store

    asked = args.sketch is not None or args.word
    if asked and Store(gallery).exists():
        cli.log("another search is looking at these folders; this answer is from the photos that it has so far")
        return _answer(args, gallery, _load(args.model))
    if asked or "page" not in other:
        raise UserError("another search has just begun on these folders; run this again when its page is there")
    cli.log(f"a search on these folders is running already (process {other.get('pid')}): {other['page']}")
    if not args.no_open:
        serve.show(str(other["page"]), wait=True)
    return 0


if __name__ == "__main__":
    cli.run(main)
