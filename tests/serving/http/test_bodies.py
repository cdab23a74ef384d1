"""Bodies as clients send them: packed as a whole, and images as base64 of every spelling."""

from __future__ import annotations

import base64
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("starlette")

from starlette.exceptions import HTTPException

from tf_ssgn.serving.core.faults import Fault
from tf_ssgn.serving.http import rest
from tf_ssgn.serving.http.bodies import from_base64, unpacked


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


@given(st.binary(max_size=500))
def test_a_packed_body_is_what_it_was(content: bytes) -> None:
    halves = gzip.compress(content[:9]) + gzip.compress(content[9:])
    for packed, encoding in (
        *((content, ""), (content, "identity"), (gzip.compress(content), "GZip"), (halves, "x-gzip")),
        *((zlib.compress(content), "deflate"), (raw_deflate(content), "deflate")),
    ):
        assert unpacked(packed, encoding, 500) == content


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(bytes(2**26))
    with pytest.raises(HTTPException) as refused:
        unpacked(bomb, "gzip", 2**20)
    assert refused.value.status_code == 413


NOT_WHOLE = (
    (b"no gzip", "gzip"),
    (gzip.compress(b"x" * 99, mtime=0)[:-9], "gzip"),
    (zlib.compress(b"x") + b"y", "deflate"),
)


@pytest.mark.parametrize("body,encoding", NOT_WHOLE)
def test_what_is_not_whole_is_refused(body: bytes, encoding: str) -> None:
    with pytest.raises(Fault, match="or not whole"):
        unpacked(body, encoding, 1000)


def test_a_byte_order_mark_is_no_part_of_the_json() -> None:
    assert rest.parse(b'\xef\xbb\xbf{"k": 1}') == {"k": 1}


def test_another_encoding_is_unsupported() -> None:
    for encoding in ("br", "gzip, gzip"):
        with pytest.raises(HTTPException) as refused:
            unpacked(b"", encoding, 1000)
        assert refused.value.status_code == 415


@given(st.binary(max_size=200))
def test_base_64_of_every_spelling(content: bytes) -> None:
    text = base64.b64encode(content).decode()
    broken = "\r\n".join(text[at : at + 5] for at in range(0, len(text), 5))
    for spelled in (text, text.rstrip("="), broken, base64.urlsafe_b64encode(content).decode()):
        assert from_base64(spelled, "image") == content


def test_what_is_no_base_64_says_so() -> None:
    with pytest.raises(Fault, match="a data URL, expected only the base64 text behind its comma"):
        from_base64("data:image/png;base64,AAAA", "image")
    for text in ("A", "AA*A", "äöü"):
        with pytest.raises(Fault, match="not base64"):
            from_base64(text, "image")
