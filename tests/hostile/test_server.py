"""Every class of bad payload through the real server: the right status over gRPC, the right code over HTTP."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

pytest.importorskip("starlette")
from tests.hostile import corpus
from tests.serving import serving_tiny as tiny
from tf_ssgn.client import Client
from tf_ssgn.common.status import Status
from tf_ssgn.runtime import wire
from tf_ssgn.serving.core.access import Access
from tf_ssgn.serving.core.service import Service, served
from tf_ssgn.serving.http.gateway import Gateway
from tf_ssgn.serving.rpc.server import Server
from tf_ssgn.settings import SERVING

GOOD = tiny.drawing(4)


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    base = tmp_path_factory.getbasetemp()
    service = Service()
    with Server(service, port=0) as server:
        server.publish(served(tiny.model(base), tiny.gallery(base), 1))
        gateway = Gateway(service, ("127.0.0.1", 0), Access())
        yield server.address, gateway.port
        gateway.stop()


@pytest.fixture(scope="module")
def client(addresses: tuple[str, int]) -> Iterator[Client]:
    with Client(addresses[0], timeout=10) as made:
        yield made


def post(port: int, path: str, body: Any) -> tuple[int, Any]:
    data = json.dumps(body).encode("ascii")
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize("payloads", corpus.CLASSES, ids=lambda payloads: payloads.__name__)
def test_every_payload_has_its_status_between_two_neighbours_that_are_answered(client, payloads: Any) -> None:
    rows = [payload for payload in payloads() if len(payload.data) < 8 * 2**20]
    for start in range(0, len(rows), 8):
        some = rows[start : start + 8]
        answers = client.search_batch([GOOD, *(row.data for row in some), GOOD], k=1)
        for neighbour in (answers[0], answers[-1]):
            assert [hit.id for hit in neighbour.hits] == ["photo/square/4.png"]
        for row, answer in zip(some, answers[1:-1], strict=True):
            assert answer.status in row.statuses, row.name
            assert bool(answer.hits) == (answer.status == Status.OK), row.name


def test_a_payload_over_its_bytes_reaches_the_server_and_is_refused_there(addresses) -> None:
    (large,) = (payload for payload in corpus.bombs() if payload.name == "9 MiB")
    request = wire.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = SERVING.name, "embed_photo"
    tensor = request.inputs["image_bytes"]
    tensor.dtype, tensor.string_val[:] = 7, [large.data, GOOD]
    tensor.tensor_shape.dim.add(size=2)
    with grpc.insecure_channel(addresses[0]) as channel:
        raw = channel.unary_unary(wire.PREDICT)(request.SerializeToString(), timeout=20)
    status = wire.PredictResponse.FromString(raw).outputs["status"].int_val
    assert list(status) == [Status.TOO_LARGE, Status.OK]


@pytest.mark.parametrize("payloads", corpus.CLASSES, ids=lambda payloads: payloads.__name__)
def test_over_http_a_payload_is_200_or_422_with_its_status(addresses, payloads: Any) -> None:
    for payload in payloads():
        code, told = post(addresses[1], "/api/search", {"image": base64.b64encode(payload.data).decode(), "k": 1})
        assert told["status"] in payload.statuses, payload.name
        assert code == (200 if told["status"] == Status.OK else 422), payload.name


@pytest.mark.parametrize(
    "options",
    [
        {"labels": ["\ud800"]},
        {"exclude": ["photo/\udfff/1.png"]},
        {"columns": {"label": "\ud83d"}},
        {"columns": {"\ud800": 1}},
        {"\ud800": 1},
        {"kind": "\ud800"},
        {"kind": []},
        {"kind": {}},
        {"threshold": float("nan")},
        {"threshold": 10**400},
        {"threshold": True},
        {"k": 10**400},
        {"labels": [None]},
        {"columns": {"label": {}}},
        {"columns": {"width": float("inf")}},
        {"columns": []},
        {"image": "http://localhost/1.png"},
        {"image": "file:///etc/passwd"},
        {"image": "../../etc/passwd"},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused_in_one_line(addresses, options: dict[str, Any]) -> None:
    body = {"image": base64.b64encode(GOOD).decode(), **options}
    code, told = post(addresses[1], "/api/search", body)
    assert code in (400, 422) and "\n" not in told["error"], told


def test_ids_and_labels_that_are_odd_but_text_are_searched_for(addresses) -> None:
    for text in ("", "\0", "<script>alert(1)</script>", "../x", "\u202e", "%00", "\N{PILE OF POO}" * 100):
        body = {"image": base64.b64encode(GOOD).decode(), "labels": [text], "exclude": [text], "k": 1}
        code, told = post(addresses[1], "/api/search", body)
        assert (code, told["hits"]) == (200, []), text
    whole = {"image": base64.b64encode(GOOD).decode(), "labels": ["square"], "exclude": ["\U0001f4a9"], "k": 1}
    assert post(addresses[1], "/api/search", whole)[1]["hits"][0]["id"] == "photo/square/4.png"


def test_the_same_request_many_times_at_once_has_one_answer(client) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: client.search(GOOD, k=3), range(24)))
    assert all([hit.id for hit in row] == [hit.id for hit in found[0]] for row in found)
    np.testing.assert_allclose(
        [[hit.score for hit in row] for row in found], [[h.score for h in found[0]]] * 24, atol=1e-5
    )
