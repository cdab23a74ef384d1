"""`python -m tf_ssgn.serve` as a process of its own: ready, answering, draining, and its one-line errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.serving import serving_tiny as tiny
from tf_ssgn import query, serve
from tf_ssgn.client import Client, RequestError
from tf_ssgn.errors import UserError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("run"))}


@pytest.fixture(scope="module")
def running(base: Path, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen, str]]:
    """The process and the address of its ready line."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tf_ssgn.serve", "--port", "0", "--http-port", "0"]
    command += ["--model", str(tiny.model_folder(base)), "--gallery", str(tiny.gallery_folder(base))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    if not line.startswith("ready "):
        process.kill()
        raise AssertionError(process.stderr.read())
    assert re.fullmatch(r"ready grpc=127\.0\.0\.1:\d+ http=127\.0\.0\.1:\d+\n", line)
    environment["HTTP_ADDRESS"] = line.split("http=")[1].strip()
    yield process, line.split()[1].removeprefix("grpc=")
    process.kill()
    process.wait()


def test_it_answers_once_it_is_ready(running) -> None:
    _, address = running
    assert address.startswith("127.0.0.1:")
    with Client(address) as client:
        assert client.status() == [{"version": 1, "state": "AVAILABLE", "error": ""}]
        assert client.search(tiny.drawing(7), k=1)[0].id == "photo/square/7.png"


def test_rest_answers_beside_grpc(running, environment) -> None:
    with urllib.request.urlopen(f"http://{environment['HTTP_ADDRESS']}/readyz", timeout=20) as response:
        assert json.load(response) == {"status": "ready", "model_version": 1, "gallery_version": 1}


def test_query_finds_the_pictures_of_a_server_beside_it(running, environment, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", environment["XDG_RUNTIME_DIR"])
    (tmp_path / "sketch.png").write_bytes(tiny.drawing(7))
    out = tmp_path / "out.html"
    query.main([str(tmp_path / "sketch.png"), "--server", running[1], "-k", "3", "--html", str(out)])
    assert out.read_text().count("data:image/jpeg") == 4
    assert "photo/square/7.png" in capsys.readouterr().out


def test_a_second_server_on_its_port(running, base) -> None:
    port = running[1].rpartition(":")[2]
    with pytest.raises(UserError, match=f"{port}.*in use"):
        serve.main(["--model", str(tiny.model_folder(base)), "--port", port, "--http-port", "-1"])


def test_a_port_of_http_in_use(running, environment, base) -> None:
    port = environment["HTTP_ADDRESS"].rpartition(":")[2]
    with pytest.raises(UserError, match=f"port {port}.*--http-port"):
        serve.main(["--model", str(tiny.model_folder(base)), "--port", "0", "--http-port", port])


def test_sigterm_drains_and_exits_cleanly(running, environment) -> None:
    """Last of those that use the process: requests that are under way when the signal comes are still answered."""
    process, address = running
    answered, refused = [], []
    started = threading.Barrier(5)

    def ask() -> None:
        with Client(address, timeout=20) as client:
            client.search(tiny.drawing(1), k=1)
            started.wait()
            try:
                while True:
                    answered.append(client.search_batch([tiny.drawing(1)] * 8, k=1))
            except RequestError as error:
                refused.append(error.code)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    started.wait()
    process.send_signal(signal.SIGTERM)
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        raise AssertionError(f"it did not end; its threads: {process.communicate()[1]}") from None
    for client in clients:
        client.join(30)
    assert process.returncode == 0, err
    assert out == ""
    assert "draining" in err and "runtime tensorflow f32" in err and "Traceback" not in err
    assert set(refused) <= {"UNAVAILABLE", "CANCELLED"} and len(refused) == 4
    assert all(answer.hits for batch in answered for answer in batch)
    assert list(Path(environment["XDG_RUNTIME_DIR"]).rglob("*.json")) == []


def test_a_gallery_of_another_model_is_refused_and_the_port_is_free_again(base, tmp_path) -> None:
    model = tmp_path / "other"
    shutil.copytree(tiny.model_folder(base), model)
    card = model / "embed" / "1" / "assets.extra" / "model.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "fingerprint": "0" * 64}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(UserError, match="another model"):
        serve.main(
            [
                "--model",
                str(model),
                "--gallery",
                str(tiny.gallery_folder(base)),
                "--port",
                str(port),
                "--http-port",
                "-1",
            ]
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


def test_without_the_web_packages_grpc_is_served_alone(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert not serve._web_is_there()
    assert "pip install 'tf_ssgn[web]'" in capsys.readouterr().err


def test_allowed_hosts_count_on_every_address(base: Path) -> None:
    """Behind a proxy, on an address that other machines reach, no other site's name may be made to point here."""
    words = ["--model", str(tiny.model_folder(base)), "--port", "0", "--http-port", "0", "--host", "0.0.0.0"]
    words += ["--insecure"]
    for name in ("Photos.example", "second.example:443", "b\u00fccher.example"):
        words += ["--allow-host", name]
    expected = {
        "photos.example": 200, "PHOTOS.example.:8501": 200, "second.example": 200, "localhost": 200,
        "xn--bcher-kva.example": 200,
        "evil.example": 403, "photos.example.evil.example": 403, "192.0.2.7:8501": 403,
    }  # fmt: skip
    codes = {}

    def ask(page: str) -> Callable[[], None]:
        for host in expected:
            asked = urllib.request.Request(f"{page}v1/models/ssgn", headers={"Host": host})
            try:
                with urllib.request.urlopen(asked, timeout=20) as response:
                    codes[host] = response.status
            except urllib.error.HTTPError as error:
                codes[host] = error.code
        signal.raise_signal(signal.SIGTERM)
        return lambda: None

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        serve.run(serve.parser().parse_args(words), load=lambda folder: tiny.model(base), begin=ask)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert codes == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "nowhere"], "nowhere does not exist; expected"),
        (["--model", ".", "--gallery", "nowhere"], "--gallery: there is no folder nowhere"),
        (["--model", "."], "export"),
        (["--model", ".", "--port", "70000"], "expected a port from 0 to 65535"),
        (["--model", ".", "--port", "x"], "expected a port"),
        (["--model", ".", "--http-port", "-2"], "expected a port from -1"),
        (["--model", ".", "--host", "0.0.0.0"], "--insecure"),
        (["--model", ".", "--host", "no such host.invalid"], "--host"),
        (["--model", ".", "--tls-cert", "a.pem"], "--tls-key"),
        (["--model", ".", "--tls-cert", "a.pem", "--tls-key", "b.pem"], "a.pem, b.pem"),
        (["--model", ".", "--tokens", "nowhere"], "--tokens: cannot read nowhere"),
        (["--model", ".", "--rate", "-1"], "requests per second"),
        *((["--allow-host", name], "expected a name such as") for name in ("https://photos.example", "a/b", "", "*.x")),
    ],
)
def test_mistakes(tmp_path, monkeypatch, arguments: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        serve.main(["--port", "0", "--http-port", "0", *arguments])
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from tf_ssgn import serve
try:
    serve.main(["--help"])
except SystemExit:
    heavy = {"tensorflow", "numpy", "grpc"} & set(sys.modules)
    assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--gallery" in done.stdout and "--insecure" in done.stdout


@pytest.mark.parametrize("package", ["grpc", "grpc_health", "tensorflow_serving"])
def test_without_the_extra(monkeypatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'tf_ssgn\[serve\]'"):
        serve.main(["--model", "."])
