"""`search` as a person meets it: when a drawing is answered, when all photos are in, how fast, and how much memory."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.config import MODEL
from tf_ssgn.errors import UserError

PHOTOS = 1000
SMALL = 48  # photos of the small part
SIZE = (500, 375)
BARE = 64  # bare forward passes
WAIT_SECONDS = 1800


def run(full: bool, data: str | None = None) -> dict[str, Any]:
    """Seconds of a first and a second run, photos/s beside OpenVINO's bare forward pass, and peak MB.

    `data` is a folder of photos, which are scaled to 500 x 375; without it they are drawn. The small part takes an
    untrained tiny model. The cache of a first run is empty.
    """
    count = PHOTOS if full else SMALL
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        drawing = _photos(place / "photos", count, data)
        model = MODEL
        if not full:
            from tf_ssgn.benchmarks.runtime import write_model

            write_model(place / "model", "tiny")
            model = str(place / "model")
        homes = {name: str(place / name) for name in ("XDG_DATA_HOME", "TF_SSGN_CACHE")}
        first = _watch(place / "photos", model, {**os.environ, **homes}, drawing)
        second = _watch(place / "photos", model, {**os.environ, **homes}, drawing)
        bare = _bare(model)
    pace = (first["items"] - first["items_at_first"]) / max(first["all_seconds"] - first["answered_seconds"], 1e-9)
    result = {"photos": count, "first": first, "second": second, "photos_per_second": pace, "bare_per_second": bare}
    result["share_of_bare"] = pace / bare
    print(f"{'first run: a drawing answered after':<42} {first['answered_seconds']:8.1f} s")
    print(f"{f'all {count:,} photos in after':<42} {first['all_seconds']:8.1f} s")
    print(f"{'second run: a drawing answered after':<42} {second['answered_seconds']:8.1f} s")
    print(f"{'photos/s while the page is served':<42} {pace:8.1f}")
    print(f"{'photos/s of the bare forward pass':<42} {bare:8.1f}")
    print(f"{'peak memory, first and second run':<42} {first['peak_mb']:8.0f} MB, {second['peak_mb']:.0f} MB")
    return result


def _photos(folder: Path, count: int, data: str | None) -> bytes:
    """Writes the photos; returns a drawing to ask with."""
    from PIL import Image

    from tf_ssgn.benchmarks.serve import drawing
    from tf_ssgn.retrieval.files import walk

    sources = [file.path for file in walk([data]).found] if data else []
    if data and not sources:
        raise UserError(f"--data: no photos below {data}")
    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number % 10}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if sources:
            with Image.open(sources[number % len(sources)]) as image:
                picture = image.convert("RGB").resize(SIZE)
        else:
            noise = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
            picture = noise.resize(SIZE, Image.Resampling.BICUBIC)
        picture.save(path, quality=90)
    return drawing(0)


def _watch(photos: Path, model: str, environment: dict[str, str], drawing: bytes) -> dict[str, Any]:
    """The command from its start until everything is in."""
    begun = time.perf_counter()
    words = [sys.executable, "-m", "tf_ssgn.search", str(photos), "--model", model, "--no-open"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready "):
            raise UserError("search did not start; run it by hand to see why")
        address = "http://" + line.split("http=")[1].strip()
        body = json.dumps({"image": base64.b64encode(drawing).decode(), "k": 5}).encode()
        asked = urllib.request.Request(address + "/api/search", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as reply:
            answers = len(json.load(reply)["hits"])
        answered = time.perf_counter() - begun
        gallery = _gallery(address)
        at_first = gallery["items"]
        while gallery["expected"] is not None and time.perf_counter() - begun < WAIT_SECONDS:
            time.sleep(0.2)
            gallery = _gallery(address)
        whole = time.perf_counter() - begun
        time.sleep(1.5)  # a look of the server for the last version
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        peak = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmHWM")) / 2**10
        items = _gallery(address)["items"]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    return {
        "answered_seconds": answered, "answers": answers, "all_seconds": whole, "items_at_first": at_first,
        "items": items, "peak_mb": peak,
    }  # fmt: skip


def _gallery(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(address + "/api/gallery", timeout=60) as reply:
        return json.load(reply)["gallery"]


def _bare(model: str) -> float:
    """OpenVINO passes of the photo encoder per second, one for each core at a time: no reading, no decoding."""
    import openvino

    from tf_ssgn.common.cli import prepare_tensorflow
    from tf_ssgn.common.cores import cores
    from tf_ssgn.runtime.openvino_model import PRECISION
    from tf_ssgn.runtime.saved_model import open_saved_model
    from tf_ssgn.runtime.shipped import resolve

    prepare_tensorflow()
    module, _ = open_saved_model(resolve(model))
    network = openvino.convert_model(module.encode_photo.concrete_functions[0])
    shape = [1, *(side.get_length() for side in list(network.inputs[0].partial_shape)[1:])]
    network.reshape(shape)
    streams = {"NUM_STREAMS": cores(), "INFERENCE_NUM_THREADS": cores()}
    compiled = openvino.Core().compile_model(network, "CPU", PRECISION | streams)
    queue = openvino.AsyncInferQueue(compiled, cores())
    pixels = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    for count in (cores(), BARE):  # the first are slower than all others
        begun = time.perf_counter()
        for _ in range(count):
            queue.start_async([pixels])
        queue.wait_all()
    return BARE / (time.perf_counter() - begun)
