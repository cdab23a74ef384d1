"""Encrypted and mutual: gRPC and HTTP with real certificates, which change while the server runs."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
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
    signed(folder, "client", folder / "ours.pem")
    return folder


@pytest.fixture
def tls(made: Path, tmp_path: Path) -> Tls:
    for suffix in (".pem", ".key"):
        shutil.copy(made / f"server-ours{suffix}", tmp_path / f"server{suffix}")
    return Tls(str(tmp_path / "server.pem"), str(tmp_path / "server.key"))


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
        assert embeds(server, ca=ca, certificate=str(made / "client.pem"), key=str(made / "client.key"))
        assert not embeds(server, ca=ca)
        other = {"certificate": str(made / "server-other.pem"), "key": str(made / "server-other.key")}
        assert not embeds(server, ca=ca, **other)


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


@pytest.fixture
def https(model: Any, tls: Tls) -> Iterator[tuple[int, Certificates]]:
    pytest.importorskip("starlette")
    from tf_ssgn.serving.core.access import Access
    from tf_ssgn.serving.http.gateway import Gateway

    service = Service()
    service.publish(served(model, None, 1))
    certificates = Certificates(tls)
    gateway = Gateway(service, ("127.0.0.1", 0), Access(), certificates=certificates)
    yield gateway.port, certificates
    gateway.stop()


def ready(port: int, ca: Path) -> int:
    context = ssl.create_default_context(cafile=str(ca))
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
    connection.request("GET", "/readyz")
    return connection.getresponse().status


def test_http_too(https, made, tls) -> None:
    port, certificates = https
    assert ready(port, made / "ours.pem") == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        ready(port, made / "other.pem")
    assert not certificates.changed()
    for suffix in (".key", ".pem"):
        shutil.copy(made / f"server-other{suffix}", Path(tls.key).with_suffix(suffix))
    assert certificates.changed()
    assert ready(port, made / "other.pem") == 200


def test_files_that_do_not_belong_together(made, tls) -> None:
    for certificate, key, ca in (
        (tls.certificate, str(made / "other.key"), None),
        ("nowhere.pem", tls.key, None),
        (tls.certificate, tls.key, os.devnull),
    ):
        with pytest.raises(UserError, match="expected PEM files that belong together"):
            Tls(certificate, key, ca).check()
    with pytest.raises(UserError, match="cannot read nowhere"):
        Client("localhost:1", ca="nowhere")
