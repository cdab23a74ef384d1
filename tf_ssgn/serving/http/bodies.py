"""What arrives in a body: compressed as a whole, and images as base64 within JSON."""

import asyncio
import base64
import binascii
import zlib

from starlette.exceptions import HTTPException
from starlette.requests import Request

from tf_ssgn.serving.core.faults import Fault, invalid
from tf_ssgn.settings import GZIP_MEMBERS

TOO_LARGE = 413
UNSUPPORTED = 415
GZIP, ZLIB, RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


def too_large(largest: int) -> HTTPException:
    return HTTPException(TOO_LARGE, f"the body has more than {largest} bytes")


async def received(request: Request, largest: int, seconds: float) -> bytes:
    """The body of a request. HTTPException: more bytes than `largest`; Fault DEADLINE_EXCEEDED after `seconds`."""
    length = request.headers.get("content-length", "0")
    size = int(length) if length.isdigit() else 0
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(seconds):
            if size <= largest:
                size = 0
                async for part in request.stream():
                    size += len(part)
                    if size > largest:
                        break
                    parts.append(part)
    except TimeoutError:
        raise Fault("DEADLINE_EXCEEDED", "the body did not arrive in time") from None
    if size > largest:
        raise too_large(largest)
    return b"".join(parts)


def unpacked(body: bytes, encoding: str, largest: int) -> bytes:
    """A body whose `Content-Encoding` is gzip or deflate as what it was, never more than `largest` bytes.
    HTTPException: another encoding, or more bytes; Fault INVALID_ARGUMENT where it is not that, is cut short, or has
    something behind it."""
    names = [name for part in encoding.lower().split(",") if (name := part.strip()) not in ("", "identity")]
    if not names:
        return body
    if names not in (["gzip"], ["x-gzip"], ["deflate"]):
        raise HTTPException(UNSUPPORTED, f"Content-Encoding: received {encoding[:64]!r}, expected gzip or deflate")
    window = GZIP if names != ["deflate"] else ZLIB if _has_zlib_header(body) else RAW
    content = b""
    try:
        for _ in range(GZIP_MEMBERS):
            unpacker = zlib.decompressobj(window)
            content += unpacker.decompress(body, largest + 1 - len(content))
            if len(content) > largest:
                raise too_large(largest)
            if not unpacker.eof:
                raise zlib.error("cut short")
            body = unpacker.unused_data
            if not body:
                return content
            if window != GZIP:
                break
    except zlib.error:
        pass
    raise invalid(f"the body is not {names[0]} as its Content-Encoding says, or not whole")


def _has_zlib_header(body: bytes) -> bool:
    """Some clients send deflate without the header that RFC 9110 asks for."""
    return len(body) > 1 and body[0] & 15 == 8 and (256 * body[0] + body[1]) % 31 == 0


def from_base64(text: str, what: str) -> bytes:
    """Bytes of base64 as clients write it: with line breaks, without padding, in the alphabet of addresses; Fault
    INVALID_ARGUMENT for anything else, where a data URL is called so."""
    if text[:16].lstrip().lower().startswith("data:"):
        raise invalid(f"{what}: received a data URL, expected only the base64 text behind its comma")
    plain = "".join(text.split()).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), b"+/" if {"+", "/"} & set(plain) else b"-_", True)
    except (binascii.Error, ValueError):
        raise invalid(f"{what}: the text is not base64") from None
