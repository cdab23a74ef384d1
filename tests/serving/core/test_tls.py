"""Encrypted and mutual: gRPC and HTTP with real certificates, which change while the server runs."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.serving import serving_tiny as tiny
from tf_ssgn.client import Client, RequestError
from tf_ssgn.errors import UserError
from tf_ssgn.serving.core.service import Service, served
from tf_ssgn.serving.core.tls import Certificates, Tls
from tf_ssgn.serving.rpc.server import Server

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def authority(folder: Path, name: str) -> Path:
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(certificate),
    )  # fmt: skip
    return certificate


def signed(folder: Path, name: str, by: Path) -> tuple[Path, Path]:
    key, request, certificate = (folder / f"{name}{suffix}" for suffix in (".key", ".csr", ".pem"))
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
        "-keyout", str(key), "-out", str(request),
    )  # fmt: skip
    openssl(
        "x509", "-req", "-in", str(request), "-CA", str(by), "-CAkey", str(by.with_suffix(".key")), "-days", "2",
        "-extfile", str(folder / "names"), "-out", str(certificate),
    )  # fmt: skip
    return certificate, key


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ours", "other"):
        signed(folder, f"server-{name}", authority(folder, name))
        signed(folder, f"client-{name}", folder / f"{name}.pem")
    return folder


@pytest.fixture
def tls(made: Path, tmp_path: Path) -> Tls:
    for suffix in (".pem", ".key"):
        shutil.copy(made / f"server-ours{suffix}", tmp_path / f"server{suffix}")
    return Tls(str(tmp_path / "server.pem"), str(tmp_path / "server.key"))


def identity(made: Path, name: str) -> dict[str, str]:
    """How a client shows the certificate that an authority signed."""
    return {"certificate": str(made / f"client-{name}.pem"), "key": str(made / f"client-{name}.key")}


def running(model: Any, tls: Tls) -> Server:
    server = Server(Service(), port=0, certificates=Certificates(tls))
    server.publish(served(model, None, 1))
    return server


def embeds(server: Server, **options: Any) -> bool:
    with Client(f"localhost:{server.port}", timeout=5, **options) as client:
        try:
            return client.embed_sketch(tiny.drawing(1)).shape == (tiny.DIMENSION,)
        except RequestError as error:
            assert error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
            return False


def test_encrypted(model, made, tls) -> None:
    with running(model, tls) as server:
        assert embeds(server, ca=str(made / "ours.pem"))
        assert not embeds(server, ca=str(made / "other.pem"))
        assert not embeds(server)


def test_mutual(model, made, tls) -> None:
    with running(model, Tls(tls.certificate, tls.key, str(made / "ours.pem"))) as server:
        ca = str(made / "ours.pem")
        assert embeds(server, ca=ca, **identity(made, "ours"))
        assert not embeds(server, ca=ca)
        assert not embeds(server, ca=ca, **identity(made, "other"))


def test_another_authority_takes_the_place_of_the_old_one(model, made, tls, tmp_path, capsys) -> None:
    trusted = shutil.copy(made / "ours.pem", str(tmp_path / "trusted.pem"))
    ca = str(made / "ours.pem")
    with running(model, Tls(tls.certificate, tls.key, trusted)) as server:
        assert [embeds(server, ca=ca, **identity(made, name)) for name in ("ours", "other")] == [True, False]
        shutil.copy(made / "other.pem", trusted)
        assert [embeds(server, ca=ca, **identity(made, name)) for name in ("ours", "other")] == [False, True]
        Path(trusted).unlink()
        assert [embeds(server, ca=ca, **identity(made, name)) for name in ("ours", "other")] == [False, True]
        assert capsys.readouterr().err.count("cannot be used, the old ones stay") == 1


def test_new_files_are_used_and_broken_ones_refused(model, made, tls, capsys) -> None:
    with running(model, tls) as server:
        ca = str(made / "ours.pem")
        Path(tls.certificate).write_text("rubbish")
        assert embeds(server, ca=ca)
        assert "cannot be used, the old ones stay" in capsys.readouterr().err
        for suffix in (".key", ".pem"):
            shutil.copy(made / f"server-other{suffix}", Path(tls.key).with_suffix(suffix))
        assert embeds(server, ca=str(made / "other.pem"))
        assert not embeds(server, ca=ca)


@contextmanager
def https(model: Any, tls: Tls) -> Iterator[int]:
    """The port of an HTTP server."""
    pytest.importorskip("starlette")
    from tf_ssgn.serving.core.access import Access
    from tf_ssgn.serving.http.gateway import Gateway

    service = Service()
    service.publish(served(model, None, 1))
    gateway = Gateway(service, ("127.0.0.1", 0), Access(), certificates=Certificates(tls))
    yield gateway.port
    gateway.stop()


def ready(port: int, ca: Path, **identity: str) -> bool:
    """Whether the server answers a client that trusts `ca`."""
    context = client_context(ca, **identity)
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (ssl.SSLError, ConnectionError):
        return False
    finally:
        connection.close()


def client_context(ca: Path, certificate: str = "", key: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    if certificate:
        context.load_cert_chain(certificate, key)
    return context


def test_http_too(model, made, tls) -> None:
    with https(model, tls) as port:
        assert ready(port, made / "ours.pem")
        assert not ready(port, made / "other.pem")
        for suffix in (".key", ".pem"):
            shutil.copy(made / f"server-other{suffix}", Path(tls.key).with_suffix(suffix))
        assert ready(port, made / "other.pem")
        assert not ready(port, made / "ours.pem")


def test_another_authority_takes_the_place_of_the_old_one_over_http(model, made, tls, tmp_path) -> None:
    trusted = shutil.copy(made / "ours.pem", str(tmp_path / "trusted.pem"))
    ca = made / "ours.pem"
    with https(model, Tls(tls.certificate, tls.key, trusted)) as port:
        assert [ready(port, ca, **identity(made, name)) for name in ("ours", "other")] == [True, False]
        assert not ready(port, ca)
        shutil.copy(made / "other.pem", trusted)
        assert [ready(port, ca, **identity(made, name)) for name in ("ours", "other")] == [False, True]
        Path(trusted).write_text("rubbish")
        assert [ready(port, ca, **identity(made, name)) for name in ("ours", "other")] == [False, True]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_does_not_outlive_its_authority(model, made, tls, tmp_path, version) -> None:
    trusted = shutil.copy(made / "ours.pem", str(tmp_path / "trusted.pem"))
    context = client_context(made / "ours.pem", **identity(made, "ours"))
    context.minimum_version = context.maximum_version = version
    session = None

    def answered(port: int) -> bool:
        nonlocal session
        with socket.create_connection(("localhost", port), timeout=20) as raw:
            try:
                with context.wrap_socket(raw, server_hostname="localhost", session=session) as connection:
                    connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    told = connection.recv(100).startswith(b"HTTP/1.1 200")
                    session = connection.session or session
                    return told
            except (ssl.SSLError, ConnectionError):
                return False

    with https(model, Tls(tls.certificate, tls.key, trusted)) as port:
        assert answered(port) and session is not None and answered(port)
        shutil.copy(made / "other.pem", trusted)
        assert not answered(port)


def test_files_that_do_not_belong_together(made, tls) -> None:
    for certificate, key, ca in (
        (tls.certificate, str(made / "other.key"), None),
        ("nowhere.pem", tls.key, None),
        (tls.certificate, tls.key, os.devnull),
    ):
        with pytest.raises(UserError, match="expected PEM files that belong together"):
            Tls(certificate, key, ca).context()
    with pytest.raises(UserError, match="cannot read nowhere"):
        Client("localhost:1", ca="nowhere")
