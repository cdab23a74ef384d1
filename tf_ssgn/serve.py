"""Serves a model and its gallery: the TensorFlow Serving API over gRPC and REST, search with options over HTTP, and a
page in the browser to draw on."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_ssgn.common import cli
from tf_ssgn.errors import UserError
from tf_ssgn.runtime.resolve import is_shipped, resolve
from tf_ssgn.serving import SERVER_NEEDS, require_extra
from tf_ssgn.settings import MODEL, RUNTIMES, SERVING

if TYPE_CHECKING:
    from tf_ssgn.serving.core.service import Service
    from tf_ssgn.serving.core.tls import Certificates

WEB_NEEDS = ("starlette", "uvicorn", "prometheus_client")
EXAMPLES = (
    "serve --model saved_models/s21 --gallery galleries/s21 --open",
    "serve --model saved_models/s21 --gallery galleries/s21 --port 0 --http-port -1      # gRPC alone, any free port",
    "serve --model saved_models/s21 --gallery galleries/s21 --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem "
    "--tokens tokens",
)
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


def parser() -> cli.Parser:
    command = cli.Parser(prog="python -m tf_ssgn.serve", description=__doc__, examples=EXAMPLES)
    flag = command.add_argument
    flag("--model", default=MODEL, metavar="M", help="an exported model or a shipped one (%(default)s)")
    flag("--gallery", metavar="G", help="what to search, a folder or milvus://HOST/NAME; without it embeddings only")
    flag("--runtime", default="auto", choices=RUNTIMES, help="what computes the model; auto: the faster one installed")
    flag("--host", default=SERVING.host, help="address to listen on (default %(default)s)")
    flag(
        "--port",
        type=cli.number(0, 65535, "a port from "),
        default=SERVING.port,
        help="of gRPC; 0 any free one (default %(default)s)",
    )
    flag(
        "--http-port",
        type=cli.number(-1, 65535, "a port from "),
        default=SERVING.http_port,
        help="of HTTP; 0 any, -1 off (default %(default)s)",
    )
    flag("--open", action="store_true", help="show the page in the browser once it answers")
    flag("--insecure", action="store_true", help="listen on an address that other machines reach, without encryption")
    flag("--tls-cert", metavar="PEM", help="certificate chain; new files are used without a restart")
    flag("--tls-key", metavar="PEM", help="its key")
    flag("--tls-ca", metavar="PEM", help="clients must show a certificate that this one signed")
    flag(
        "--tokens",
        metavar="FILE",
        help="lines of TOKEN SCOPE[,SCOPE]; scopes are search and write; read again when it changes",
    )
    flag(
        "--rate",
        type=cli.number(0.0, 1e6, "requests per second, "),
        default=0.0,
        metavar="N",
        help="requests per second of one client [any]",
    )
    flag("--uploads", metavar="DIR", help="where photos go that come by POST /api/items")
    flag(
        "--allow-host",
        type=_host,
        action="append",
        default=[],
        metavar="NAME",
        help="a name that a proxy before this server has; HTTP then answers to no other, on any address",
    )
    flag("--root-path", type=_root_path, default="", metavar="PATH", help="a path that a proxy leaves before ours")
    flag("--log-requests", action="store_true", help="write a line of JSON to stderr for each request")
    return command


def main(argv: list[str] | None = None) -> int | None:
    return run(parser().parse_args(argv))


def run(
    args: argparse.Namespace,
    service: Service | None = None,
    load: Callable[[Path], Any] | None = None,
    begin: Callable[[str], Callable[[], None]] = lambda page: lambda: None,
) -> int | None:
    """Serves until a signal asks for the end. `load` gives the model of a folder; `begin` is called with the page's
    address once it answers, and what it returns when the end begins."""
    require_extra(SERVER_NEEDS)
    from tf_ssgn.retrieval.open import is_address, open_writer
    from tf_ssgn.serving.core.access import Access
    from tf_ssgn.serving.core.addresses import in_use, is_free, resolve_host

    # All that can be told before TensorFlow is imported.
    args.model = str(resolve(args.model))
    remote = args.gallery is not None and is_address(args.gallery)
    if remote:
        open_writer(args.gallery)  # says what is wrong with the address
    for flag, folder in (("--model", args.model), ("--gallery", None if remote else args.gallery)):
        if folder is not None and not Path(folder).is_dir():
            raise UserError(f"{flag}: there is no folder {folder}; expected what `export` or `index build` wrote")
    access = Access(rate=args.rate, file=args.tokens)
    certificates = _certificates(args)
    address = resolve_host(args.host, args.insecure or certificates is not None)
    for flag, port in (("--port", args.port), ("--http-port", args.http_port)):
        if port > 0 and not is_free(address, port):
            raise in_use(args.host, port, flag)
    with _loading(Path(args.model), args.runtime) if load is None else nullcontext(load) as load:
        return _serve(args, service, load, begin, access, certificates, remote)


def _serve(
    args: argparse.Namespace,
    service: Service | None,
    load: Callable[[Path], Any],
    begin: Callable[[str], Callable[[], None]],
    access: Any,
    certificates: Certificates | None,
    remote: bool,
) -> int | None:
    from tf_ssgn.serving.core import notes, tracing
    from tf_ssgn.serving.core.addresses import join_address
    from tf_ssgn.serving.core.reload import Reloader
    from tf_ssgn.serving.core.service import REQUESTS, Service
    from tf_ssgn.serving.rpc.server import Server

    service = service or Service()
    service.traces = tracing.from_environment()
    if args.log_requests:
        REQUESTS.setLevel(logging.INFO)
        REQUESTS.addHandler(logging.StreamHandler())
        REQUESTS.propagate = False
    # The ports come first: a second server on them should say so at once, not after the model was loaded.
    with Server(
        service, args.host, args.port, args.insecure, access, certificates, lambda: reloader.refresh()
    ) as server:
        reloader = Reloader(service, args.model, args.gallery, load, server.ready)
        http, page = "off", ""
        if args.http_port != -1 and _web_is_there():
            gateway = _gateway(args, service, access, certificates, reloader)
            server.also_drained.append(gateway.stop)
            http = join_address(args.host, gateway.port)
            page = page_address(args.host, gateway.port, certificates is not None)
        reloader.first()
        server.stop_on_signals()
        reloader.start(also=access.look)
        server.also_drained.append(reloader.stop)
        with nullcontext() if args.gallery is None or remote else notes.announced(server.port, args.gallery):
            print(f"ready grpc={server.address} http={http}", flush=True)
            cli.log(f"draw in the browser: {page}" if page else "there is no page to draw on: HTTP is off")
            if args.open and page:
                show(page)
            server.also_drained.insert(0, begin(page))
            server.wait()
            cli.log("draining: requests under way are finished, new ones are refused")
    return 0


def page_address(host: str, port: int, encrypted: bool) -> str:
    """Where a browser on this machine finds the page of a server that listens on `host`."""
    here = "localhost" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http{'s' if encrypted else ''}://{here}:{port}/"


def show(page: str, wait: bool = False) -> None:
    """Opens the page, without waiting for the browser unless asked to; a machine without one says so."""
    import threading
    import webbrowser

    def start() -> None:
        if not webbrowser.open(page):
            cli.log(f"no browser could be started here; open {page} yourself")

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    if wait:
        thread.join()


def begin_early(model: Path, runtime: str = "auto") -> None:
    """A shipped model is compiled while TensorFlow is imported."""
    from tf_ssgn.runtime import conversion, shipped

    cli.log(f"loading {model}")
    if is_shipped(model) and runtime != "tensorflow":
        conversion.begin_early(model)
    shipped.import_tensorflow_alone()


@contextmanager
def _loading(model: Path, runtime: str) -> Iterator[Callable[[Path], Any]]:
    """What gives the model of a folder. A shipped one is put together while the caller goes on; who ends early waits
    for it, since nobody may be at work in TensorFlow when a process ends."""

    def shown(loaded: Any) -> Any:
        cli.log(f"runtime {loaded.runtime}")
        return loaded

    begin_early(model, runtime)
    if not is_shipped(model):
        yield lambda folder: shown(load_model(folder, runtime))
        return
    with ThreadPoolExecutor(1) as thread:
        begun = [thread.submit(load_model, model, runtime)]
        yield lambda folder: shown(begun.pop().result() if begun and folder == model else load_model(folder, runtime))


def load_model(model: Path, runtime: str = "auto") -> Any:
    """`tf_ssgn.load` in a process of our own, where TensorFlow's options are ours to set."""
    import tensorflow as tf

    import tf_ssgn
    from tf_ssgn.runtime.saved_model import TENSORFLOW

    loaded = None
    # To optimise the decoders' graphs takes a second at the start and gains nothing; TensorFlow's networks need it.
    plain = is_shipped(model) and runtime != "tensorflow"
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": plain})
    try:
        loaded = tf_ssgn.load(model, runtime=runtime)
    finally:
        if plain and (loaded is None or loaded.runtime == TENSORFLOW):
            tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    return loaded


