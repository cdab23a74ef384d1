"""Serves a model and its gallery over the TensorFlow Serving gRPC API."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

from tf_ssgn import cli
from tf_ssgn.config import SERVING
from tf_ssgn.errors import UserError
from tf_ssgn.serving import SERVER_NEEDS, require_extra


def parser() -> cli.Parser:
    made = cli.Parser(prog="python -m tf_ssgn.serve", description=__doc__)
    made.add_argument("--model", required=True, metavar="DIR", help="an exported model, saved_models/NAME")
    made.add_argument("--gallery", metavar="G", help="the gallery to search; without it there are embeddings only")
    made.add_argument("--host", default=SERVING.host, help="address to listen on (default %(default)s)")
    made.add_argument("--port", type=_port, default=SERVING.port, help="of gRPC; 0 any free one (default %(default)s)")
    made.add_argument(
        "--http-port", type=_http_port, default=SERVING.http_port, help="of HTTP; -1 off (default %(default)s)"
    )
    made.add_argument("--open", action="store_true", help="open the sketch pad in the browser")
    made.add_argument(
        "--insecure", action="store_true", help="listen on an address that other machines reach, without encryption"
    )
    return made


def main(argv: list[str] | None = None) -> int | None:
    args = parser().parse_args(argv)
    require_extra(SERVER_NEEDS)
    from tf_ssgn.serving import presence
    from tf_ssgn.serving.server import Server
    from tf_ssgn.serving.service import Service, served

    if args.http_port != -1 or args.open:
        cli.log("http is off: its gateway is not installed, gRPC is served alone (--http-port -1 says so on purpose)")
    for flag, folder in (("--model", args.model), ("--gallery", args.gallery)):
        if folder is not None and not Path(folder).is_dir():
            raise UserError(f"{flag}: there is no folder {folder}; expected what `export` or `index build` wrote")
    # The port comes first: a second server on it should say so at once, not after the model was loaded.
    with Server(Service(), args.host, args.port, args.insecure) as server:
        import tf_ssgn

        cli.log(f"loading {args.model}")
        model = tf_ssgn.load(args.model)
        gallery = None if args.gallery is None else tf_ssgn.Gallery.open(args.gallery)
        server.publish(served(model, gallery, version_of(model.path)))
        server.stop_on_signals()
        with nullcontext() if args.gallery is None else presence.announced(server.port, args.gallery):
            print(f"ready grpc={server.address} http=off", flush=True)
            server.wait()
            cli.log("draining: requests under way are finished, new ones are refused")
    return 0


def version_of(path: str) -> int:
    """The version that TensorFlow Serving would give a model: the number of its folder; 1 for a run folder."""
    from tf_ssgn.runtime.saved_model import newest_version

    try:
        name = newest_version(path).name
    except UserError:
        return 1
    return int(name) if name.isascii() and name.isdigit() else 1


def _port(text: str) -> int:
    return _in_range(text, 0)


def _http_port(text: str) -> int:
    return _in_range(text, -1)


def _in_range(text: str, lowest: int) -> int:
    try:
        port = int(text)
    except ValueError:
        port = lowest - 1
    if not lowest <= port <= 65535:
        raise argparse.ArgumentTypeError(f"received {text!r}, expected a port from {lowest} to 65535")
    return port


if __name__ == "__main__":
    cli.run(main)
