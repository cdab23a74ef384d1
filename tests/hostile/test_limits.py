"""Every published limit (docs/limits.md) at it, just under and just over, through the real server."""

from __future__ import annotations

import http.client
import re
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

pytest.importorskip("starlette")
from tests.hostile import corpus
from tests.serving import serving_tiny as tiny
from tf_ssgn.common.status import Status
from tf_ssgn.runtime import wire
from tf_ssgn.serving.core import access, tensors
from tf_ssgn.serving.core.service import Service, served
from tf_ssgn.serving.http import api, connections, gateway, items
from tf_ssgn.serving.rpc.server import Server
from tf_ssgn.settings import GALLERY, METADATA_BYTES, PHOTO_LIMITS, QUERY_LIMITS, SERVING

GOOD = tiny.drawing(4)
LIMITS = Path(__file__).parent.parent.parent / "docs" / "limits.md"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, int]]:
    """Predict over bytes, and the port of HTTP."""
    base = tmp_path_factory.getbasetemp()
    service = Service()
    options = [("grpc.max_send_message_length", -1)]
    with Server(service, port=0) as server, grpc.insecure_channel(server.address, options=options) as channel:
        server.publish(served(tiny.model(base), tiny.gallery(base), 1))
        http_side = gateway.Gateway(service, ("127.0.0.1", 0), access.Access())
        yield channel.unary_unary(wire.PREDICT), http_side.port
        http_side.stop()


def message(images: list[bytes], k: list[int], signature: str = "search") -> Any:
    request = wire.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = SERVING.name, signature
    array = np.empty(len(images), object)
    array[:] = images
    tensors.encode(array, request.inputs["image_bytes"])
    if signature == "search":
        tensors.encode(np.array(k, np.int32), request.inputs["k"])
    return request


def told(both: Any, request: Any) -> Any:
    """The statuses of the rows, or the name of the code that refused them all."""
    try:
        answer = wire.PredictResponse.FromString(both[0](request.SerializeToString(), timeout=20))
    except grpc.RpcError as error:
        return error.code().name
    return list(answer.outputs["status"].int_val)


def status_of(both: Any, image: bytes) -> int:
    (found,) = told(both, message([image], [1]))
    return found


def padded(data: bytes, size: int) -> bytes:
    """A PNG with a text chunk that makes it that large."""
    return corpus.png_with(data, corpus.png_chunk(b"tEXt", b"k\0" + b"a" * (size - len(data) - 14)))


