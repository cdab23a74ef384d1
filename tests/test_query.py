"""`python -m tf_ssgn.query` against a real server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.serving import serving_tiny as tiny
from tf_ssgn import query
from tf_ssgn.errors import UserError
from tf_ssgn.serving.client.client import RemoteHit
from tf_ssgn.serving.core import notes


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tf_ssgn.serving.core.service import Service, served
    from tf_ssgn.serving.rpc.server import Server

    base = tmp_path_factory.getbasetemp()
    with Server(Service(), port=0) as running:
        running.publish(served(tiny.model(base), tiny.gallery(base), 1))
        yield running


@pytest.fixture
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.photos(tmp_path_factory.getbasetemp())


@pytest.fixture
def sketch(tmp_path: Path) -> str:
    path = tmp_path / "my <b>sketch.png"
    path.write_bytes(tiny.drawing(4))
    return str(path)


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


def test_a_table(server, sketch, capsys) -> None:
    assert query.main([sketch, "--server", server.address, "-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "score", "label", "id"] and len(lines) == 4
    assert lines[1].split() == ["1", "1.0000", "square", "photo/square/4.png"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3"]


def test_a_word_beside_the_drawing_or_alone(server, sketch, tmp_path, capsys) -> None:
    words = ["--server", server.address, "-k", "3"]
    assert query.main([sketch, *words]) == 0
    plain = capsys.readouterr().out
    assert query.main([sketch, "--word", "Circles", *words]) == 0
    assert capsys.readouterr().out != plain
    assert query.main(["--word", "circle", *words, "--html", str(tmp_path / "out.html")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert "the word circle" in (tmp_path / "out.html").read_text(encoding="utf-8")
    for given, said in (
        ([], "neither"),
        ([sketch, "--photo", "--word", "circle"], "--photo"),
        (["--word", "cirkle"], "8"),
    ):
        with pytest.raises(UserError, match=said):
            query.main([*given, *words])


def test_one_json_object(server, sketch, photos, capsys) -> None:
    query.main([sketch, "--server", server.address, "-k", "2", "--json", "--photo", "--photos", str(photos)])
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert set(told) == {"sketch", "word", "server", "hits", "html"}
    best = told["hits"][0]
    assert (best["rank"], best["id"], best["label"]) == (1, "photo/square/4.png", "square")
    assert best["path"] == str(photos / "square" / "4.png")


@pytest.mark.parametrize("given", ["--photos itself", "--photos parent", "--gallery", "the server's own"])
def test_a_grid_with_pictures(server, sketch, photos, tmp_path, tmp_path_factory, capsys, given: str) -> None:
    out = tmp_path / "pages" / "out.html"
    gallery = tiny.gallery_folder(tmp_path_factory.getbasetemp())
    flags = {
        "--photos itself": ["--photos", str(photos)],
        "--photos parent": ["--photos", str(photos.parent)],
        "--gallery": ["--gallery", str(gallery)],
        "the server's own": [],
    }[given]
    with notes.announced(server.port, gallery):
        query.main([sketch, "--server", f"localhost:{server.port}", "-k", "5", "--html", str(out), *flags])
    page = out.read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 6
    assert "<b>sketch" not in page and "&lt;b&gt;sketch" in page
    assert "without pictures" not in capsys.readouterr().err


def test_a_grid_without_pictures_says_how_to_get_them(server, sketch, tmp_path, capsys) -> None:
    out = tmp_path / "out.html"
    query.main([sketch, "--server", server.address, "-k", "2", "--html", str(out)])
    assert out.read_text(encoding="utf-8").count("data:image/jpeg;base64,") == 1
    assert "photo/square/4.png" in out.read_text(encoding="utf-8")
    assert "--photos" in capsys.readouterr().err


def test_ids_that_lead_out_of_the_folder_are_not_followed(tmp_path) -> None:
    (tmp_path / "secret.png").write_bytes(b"")
    inside = tmp_path / "photo" / "cat"
    inside.mkdir(parents=True)
    (inside / "1.png").write_bytes(b"")
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    ids = [
        "../secret.png",
        "photo/../../secret.png",
        str(tmp_path / "secret.png"),
        "photo/cat/link.png",
        "cat",
        "\0",
        "",
    ]
    ids += ["a" * 5000, "photo/cat/1.png"]
    found = query.in_folder([RemoteHit(item, 0.0, "") for item in ids], tmp_path / "photo")
    assert found == {"photo/cat/1.png": str(inside / "1.png")}


def test_a_table_obeys_no_control_characters() -> None:
    text = query.table([RemoteHit("photo/\x1b[2J\n/1.png", 0.5, "\x1b[2J\n")])
    assert "\x1b" not in text and len(text.splitlines()) == 2
    assert query.table([]).startswith("no answers")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.png"], "cannot read nowhere.png"),
        (["SKETCH", "-k", "0"], "received k 0, expected 1 to 200"),
        (["SKETCH", "-k", "201"], "received k 201"),
        (["SKETCH", "-k", "many"], "-k"),
        (["SKETCH", "--timeout", "0"], "--timeout"),
        (["SKETCH", "--word", " "], "--word: received ' ', expected what is drawn"),
        (["SKETCH", "--html", "x.html", "--photos", "nowhere"], "--photos: there is no folder nowhere"),
        (["SKETCH", "--html", "x.html", "--gallery", "nowhere"], "nowhere"),
        (["SKETCH", "--html", "SKETCH/x.html"], "--html"),
        (["SKETCH", "--html", "."], "--html: received the folder"),
        (["SKETCH", "--html", ""], "--html: received the folder"),
    ],
)
def test_mistakes(server, sketch, tmp_path, monkeypatch, arguments: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as caught:
        query.main([item.replace("SKETCH", sketch) for item in arguments] + ["--server", server.address])
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess:
    start = ["-c", code] if code else ["-m", "tf_ssgn.query"]
    return subprocess.run([sys.executable, *start, *arguments], capture_output=True, text=True, timeout=60)


def test_as_a_command_it_fails_in_one_line(sketch) -> None:
    done = run(sketch, "--server", "localhost:1", "--timeout", "0.5")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "error: no answer from localhost:1" in done.stderr


def test_a_server_that_is_only_just_starting_is_waited_for(sketch, tmp_path_factory, monkeypatch, capsys) -> None:
    from tf_ssgn.serving.core.service import Service, served
    from tf_ssgn.serving.rpc.server import Server

    base = tmp_path_factory.getbasetemp()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    told_so = threading.Event()
    log = query.cli.log
    monkeypatch.setattr(query.cli, "log", lambda message: (log(message), told_so.set()))

    def start() -> None:
        told_so.wait()  # the client's own attempts are over
        server = started.enter_context(Server(Service(), port=port))
        server.publish(served(tiny.model(base), tiny.gallery(base), 1))

    with ExitStack() as started:
        late = threading.Thread(target=start)
        late.start()
        assert query.main([sketch, "--server", f"127.0.0.1:{port}", "-k", "1", "--timeout", "30"]) == 0
        late.join()
    told = capsys.readouterr()
    assert "photo/square/4.png" in told.out and told.err.count("no answer") == 1


def test_a_token_from_a_file(server, sketch, tmp_path) -> None:
    (tmp_path / "token").write_text("t" * 20 + "\n")
    assert query.main([sketch, "--server", server.address, "--token-file", str(tmp_path / "token")]) == 0
    for start, rest in (("\ufeff", "\r\n"), (" \t", " \n\nnotes\n")):
        (tmp_path / "token").write_text(f"{start}{'t' * 20}{rest}", encoding="utf-8")
        assert query._token(str(tmp_path / "token")) == "t" * 20
    (tmp_path / "token").write_bytes(b"\xff\xfet\0")
    with pytest.raises(UserError, match="expected text in UTF-8"):
        query.main([sketch, "--server", server.address, "--token-file", str(tmp_path / "token")])
    (tmp_path / "token").write_text("")
    with pytest.raises(UserError, match="is empty"):
        query.main([sketch, "--server", server.address, "--token-file", str(tmp_path / "token")])
    with pytest.raises(UserError, match="in the clear"):
        (tmp_path / "token").write_text("t" * 20)
        query.main([sketch, "--server", "192.0.2.1:1", "--token-file", str(tmp_path / "token")])


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from tf_ssgn import query
try:
    query.main(["--help"])
except SystemExit:
    heavy = {"tensorflow", "numpy", "grpc", "PIL"} & set(sys.modules)
    assert not heavy, heavy
"""
    done = run(code=code)
    assert done.returncode == 0, done.stderr
    assert "--html" in done.stdout


def test_without_the_extra(sketch) -> None:
    code = (
        "import sys; sys.modules['grpc'] = None; from tf_ssgn import query; "
        "from tf_ssgn.common import cli; cli.run(query.main, sys.argv[1:])"
    )
    done = run(sketch, code=code)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "pip install 'tf_ssgn[serve]'" in done.stderr
