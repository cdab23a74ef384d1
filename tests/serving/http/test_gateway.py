"""The HTTP side as curl sees it: TF Serving's REST surface, search with options, photos, writing, health, metrics."""

from __future__ import annotations

import base64
import gzip
import http.client
import io
import json
import shutil
import socket
import threading
import time
import unicodedata
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving import serving_tiny as tiny

pytest.importorskip("starlette")

from PIL import Image

from tf_ssgn.common.status import Status
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder import builder, changes
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.serving.core.access import Access
from tf_ssgn.serving.core.service import Service, VersionState, served
from tf_ssgn.serving.http import api
from tf_ssgn.serving.http.gateway import Gateway
from tf_ssgn.serving.http.items import Uploads
from tf_ssgn.settings import SERVING, Serving

TOKEN = "t" * 32
PNG = tiny.drawing(4)


@pytest.fixture(scope="module")
def service(model: Any, gallery: Any) -> Any:
    made = Service()
    made.publish(served(model, gallery, 1))
    return made


@pytest.fixture(scope="module")
def port(service: Any) -> Iterator[int]:
    gateway = Gateway(service, ("127.0.0.1", 0), Access(), hosts=frozenset({"127.0.0.1", "localhost", "[::1]"}))
    yield gateway.port
    gateway.stop()


class Reply:
    def __init__(self, response: http.client.HTTPResponse):
        self.code, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    if isinstance(body, (dict, list)):
        body, headers = json.dumps(body).encode(), {"Content_Type": "application/json", **headers}
    connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
    try:
        return Reply(connection.getresponse())
    finally:
        connection.close()


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


# -- TF Serving's surface --------------------------------------------------------------------------------------------


def test_rows_and_columns_give_what_grpc_gives(port, model, gallery) -> None:
    images, k = [PNG, b"", tiny.drawing(5)], [2, 3, 1]
    rows = [{"image_bytes": b64(image), "k": count} for image, count in zip(images, k, strict=True)]
    by_row = ask(port, "POST", "/v1/models/ssgn:predict", {"instances": rows})
    assert by_row.code == 200 and by_row.headers["Content-Type"] == "application/json"
    first, empty, last = by_row.json["predictions"]
    vectors = model.call("embed_sketch", {"image_bytes": np.array(images, object)})["embedding"]
    expected = gallery.search(vectors[0], k=2)
    assert first["ids"] == [*(hit.id for hit in expected), ""], "as wide as the largest k of the request"
    np.testing.assert_allclose(first["scores"][:2], [hit.score for hit in expected], atol=1e-5)
    assert (first["count"], first["status"]) == (2, 0)
    assert (empty["count"], empty["status"], empty["ids"]) == (0, Status.EMPTY, [""] * 3)
    assert empty["scores"] == [None] * 3 and (last["count"], last["scores"][1]) == (1, None)
    columns = {"image_bytes": [b64(image) for image in images], "k": k}
    by_column = ask(port, "POST", "/v1/models/ssgn/versions/1:predict", {"inputs": columns})
    assert {name: [row[name] for row in (first, empty, last)] for name in first} == by_column.json["outputs"]


def test_one_input_needs_no_name_and_one_way_is_as_good_as_another(port, model) -> None:
    vector = model.embed_sketch(PNG)
    for body in (
        {"signature_name": "embed_sketch", "instances": [b64(PNG)]},
        {"signature_name": "embed_sketch", "instances": [{"image_bytes": b64(PNG)}]},
    ):
        (row,) = ask(port, "POST", "/v1/models/ssgn:predict", body).json["predictions"]
        np.testing.assert_allclose(row["embedding"], vector, atol=1e-5)
    for inputs in ([b64(PNG)], {"image_bytes": [b64(PNG)]}):
        body = {"signature_name": "embed_sketch", "inputs": inputs}
        out = ask(port, "POST", "/v1/models/ssgn:predict", body).json["outputs"]
        np.testing.assert_allclose(out["embedding"], [vector], atol=1e-5)


def test_curls_own_content_type_will_do(port) -> None:
    body = json.dumps({"instances": [{"image_bytes": b64(PNG), "k": 1}]})
    reply = ask(port, "POST", "/v1/models/ssgn:predict", body, Content_Type="application/x-www-form-urlencoded")
    assert reply.json["predictions"][0]["ids"] == ["photo/square/4.png"]


