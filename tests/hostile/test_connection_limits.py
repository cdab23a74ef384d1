"""Limits of connections, lists and files (docs/limits.md) at them, just under and just over, on the real server."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

pytest.importorskip("starlette")
from tests.hostile import corpus
from tests.serving import serving_tiny as tiny
from tf_ssgn.retrieval import photos
from tf_ssgn.retrieval.files import PhotoFile
from tf_ssgn.runtime import wire
from tf_ssgn.serving.core import access
from tf_ssgn.serving.core.service import Service, served
from tf_ssgn.serving.http import connections, gateway, items
from tf_ssgn.serving.rpc.server import Server
from tf_ssgn.settings import GALLERY, METADATA_BYTES, PHOTO_LIMITS, SERVING


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The address of gRPC and the port of HTTP."""
    base = tmp_path_factory.getbasetemp()
    service = Service()
    with Server(service, port=0) as running:
        running.publish(served(tiny.model(base), tiny.gallery(base), 1))
        http_side = gateway.Gateway(service, ("127.0.0.1", 0), access.Access())
        yield running.address, http_side.port
        http_side.stop()


def code_of(port: int) -> int:
    """Of a request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    finally:
        connection.close()


def settled(port: int, wanted: int) -> bool:
    """Whether a request is answered with that code, once the server has noticed what was opened or closed."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if code_of(port) == wanted:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("more", "code"), [(-1, 200), (0, 200), (1, 503)])
def test_connections(server, more: int, code: int) -> None:
    """Those that are open go on being answered when there are too many."""
    _, port = server
    with contextlib.ExitStack() as stack:
        first = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        stack.callback(first.close)
        first.connect()
        for _ in range(connections.CONNECTIONS - 2 + more):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        assert settled(port, code)
        first.request("GET", "/healthz")
        assert first.getresponse().status == 200
    assert settled(port, 200)


@pytest.mark.parametrize(
    "sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: local", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET"]
)
def test_a_client_that_sends_no_whole_request_is_let_go(server, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", server[1]), timeout=5) as silent:
        silent.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            while silent.recv(1000):
                pass  # the answer to the whole request before; then the end, well before the timeout


def test_a_client_that_does_not_take_its_answer_is_let_go(server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.4)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.settimeout(20)
        slow.connect(("127.0.0.1", server[1]))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
                time.sleep(0.02)


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("name", ["labels", "exclude"])
def test_ids_or_labels_of_a_search(server, name: str, more: int) -> None:
    body = {"image": base64.b64encode(tiny.drawing(4)).decode(), name: [str(i) for i in range(GALLERY.listed + more)]}
    connection = http.client.HTTPConnection("127.0.0.1", server[1], timeout=20)
    connection.request("POST", "/api/search", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert (answer.status, f"at most {GALLERY.listed:,}" in text) == ((400, True) if more > 0 else (200, False))


def test_metadata_of_a_call(server) -> None:
    """HTTP/2 counts each name, its value and 32 bytes. What gRPC itself sends along takes the rest of the 8 KiB."""
    request = wire.GetModelStatusRequest()
    request.model_spec.name = SERVING.name

    def code(size: int) -> str:
        with grpc.insecure_channel(server[0]) as channel:
            metadata = [("x-large", "x" * size)]
            try:  # without a deadline, whose header has more or fewer digits by chance
                channel.unary_unary(wire.STATUS).future(request.SerializeToString(), metadata=metadata).result(20)
            except grpc.RpcError as error:
                return error.code().name
        return "OK"

    fits, over = METADATA_BYTES - 1000, METADATA_BYTES - 32
    while over - fits > 1:
        middle = (fits + over) // 2
        fits, over = (middle, over) if code(middle) == "OK" else (fits, middle)
    assert [code(size) for size in (fits - 1, fits, over)] == ["OK", "OK", "RESOURCE_EXHAUSTED"]


def padded_file(path: Path, size: int) -> Path:
    """A PNG followed by zeros up to that size, which readers of PNG ignore."""
    path.write_bytes(tiny.drawing(4))
    os.truncate(path, size)
    return path


@pytest.mark.parametrize(("more", "fits"), [(-1, True), (0, True), (1, False)])
def test_bytes_of_a_photo(tmp_path: Path, more: int, fits: bool) -> None:
    path = padded_file(tmp_path / "photo.png", PHOTO_LIMITS.bytes + more)
    found = PhotoFile(**{**dict.fromkeys(PhotoFile._fields, ""), "path": str(path)})
    if fits:
        assert photos.read(found).width == 48
    else:
        with pytest.raises(photos.Skipped, match="more bytes"):
            photos.read(found)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_thumbnails_that_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    made: list[str] = []
    monkeypatch.setattr(items, "thumbnail_jpeg", lambda content, side: made.append("") or b"jpeg")
    thumbnails = items.Thumbnails()
    (tmp_path / "photo.png").write_bytes(corpus.png(8, 8, b"\0"))

    class One:
        """A gallery in which every id is a photo of its own content."""

        def find(self, id: str) -> Any:
            item = dict.fromkeys(("id", "path", "sha256"), id) | {"path": str(tmp_path / "photo.png")}
            return type("Item", (), item)

    for number in (*range(items.KEPT_THUMBNAILS + more), 0):
        thumbnails.of(One(), str(number), 64)
    again = 1 if more > 0 else 0
    assert len(made) == items.KEPT_THUMBNAILS + more + again
