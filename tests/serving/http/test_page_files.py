"""What the page is served with and what it asks for, without a browser."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

import json

from tf_ssgn import demo, serve
from tf_ssgn.retrieval.folder import builder, changes
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.serving.core.access import Access
from tf_ssgn.serving.core.service import Service, served
from tf_ssgn.serving.http import api, replies
from tf_ssgn.serving.http import page as web
from tf_ssgn.serving.http.gateway import Gateway

TOKEN = "t" * 32


@pytest.fixture(scope="module")
def service(model: Any, gallery: Any) -> Any:
    made = Service()
    made.publish(served(model, gallery, 1))
    return made


@pytest.fixture(scope="module")
def address(service: Any) -> Iterator[str]:
    gateway = Gateway(service, ("127.0.0.1", 0), Access(), hosts=frozenset({"127.0.0.1"}))
    yield f"http://127.0.0.1:{gateway.port}"
    gateway.stop()


def get(url: str, body: Any = None, **headers: str) -> tuple[int, Any, bytes]:
    content = None if body is None else json.dumps(body).encode()
    headers = {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, content, headers), timeout=20) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_the_page_may_load_nothing_but_itself(address) -> None:
    code, headers, body = get(address + "/")
    assert code == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' blob: data:",
        "connect-src": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    for path in web.FOLDER.iterdir():
        code, headers, content = get(f"{address}/web/{path.name}")
        assert (code, content) == (200, path.read_bytes())
        again = get(f"{address}/web/{path.name}", If_None_Match=headers["ETag"])
        assert (again[0], again[2]) == (304, b"")
        text = content.decode()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), path.name
        assert set(re.findall(r"https?://[^\s\"'`)]+", text)) <= {"http://www.w3.org/2000/svg"}, path.name
    assert sum(path.stat().st_size for path in web.FOLDER.iterdir()) < 200_000
    assert b"style=" not in body and b"onclick" not in body and b"<script>" not in body


def test_a_file_of_the_page_is_hashed_once(address, monkeypatch) -> None:
    monkeypatch.setattr(replies, "tag_of", lambda content: pytest.fail("hashed again"))
    _, headers, content = get(f"{address}/web/main.js")
    assert headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def test_only_the_files_of_the_page_are_served(address) -> None:
    for name in ("page.py", "..%2fpage.py", "%2e%2e/page.py", "../api.py", "", ".", "%00", "main.js%00", "a/b.js"):
        assert get(f"{address}/web/{name}")[0] == 404, name
    assert get(address + "/", Host="evil.example")[0] == 403


def test_overview(address, gallery) -> None:
    about = json.loads(get(address + "/api/gallery")[2])
    assert about["gallery"]["items"] == len(gallery) == 12
    assert about["gallery"]["labels"] == [["circle", 4], ["cross", 4], ["square", 4]]
    assert about["model"]["version"] == 1 and about["limits"]["k"] == 200 and about["writable"] is False


def test_overview_of_a_gallery_that_grows(address, service) -> None:
    expected = []
    for service.expected in (0, 300, None):
        expected.append(json.loads(get(address + "/api/gallery")[2])["gallery"]["expected"])
    assert expected == [0, 300, None]


def test_more_like_a_photo_of_the_gallery(address, gallery) -> None:
    id = "photo/square/4.png"
    code, _, body = get(address + "/api/search", {"id": id, "k": 5})
    expected = gallery.search(gallery.vector(id), k=6)
    assert code == 200 and [hit["id"] for hit in json.loads(body)["hits"]] == [hit.id for hit in expected[1:]]
    assert get(address + "/api/search", {"id": "photo/none.png"})[0] == 404
    for bad in ({"id": 3}, {"id": id, "image": ""}, {"id": id, "kind": "photo"}, {"id": "\ud800"}):
        assert get(address + "/api/search", bad)[0] in (400, 404), bad


def test_what_is_known_of_a_photo_never_names_a_folder_of_the_server(address, photos) -> None:
    code, _, body = get(address + "/api/items/photo/square/4.png")
    assert code == 200 and str(photos.parent) not in body.decode()
    assert json.loads(body) == {
        "id": "photo/square/4.png", "label": "square", "width": 48, "height": 48, "columns": {},
        "bytes": (photos / "square" / "4.png").stat().st_size,
    }  # fmt: skip
    for id in ("photo/none.png", "../../etc/passwd", "%2fetc%2fpasswd"):
        assert get(f"{address}/api/items/{id}")[0] == 404


@pytest.mark.parametrize("id", ["photo/square/4.png", "a/../photo/square/4.png", "./4.png", "a b/100%?#.png"])
def test_browsers_do_not_resolve_the_address_of_a_photo_to_another(id: str) -> None:
    address = api.photo_address(id)
    assert urllib.parse.urljoin("http://host/", address) == f"http://host{address}"
    assert urllib.parse.unquote(address) == f"/api/photo/{id}"


def test_explain_answers_with_both_stages(address, gallery, model) -> None:
    import base64

    from tests.serving import serving_tiny as tiny

    body = {"image": base64.b64encode(tiny.drawing(4)).decode(), "k": 3, "labels": ["square"]}
    told = json.loads(get(address + "/api/explain", body)[2])
    assert [hit["label"] for stage in ("coarse", "fine") for hit in told["answers"][stage]] == ["square"] * 6
    assert told["answers"]["fine"][0]["id"] == "photo/square/4.png"


def test_a_version_that_guessed_goes_with_its_last_user(gallery, model) -> None:
    from tests.serving import serving_tiny as tiny

    version = served(model, gallery, 1)
    api.guesses(version, model.embed_sketch(tiny.drawing(4)))
    assert version.guessable == [0, 1, 2] and version.guessable is version.guessable
    kept = weakref.ref(version)
    del version
    assert kept() is None, "its files and its memory are free once a newer one answers"


def test_a_word_is_searched_with_completed_and_explained(address, gallery, model) -> None:
    import base64

    from tests.serving import serving_tiny as tiny

    image = base64.b64encode(tiny.drawing(4)).decode()

    def ask(path: str = "search", **body) -> tuple[int, dict]:
        status, _, answer = get(f"{address}/api/{path}", {"k": 3, **body})
        return status, json.loads(answer)

    for body, drawn in (({"image": image, "word": "Squares"}, tiny.drawing(4)), ({"word": "square"}, None)):
        status, told = ask(**body)
        expected = gallery.search(model.embed_sketch(drawn, word="square"), k=3)
        assert status == 200 and [hit["id"] for hit in told["hits"]] == [hit.id for hit in expected]
    assert "word" in ask("explain", image=image, word="square")[1]["answers"]
    assert "word" not in ask("explain", image=image)[1]["answers"]
    assert set(ask(image=image)[1]["guesses"]) <= set(tiny.CLASSES)
    for bad, said in (
        ({"word": "sqare"}, "square"), ({"word": "<b>\u0000"}, "not among"), ({"word": 7}, "expected text"),
        ({"word": "x" * 10_000}, "10,000 characters"), ({"word": "square", "kind": "photo"}, "beside a sketch"),
        ({"word": "square", "id": "photo/square/4.png"}, "in place of image"),
    ):  # fmt: skip
        given = bad if "id" in bad else {"image": image, **bad}
        status, told = ask(**given)
        assert status == 400 and said in told["error"], (bad, told)
    assert ask(word="")[0] == 400
    assert json.loads(get(f"{address}/api/words?start=SQ")[2]) == {"words": ["square"], "known": 3}
    assert json.loads(get(f"{address}/api/words")[2])["words"] == []


def test_the_page_comes_before_the_token_and_nothing_else_does(service) -> None:
    gateway = Gateway(service, ("127.0.0.1", 0), Access({TOKEN: frozenset({"search"})}))
    try:
        address = f"http://127.0.0.1:{gateway.port}"
        assert get(address + "/")[0] == get(address + "/web/main.js")[0] == 200
        for path in ("/api/gallery", "/api/items/photo/square/4.png", "/api/photo/photo/square/4.png"):
            assert get(address + path)[0] == 401
            assert get(address + path, Authorization=f"Bearer {TOKEN}")[0] == 200
    finally:
        gateway.stop()


def test_open_shows_the_page_in_the_browser(tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    (tmp_path / "browser").write_text(f"#!/bin/sh\necho $1 > {shown}\n")
    (tmp_path / "browser").chmod(0o755)
    ask = "import time; from tf_ssgn import serve; serve.show(serve.page_address('0.0.0.0', 8501, True)); time.sleep(1)"
    environment = {**os.environ, "BROWSER": str(tmp_path / "browser")}
    subprocess.run([sys.executable, "-c", ask], env=environment, check=True, timeout=60)
    assert shown.read_text() == "https://localhost:8501/\n"
    assert serve.page_address("::1", 80, False) == "http://[::1]:80/"


def test_the_demo_says_the_one_command_that_opens_its_page() -> None:
    words = demo.draw_command(Path("demo")).split(" ")
    assert Path(words[0]).samefile(sys.executable) and words[1:] == ["-m", "tf_ssgn.demo", "--serve"]
    assert demo.draw_command(Path("other")).endswith(" --serve --to other")


def test_values_are_counted_without_deleted_items(model, photos, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("id,place\nphoto/square/4.png,shelf\nphoto/square/1.png,shelf\n")
    builder.build(tmp_path / "gallery", [photos], model, tmp_path / "table.csv")
    changes.delete(tmp_path / "gallery", ids=["photo/square/4.png", "photo/cross/2.png"])
    opened = Gallery.open(tmp_path / "gallery")
    assert opened.counts("label", 10) == {"circle": 4, "cross": 3, "square": 3}
    assert opened.counts("place", 10) == {"shelf": 1}
    assert opened.counts("label", 2) is None


def test_the_demo_waits_for_its_server_so_long_and_no_longer() -> None:
    def started(code: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)

    for code, seconds, address in (
        ("print('ready grpc=127.0.0.1:5 http=off')", 60, "127.0.0.1:5"),
        ("print('something else')", 60, ""),
        ("pass", 60, ""),
        ("import time; time.sleep(600)", 0.2, ""),
    ):
        with started(code) as server:
            assert demo.ready(server, seconds) == address
            server.kill()