def test_status_and_metadata(port, service) -> None:
    for path in ("/v1/models/ssgn", "/v1/models/ssgn/versions/1"):
        assert ask(port, "GET", path).json == {
            "model_version_status": [
                {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
            ]
        }
    told = ask(port, "GET", "/v1/models/ssgn/metadata").json
    assert told["model_spec"] == {"name": "ssgn", "signature_name": "", "version": "1"}
    table = told["metadata"]["signature_def"]["signature_def"]
    assert set(table) == set(service.current.signatures)
    spec = table["embed_sketch"]["outputs"]["embedding"]
    assert (spec["dtype"], [side["size"] for side in spec["tensor_shape"]["dim"]]) == (
        "DT_FLOAT", ["-1", str(tiny.DIMENSION)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/models/ssgn:predict", b"{", 400),
        ("/v1/models/ssgn:predict", b"[" * 100_000, 400),
        ("/v1/models/ssgn:predict", b"\xff\xfe", 400),
        ("/v1/models/ssgn:predict", [], 400),
        ("/v1/models/ssgn:predict", {}, 400),
        ("/v1/models/ssgn:predict", {"instances": []}, 400),
        ("/v1/models/ssgn:predict", {"instances": [1], "inputs": []}, 400),
        ("/v1/models/ssgn:predict", {"instances": [1]}, 400),
        ("/v1/models/ssgn:predict", {"instances": [{"image_bytes": "text", "k": 1}]}, 400),
        ("/v1/models/ssgn:predict", {"instances": [{"image_bytes": {"b64": "?"}, "k": 1}]}, 400),
        ("/v1/models/ssgn:predict", {"instances": [{"image_bytes": b64(PNG), "k": "1"}]}, 400),
        ("/v1/models/ssgn:predict", {"instances": [{"image_bytes": b64(PNG), "k": 2**31}]}, 400),
        ("/v1/models/ssgn:predict", {"instances": [{"image_bytes": b64(PNG), "k": True}]}, 400),
        ("/v1/models/ssgn:predict", {"instances": [{"image_bytes": b64(PNG)}]}, 400),
        ("/v1/models/ssgn:predict", {"instances": [{"image_bytes": b64(PNG), "k": 1, "x": 1}]}, 400),
        ("/v1/models/ssgn:predict", {"inputs": {"image_bytes": [b64(PNG)] * 33, "k": [1] * 33}}, 400),
        ("/v1/models/ssgn:predict", {"signature_name": "nothing", "instances": [1]}, 400),
        ("/v1/models/ssgn:predict", {"signature_name": 5, "instances": [1]}, 400),
        ("/v1/models/ssgn/labels/canary:predict", {"instances": [1]}, 400),
        ("/v1/models/other:predict", {"instances": [1]}, 404),
        ("/v1/models/ssgn/versions/9:predict", {"instances": [1]}, 404),
        ("/v1/models/ssgn/versions/x:predict", {"instances": [1]}, 404),
        ("/v1/models/ssgn:classify", {"instances": [1]}, 404),
        ("/v1/models/ssgn", {"instances": [1]}, 404),
        ("/v1/other", {}, 404),
        ("/healthz", {}, 405),
    ],
)
def test_malformed_requests_are_one_line_of_json(port, path: str, body: Any, code: int) -> None:
    reply = ask(port, "POST", path, body)
    assert reply.code == code, reply.body
    assert set(reply.json) == {"error"} and "\n" not in reply.json["error"]


# -- our own ---------------------------------------------------------------------------------------------------------


def test_search_with_options(port, gallery, model) -> None:
    image = base64.b64encode(PNG).decode()
    everything = gallery.search(model.embed_sketch(PNG), k=12)

    def hits(**options: Any) -> list[Any]:
        reply = ask(port, "POST", "/api/search", {"image": image, "k": 12, **options})
        assert reply.code == 200, reply.body
        assert (reply.json["model_version"], reply.json["gallery_version"], reply.json["status"]) == (1, 1, 0)
        return reply.json["hits"]

    plain = hits()
    assert [hit["id"] for hit in plain] == [hit.id for hit in everything]
    np.testing.assert_allclose([hit["score"] for hit in plain], [hit.score for hit in everything], atol=1e-5)
    assert plain[0]["photo"] == "/api/photo/photo/square/4.png" and "path" not in plain[0]
    assert {hit["label"] for hit in hits(labels=["circle", "cross"])} == {"circle", "cross"}
    assert [hit["id"] for hit in hits(exclude=[plain[0]["id"]])] == [hit["id"] for hit in plain[1:]]
    assert [hit["id"] for hit in hits(threshold=plain[2]["score"] - 1e-6)] == [hit["id"] for hit in plain[:3]]
    assert {hit["label"] for hit in hits(columns={"label": "square", "width": 48})} == {"square"}
    assert hits(columns={"label": "' OR 1=1 --"}) == [] and hits(columns={"width": None}) == []
    (grouped,) = hits(group=-1.0)
    assert len(grouped["duplicates"]) == 11
    assert hits(k=1, kind="photo")[0]["id"] == "photo/square/4.png"


def test_search_by_the_bytes_themselves(port) -> None:
    found = ask(port, "POST", "/api/search?k=8&labels=circle&labels=cross&threshold=-1", PNG, Content_Type="image/png")
    assert found.code == 200 and {hit["label"] for hit in found.json["hits"]} == {"circle", "cross"}
    assert len(found.json["hits"]) == 8


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"image": base64.b64encode(b"x").decode()}, 422),
        ({"image": base64.b64encode(PNG).decode(), "k": 0}, 422),
        ({"image": base64.b64encode(PNG).decode(), "k": SERVING.k + 1}, 422),
        ({"image": "data:image/png;base64,AAAA"}, 400),
        ({"image": 5}, 400),
        ({}, 400),
        ({"image": "", "path": "/etc/passwd"}, 400),
        ({"image": "", "k": 1.5}, 400),
        ({"image": "", "kind": "video"}, 400),
        ({"image": "", "labels": "cat"}, 400),
        ({"image": "", "labels": [1]}, 400),
        ({"image": "", "threshold": 2}, 400),
        ({"image": "", "threshold": "x"}, 400),
        ({"image": "", "columns": {"path": "/"}}, 400),
        ({"image": "", "columns": {"label": []}}, 400),
        ({"image": "", "columns": {'label" OR 1=1 --': 1}}, 400),
    ],
)
def test_searches_that_are_refused(port, body: dict, code: int) -> None:
    reply = ask(port, "POST", "/api/search", body)
    assert (reply.code, "status" in reply.json) == (code, code == 422), reply.body