def grey(width: int, height: int) -> bytes:
    """A PNG of a dark line on light paper."""
    line = b"\0" + b"\xff" * width
    packer = zlib.compressobj(1)
    head = packer.compress(b"\0" + bytes(width))
    body = b"".join(packer.compress(line) for _ in range(height - 1)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        corpus.png_chunk(name, content)
        for name, content in (
            (b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\0\0\0\0"),
            (b"IDAT", head + body),
            (b"IEND", b""),
        )
    )


@pytest.mark.parametrize(("more", "status"), [(-1, Status.OK), (0, Status.OK), (1, Status.TOO_LARGE)])
def test_bytes_of_an_image(both, more: int, status: Status) -> None:
    image = padded(GOOD, QUERY_LIMITS.bytes + more)
    assert len(image) == QUERY_LIMITS.bytes + more and status_of(both, image) == status


@pytest.mark.parametrize(
    ("width", "height", "status"),
    [(4000, 1999, Status.OK), (4000, 2000, Status.OK), (4000, 2001, Status.TOO_LARGE)],
)
def test_pixels(both, width: int, height: int, status: Status) -> None:
    assert QUERY_LIMITS.pixels == 8_000_000 and status_of(both, grey(width, height)) == status


@pytest.mark.parametrize(("more", "status"), [(-1, Status.OK), (0, Status.OK), (1, Status.TOO_LARGE)])
def test_longest_side(both, more: int, status: Status) -> None:
    side = QUERY_LIMITS.side + more
    assert status_of(both, grey(side, 16)) == status_of(both, grey(16, side)) == status


@pytest.mark.parametrize(("more", "status"), [(-1, Status.TOO_SMALL), (0, Status.OK), (1, Status.OK)])
def test_shortest_side(both, more: int, status: Status) -> None:
    side = QUERY_LIMITS.smallest_side + more
    assert status_of(both, grey(side, 40)) == status_of(both, grey(40, side)) == status


@pytest.mark.parametrize(("more", "status"), [(-1, Status.BLANK), (0, Status.OK), (1, Status.OK)])
def test_contrast(both, more: int, status: Status) -> None:
    from PIL import Image

    paper = Image.new("L", (40, 40), 200)
    paper.paste(200 - QUERY_LIMITS.contrast - more, (10, 10, 20, 20))
    assert status_of(both, corpus.encoded(paper, "PNG")) == status


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_images_of_one_request(both, more: int) -> None:
    rows = SERVING.batch + more
    found = told(both, message([GOOD] * rows, [1] * rows))
    assert found == ("INVALID_ARGUMENT" if more > 0 else [Status.OK] * rows)


@pytest.mark.parametrize(("k", "status"), [(0, 7), (1, 0), (2, 0), (199, 0), (200, 0), (201, 7)])
def test_k(both, k: int, status: int) -> None:
    assert SERVING.k == 200 and told(both, message([GOOD, GOOD], [k, 1])) == [status, Status.OK]


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_bytes_of_a_message(both, more: int) -> None:
    """Four images of a quarter each are within the limit on images too."""
    size = SERVING.message_bytes + more
    images = [padded(GOOD, QUERY_LIMITS.bytes - 200)] * 4
    request = message(images, [], "embed_sketch")
    request.output_filter.append("status")
    request.model_spec.version_label = "x" * (size - request.ByteSize() - 4)
    request.model_spec.version_label = "x" * (len(request.model_spec.version_label) + size - request.ByteSize())
    assert request.ByteSize() == size
    # The label is refused once the message is read; a message that is too long is not.
    assert told(both, request) == ("RESOURCE_EXHAUSTED" if more > 0 else "INVALID_ARGUMENT")


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_bytes_of_a_body(both, more: int) -> None:
    body = bytes(SERVING.message_bytes + more)
    code, _ = http_post(both[1], "/api/search", body)
    assert code == (413 if more > 0 else 422)


@pytest.mark.parametrize(("rank", "said"), [(7, "shape"), (8, "shape"), (9, "rank")])
def test_rank_of_a_tensor(both, rank: int, said: str) -> None:
    assert tensors.HIGHEST_RANK == 8
    request = message([GOOD], [1])
    del request.inputs["k"].tensor_shape.dim[:]
    for _ in range(rank):
        request.inputs["k"].tensor_shape.dim.add(size=1)
    with pytest.raises(grpc.RpcError, match=said) as caught:
        both[0](request.SerializeToString(), timeout=20)
    assert caught.value.code().name == "INVALID_ARGUMENT"


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_size_of_a_tensor(more: int) -> None:
    proto = wire.TensorProto(dtype=3, int_val=[1])
    proto.tensor_shape.dim.add(size=SERVING.message_bytes // 4 + more)
    if more > 0:
        with pytest.raises(tensors.TensorFault, match="too large"):
            tensors.decode(proto, SERVING.message_bytes)
    else:
        assert tensors.decode(proto, SERVING.message_bytes).nbytes == SERVING.message_bytes + 4 * more


@pytest.mark.parametrize(("more", "code"), [(-1, 200), (0, 200), (1, 400)])
def test_http_headers(both, more: int, code: int) -> None:
    head = b"Host: localhost\r\nConnection: close\r\nX-Large: "
    large = b"x" * (gateway.HTTP_HEADER_BYTES - len(head) - 2 + more)
    with socket.create_connection(("127.0.0.1", both[1]), timeout=20) as raw:
        raw.sendall(b"GET /v1/models/ssgn HTTP/1.1\r\n" + head + large + b"\r\n\r\n")
        assert raw.recv(100).startswith(f"HTTP/1.1 {code}".encode())


@pytest.mark.parametrize(("columns", "code"), [(7, 200), (8, 200), (9, 400)])
def test_columns_of_a_search(both, columns: int, code: int) -> None:
    import base64
    import json

    assert api.MOST_COLUMNS == 8
    names = ["label", "width", "height", "size", "Label", "WIDTH", "Height", "SIZE", "LABEL"][:columns]
    body = {"image": base64.b64encode(GOOD).decode(), "columns": dict.fromkeys(names, 1)}
    found, text = http_post(both[1], "/api/search", json.dumps(body).encode(), "application/json")
    if columns <= api.MOST_COLUMNS:
        assert "up to 8" not in text, "other spellings are refused as names, not as too many"
    else:
        assert (found, "up to 8" in text) == (code, True)


@pytest.mark.parametrize(("length", "fits"), [(63, True), (64, True), (65, False)])
def test_label_of_a_new_photo(length: int, fits: bool) -> None:
    assert bool(items.LABEL.fullmatch("a" * length)) == fits


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_clients_whose_rate_is_remembered(more: int) -> None:
    rate = access.Rate(0.5, clock=lambda: 0.0)
    for client in range(access.REMEMBERED_CLIENTS + more):
        rate.check(str(client))
    if more > 0:
        rate.check("0")  # the first one is forgotten, so it may ask again
    else:
        with pytest.raises(access.TooFast):
            rate.check("0")


@pytest.mark.parametrize(("length", "fits"), [(15, False), (16, True), (17, True)])
def test_length_of_a_token(tmp_path, length: int, fits: bool) -> None:
    file = tmp_path / "tokens"
    file.write_text("t" * length + " search\n")
    file.chmod(0o600)
    if fits:
        assert access.read_tokens(file) == {"t" * length: frozenset({"search"})}
    else:
        with pytest.raises(Exception, match="16 or more"):
            access.read_tokens(file)


@pytest.mark.parametrize(("more", "fits"), [(-1, True), (0, True), (1, False)])
def test_pixels_and_sides_of_a_photo(more: int, fits: bool) -> None:
    """Read from the header alone: such a photo is refused, or damaged because nothing follows its header."""
    import tensorflow as tf

    from tf_ssgn.data.images import decode as images

    for width, height in ((PHOTO_LIMITS.side + more, 16), (10_000, PHOTO_LIMITS.pixels // 10_000 + more)):
        data = corpus.png(width, height, b"\0")
        status = images.decode(tf.constant(data), PHOTO_LIMITS)[1]
        assert int(status) == (Status.CORRUPT if fits else Status.TOO_LARGE)


def test_the_page_says_what_the_code_has() -> None:
    text = LIMITS.read_text(encoding="utf-8")
    for value in (
        f"| {QUERY_LIMITS.bytes // 2**20} MiB | {PHOTO_LIMITS.bytes // 2**20} MiB |",
        f"| {QUERY_LIMITS.pixels:,} | {PHOTO_LIMITS.pixels:,} |",
        f"| {QUERY_LIMITS.side:,} | {PHOTO_LIMITS.side:,} |",
        f"| images | {SERVING.batch} |",
        f"| k | 1 to {SERVING.k} |",
        f"| message | {SERVING.message_bytes // 2**20} MiB",
        f"| waiting | {SERVING.queue} requests, {SERVING.queue_bytes // 2**20} MiB; {SERVING.storm_queue} requests",
        f"| draining | {SERVING.grace_seconds:g} s |",
        f"| HTTP headers | {gateway.HTTP_HEADER_BYTES // 2**10} KiB |",
        f"| HTTP connections | {connections.CONNECTIONS} |",
        f"| the head of a request to arrive | {connections.HEAD_SECONDS:g} s |",
        f"| a client to take its answer | {connections.ANSWER_SECONDS:g} s |",
        f"{items.KEPT_THUMBNAILS} kept",
        f"at most {SERVING.deadline_seconds:g} s",
        f"| values in `columns` of a search | {api.MOST_COLUMNS} |",
        f"| clients whose rate is remembered | {access.REMEMBERED_CLIENTS:,} |",
        f"| length of a token | {access.SHORTEST_TOKEN} ",
        f"| ids or labels in one search | {GALLERY.listed:,} |",
        f"| gRPC metadata | {METADATA_BYTES // 2**10} KiB |",
    ):
        assert value in text, value
    assert re.search(rf"{SERVING.slots} requests, or {SERVING.slots} batches of up to {SERVING.rows} images", text)


def http_post(port: int, path: str, body: bytes, kind: str = "image/png") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        try:
            connection.request("POST", path, body, {"Content-Type": kind})
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server has said no and does not read the rest
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8")
    finally:
        connection.close()
