"""`search` as a person meets it: when a drawing is answered, when all photos are in, how fast, and how much memory."""

import base64
import functools
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.benchmarks import chosen, jpegs, runtime, seconds
from tf_ssgn.benchmarks.serve import drawing
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder.builder import build
from tf_ssgn.runtime.resolve import is_shipped, resolve
from tf_ssgn.settings import MODEL

PARTS = ("first", "many")  # a first and a second run; memory while many are indexed, then a drawing among them
PHOTOS, MANY = 1000, 10_000
SMALL = 48  # photos of the small part
SIZE = (500, 375)
BARE = 64  # bare forward passes
BUILT = 256  # photos that `index build` embeds
DRAWINGS = 40
WORD = "giraffe"
SAMPLE_SECONDS = 0.1
WAIT_SECONDS = 3600


def run(full: bool, data: str | None = None, only: str | None = None) -> dict[str, Any]:
    """Seconds of a first run, whose cache is empty, and a second one, photos/s beside OpenVINO's bare forward pass,
    peak MB, ms of an answer. `data` is a folder with JPEG photos, which are scaled to 500 x 375; without it they are
    drawn. The small part takes an untrained tiny model."""
    parts = chosen(only, PARTS)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = MODEL
        if not full:
            runtime.write_model(place / "model", "tiny")
            model = str(place / "model")
        for part, count in (("first", PHOTOS if full else SMALL), ("many", MANY if full else SMALL)):
            if part in parts:
                _photos(place / part, count, data)
                homes = {name: str(place / f"{part}-{name}") for name in ("XDG_DATA_HOME", "TF_SSGN_CACHE")}
                measure = _first if part == "first" else functools.partial(_watch, drawings=DRAWINGS)
                result[part] = {"photos": count, **measure(place / part, model, {**os.environ, **homes})}
                for name, value in result[part].items():
                    print(f"{part + ', ' + name.replace('_', ' '):<44} {value:10,.2f}", flush=True)
    return result


def _first(photos: Path, model: str, environment: dict[str, str]) -> dict[str, float]:
    """A first and a second run; photos/s of the first and of `index build` beside the bare pass before and after."""
    passes = _bare(model)
    bare = [passes()]
    first, second = _watch(photos, model, environment), _watch(photos, model, environment)
    bare.append(passes())
    built = _build(photos, model)
    bare.append(passes())
    pace = (first["items"] - first["items_at_first"]) / max(first["all_seconds"] - first["answered_seconds"], 1e-9)
    return {
        **{f"first_{name}": value for name, value in first.items()},
        **{f"second_{name}": value for name, value in second.items()},
        "search_per_second": pace,
        "build_per_second": built,
        "bare_per_second": float(np.median(bare)),
        "search_share_of_bare": pace / (sum(bare[:2]) / 2),
        "build_share_of_bare": built / (sum(bare[1:]) / 2),
    }


def _photos(folder: Path, count: int, data: str | None) -> None:
    """Writes photos of which no two are the same."""
    from PIL import Image, ImageOps

    sources = jpegs(data) if data else []
    if data and 2 * len(sources) < count:
        raise UserError(f"--data: {data} has {len(sources):,} JPEG photos, expected {-(-count // 2):,} or more")
    random = np.random.default_rng(0)
    random.shuffle(sources)
    for number in range(count):
        path = folder / f"{number % 10}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if sources:
            with Image.open(sources[number % len(sources)]) as image:
                picture = image.convert("RGB").resize(SIZE)
            picture = picture if number < len(sources) else ImageOps.mirror(picture)
        else:
            noise = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
            picture = noise.resize(SIZE, Image.Resampling.BICUBIC)
        picture.save(path, quality=90)