def test_only_known_content_types_reach_the_api(port) -> None:
    for kind in ("text/plain", "multipart/form-data", ""):
        assert ask(port, "POST", "/api/search", b"{}", Content_Type=kind).code == 400


def test_explain(port, model) -> None:
    told = ask(port, "POST", "/api/explain", PNG, Content_Type="image/png").json
    assert sorted(entry["name"] for entry in told["classes"]) == sorted(tiny.CLASSES)
    scores = [entry["score"] for entry in told["classes"]]
    assert scores == sorted(scores, reverse=True)
    np.testing.assert_allclose(told["coarse"], model.embed_sketch(PNG), atol=1e-5)


def test_thumbnails_are_of_the_gallerys_own_photos_only(port) -> None:
    reply = ask(port, "GET", "/api/photo/photo/square/4.png?side=64")
    assert (reply.code, reply.headers["Content-Type"]) == (200, "image/jpeg")
    assert max(Image.open(io.BytesIO(reply.body)).size) == 48
    again = ask(port, "GET", "/api/photo/photo/square/4.png?side=64", If_None_Match=reply.headers["ETag"])
    assert (again.code, again.body) == (304, b"")
    for id in ("photo/square/5000.png", "../../etc/passwd", "/etc/passwd", "photo/square/../square/4.png", "%00", ""):
        assert ask(port, "GET", f"/api/photo/{quote(id, safe='%')}").code == 404, id
        assert ask(port, "GET", f"/api/photo/{quote(id, safe='%/')}").code == 404, id
    assert reply.headers["Vary"] == "Authorization", "a browser keeps it for that token only"
    for side in ("0", "5000", "x", "-1", "%C2%B2", "9" * 5000):
        assert ask(port, "GET", f"/api/photo/photo/square/4.png?side={side}").code == 400
    refused = ask(port, "GET", "/api/photo/photo/square/4.png?side=250").json["error"]
    assert refused == "side: received '250', expected one of 64, 128, 256, 512, 1024"


