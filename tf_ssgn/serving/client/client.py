"""A small client of the service: pictures in, hits out. It imports no TensorFlow.

Example: `with Client("localhost:8500") as client: hits = client.search("giraffe.png", k=10)`
and: `async with AsyncClient("localhost:8500") as client: hits = await client.search("giraffe.png", k=10)`
"""

import asyncio
import importlib
import ipaddress
import random
import time
from collections.abc import Awaitable, Callable, Generator, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from tf_ssgn.data.images.content import ImageError
from tf_ssgn.errors import UserError
from tf_ssgn.runtime import wire
from tf_ssgn.serving import CLIENT_NEEDS, require_extra
from tf_ssgn.serving.client import calls
from tf_ssgn.serving.client.calls import Answer, Explanation, RemoteHit, RequestError
from tf_ssgn.settings import BACKOFF, SERVING, WORD_CHARACTERS

__all__ = ["Answer", "AsyncClient", "Client", "Explanation", "RemoteHit", "ImageError", "RequestError"]

Steps = Generator[Any, Any, Any]
P = ParamSpec("P")
T = TypeVar("T")


class _Base:
    """The connection, and what both clients make of errors.

    Args:
        address: "HOST:PORT".
        timeout: seconds that one call may take, retries included.
        model: the name that the model is served under.
        token: sent with every call.
        tls: encrypt; where `ca` is None, with the authorities that gRPC trusts.
        ca: PEM file of the authority that signed the server's certificate; implies `tls`.
        certificate, key: PEM files that say who this client is; they imply `tls`.
    """

    _library = "grpc"

    def __init__(
        self,
        address: str,
        timeout: float = SERVING.deadline_seconds,
        model: str = SERVING.name,
        *,
        token: str | None = None,
        tls: bool = False,
        ca: str | None = None,
        certificate: str | None = None,
        key: str | None = None,
    ):
        require_extra(CLIENT_NEEDS)
        import grpc

        host, _, port = address.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
            raise UserError(f"received the server address {address!r}, expected HOST:PORT such as localhost:8500")
        self.address, self.timeout, self.model = address, timeout, model
        self._metadata = [(wire.MORE_OUTPUTS, "1")]
        if token is not None:
            self._metadata.append(("authorization", f"Bearer {_checked(token)}"))
        self._grpc = grpc
        self._credentials = None
        if tls or ca or certificate or key:
            self._credentials = grpc.ssl_channel_credentials(*(_pem(path) for path in (ca, key, certificate)))
        elif token is not None and not is_loopback(host):
            raise UserError(f"a token for {address} would travel in the clear; expected tls=True or a ca")
        self._options = [
            ("grpc.max_receive_message_length", SERVING.message_bytes),
            ("grpc.initial_reconnect_backoff_ms", 100),  # the default of a second would outlast our retries
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.enable_http_proxy", 0 if is_loopback(host) else 1),
        ]
        self._channel, self._methods = self._open(importlib.import_module(self._library))

    def _open(self, library: Any) -> tuple[Any, dict[str, Any]]:
        """A channel and its methods by path."""
        if self._credentials is None:
            channel = library.insecure_channel(self.address, options=self._options)
        else:
            channel = library.secure_channel(self.address, self._credentials, options=self._options)
        methods = {
            path: channel.unary_unary(
                path,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response.FromString,
            )
            for path, response in calls.METHODS.items()
        }
        return channel, methods

    def _attempts(self, steps: Steps) -> Generator[Any, Any, Any]:
        """What both clients do, without waiting for anything: yields calls, is sent their answer or, with the pause
        that it gives back, their error; returns the result."""
        response: Any = None
        while True:
            try:
                path, request = steps.send(response)
            except StopIteration as done:
                return done.value
            end = time.monotonic() + self.timeout
            for delay in (*BACKOFF, None):
                left = max(end - time.monotonic(), 0.001)
                response = yield partial(self._methods[path], request, timeout=left, metadata=self._metadata)
                if not isinstance(response, self._grpc.RpcError):
                    break
                yield self._pause(response, delay, end)

    def _pause(self, error: Any, delay: float | None, end: float) -> float:
        """Seconds until the next attempt after a gRPC error; raises RequestError where there is none."""
        code, wait = error.code(), (delay or 0.0) * random.uniform(1.0, 1.5)
        again = delay is not None and code == self._grpc.StatusCode.UNAVAILABLE
        if not again or time.monotonic() + wait >= end:
            raise self._error(code.name, error.details() or "") from None
        return wait

    def _error(self, code: str, details: str) -> RequestError:
        if code == "UNAVAILABLE":
            return RequestError(
                code, f"no answer from {self.address} ({details}); expected a running `python -m tf_ssgn.serve`"
            )
        if code == "DEADLINE_EXCEEDED":
            return RequestError(code, f"{self.address} did not answer within {self.timeout:g} s; give it longer")
        return RequestError(code, f"{self.address} refused the request: {details} ({code})")


