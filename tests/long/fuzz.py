"""Requests that nobody sane would send, over gRPC and HTTP: none is an error of ours, none hangs, none takes memory.

Each is made from its number alone, so a bad one can be made again: `request(number, drawings)`. The server is a process
of its own, watched from outside.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from tests.long import served

CLIENTS = 8
LONGEST = 2.0  # seconds; an answer later than that counts as a hang
OURS = ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "HTTP 500", "HTTP 502", "HTTP 503", "no answer")
NAMES = ("image_bytes", "k", "K", "image", "", "x" * 300, "image_bytes\0", "../k")
SIGNATURES = (
    "", "search", "search_photo", "search_word", "embed_word", "embed_sketch", "embed_photo", "explain", "nothing",
    "\N{SNOWMAN}" * 50,
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 10, 31, 32, 33, 200, 201, 2**31 - 1, -(2**31), 2**31, 2**62, 2**63 - 1, -(2**63))
PATHS = ("/v1/models/ssgn:predict", "/v1/models/ssgn/versions/1:predict", "/api/search", "/api/explain", "/api/items")
TYPES = ("application/json", "image/png", "image/jpeg", "text/html", "multipart/form-data", "")


class Request(NamedTuple):
    """Over gRPC `body` is the message; over HTTP there are a method and a target too."""

    body: bytes
    method: str = ""
    target: str = ""
    kind: str = ""


def measure(server: served.Watched, drawings: list[bytes], requests: int) -> dict[str, Any]:
    """Counts of `requests` and of answers by `codes`, those that are `ours` by mistake, `hangs`, `crashes`, the
    `slowest` answer in seconds, and the most memory in MB that the server took beyond what it had before."""
    _ask_all(server, drawings, range(-min(2000, 2 * requests), 0))  # fills arenas and caches
    before = server.resident()
    server.forget_peak()
    found = _ask_all(server, drawings, range(requests))
    extra = server.peak() - before if server.alive else float("nan")
    return {"requests": requests, **found, "crashes": 0 if server.alive else 1, "extra_mb": extra}


def _ask_all(server: served.Watched, drawings: list[bytes], numbers: range) -> dict[str, Any]:
    calls = served.call_to(server.grpc, CLIENTS)
    codes: Counter[str] = Counter()
    bad: list[tuple[int, str]] = []
    slowest, hangs = 0.0, 0
    lock = threading.Lock()

    def ask(client: int) -> None:
        nonlocal slowest, hangs
        for number in numbers[client::CLIENTS]:
            made = request(number, drawings)
            start = time.monotonic()
            code = _over_http(server.http, made) if made.method else _over_grpc(calls[client], made.body)
            taken = time.monotonic() - start
            with lock:
                codes[code] += 1
                slowest, hangs = max(slowest, taken), hangs + (taken > LONGEST)
                if code in OURS or taken > LONGEST:
                    bad.append((number, code))

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(CLIENTS)))
    ours = sum(codes[name] for name in OURS)
    return {"codes": dict(sorted(codes.items())), "ours": ours, "hangs": hangs, "slowest": slowest, "bad": bad[:20]}


def _over_grpc(call: Any, message: bytes) -> str:
    import grpc

    try:
        call(message, timeout=20)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def _over_http(address: str, made: Request) -> str:
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request(made.method, made.target, made.body, {"Content-Type": made.kind})
        response = connection.getresponse()
        response.read()
        return f"HTTP {response.status}"
    except (OSError, http.client.HTTPException):
        return "no answer"
    finally:
        connection.close()


def request(number: int, drawings: list[bytes]) -> Request:
    """The request of that number."""
    random = np.random.default_rng(number + 2**32)
    kinds: tuple[Callable[..., Request], ...] = (_noise, _damaged_message, _odd_message, _odd_image, _over_rest)
    return kinds[int(random.choice(len(kinds), p=(0.1, 0.25, 0.25, 0.25, 0.15)))](random, drawings)


def _noise(random: np.random.Generator, drawings: list[bytes]) -> Request:
    return Request(random.bytes(int(random.integers(0, 400))))


def _damaged_message(random: np.random.Generator, drawings: list[bytes]) -> Request:
    return Request(damaged(random, _message(_one_of(random, drawings)).SerializeToString()))


def _odd_message(random: np.random.Generator, drawings: list[bytes]) -> Request:
    """A well-formed message whose names, types, shapes and values need not fit together."""
    message = _message(_one_of(random, drawings))
    if random.random() < 0.5:
        message.model_spec.signature_name = _one_of(random, SIGNATURES)
    if random.random() < 0.2:
        message.model_spec.name = _one_of(random, ("ssgn", "", "other", "../ssgn", "s" * 1000))
    if random.random() < 0.2:
        message.model_spec.version.value = _one_of(random, NUMBERS)
    elif random.random() < 0.2:
        message.model_spec.version_label = _one_of(random, ("stable", "canary", "\0"))
    if random.random() < 0.2:
        message.output_filter.extend([_one_of(random, ("ids", "scores", "nothing", "", "ids"))] * 2)
    for name in random.choice(NAMES, 2):
        if random.random() < 0.6:
            tensor = message.inputs[str(name)]
            tensor.dtype = _one_of(random, (0, 1, 2, 3, 7, 9, 10, 19, 23, 101, 2**31 - 1))
            for _ in range(int(random.integers(0, 10))):
                tensor.tensor_shape.dim.add(size=_one_of(random, NUMBERS))
            tensor.int_val.extend([int(random.integers(-(2**31), 2**31))] * int(random.integers(0, 40)))
            tensor.string_val.extend([random.bytes(20)] * int(random.integers(0, 40)))
            tensor.float_val.extend([float("nan"), float("inf")] * int(random.integers(0, 3)))
            if random.random() < 0.3:
                tensor.tensor_content = random.bytes(int(random.integers(0, 100)))
    if random.random() < 0.3:
        rows = int(random.integers(0, 40))
        for name, field, value in (
            ("image_bytes", "string_val", drawings[0]),
            ("k", "int_val", 3),
            ("word", "string_val", b"circle"),
        ):
            tensor = message.inputs[name]
            tensor.Clear()
            tensor.dtype = 3 if name == "k" else 7
            tensor.tensor_shape.dim.add(size=rows)
            getattr(tensor, field).extend([value] * int(random.choice([rows, rows, 1, 0, rows + 1])))
    if message.ByteSize() > 2**24:
        message.inputs.clear()
    return Request(message.SerializeToString())


def _odd_image(random: np.random.Generator, drawings: list[bytes]) -> Request:
    """A sound request with an image that is damaged, or as large as one may be."""
    image = _one_of(random, (*drawings[:4], *pictures()))
    if random.random() < 0.003:
        image = _one_of(random, largest())
    elif random.random() < 0.9:
        image = damaged(random, image)
    message = _message(image, _one_of(random, NUMBERS[:12]))
    message.model_spec.signature_name = _one_of(random, SIGNATURES[:3])
    return Request(message.SerializeToString())


def _over_rest(random: np.random.Generator, drawings: list[bytes]) -> Request:
    image = _one_of(random, (*drawings[:4], *pictures()))
    if random.random() < 0.5:
        image = damaged(random, image)
    target, kind = _one_of(random, PATHS), _one_of(random, TYPES)
    if random.random() < 0.3:
        return Request(image, _one_of(random, ("POST", "POST", "PUT", "DELETE")), target + "?" + _query(random), kind)
    if random.random() < 0.2:
        id = _one_of(random, ("drawn/1", "..%2f..%2fetc%2fpasswd", "%00", "%ff%fe", "a" * 5000, "%ed%a0%80"))
        return Request(b"", "GET", f"/api/photo/{id}?side={_one_of(random, NUMBERS)}", kind)
    text = base64.b64encode(image).decode("ascii")
    value = {"b64": text}
    body: Any = {
        "instances": [{"image_bytes": value, "k": _odd_value(random)}] * int(random.integers(0, 3)),
        "signature_name": _one_of(random, SIGNATURES),
    }
    if target.startswith("/api"):
        body = {"image": text} | (
            {"word": _one_of(random, ("circle", "cirkle", "<b>", "\0"))} if random.random() < 0.3 else {}
        )
    for _ in range(int(random.integers(0, 3))):
        names = (
            "image",
            "word",
            "k",
            "kind",
            "labels",
            "columns",
            "exclude",
            "threshold",
            "group",
            "inputs",
            "instances",
        )
        body[_one_of(random, names)] = _odd_value(random)
    data = json.dumps(body).encode("utf-8")
    return Request(damaged(random, data) if random.random() < 0.3 else data, "POST", target, "application/json")


def _odd_value(random: np.random.Generator, depth: int = 0) -> Any:
    kind = int(random.integers(8 if depth < 3 else 6))
    if kind == 0:
        return _one_of(random, (None, True, False, 1.5, -0.0, 1e308, float("nan"), float("inf")))
    if kind in (1, 2):
        return _one_of(random, NUMBERS) * _one_of(random, (1, 1, 10**40))
    if kind == 3:
        return _one_of(
            random, ("", "sketch", "photo", "\0", "\ud800", "'; DROP TABLE items --", "%", "\N{SNOWMAN}" * 99)
        )
    if kind in (4, 5):
        return random.bytes(int(random.integers(0, 30))).decode("latin-1")
    inner = [_odd_value(random, depth + 1) for _ in range(int(random.integers(0, 4)))]
    return (
        inner if kind == 6 else {_one_of(random, ("label", "width", "path", "b64", "\udfff", "a'b")): v for v in inner}
    )


def _query(random: np.random.Generator) -> str:
    names = ("k", "kind", "labels", "exclude", "threshold", "group", "label", "x", "image")
    values = ("", "1", "-1", "1e9", "nan", "photo", "%00", "%ff", "a" * 200, "%ed%a0%80")
    return "&".join(f"{_one_of(random, names)}={_one_of(random, values)}" for _ in range(int(random.integers(0, 4))))


def damaged(random: np.random.Generator, data: bytes) -> bytes:
    """Bits flipped, pieces cut out, doubled, replaced or inserted; mostly near the start, where sizes are."""
    made = bytearray(data)
    for _ in range(int(random.choice([1, 1, 2, 4, 30]))):
        if not made:
            break
        at = int(random.integers(len(made) if random.random() < 0.5 else min(64, len(made))))
        length = int(random.integers(1, 16))
        kind = int(random.integers(6))
        if kind < 2:
            made[at] ^= 1 << int(random.integers(8))
        elif kind == 2:
            del made[at : at + length]
        elif kind == 3:
            made[at:at] = made[at : at + length]
        elif kind == 4:
            made[at : at + 4] = _one_of(random, (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4), b"\0\0\x20\0"))
        else:
            del made[at:]
    return bytes(made)


def _message(image: bytes, k: int = 10) -> Any:
    from tf_ssgn.runtime import wire
    from tf_ssgn.serving.core import tensors
    from tf_ssgn.settings import SERVING

    message = wire.PredictRequest()
    message.model_spec.name = SERVING.name
    tensors.encode(np.array([image], object), message.inputs["image_bytes"])
    tensors.encode(np.array([np.clip(k, -(2**31), 2**31 - 1)], np.int32), message.inputs["k"])
    return message


@cache
def pictures() -> tuple[bytes, ...]:
    """Small pictures of all kinds that a query may be, and of some that it may not."""
    from PIL import Image, ImageDraw

    image = Image.new("RGBA", (80, 64), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((10, 8, 70, 56), outline=(20, 40, 90, 255), width=4)
    plain = image.convert("RGB")
    kinds: tuple[tuple[Any, str, dict[str, Any]], ...] = (
        (image, "PNG", {}), (image.convert("P"), "PNG", {}), (image.convert("LA"), "PNG", {}),
        (plain, "JPEG", {}), (plain, "JPEG", {"progressive": True}), (plain.convert("CMYK"), "JPEG", {}),
        (plain, "GIF", {}), (plain, "BMP", {}), (plain, "WEBP", {}),
    )  # fmt: skip
    return tuple(_encoded(*kind) for kind in kinds)


@cache
def largest() -> tuple[bytes, ...]:
    """Drawings of as many pixels as a query may have."""
    from PIL import Image, ImageDraw

    from tf_ssgn.settings import QUERY_LIMITS

    side = int(QUERY_LIMITS.pixels**0.5)
    image = Image.new("RGB", (side, side), "white")
    ImageDraw.Draw(image).line((9, 9, side - 9, side - 99), fill="black", width=9)
    return _encoded(image, "PNG", {}), _encoded(image, "JPEG", {"quality": 50})


def _encoded(image: Any, kind: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _one_of(random: np.random.Generator, values: Any) -> Any:
    return values[int(random.integers(len(values)))]
