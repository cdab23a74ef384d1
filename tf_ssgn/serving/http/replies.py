"""What the gateway answers when it refuses, and the headers of every answer."""

import hashlib
from collections.abc import Awaitable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tf_ssgn.serving.core.access import TooFast
from tf_ssgn.serving.core.faults import Fault
from tf_ssgn.serving.http.api import ImageFault

# As TF Serving maps them; 499 is what proxies write for a client that went away.
HTTP_CODES = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404, "CANCELLED": 499, "INTERNAL": 500, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503,
    "RESOURCE_EXHAUSTED": 503, "DEADLINE_EXCEEDED": 504,
}  # fmt: skip
TOO_MANY = 429
UNPROCESSABLE = 422  # an image, or k, that the row's status is for
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def refusal(fault: Fault | HTTPException) -> Response:
    if isinstance(fault, ImageFault):
        return error(UNPROCESSABLE, str(fault), status=int(fault.status))
    if isinstance(fault, HTTPException):
        return error(fault.status_code, str(fault.detail))
    response = error(TOO_MANY if isinstance(fault, TooFast) else HTTP_CODES[fault.code], str(fault))
    if fault.code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE"):
        response.headers["Retry-After"] = "1"
    if fault.code == "UNAUTHENTICATED":
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def error(code: int, message: str, **more: Any) -> Response:
    return JSONResponse({"error": message, **more}, status_code=code)


def tag_of(content: bytes) -> str:
    """The ETag of some content."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def tagged(request: Request, content: bytes, tag: str, kind: str, headers: dict[str, str]) -> Response:
    """Content with its ETag, or 304 where the client has it already."""
    headers = {"ETag": tag, **headers}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


def with_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def no_route(request: Request, fault: Exception) -> Response | Awaitable[Response]:
    assert isinstance(fault, HTTPException)
    return with_headers(error(fault.status_code, f"{request.method} {request.url.path[:100]}: {fault.detail}"))
