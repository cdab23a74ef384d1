"""A long day in minutes: many requests, one in twenty hostile. Nothing crashes, nobody gets wrong neighbours, and the
server's memory stays where it was after the warm-up. The server is a process of its own, watched from outside."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tests.long import served
from tf_ssgn.common.status import Status

CLIENTS = 16
HOSTILE = 0.05
WARM_UP = 0.2  # of the requests, before the memory is looked at: arenas and caches fill at first
SAMPLES = 20  # looks at the memory after that


def hostile(random: np.random.Generator, good: bytes) -> tuple[bytes, set[int]]:
    """An image that is none, and the statuses that its row may have."""
    kind = int(random.integers(6))
    if kind == 0:
        return b"", {Status.EMPTY}
    if kind == 1:
        return random.bytes(200), {Status.UNKNOWN_FORMAT}
    if kind == 2:
        return good[: int(random.integers(24, len(good) - 8))], {Status.CORRUPT}
    if kind == 3:  # a header that promises more than any computer has
        return good[:16] + b"\x7f\xff\xff\xff" * 2 + good[24:], {Status.TOO_LARGE}
    if kind == 4:
        return b"<svg xmlns='http://www.w3.org/2000/svg'/>" * 10, {Status.UNKNOWN_FORMAT}
    broken = bytearray(good)
    broken[int(random.integers(33, len(good)))] ^= 1 << int(random.integers(8))
    return bytes(broken), {Status.CORRUPT, Status.OK, Status.BLANK}  # a bit of the drawing, or of nothing that matters


def measure(server: served.Watched, folders: served.Folders, requests: int) -> dict[str, Any]:
    """Counts of `requests`, `hostile` ones, `failed` ones (another code or status than expected), `wrong` neighbours,
    `crashes`, the slowest answer, and the growth of the server's memory in percent: the mean of the last quarter's
    looks against the mean of the first quarter's, all after the warm-up."""
    calls = served.call_to(server.grpc, CLIENTS)
    counts: Counter[str] = Counter()
    memory: list[float] = []
    slowest = [0.0]
    lock = threading.Lock()
    looks = {int(requests * (WARM_UP + (1 - WARM_UP) * (look + 1) / SAMPLES)) for look in range(SAMPLES)}

    def work(client: int) -> None:
        random = np.random.default_rng(client)
        for _ in range(client, requests, CLIENTS):
            chosen = int(random.integers(len(folders.drawings)))
            image, statuses = folders.drawings[chosen], {int(Status.OK)}
            bad = random.random() < HOSTILE
            if bad:
                image, statuses = hostile(random, image)
            start = time.monotonic()
            reply = ask(calls[client], image)
            taken = time.monotonic() - start
            with lock:
                slowest[0] = max(slowest[0], taken)
                counts["hostile"] += bad
                counts["done"] += 1
                if isinstance(reply, str):
                    counts["failed"] += 1
                    counts[reply] += 1
                elif int(reply["status"][0]) not in statuses:
                    counts["failed"] += 1
                elif not bad:
                    ids = [id.decode() for id in reply["ids"][0]]
                    counts["wrong"] += not folders.right(chosen, ids, reply["scores"][0].tolist())
                if counts["done"] in looks:
                    memory.append(server.resident())

    start = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, range(CLIENTS)))
    quarter = max(1, len(memory) // 4)
    growth = 100 * (float(np.mean(memory[-quarter:])) / float(np.mean(memory[:quarter])) - 1)
    known = ("hostile", "failed", "wrong", "done")
    return {
        "requests": requests,
        "crashes": 0 if server.alive else 1,
        **{name: counts[name] for name in known[:3]},
        "codes": {name: count for name, count in counts.items() if name not in known},
        "slowest_seconds": slowest[0],
        "per_second": requests / (time.monotonic() - start),
        "growth_percent": growth,
        "memory_mb": memory,
    }


def ask(call: Any, image: bytes) -> dict[str, np.ndarray] | str:
    """The outputs of a search for ten, or the name of the status code."""
    import grpc

    from tf_ssgn.runtime import wire
    from tf_ssgn.serving.core import tensors
    from tf_ssgn.settings import SERVING

    request = wire.PredictRequest()
    request.model_spec.name = SERVING.name
    tensors.encode(np.array([image], object), request.inputs["image_bytes"])
    tensors.encode(np.array([10], np.int32), request.inputs["k"])
    try:
        response = wire.PredictResponse.FromString(call(request.SerializeToString(), timeout=20))
    except grpc.RpcError as error:
        return error.code().name
    return {name: tensors.decode(proto, SERVING.message_bytes) for name, proto in response.outputs.items()}