def _web_is_there() -> bool:
    missing = [package for package in WEB_NEEDS if importlib.util.find_spec(package) is None]
    if missing:
        cli.log(
            f"http is off: {missing[0]} is not installed (pip install 'tf_ssgn[web]'), gRPC is served alone; "
            "--http-port -1 says so on purpose"
        )
    return not missing


def _gateway(args: argparse.Namespace, service: Any, access: Any, certificates: Any, reloader: Any) -> Any:
    import ipaddress

    from tf_ssgn.serving.core.addresses import resolve_host
    from tf_ssgn.serving.http.gateway import Gateway
    from tf_ssgn.serving.http.items import Uploads

    address = resolve_host(args.host, insecure=True)  # `Server` has refused what is not allowed
    hosts = None
    if args.allow_host or ipaddress.ip_address(address.split("%")[0]).is_loopback:
        hosts = frozenset((*LOCAL_NAMES, args.host, *args.allow_host))
    from tf_ssgn.retrieval.open import is_address

    if args.uploads and args.gallery and is_address(args.gallery):
        raise UserError("--uploads: a gallery in Milvus is written with `index add` and `index delete`; leave it out")
    uploads = None if args.gallery is None or is_address(args.gallery) else Uploads(args.gallery, args.uploads)
    where = (address, args.http_port)
    return Gateway(service, where, access, uploads, reloader.refresh, hosts, certificates, args.root_path)


def _certificates(args: argparse.Namespace) -> Certificates | None:
    from tf_ssgn.serving.core.tls import Certificates, Tls

    if not args.tls_cert and not args.tls_key and not args.tls_ca:
        return None
    if not args.tls_cert or not args.tls_key:
        raise UserError("TLS: received some of --tls-cert, --tls-key and --tls-ca, expected the first two together")
    return Certificates(Tls(args.tls_cert, args.tls_key, args.tls_ca))


def _host(text: str) -> str:
    """As a Host header spells it: a browser sends the ASCII form of other letters."""
    try:
        name = text if text.isascii() else text.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not re.fullmatch(
        r"([\w-]+\.)*[\w-]+\.?(:\d+)?|\[[\da-f:.]+\](:\d+)?|[\da-f:.]+", name, re.ASCII | re.IGNORECASE
    ):
        raise argparse.ArgumentTypeError(f"received {text!r:.80}, expected a name such as photos.example.org")
    return name


def _root_path(text: str) -> str:
    if not re.fullmatch(r"(/[\w.~-]+)*/?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"received {text!r}, expected a path such as /photos")
    return text.rstrip("/")


if __name__ == "__main__":
    cli.run(main)
