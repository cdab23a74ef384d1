"""Asks a running server for the photos nearest to a sketch: a table in the terminal, a grid of pictures in a file."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tf_ssgn.common import cli
from tf_ssgn.common.markup import visible
from tf_ssgn.errors import UserError
from tf_ssgn.settings import PAUSE_SECONDS, SERVING

if TYPE_CHECKING:
    from tf_ssgn.serving.client.client import Client, RemoteHit

EXAMPLES = (
    "query giraffe.png --server localhost:8500 -k 10",
    "query giraffe.png --html out.html --gallery galleries/s21",
    "query photo.jpg --photo --json",
)


def parser() -> cli.Parser:
    command = cli.Parser(prog="python -m tf_ssgn.query", description=__doc__, examples=EXAMPLES)
    flag = command.add_argument
    flag("sketch", nargs="?", metavar="SKETCH", help="a PNG or JPEG file of a drawing")
    flag("--word", type=word, metavar="W", help="what is drawn; without SKETCH the word alone is searched with")
    default = f"localhost:{SERVING.port}"
    flag("--server", default=default, metavar="HOST:PORT", help="default %(default)s")
    flag("-k", type=int, default=SERVING.default_k, help=f"answers, 1 to {SERVING.k} (%(default)s)")
    flag("--photo", action="store_true", help="SKETCH is a photo: search by example")
    flag(
        "--timeout",
        type=float,
        default=SERVING.deadline_seconds,
        metavar="SECONDS",
        help="how long to wait for the answer, and for a server that is only just starting (%(default)s)",
    )
    flag("--token-file", metavar="FILE", help="its first line is the token to send")
    flag("--tls", action="store_true", help="encrypt, trusting the usual authorities")
    flag("--tls-ca", metavar="PEM", help="encrypt, trusting this authority")
    flag("--tls-cert", metavar="PEM", help="the certificate that says who this client is")
    flag("--tls-key", metavar="PEM", help="its key")
    flag("--html", metavar="FILE", help="write the answers there as a grid of pictures")
    flag("--gallery", metavar="G", help="where --html finds the photos: the gallery")
    flag("--photos", metavar="DIR", help="where --html finds the photos: their folder, or its parent")
    flag("--json", action="store_true", help="print one JSON object instead of the table")
    return command


def word(text: str) -> str:
    """The type of `--word`: an empty one would silently be as none."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"received {text!r}, expected what is drawn, such as giraffe")
    return text


def main(argv: list[str] | None = None) -> int | None:
    args = parser().parse_args(argv)
    from tf_ssgn.serving.client.client import Client

    if not args.timeout > 0:
        raise UserError(f"--timeout: received {args.timeout:g}, expected more than 0 seconds")
    if args.sketch is None and not args.word:
        raise UserError("received neither a drawing nor --word; expected one of them or both")
    if args.word and args.photo:
        raise UserError("--word says what is drawn; leave it or --photo out")
    refuse_folder(args.html)
    with Client(
        args.server,
        args.timeout,
        token=_token(args.token_file),
        tls=args.tls,
        ca=args.tls_ca,
        certificate=args.tls_cert,
        key=args.tls_key,
    ) as client:
        hits = _patiently(client.search_photo if args.photo else client.search, args, client)
    paths = find_photos(hits, args) if args.html is not None or args.json else {}
    show(args, hits, paths, server=args.server)
    return 0


def _patiently(search: Callable[..., list[RemoteHit]], args, client: Client) -> list[RemoteHit]:
    """The answer; a server that is not there yet, or still loads its model, is waited for until the timeout."""
    from tf_ssgn.serving.client.client import RequestError

    end = time.monotonic() + args.timeout
    said = False
    while True:
        try:
            return search(args.sketch, k=args.k, **({"word": args.word} if args.word else {}))
        except RequestError as error:
            client.timeout = end - time.monotonic() - PAUSE_SECONDS
            if error.code != "UNAVAILABLE" or client.timeout <= 0:
                raise
            if not said:
                cli.log(f"no answer from {args.server} yet; trying until {args.timeout:g} s are over")
                said = True
            time.sleep(PAUSE_SECONDS)


