"""Addresses, tokens and TLS, against real servers."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import numpy as np
import pytest

from tests.retrieval.embedder import TinyEmbedder, draw_folder
from tests.retrieval.milvus_server import Server
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval import update
from tf_ssgn.retrieval.milvus import writer as milvus_writer
from tf_ssgn.retrieval.milvus.connection import AUTHORITY, TOKEN, TOKEN_FILE, address
from tf_ssgn.retrieval.milvus.gallery import ABOUT, MilvusGallery
from tf_ssgn.retrieval.milvus.writer import MilvusWriter
from tf_ssgn.retrieval.open import is_address
from tf_ssgn.retrieval.searcher import Unreachable

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


@pytest.mark.parametrize(
    ("text", "uri", "collection"),
    [
        ("milvus://db/photos", "http://db:19530", "photos"),
        ("milvus://[::1]:7000/photos/", "http://[::1]:7000", "photos"),
        ("https://db.example/a_1", "https://db.example:443", "a_1"),
        ("https://db.example:19530/a_1", "https://db.example:19530", "a_1"),
        ("milvus:///data/x.db/photos", "/data/x.db", "photos"),
    ],
)
def test_addresses(text: str, uri: str, collection: str) -> None:
    found = address(text)
    assert is_address(text) and (found.uri, found.collection) == (uri, collection)
    assert found.local == uri.startswith("/")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("milvus://db", "expected milvus://HOST"),
        ("milvus://db/a-b", "letters, digits"),
        ("milvus://root:secret@db/photos", "token belongs into the environment"),
        ("milvus:photos", "expected milvus://HOST"),
        ("https://db/photos?token=secret", "expected milvus://HOST"),
    ],
)
def test_what_is_no_address(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        address(text)
    assert "secret" not in str(raised.value)
    assert not is_address("galleries/milvus") and not is_address("/milvus:")


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine's loopback, signed by itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    signed = made.add_extension(names, False).sign(key, hashes.SHA256())
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    return folder / "cert.pem", folder / "key.pem"


def test_token_and_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography")
    pem, key = certificate(tmp_path)
    server = Server(tmp_path / "data", "root:right", str(pem), str(key))
    where = f"https://localhost:{server.port}/photos"
    try:
        monkeypatch.setenv(AUTHORITY, str(pem))
        monkeypatch.setenv(TOKEN, "root:right")
        assert update.build(MilvusWriter(where), [draw_folder(tmp_path / "photo")], TinyEmbedder()).count == 12
        monkeypatch.setenv(TOKEN, "root:wrong")
        with pytest.raises(UserError, match="refuses the token") as raised:
            MilvusGallery.open(where)
        assert "wrong" not in str(raised.value) and "\n" not in str(raised.value)
        monkeypatch.delenv(TOKEN)
        monkeypatch.setenv(TOKEN_FILE, str(tmp_path / "token"))
        with pytest.raises(UserError, match="cannot read"):
            MilvusGallery.open(where)
        (tmp_path / "token").write_text("root:right\n")
        with MilvusGallery.open(where) as gallery:
            assert len(gallery.search(np.ones(16), 3)) == 3
        monkeypatch.delenv(AUTHORITY)
        with pytest.raises(UserError, match="TLS failed|does not answer"):
            MilvusGallery.open(where.replace("localhost", "127.0.0.1"))
        monkeypatch.setenv(AUTHORITY, str(tmp_path / "nowhere.pem"))
        with pytest.raises(UserError, match="no file"):
            MilvusGallery.open(where)
    finally:
        server.kill()


def test_collections_that_do_not_fit(tmp_path: Path) -> None:
    """In a file, as one machine without a server has it."""
    from pymilvus import MilvusClient

    file = f"milvus:{tmp_path}/lite.db"
    photos = draw_folder(tmp_path / "photo", classes=1)
    assert update.build(MilvusWriter(f"{file}/photos"), [photos], TinyEmbedder()).count == 4
    client = MilvusClient(str(tmp_path / "lite.db"))
    client.create_collection("foreign", dimension=16)
    client.create_collection("half", dimension=16)
    client.create_collection("half" + ABOUT, dimension=2)
    for name, said in (
        ("nothing", "no collection nothing"),
        ("foreign", "no gallery of tf_ssgn"),
        ("half", "no gallery of tf_ssgn"),
        ("photos" + ABOUT, "no gallery of tf_ssgn"),
    ):
        with pytest.raises(UserError, match=said):
            MilvusGallery.open(f"{file}/{name}")
    wide = TinyEmbedder()
    wide.dimension = 32
    with pytest.raises(UserError, match="has 16 dimensions; received vectors of 32"):
        milvus_writer.open_or_create(address(f"{file}/photos"), wide)
    with MilvusGallery.open(f"{file}/photos") as gallery, pytest.raises(UserError, match="another model"):
        gallery.require_model("other")
    with pytest.raises(UserError, match="shapes|shape"):
        MilvusGallery.open(f"{file}/photos").search(np.ones(7))
    client.drop_collection("photos" + ABOUT)
    with pytest.raises(UserError, match="it has no photos__about"):
        MilvusGallery.open(f"{file}/photos")
    client.close()


def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match="milvus://127.0.0.1:1 does not answer"):
        MilvusGallery.open("milvus://127.0.0.1:1/photos")
