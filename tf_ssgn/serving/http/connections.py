"""HTTP connections that are bounded in number and in patience; uvicorn bounds requests, and waits for ever for one."""

import asyncio
import time

from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.h11_impl import H11Protocol

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