class Client(_Base):
    """Talks to a tf_ssgn server, or to TensorFlow Serving with an exported model; `_Base` tells its arguments.

    Pictures are paths, bytes, PIL images or uint8 arrays. Methods raise `ImageError` for a picture at fault and
    `RequestError` for a server that refused or did not answer. Only UNAVAILABLE is tried again: nothing was computed.
    """

    def search(self, sketch: Any, k: int = SERVING.default_k, word: str = "") -> list[RemoteHit]:
        """The `k` photos nearest to a sketch, best first; fewer if the gallery has fewer.

        `word` says what is drawn, as a person calls it; with `sketch` None the word alone is searched with.
        """
        return self._run(calls.search_one(self.model, _sketch("search", word), sketch, k, _word(word)))

    def search_photo(self, photo: Any, k: int = SERVING.default_k) -> list[RemoteHit]:
        """The `k` photos nearest to a photo, best first."""
        return self._run(calls.search_one(self.model, "search_photo", photo, k))

    def search_batch(self, sketches: Iterable[Any], k: int = SERVING.default_k) -> list[Answer]:
        """One answer per sketch; a sketch at fault has its status and spoils no other. Any number of sketches, from a
        list or a generator."""
        return self._run(calls.search(self.model, "search", sketches, k))

    def embed_sketch(self, sketch: Any, word: str = "") -> np.ndarray:
        """Unit vectors float32: [d] for one sketch, [B, d] for several; `word` as in `search`."""
        return self._run(calls.embed(self.model, _sketch("embed", word), sketch, _word(word)))

    def embed_photo(self, photo: Any) -> np.ndarray:
        """Unit vectors float32: [d] for one photo, [B, d] for several."""
        return self._run(calls.embed(self.model, "embed_photo", photo))

    def explain(self, sketch: Any) -> Explanation:
        """The codes of both stages, the semantics and the nearest classes of one sketch."""
        return self._run(calls.explain(self.model, sketch))

    def metadata(self) -> dict[str, Any]:
        """`{"model", "version", "signatures": {name: {"inputs": {name: {"dtype", "shape"}}, "outputs": ...}}}`."""
        return self._run(calls.metadata(self.model))

    def status(self) -> list[dict[str, Any]]:
        """`{"version", "state", "error"}` of every version that the server knows; a ready one is AVAILABLE."""
        return self._run(calls.status(self.model))

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self, steps: Steps) -> Any:
        attempt = self._attempts(steps)
        try:
            call = next(attempt)
            while True:
                try:
                    answer = call()
                except self._grpc.RpcError as error:
                    time.sleep(attempt.send(error))
                    call = next(attempt)
                else:
                    call = attempt.send(answer)
        except StopIteration as done:
            return done.value


def _awaited(method: Callable[Concatenate[Client, P], T]) -> Callable[Concatenate["AsyncClient", P], Awaitable[T]]:
    """A method of `Client` as one of `AsyncClient`, whose `_run` gives its result in a coroutine."""
    return method  # type: ignore[return-value]


class AsyncClient(_Base):
    """`Client` for asyncio: the same arguments, and the same methods to be awaited."""

    _library = "grpc.aio"
    search, search_photo = _awaited(Client.search), _awaited(Client.search_photo)
    search_batch = _awaited(Client.search_batch)
    embed_sketch, embed_photo = _awaited(Client.embed_sketch), _awaited(Client.embed_photo)
    explain, metadata, status = _awaited(Client.explain), _awaited(Client.metadata), _awaited(Client.status)

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def _run(self, steps: Steps) -> Any:
        attempt = self._attempts(steps)
        try:
            call = next(attempt)
            while True:
                try:
                    answer = await call()
                except self._grpc.RpcError as error:
                    await asyncio.sleep(attempt.send(error))
                    call = next(attempt)
                else:
                    call = attempt.send(answer)
        except StopIteration as done:
            return done.value


def _sketch(what: str, word: str) -> str:
    """The signature for a sketch with or without a word."""
    return f"{what}_word" if word else {"search": "search", "embed": "embed_sketch"}[what]


def _word(word: Any) -> str:
    if not isinstance(word, str) or len(word) > WORD_CHARACTERS:
        raise UserError(f"word: received {str(word)[:40]!r}, expected text of up to {WORD_CHARACTERS} characters")
    return word


def is_loopback(host: str) -> bool:
    """Whether a host name can only mean this machine."""
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked(token: str) -> str:
    """A token without the byte-order mark and the white space around it; UserError for what no header can carry."""
    token = token.strip().lstrip("\ufeff").strip()
    if not token or not (token.isascii() and token.isprintable()):
        raise UserError("received a token that no header can carry; expected letters, digits and signs in ASCII")
    return token


def _pem(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; expected a PEM file") from None