def _token(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--token-file: cannot read {path}: {error}; expected text in UTF-8") from None
    if not lines:
        raise UserError(f"--token-file: {path} is empty, expected a token")
    return lines[0]


def refuse_folder(html: str | None) -> None:
    """UserError where `--html` cannot be the name of a file."""
    if html is not None and (Path(html).is_dir() or not Path(html).name):
        raise UserError(f"--html: received the folder {html!r}, expected a file such as out.html")


def show(args, hits: Sequence[RemoteHit], paths: dict[str, str], **about: str) -> None:
    """Answers as the flags say: a table or one JSON object, and a page of pictures; `about` says who answered."""
    if args.html is not None:
        write_grid(args.html, args.sketch, hits, paths, args.word)
        cli.log(f"wrote {args.html}" + ("" if paths or not hits else f" without pictures: {HOW_TO_GET_PICTURES}"))
    if args.json:
        rows = [
            {"rank": rank, "id": hit.id, "score": hit.score, "label": hit.label, "path": paths.get(hit.id)}
            for rank, hit in enumerate(hits, start=1)
        ]
        cli.print_json({"sketch": args.sketch, "word": args.word, **about, "hits": rows, "html": args.html})
    else:
        print(table(hits))


HOW_TO_GET_PICTURES = "the photos are not known here; say where they are with --photos DIR or --gallery G"


def table(hits: Sequence[RemoteHit]) -> str:
    """Rank, score, label and id in aligned columns."""
    if not hits:
        return "no answers: the gallery is empty"
    rows = [
        (str(rank), f"{hit.score:.4f}", visible(hit.label), visible(hit.id)) for rank, hit in enumerate(hits, start=1)
    ]
    rows.insert(0, ("rank", "score", "label", "id"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{rank:>{widths[0]}}  {score:>{widths[1]}}  {label:<{widths[2]}}  {item}" for rank, score, label, item in rows
    )


def find_photos(hits: Sequence[RemoteHit], args) -> dict[str, str]:
    """`{id: path}` of the answers whose photo is at hand: in `--photos`, in `--gallery`, or in the gallery of a
    server that the same user runs on this machine."""
    if args.photos:
        return in_folder(hits, Path(args.photos))
    from tf_ssgn.serving.client.client import is_loopback
    from tf_ssgn.serving.core import notes

    gallery = args.gallery
    if gallery is None:
        host, _, port = args.server.rpartition(":")
        gallery = notes.find_gallery(int(port)) if is_loopback(host) else None
        if gallery is None:
            return {}
    from tf_ssgn.retrieval.files import to_file
    from tf_ssgn.retrieval.folder.gallery import Gallery

    try:
        opened = Gallery.open(gallery)
    except UserError:
        if args.gallery is not None:
            raise
        return {}
    items = (opened.find(hit.id) for hit in hits)
    return {item.id: to_file(item.path) for item in items if item is not None}


def in_folder(hits: Sequence[RemoteHit], folder: Path) -> dict[str, str]:
    """`{id: path}` of the photos in `folder`, which is the indexed folder or its parent. Ids come from the server:
    one that leads out of the folder is not followed."""
    from tf_ssgn.retrieval.files import to_file

    if not folder.is_dir():
        raise UserError(f"--photos: there is no folder {folder}; expected the indexed folder of photos or its parent")
    root = folder.resolve()
    paths = {}
    for hit in hits:
        first, _, below = hit.id.partition("/")
        for relative in (hit.id, below if first == root.name else ""):
            try:
                path = (root / to_file(relative)).resolve()
                if relative and path.is_relative_to(root) and path.is_file():
                    paths[hit.id] = str(path)
                    break
            except (OSError, ValueError):  # a name that the file system refuses
                continue
    return paths


def write_grid(
    path: str, sketch: str | None, hits: Sequence[RemoteHit], photos: dict[str, str], word: str | None = None
) -> None:
    from tf_ssgn.evaluation.report.page import write_answers
    from tf_ssgn.evaluation.report.pictures import Grid, Picture

    captions = [f"{rank}. {hit.label} {hit.score:.4f}\n{hit.id}" for rank, hit in enumerate(hits, start=1)]
    answers = [Picture(photos.get(hit.id), caption) for hit, caption in zip(hits, captions, strict=True)]
    notes = [f"{len(hits)} answers, best first; the number is the cosine similarity"]
    if hits and not photos:
        notes.append(HOW_TO_GET_PICTURES)
    asked = " and ".join([*([Path(sketch).name] if sketch else []), *([f"the word {word}"] if word else [])])
    rows = [(Picture(sketch, "the query") if sketch else None, answers)]
    try:
        write_answers(path, f"Photos for {asked}", Grid("", rows), notes)
    except OSError as error:
        raise UserError(f"--html: cannot write {path}: {error.strerror or error}; expected a writable folder") from None


if __name__ == "__main__":
    cli.run(main)