def test_nobody_writes_without_a_token(port) -> None:
    assert ask(port, "POST", "/api/items?label=cat", PNG, Content_Type="image/png").code == 403
    assert ask(port, "DELETE", "/api/items/photo/square/4.png").code == 403


def test_writing_with_a_token(model, tmp_path, tmp_path_factory) -> None:
    folder, photos = tmp_path / "gallery", tmp_path / "new photos"
    shutil.copytree(tiny.gallery_folder(tmp_path_factory.getbasetemp()), folder)
    service = Service()

    def reopen() -> None:
        service.publish(served(model, Gallery.open(folder), 1))

    reopen()
    access = Access({TOKEN: frozenset({"search", "write"})})
    gateway = Gateway(service, ("127.0.0.1", 0), access, Uploads(folder, photos), reopen)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    try:

        def send(body: bytes, label: str = "cat", kind: str = "image/png") -> Reply:
            return ask(gateway.port, "POST", f"/api/items?label={quote(label)}", body, Content_Type=kind, **bearer)

        assert ask(gateway.port, "POST", "/api/items?label=cat", PNG, Content_Type="image/png").code == 401
        new = tiny.drawing(77)
        added = send(new)
        assert added.code == 201, added.body
        id = added.json["id"]
        assert id.startswith("new photos/cat/") and send(new).json["id"] == id
        reply = ask(gateway.port, "POST", "/api/search?k=1", new, Content_Type="image/png", **bearer)
        assert reply.code == 200, reply.body
        found = reply.json["hits"]
        assert (found[0]["id"], found[0]["label"]) == (id, "cat")
        assert ask(gateway.port, "GET", f"/api/photo/{quote(id)}", **bearer).code == 200
        assert send(new, " cat ").json["id"] == id
        for label in ("", "../x", "a/b", ".hidden", "x" * 65, "a\nb", "Thumbs.db", "lost+found", "Recycled"):
            assert send(new, label).code == 400, label
        for content in (b"", b"text", new[:100]):
            assert send(content).code == 400
        assert send(new, kind="text/html").code == 400
        assert len(Gallery.open(folder)) == 13
        assert [path.name for path in photos.iterdir()] == ["cat"] and len(list((photos / "cat").iterdir())) == 1

        assert ask(gateway.port, "DELETE", f"/api/items/{quote(id)}", **bearer).code == 204
        assert ask(gateway.port, "DELETE", f"/api/items/{quote(id)}", **bearer).code == 404
        assert not list((photos / "cat").iterdir())
        assert ask(gateway.port, "DELETE", "/api/items/photo/square/4.png", **bearer).code == 204
        assert (tiny.photos(tmp_path_factory.getbasetemp()) / "square" / "4.png").exists()
        found = ask(gateway.port, "POST", "/api/search?k=12", PNG, Content_Type="image/png", **bearer).json["hits"]
        assert len(found) == 11 and "photo/square/4.png" not in {hit["id"] for hit in found}
        assert send(new).code == 201
        builder.sync(folder, [], model, exclude=["draft*"])
        reopen()
        refused = send(new, "drafts")
        assert refused.code == 400 and "leaves out what is called 'drafts'" in refused.json["error"]
        accented = [unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")]
        assert len({send(new, label).json["id"] for label in accented}) == 1
    finally:
        gateway.stop()


def test_a_gallery_that_is_not_written_here_says_so_to_who_may_write(service) -> None:
    """One in Milvus: `serve` gives it no uploads, whatever the tokens allow."""
    gateway = Gateway(service, ("127.0.0.1", 0), Access({TOKEN: frozenset({"search", "write"})}))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    try:
        for method, path in (("POST", "/api/items?label=cat"), ("DELETE", "/api/items/photo/square/4.png")):
            reply = ask(gateway.port, method, path, PNG, Content_Type="image/png", **bearer)
            assert reply.code == 400 and "index add" in reply.json["error"]
    finally:
        gateway.stop()


def test_deleting_an_imported_item_removes_no_file_beside_the_uploads(model, tmp_path) -> None:
    uploads, kept = tmp_path / "uploads", tmp_path / "kept.png"
    uploads.mkdir()
    kept.write_bytes(PNG)
    vectors = np.stack([model.embed_sketch(tiny.drawing(seed)) for seed in range(2)])
    paths = [f"{uploads}/../kept.png", f"{uploads}/none.png"]
    changes.import_items(tmp_path / "g", model, "these", vectors, changes.items_of("these", tiny.DIMENSION, vectors,
                         ["a", "b"], None, paths))  # fmt: skip
    Uploads(tmp_path / "g", uploads).delete(Gallery.open(tmp_path / "g"), "a")
    assert kept.exists() and list(Gallery.open(tmp_path / "g").ids) == ["b"]


# -- bounds ----------------------------------------------------------------------------------------------------------


def test_a_body_over_its_limit(port) -> None:
    assert ask(port, "POST", "/api/search", bytes(SERVING.message_bytes + 1), Content_Type="image/png").code == 413
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n")
        raw.sendall(f"Content-Length: {10**12}\r\n\r\n".encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 413")
    reply = ask(port, "POST", "/api/search", bytes(9 * 2**20), Content_Type="image/png")
    assert (reply.code, reply.json["status"]) == (422, Status.TOO_LARGE)


def test_headers_over_their_limit(port) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(b"GET /v1/models/ssgn HTTP/1.1\r\nHost: localhost\r\nX-Large: " + b"x" * 30_000)
        assert raw.recv(100).startswith(b"HTTP/1.1 400")


def test_another_host_name_is_refused(port) -> None:
    for host in ("evil.example", "evil.example:8501", "localhost.evil.example", "[::2]", "127.0.0.2", "", "::1:8501"):
        assert ask(port, "GET", "/v1/models/ssgn", Host=host).code == 403, host
    for host in ("localhost", f"localhost:{port}", "localhost.", f"LocalHost.:{port}", "127.0.0.1", "[::1]", "[::1]:1"):
        assert ask(port, "GET", "/v1/models/ssgn", Host=host).code == 200, host


def test_a_server_of_a_local_address_knows_every_spelling_of_it(service) -> None:
    gateway = Gateway(service, ("127.0.0.1", 0), Access(), hosts=frozenset({"::1", "Photos.Example.:8501"}))
    try:
        for host in ("[::1]", "[::1]:8501", "[0:0:0:0:0:0:0:1]", "photos.example", "photos.example.:443"):
            assert ask(gateway.port, "GET", "/v1/models/ssgn", Host=host).code == 200, host
        assert ask(gateway.port, "GET", "/v1/models/ssgn", Host="localhost").code == 403
    finally:
        gateway.stop()


def test_headers_of_every_answer(port) -> None:
    for reply in (ask(port, "GET", "/v1/models/ssgn"), ask(port, "GET", "/nothing"), ask(port, "GET", "/healthz")):
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers.get("Access-Control-Allow-Origin") is None and reply.headers.get("Server") is None
    assert ask(port, "GET", "/v1/models/ssgn", X_Request_Id="mine-1").headers["X-Request-Id"] == "mine-1"
    assert ask(port, "GET", "/v1/models/ssgn", X_Request_Id="a b\tc").headers["X-Request-Id"] != "a b\tc"


def test_a_slow_body_is_given_up_and_others_are_answered_meanwhile(model, gallery) -> None:
    service = Service(Serving(deadline_seconds=0.5))
    service.publish(served(model, gallery, 1))
    gateway = Gateway(service, ("127.0.0.1", 0), Access())
    try:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as raw:
            raw.sendall(
                b"POST /api/search HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nContent-Type: image/png\r\n\r\nabc"
            )
            assert ask(gateway.port, "GET", "/healthz").code == 200
            assert raw.recv(100).startswith(b"HTTP/1.1 504")
    finally:
        gateway.stop()


def test_a_client_that_hangs_up_leaves_the_queue_and_a_full_queue_says_so(model, gallery) -> None:
    entered, opened = threading.Event(), threading.Event()

    class Slow:
        fingerprint, dimension, card, has_words = model.fingerprint, model.dimension, model.card, False

        def call(self, signature: str, inputs: Any) -> Any:
            entered.set()
            assert opened.wait(30)
            return model.call(signature, inputs)

    service = Service(Serving(slots=1, queue=1))
    service.publish(served(Slow(), gallery, 1))
    gateway = Gateway(service, ("127.0.0.1", 0), Access())
    try:
        busy = threading.Thread(
            target=ask, args=(gateway.port, "POST", "/api/search", PNG), kwargs={"Content_Type": "image/png"}
        )
        busy.start()
        assert entered.wait(20)
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as raw:
            head = (
                f"POST /api/search HTTP/1.1\r\nHost: x\r\nContent-Length: {len(PNG)}\r\nContent-Type: image/png\r\n\r\n"
            )
            raw.sendall(head.encode() + PNG)
            wait_until(lambda: service.batcher.waiting == 1)
            refused = ask(gateway.port, "POST", "/api/search", PNG, Content_Type="image/png")
            assert (refused.code, refused.headers["Retry-After"]) == (503, "1")
        wait_until(lambda: service.batcher.waiting == 0)
        opened.set()
        busy.join(20)
        assert not busy.is_alive()
    finally:
        opened.set()
        gateway.stop()


def wait_until(true: Any) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@settings(max_examples=60)
@given(st.data())
def test_no_body_is_ever_an_error_of_ours(port, data: st.DataObject) -> None:
    words = st.sampled_from([*api.FIELDS, "instances", "inputs", "signature_name", "b64", "image_bytes"])
    scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(b64(PNG)["b64"])
    value = st.recursive(scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4))
    body = data.draw(
        st.binary(max_size=40) | st.dictionaries(words, value, max_size=5).map(lambda v: json.dumps(v).encode())
    )
    path = data.draw(st.sampled_from(["/api/search", "/api/explain", "/v1/models/ssgn:predict"]))
    kind = data.draw(st.sampled_from(["application/json", "image/png"]))
    assert ask(port, "POST", path, body, Content_Type=kind).code in (200, 400, 422)


# -- operations ------------------------------------------------------------------------------------------------------


def test_health_and_readiness(model) -> None:
    service = Service()
    gateway = Gateway(service, ("127.0.0.1", 0), Access())
    try:
        service.states[1] = VersionState("LOADING")
        assert ask(gateway.port, "GET", "/healthz").code == 200
        assert ask(gateway.port, "GET", "/readyz").code == 503
        assert ask(gateway.port, "GET", "/v1/models/ssgn").json["model_version_status"][0]["state"] == "LOADING"
        search = ask(gateway.port, "POST", "/api/search", PNG, Content_Type="image/png")
        assert search.code == 503
        service.publish(served(model, None, 1))
        assert ask(gateway.port, "GET", "/readyz").json == {
            "status": "ready", "model_version": 1, "gallery_version": None,
        }  # fmt: skip
        without = ask(gateway.port, "POST", "/api/search", PNG, Content_Type="image/png")
        assert (without.code, "--gallery" in without.json["error"]) == (400, True)
        service.draining = True
        assert ask(gateway.port, "GET", "/readyz").code == 503
    finally:
        gateway.stop()


def test_metrics(port) -> None:
    ask(port, "POST", "/api/search", PNG, Content_Type="image/png")
    text = ask(port, "GET", "/metrics").body.decode()
    for line in (
        'tf_ssgn_requests_total{code="OK",method="search",transport="http"}',
        'tf_ssgn_request_seconds_bucket{le="0.001",method="search",transport="http"}',
        'tf_ssgn_stage_seconds_count{stage="compute"}',
        "tf_ssgn_batch_rows_sum",
    ):
        assert line in text


def test_metrics_of_a_gallery_that_is_slow_to_count_hold_up_nobody(model, gallery) -> None:
    """A gallery in Milvus asks its server how many items it has, and the server may be away."""
    entered, opened = threading.Event(), threading.Event()

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(gallery, name)

        def __len__(self) -> int:
            if opened.is_set():
                return len(gallery)
            entered.set()
            assert opened.wait(30)
            return 7

    opened.set()
    service = Service()
    service.publish(served(model, Slow(), 1))
    gateway = Gateway(service, ("127.0.0.1", 0), Access())
    opened.clear()
    entered.clear()
    scraped: list[Reply] = []
    scrape = threading.Thread(target=lambda: scraped.append(ask(gateway.port, "GET", "/metrics")))
    try:
        scrape.start()
        assert entered.wait(20)
        assert ask(gateway.port, "GET", "/healthz").code == 200 and not scraped
        assert ask(gateway.port, "POST", "/api/search?k=1", PNG, Content_Type="image/png").code == 200 and not scraped
        opened.set()
        scrape.join(20)
        assert scraped[0].code == 200 and b"gallery_items 7.0" in scraped[0].body
    finally:
        opened.set()
        gateway.stop()


def test_a_port_in_use(port, service) -> None:
    with pytest.raises(UserError, match=f"port {port}.*in use.*--http-port"):
        Gateway(service, ("127.0.0.1", port), Access())


def test_a_packed_request_is_answered_as_the_plain_one(port) -> None:
    body = json.dumps({"instances": [{"image_bytes": b64(PNG), "k": 2}]}).encode()
    path = "/v1/models/ssgn:predict"
    plain = ask(port, "POST", path, body, Content_Type="application/json")
    for encoding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        reply = ask(port, "POST", path, packed, Content_Type="application/json", Content_Encoding=encoding)
        assert reply.code == 200 and reply.json == plain.json
    bomb = gzip.compress(bytes(SERVING.message_bytes + 2**20))
    assert ask(port, "POST", path, bomb, Content_Type="application/json", Content_Encoding="gzip").code == 413


def test_image_types_that_clients_send(port) -> None:
    for kind in ("image/png", "image/jpg", "image/x-png", "application/octet-stream"):
        assert ask(port, "POST", "/api/search?k=2", PNG, Content_Type=kind).code == 200


def test_an_id_may_have_a_line_break(port, model, tmp_path) -> None:
    ids = ["photo/a\nb/c\r\nd.png", "photo/a\u2028b/%0A.png"]
    for number, id in enumerate(ids):
        (tmp_path / id).parent.mkdir(parents=True)
        (tmp_path / id).write_bytes(tiny.drawing(number))
    builder.build(tmp_path / "gallery", [tmp_path / "photo"], model)
    service = Service()
    service.publish(served(model, Gallery.open(tmp_path / "gallery"), 1))
    gateway = Gateway(service, ("127.0.0.1", 0), Access())
    try:
        for number, id in enumerate(ids):
            (hit,) = ask(gateway.port, "POST", "/api/search?k=1", tiny.drawing(number), Content_Type="image/png").json[
                "hits"
            ]
            assert hit["id"] == id
            for path in (hit["photo"], "/api/photo/" + quote(id, safe="")):
                assert ask(gateway.port, "GET", path).headers["Content-Type"] == "image/jpeg", path
            assert ask(gateway.port, "GET", "/api/items/" + quote(id, safe="")).json["id"] == id
            like = ask(gateway.port, "POST", "/api/search", {"id": id, "k": 2})
            assert [hit["id"] for hit in like.json["hits"]] == [ids[1 - number]]
    finally:
        gateway.stop()
    assert ask(port, "GET", "/api/items/" + quote("photo/a\nb.png", safe="")).code == 404


def test_everything_is_below_the_path_of_a_proxy_too(service) -> None:
    gateway = Gateway(service, ("127.0.0.1", 0), Access(), root_path="/photos")
    try:
        for path in ("/healthz", "/api/gallery", "/"):
            below, above = ask(gateway.port, "GET", "/photos" + path), ask(gateway.port, "GET", path)
            assert (below.code, below.body) == (200, above.body), path
        into = ask(gateway.port, "GET", "/photos", Host="evil.example")
        assert (into.code, into.headers["Location"]) == (307, "/photos/"), "no address of a Host header"
        for path in ("/photos/healthz/", "/api/gallery/"):
            assert ask(gateway.port, "GET", path).code == 404, path
    finally:
        gateway.stop()