def _watch(photos: Path, model: str, environment: dict[str, str], drawings: int = 0) -> dict[str, float]:
    """The command from its start until everything is in, and then the answers to some drawings."""
    begun = time.perf_counter()
    words = [sys.executable, "-m", "tf_ssgn.search", str(photos), "--model", model, "--no-open"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    memory = _Memory(process.pid)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready "):
            raise UserError("search did not start; run it by hand to see why")
        page = _Page(line.split("http=")[1].strip())
        answers = page.ask(drawing(0))
        answered = time.perf_counter() - begun
        gallery = page.gallery()
        at_first = gallery["items"]
        while gallery["expected"] is not None and time.perf_counter() - begun < WAIT_SECONDS:
            time.sleep(0.2)
            gallery = page.gallery()
        whole = time.perf_counter() - begun
        time.sleep(1.5)  # a look of the server for the last version
        items = page.gallery()["items"]
        page.ask(drawing(0))
        # In turns, so that others' work meets both; the small part's model knows no words.
        ways: dict[str, dict[str, str]] = {"answer": {}} | ({"told_answer": {"word": WORD}} if model == MODEL else {})
        taken = [[1000 * seconds(page.ask, drawing(seed), **way) for way in ways.values()] for seed in range(drawings)]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    found = {
        "answered_seconds": answered, "answers": answers, "all_seconds": whole, "items_at_first": at_first,
        "items": items, "peak_mb": memory.peak(),
    }  # fmt: skip
    for name, times in zip(ways, zip(*taken, strict=True), strict=False):
        found |= {f"{name}_p50_ms": float(np.median(times)), f"{name}_p90_ms": float(np.quantile(times, 0.9))}
    return found


class _Page:
    """What a browser asks the server."""

    def __init__(self, address: str):
        self._connection = http.client.HTTPConnection(address, timeout=60)

    def ask(self, drawing: bytes, **word: str) -> int:
        """How many photos answer a drawing, with a word or without."""
        body = json.dumps({"image": base64.b64encode(drawing).decode(), "k": 5} | word)
        return len(self._call("POST", "/api/search", body)["hits"])

    def gallery(self) -> dict[str, Any]:
        return self._call("GET", "/api/gallery")["gallery"]

    def _call(self, method: str, path: str, body: str | None = None) -> Any:
        self._connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        with self._connection.getresponse() as reply:
            return json.load(reply)


class _Memory:
    """The most memory of a process and all below it, looked at ten times a second. They are all the same program: pages
    of files, which are the libraries' code, count once."""

    def __init__(self, root: int):
        self._root, self._peak = root, 0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def peak(self) -> float:
        """MiB, once the process has ended."""
        self._thread.join()
        return self._peak * os.sysconf("SC_PAGE_SIZE") / 2**20

    def _look(self) -> None:
        while size := self._tree():
            self._peak = max(self._peak, size)
            time.sleep(SAMPLE_SECONDS)

    def _tree(self) -> int:
        """Pages of them all; 0 once the root is gone."""
        own, files, todo = 0, [0], [self._root]
        while todo:
            folder = Path(f"/proc/{todo.pop()}")
            try:
                resident, shared = map(int, (folder / "statm").read_text(encoding="ascii").split()[1:3])
                own += resident - shared
                files.append(shared)
                for children in folder.glob("task/*/children"):
                    todo += map(int, children.read_text(encoding="ascii").split())
            except OSError:  # ended meanwhile
                pass
        return own + max(files)


def _build(photos: Path, model: str) -> float:
    """Photos/s of `index build`, without its start."""
    import tf_ssgn

    embedder = tf_ssgn.load(model)
    files = sorted(photos.rglob("*.jpg"))[:BUILT]
    with tempfile.TemporaryDirectory(dir=photos.parent) as folder:
        for file in files:
            os.link(file, Path(folder, file.name))
        return len(files) / seconds(build, photos.parent / "built", [folder], embedder)


def _bare(model: str) -> Callable[[], float]:
    """What measures OpenVINO's passes of the photo encoder per second, one for each core at a time: no reading, no
    decoding."""
    from tf_ssgn.common.cli import prepare_tensorflow
    from tf_ssgn.common.cores import cores
    from tf_ssgn.runtime.network import compiled, concrete, library, one_image
    from tf_ssgn.runtime.saved_model import open_saved_model
    from tf_ssgn.runtime.shipped import open_shipped

    prepare_tensorflow()
    openvino, folder = library(), resolve(model)
    module, _ = open_shipped(folder) if is_shipped(folder) else open_saved_model(folder)
    network = openvino.convert_model(concrete(module.encode_photo))
    shape = one_image(network)
    queue = openvino.AsyncInferQueue(compiled(network, cores()), cores())
    pixels = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)

    def measure() -> float:
        for count in (cores(), BARE):  # the first are slower than all others
            begun = time.perf_counter()
            for _ in range(count):
                queue.start_async([pixels])
            queue.wait_all()
        return BARE / (time.perf_counter() - begun)

    return measure
