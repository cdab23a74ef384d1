"""HTTP connections that are bounded in number and in patience; uvicorn bounds requests, and waits for ever for one."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.h11_impl import H11Protocol

from tf_ssgn.errors import UserError
from tf_ssgn.serving.core.batcher import Call
from tf_ssgn.settings import ANSWER_SECONDS, CONNECTIONS, HEAD_SECONDS


class HttpConnection(H11Protocol):
    """Of more connections than `CONNECTIONS` the latest get a 503. One that has sent no whole head of a request for
    `HEAD_SECONDS`, or has not taken an answer for `ANSWER_SECONDS`, is closed, so that silent clients cannot keep
    everybody else out."""

    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= CONNECTIONS:
            self.app = service_unavailable
        super().connection_made(transport)
        self._last, self._since = self.cycle, time.monotonic()
        self._watch = self.loop.call_later(HEAD_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Closes the connection if nothing has happened on it since the last look."""
        answering = self.cycle is not None and not self.cycle.response_complete
        if self.cycle is not self._last:
            self._last, self._since = self.cycle, time.monotonic()
        elif not answering or time.monotonic() - self._since > ANSWER_SECONDS:
            self.transport.abort()
            return
        self._watch = self.loop.call_later(HEAD_SECONDS, self._look)


def listening(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(CONNECTIONS)
    except OSError as error:
        listener.close()
        raise UserError(
            f"cannot listen for HTTP on {address[0]} port {address[1]}: {error.strerror or error}; "
            "choose another with --http-port, 0 for any free one, or -1 for none"
        ) from None
    return listener


@asynccontextmanager
async def caller(request: Request, seconds: float) -> AsyncIterator[Call]:
    """A `Call` that knows when the client hangs up."""
    gone = threading.Event()
    watching: list[Callable[[], Any]] = []

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()
        for leave in watching:
            leave()

    listener = asyncio.ensure_future(listen())
    try:
        yield Call(time.monotonic() + seconds, lambda: not gone.is_set(), watching.append)
    finally:
        listener.cancel()
