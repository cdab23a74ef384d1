"""The server under load, from a second process on the same cores.

One query through gRPC against the same call in process; the rate of 32 clients against that of direct batches and of a
constant reply; what happens at five times the capacity. Weights and gallery are drawn at random: they do not change
the time. Run as a module with arguments it is the second process, which generates the load.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from tf_ssgn.benchmarks import megabytes, noting
from tf_ssgn.data.images.content import image_bytes
from tf_ssgn.runtime import wire
from tf_ssgn.serving.core import tensors
from tf_ssgn.settings import SERVING

CLIENTS = 32
DRAWING = {"side": 256, "strokes": 12, "points": 6}
OVERLOAD = 5.0
STEADY = 0.8  # of the capacity: the load whose p99 the overload is compared with
QUERIES = 16  # different drawings


def run(full: bool, backbone: str = "") -> dict[str, Any]:
    """Measures and prints.

    Returns:
        `single`: p50 in ms of one query `in_process` and through `grpc`, and the `difference`.
        `throughput`: queries/s of `direct` batches of 32 (R), of a `constant` reply (C), of 32 clients `served`, their
        `ratio` to 1/(1/R + 1/C) and `to_tensorflow`, to batches of 32 through TensorFlow in process.
        `overload`: p99 in ms at 80 % load and of those accepted at five times the capacity, their `ratio`; refused
        ones' p99, counts by code, growth of the server's memory in MB, the share of one core that the clients took.
    """
    from tf_ssgn.benchmarks import runtime
    from tf_ssgn.retrieval.folder.gallery import Gallery
    from tf_ssgn.serving.core.service import Service, served
    from tf_ssgn.serving.rpc.server import Server

    seconds, items = (20.0, 100_000) if full else (0.2, 2_000)
    with tempfile.TemporaryDirectory() as temporary:
        _, models = runtime.build(backbone or ("mobilenet_v2" if full else "tiny"), "none")
        model = models.get("openvino", models["tensorflow"])
        gallery = Gallery.open(random_gallery(Path(temporary), model, items))
        service = Service()
        with Server(service, port=0) as server:
            server.publish(served(model, gallery, 1))
            images = [drawing(number, **DRAWING) for number in range(QUERIES)]
            direct = _direct(model, gallery, images)
            single = _single(server.address, direct, seconds, 4 if full else 1)
            rates: dict[str, list[float]] = {"direct": [], "constant": [], "served": [], "tensorflow": []}
            slow = _direct(models["tensorflow"], gallery, images)
            for _ in range(3 if full else 1):
                rates["direct"].append(_rate(direct, SERVING.batch, seconds))
                rates["tensorflow"].append(_rate(slow, SERVING.batch, seconds))
                with _constant(server.address) as constant:
                    rates["constant"].append(load(constant, CLIENTS, seconds)["rate"])
                rates["served"].append(load(server.address, CLIENTS, seconds)["rate"])
            medians = {name: float(np.median(values)) for name, values in rates.items()}
            bound = 1 / (1 / medians["direct"] + 1 / medians["constant"])
            ratios = {"ratio": medians["served"] / bound, "to_tensorflow": medians["served"] / medians["tensorflow"]}
            overload = _overload(server.address, medians["served"], seconds, 60.0 if full else 0.5)
    figures: dict[str, Any] = {}
    for name, part in (("one query, ms", single), ("queries/s", medians | ratios), ("overload, ms", overload)):
        noting(figures, 14)(name, part)
    about = {"items": items, "runtime": model.runtime}
    return {**about, "single": single, "throughput": medians | ratios, "overload": overload}


def random_gallery(folder: Path, model: Any, items: int) -> Path:
    """A gallery in a folder, of clustered vectors drawn at random."""
    from tf_ssgn.retrieval.folder.changes import import_vectors

    random = np.random.default_rng(0)
    centres = random.standard_normal((200, model.dimension), dtype=np.float32)
    vectors = centres[random.integers(0, 200, items)]
    vectors += 0.5 * random.standard_normal((items, model.dimension), dtype=np.float32)
    np.savez(folder / "vectors.npz", vectors=vectors)
    import_vectors(folder / "vectors.npz", folder / "gallery", model)
    return folder / "gallery"


def drawing(seed: int, side: int = 96, strokes: int = 6, points: int = 3) -> bytes:
    """A PNG of that many drawn strokes on white."""
    from PIL import Image, ImageDraw

    random = np.random.default_rng(seed)
    image = Image.new("L", (side, side), 255)
    pen = ImageDraw.Draw(image)
    for _ in range(strokes):
        pen.line([tuple(point) for point in random.integers(0, side, (points, 2)).tolist()], fill=0, width=3)
    return image_bytes(image)


def _direct(model: Any, gallery: Any, images: list[bytes]) -> Callable[[int], None]:
    """A batch of that many queries in process."""

    def call(rows: int) -> None:
        batch = np.array([images[row % len(images)] for row in range(rows)], object)
        embedded = model.call("embed_sketch", {"image_bytes": batch})["embedding"]
        gallery.search_batch(embedded, np.full(rows, 10, np.int32))

    return call


def _rate(call: Callable[[int], None], rows: int, seconds: float) -> float:
    call(rows)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call(rows)
        done += rows
    return done / (time.perf_counter() - start)


def _single(address: str, direct: Callable[[int], None], seconds: float, rounds: int) -> dict[str, float]:
    """Both by turns, so that whatever else the machine does meets both."""
    inside, outside = [], []
    for _ in range(rounds):
        end = time.perf_counter() + seconds / rounds
        while time.perf_counter() < end:
            start = time.perf_counter()
            direct(1)
            inside.append(1000 * (time.perf_counter() - start))
        outside += load(address, 1, seconds / rounds)["accepted_ms"]
    medians = {"in_process": float(np.median(inside)), "grpc": float(np.median(outside))}
    return {**medians, "difference": medians["grpc"] - medians["in_process"]}


def _overload(address: str, capacity: float, steady: float, seconds: float) -> dict[str, Any]:
    calm = load(address, CLIENTS, steady, STEADY * capacity)
    before = megabytes()
    storm = load(address, CLIENTS, seconds, OVERLOAD * capacity)
    accepted, refused = np.array(storm["accepted_ms"] or [np.nan]), np.array(storm["refused_ms"] or [np.nan])
    calm_p99 = float(np.percentile(calm["accepted_ms"] or [np.nan], 99))
    accepted_p99 = float(np.percentile(accepted, 99))
    return {
        "p99_at_80_percent": calm_p99,
        "p99_accepted": accepted_p99,
        "ratio": accepted_p99 / calm_p99,
        "p99_refused": float(np.percentile(refused, 99)),
        "codes": storm["codes"],
        "growth_mb": megabytes() - before,
        "client_cores": storm["cpu_seconds"] / seconds,
    }


@contextmanager
def _constant(address: str) -> Iterator[str]:
    """A gRPC server that always says what another one answers to a query: the ceiling of any server in Python."""
    with grpc.insecure_channel(address) as channel:
        reply = channel.unary_unary(wire.PREDICT)(_request(0), timeout=60)
    service, _, method = wire.PREDICT.strip("/").partition("/")
    handler = grpc.method_handlers_generic_handler(
        service, {method: grpc.unary_unary_rpc_method_handler(lambda request, context: reply)}
    )
    server = grpc.server(ThreadPoolExecutor(CLIENTS), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


# -- the second process ----------------------------------------------------------------------------------------------


def load(address: str, clients: int, seconds: float, rate: float = 0.0) -> dict[str, Any]:
    """Load from another process: each client asks again when it is answered, or together they ask `rate` times a second
    whether answered or not.

    Returns:
        `rate` answered per second, `accepted_ms`, `refused_ms`, `codes` and the clients' `cpu_seconds`.
    """
    words = [sys.executable, "-m", "tf_ssgn.benchmarks.serve", address, str(clients), str(seconds), str(rate)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)


def _request(number: int) -> bytes:
    request = wire.PredictRequest()
    request.model_spec.name = SERVING.name
    tensors.encode(np.array([drawing(number, **DRAWING)], object), request.inputs["image_bytes"])
    tensors.encode(np.array([10], np.int32), request.inputs["k"])
    return request.SerializeToString()


def generate(address: str, clients: int, seconds: float, rate: float) -> dict[str, Any]:
    requests = [_request(number) for number in range(QUERIES)]
    channels = [grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(clients)]
    calls = [channel.unary_unary(wire.PREDICT) for channel in channels]
    for call in calls:
        call(requests[0], timeout=20, wait_for_ready=True)
    times: dict[bool, list[float]] = {True: [], False: []}
    codes: Counter[str] = Counter()
    lock = threading.Lock()

    def ended(start: float, code: str) -> None:
        taken = 1000 * (time.perf_counter() - start)
        with lock:
            codes[code] += 1
            times[code == "OK"].append(taken)

    def closed(number: int) -> None:
        while time.perf_counter() < end:
            start = time.perf_counter()
            try:
                calls[number](requests[number % QUERIES], timeout=20)
                ended(start, "OK")
            except grpc.RpcError as error:
                ended(start, error.code().name)

    def opened() -> None:
        random = np.random.default_rng(0)
        due, number, waiting = begin, 0, []
        while due < end:
            time.sleep(max(0.0, due - time.perf_counter()))
            start = time.perf_counter()
            future = calls[number % clients].future(requests[number % QUERIES], timeout=20)
            future.add_done_callback(lambda done, start=start: ended(start, done.code().name))
            waiting.append(future)
            number += 1
            due += random.exponential(1 / rate)
        for future in waiting:
            future.code()

    begin = time.perf_counter()
    end = begin + seconds
    before = time.process_time()
    if rate:
        opened()
    else:
        threads = [threading.Thread(target=closed, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    elapsed = time.perf_counter() - begin
    return {
        "rate": codes["OK"] / elapsed,
        "accepted_ms": times[True],
        "refused_ms": times[False],
        "codes": dict(codes),
        "cpu_seconds": time.process_time() - before,
    }


if __name__ == "__main__":
    print(json.dumps(generate(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))))
