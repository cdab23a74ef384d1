"""The HTTP side of the server: TF Serving's REST surface, our own API, health and metrics, over the same service."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.searcher import OpenGallery
from tf_ssgn.serving.core.access import Access
from tf_ssgn.serving.core.addresses import host_name
from tf_ssgn.serving.core.batcher import Call
from tf_ssgn.serving.core.faults import Fault, invalid, not_found
from tf_ssgn.serving.core.service import Service, request_id
from tf_ssgn.serving.core.tls import Certificates
from tf_ssgn.serving.http import api, bodies, overview, replies, rest
from tf_ssgn.serving.http.connections import HttpConnection, caller, listening
from tf_ssgn.serving.http.items import Thumbnails, Uploads
from tf_ssgn.serving.http.page import Page
from tf_ssgn.settings import HTTP_HEADER_BYTES, REQUEST_LINE_BYTES, THUMBNAIL_SIDES

_SIDES = {str(side): side for side in THUMBNAIL_SIDES}  # as an address spells them

logger = logging.getLogger(__name__)

Handler = Callable[[Request, bytes, Call], Any]


class _Id(PathConvertor):
    """An id in an address: anything at all, line breaks too."""

    regex = r"[\s\S]*"


register_url_convertor("id", _Id())


class Gateway:
    """Listens on a numeric address, port 0 for any free one, from its creation on, in a thread of its own; `stop`
    drains it.

    `uploads` adds and deletes items, where there is a gallery, and `changed` makes that visible. `hosts` are names that
    the Host header may have, None for any; everything is also below `root_path`, such as `/photos`, which a proxy
    leaves before ours.
    """

    def __init__(
        self,
        service: Service,
        address: tuple[str, int],
        access: Access,
        uploads: Uploads | None = None,
        changed: Callable[[], Any] = lambda: None,
        hosts: frozenset[str] | None = None,
        certificates: Certificates | None = None,
        root_path: str = "",
    ):
        self._service, self._access, self._uploads, self._changed = service, access, uploads, changed
        self._root_path = root_path
        self._hosts = None if hosts is None else frozenset(map(host_name, hosts))
        self._thumbnails = Thumbnails()
        self._page = Page()
        settings = service.settings
        # As many threads as requests that may wait or be computed, and some that find the queue full and say so.
        self._threads = anyio.CapacityLimiter(service.most_under_way + 8)
        self._scrapes = anyio.CapacityLimiter(1)
        self._socket = listening(address)
        self.port = self._socket.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._application(),
                http=HttpConnection,  # of h11, the one whose header limit is ours
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                h11_max_incomplete_event_size=HTTP_HEADER_BYTES + REQUEST_LINE_BYTES,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=int(settings.grace_seconds),
            )
        )
        config = self._server.config
        config.load()
        if certificates is not None:
            config.ssl = certificates.for_http()
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuses new requests and gives those under way the grace period to finish."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def _application(self) -> Starlette:
        route = self._route
        routes: list[BaseRoute] = [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
            Route("/", self._file),
            Route("/web/{name}", self._file),
            route("GET", "/v1/models/{path:path}", "status", self._model),
            route("POST", "/v1/models/{path:path}", "predict", self._predict),
            route("GET", "/api/gallery", "gallery", self._about),
            route("POST", "/api/search", "search", self._search),
            route("POST", "/api/explain", "explain", self._explain),
            route("GET", "/api/words", "words", self._words),
            route("GET", "/api/photo/{id:id}", "photo", self._photo),
            route("GET", "/api/items/{id:id}", "item", self._item),
            route("POST", "/api/items", "add", self._add, "write"),
            route("DELETE", "/api/items/{id:id}", "delete", self._delete, "write"),
        ]
        if self._root_path:
            below = Router(routes[:], redirect_slashes=False)
            routes += [Route(self._root_path, self._into), Mount(self._root_path, below)]
        app = Starlette(routes=routes, exception_handlers={HTTPException: replies.no_route})
        app.router.redirect_slashes = False  # it goes to an address with whatever the Host header says
        return app

    def _route(self, method: str, path: str, name: str, work: Handler, scope: str = "search") -> Route:
        """A route whose work runs in a thread, with the guards before it and faults as JSON behind it."""

        seconds, largest = self._service.settings.deadline_seconds, self._service.settings.message_bytes

        async def endpoint(request: Request) -> Response:
            start = time.monotonic()
            identity = request_id(request.headers.get("x-request-id"))
            self._service.begin(request.headers.get("traceparent"))
            code = "OK"
            try:
                self._guard(request, scope)
                body = await bodies.received(request, largest, seconds) if method == "POST" else b""
                unpacked = partial(bodies.unpacked, body, request.headers.get("content-encoding", ""), largest)
                async with caller(request, seconds) as call:
                    result = await anyio.to_thread.run_sync(
                        lambda: work(request, unpacked(), call), limiter=self._threads, abandon_on_cancel=True
                    )
                response = result if isinstance(result, Response) else JSONResponse(result)
            except (Fault, HTTPException) as fault:
                code = fault.code if isinstance(fault, Fault) else "INVALID_ARGUMENT"
                response = replies.refusal(fault)
            except ClientDisconnect:
                code, response = "CANCELLED", Response(status_code=replies.HTTP_CODES["CANCELLED"])
            except Exception:  # the client learns nothing of it but the request's id
                logger.exception("request %s failed", identity)
                code, response = "INTERNAL", replies.error(500, "the server failed; its log says why")
            self._service.answered("http", name, code, time.monotonic() - start, identity)
            response.headers["X-Request-Id"] = identity
            return replies.with_headers(response)

        return Route(path, endpoint, methods=[method], name=name)

    def _guard(self, request: Request, scope: str) -> None:
        # uvicorn's own bound is on what has not arrived yet; what comes in one piece may be larger.
        if sum(len(name) + len(value) + len(": \r\n") for name, value in request.headers.raw) > HTTP_HEADER_BYTES:
            raise invalid(f"the headers have more than {HTTP_HEADER_BYTES} bytes")
        self._check_host(request)
        if self._service.draining:
            raise Fault("UNAVAILABLE", "the server is shutting down")
        client = request.client.host if request.client else ""
        self._access.admit(client, request.headers.get("authorization"), scope)

    def _check_host(self, request: Request) -> None:
        if self._hosts is not None and host_name(request.headers.get("host", "")) not in self._hosts:
            # A page of another site whose name was made to point here would otherwise read the gallery.
            raise Fault("PERMISSION_DENIED", "the Host header names another server")

    # -- TF Serving's surface ----------------------------------------------------------------------------------------

    def _model(self, request: Request, body: bytes, call: Call) -> Any:
        path = request.path_params["path"]
        if path.endswith("/metadata"):
            return rest.metadata(self._service, path.removesuffix("/metadata"))
        return rest.status(self._service, path)

    def _predict(self, request: Request, body: bytes, call: Call) -> Any:
        path, colon, method = request.path_params["path"].rpartition(":")
        if not colon or method != "predict":
            raise not_found(f"malformed request: POST {request.url.path[:100]}, expected :predict")
        return rest.predict(self._service, path, body, call)

    # -- our own -----------------------------------------------------------------------------------------------------

    def _search(self, request: Request, body: bytes, call: Call) -> Any:
        return api.search(self._service, _query(request, body), call)

    def _explain(self, request: Request, body: bytes, call: Call) -> Any:
        return api.explain(self._service, _query(request, body), call)

    def _words(self, request: Request, body: bytes, call: Call) -> Any:
        return api.words(self._service, request.query_params.get("start", ""))

    def _about(self, request: Request, body: bytes, call: Call) -> Any:
        writable = self._uploads is not None and self._uploads.possible and self._access.allows("write")
        return overview.of(self._service, writable)

    def _item(self, request: Request, body: bytes, call: Call) -> Any:
        return overview.item(self._gallery(), request.path_params["id"])

    def _photo(self, request: Request, body: bytes, call: Call) -> Response:
        side = request.query_params.get("side", "256")
        if side not in _SIDES:
            raise invalid(f"side: received {side!r:.20}, expected one of {', '.join(_SIDES)}")
        picture = self._thumbnails.of(self._gallery(), request.path_params["id"], _SIDES[side])
        headers = {"Cache-Control": "private, max-age=300", "Vary": "Authorization"}
        return replies.tagged(request, picture, replies.tag_of(picture), "image/jpeg", headers)

    def _add(self, request: Request, body: bytes, call: Call) -> Any:
        if not _is_image(request):
            raise invalid("Content-Type: expected that of an image, the body being its bytes")
        uploads, opened = self._writable()
        identity = uploads.add(self._service.find().model, body, request.query_params.get("label", ""), opened)
        self._changed()
        return JSONResponse({"id": identity}, status_code=201)

    def _delete(self, request: Request, body: bytes, call: Call) -> Any:
        uploads, opened = self._writable()
        uploads.delete(opened, request.path_params["id"])
        self._changed()
        return Response(status_code=204)

    def _gallery(self) -> OpenGallery:
        return api.gallery_of(self._service.find())

    def _writable(self) -> tuple[Uploads, Gallery]:
        opened = self._gallery()
        if self._uploads is None or not isinstance(opened, Gallery):
            raise Fault("FAILED_PRECONDITION", "this gallery is written with `index add` and `index delete` only")
        return self._uploads, opened

    # -- the page ----------------------------------------------------------------------------------------------------

    async def _file(self, request: Request) -> Response:
        """A file of the page. It takes no token: it holds no secret, and has to come before one can be asked for."""
        try:
            self._check_host(request)
            return replies.with_headers(self._page.answer(request, request.path_params.get("name", "index.html")))
        except Fault as fault:
            return replies.with_headers(replies.refusal(fault))

    async def _into(self, request: Request) -> Response:
        """The page's own address ends in a slash, or its relative addresses would be those of the folder above."""
        return Response(status_code=307, headers={"Location": f"{self._root_path}/", **replies.HEADERS})

    # -- for whoever runs it -----------------------------------------------------------------------------------------

    async def _healthz(self, request: Request) -> Response:
        return JSONResponse({"status": "alive"}, headers=replies.HEADERS)

    async def _readyz(self, request: Request) -> Response:
        current = None if self._service.draining else self._service.current
        if current is None:
            return JSONResponse({"status": "not ready"}, status_code=503, headers=replies.HEADERS)
        gallery = current.gallery
        facts = {"model_version": current.version, "gallery_version": None if gallery is None else gallery.version}
        return JSONResponse({"status": "ready", **facts}, headers=replies.HEADERS)

    async def _metrics(self, request: Request) -> Response:
        # In a thread of its own: a gallery in Milvus is asked for its size, and may take its time.
        text = await anyio.to_thread.run_sync(self._service.metrics.text, limiter=self._scrapes)
        return Response(text, media_type="text/plain; version=0.0.4", headers=replies.HEADERS)


def _query(request: Request, body: bytes) -> api.Query:
    kind = _content_type(request)
    if kind == "application/json":
        return api.from_json(body)
    if _is_image(request):
        parameters = request.query_params
        return api.from_parameters(body, {name: parameters.getlist(name) for name in parameters})
    raise invalid(f"Content-Type: received {kind[:64]!r}, expected application/json or that of an image")


def _is_image(request: Request) -> bool:
    """Whether the body is said to be an image, of whatever kind (`image/jpg` is common); its bytes say which."""
    kind = _content_type(request)
    return kind.startswith("image/") or kind == "application/octet-stream"


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
