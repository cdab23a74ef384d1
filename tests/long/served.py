"""A server for the tests that watch one from outside: the real command, over a small model and drawn photos.

The gallery holds the embeddings of the drawings that are asked for, beside random vectors. What the server must answer
is computed in this process from the same files, by TensorFlow.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.benchmarks import runtime
from tf_ssgn.benchmarks.serve import drawing
from tf_ssgn.errors import UserError

DRAWINGS = 64  # different queries
TIE = 1e-4  # cosines nearer than this may come in either order


@dataclass(frozen=True)
class Folders:
    """What is served, and the queries, where there are any, with their true answers: ids and scores [DRAWINGS, 10]."""

    model: Path
    gallery: Path
    fingerprint: str = ""
    drawings: list[bytes] = field(default_factory=list)
    ids: list[list[str]] = field(default_factory=list)
    scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 10), np.float32))

    def right(self, drawing: int, ids: list[str], scores: list[float]) -> bool:
        """Whether an answer is the true one, up to the order of items that are as good as one another."""
        if len(ids) != len(self.ids[drawing]) or np.abs(np.subtract(scores, self.scores[drawing])).max() > TIE:
            return False
        true = dict(zip(self.ids[drawing], self.scores[drawing], strict=True))
        last = self.scores[drawing][-1]
        return len(set(ids)) == len(ids) and all(
            abs(true[id] - score) <= TIE if id in true else abs(score - last) <= TIE
            for id, score in zip(ids, scores, strict=True)
        )


def write(folder: Path, items: int, model: Path | None = None) -> Folders:
    """Writes `folder/model`, a copy or else with weights drawn at random, and `folder/gallery` of that many items."""
    import tf_ssgn
    from tf_ssgn.retrieval.folder.changes import import_vectors
    from tf_ssgn.retrieval.folder.gallery import Gallery

    if model is None:
        runtime.write_model(folder / "model", "tiny")
    else:
        shutil.copytree(model / "embed", folder / "model" / "embed")
    embedder = tf_ssgn.load(folder / "model", runtime="tensorflow")
    drawings = [drawing(seed) for seed in range(DRAWINGS)]
    found = embedder.call("embed_sketch", {"image_bytes": np.array(drawings, object)})["embedding"]
    random = np.random.default_rng(0)
    # Around the queries' own mean and spread, so that ten near neighbours are a matter of the code and not of luck.
    noise = random.standard_normal((items - DRAWINGS, embedder.dimension), dtype=np.float32)
    vectors = np.concatenate([found, found[random.integers(0, DRAWINGS, len(noise))] + 0.02 * noise])
    np.savez(folder / "vectors.npz", vectors=vectors, ids=np.array([f"drawn/{row}" for row in range(items)]))
    import_vectors(folder / "vectors.npz", folder / "gallery", embedder)
    gallery = Gallery.open(folder / "gallery")
    ids, scores, _ = gallery.search_batch(found, np.full(DRAWINGS, 10, np.int32))
    plain = [[id.decode() if isinstance(id, bytes) else id for id in row] for row in ids]
    return Folders(folder / "model", folder / "gallery", embedder.fingerprint, drawings, plain, scores)


@dataclass(frozen=True)
class Watched:
    """A running server, seen from outside."""

    process: subprocess.Popen[str]
    grpc: str
    http: str

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def resident(self) -> float:
        """MB of memory that the server holds now."""
        return self._status("VmRSS")

    def peak(self) -> float:
        """The most that it held since `forget_peak`, in MB."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="ascii")

    def _status(self, name: str) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name)) / 2**10


@contextmanager
def running(folders: Folders, log: Path, *flags: str) -> Iterator[Watched]:
    """`python -m tf_ssgn.serve` over the folders; its stderr goes to `log`."""
    words = [sys.executable, "-m", "tf_ssgn.serve", "--port", "0", "--http-port", "0", *flags]
    words += ["--model", str(folders.model), "--gallery", str(folders.gallery)]
    with open(log, "w", encoding="utf-8") as errors:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        if words[:1] != ["ready"]:
            raise UserError(f"the server did not start: {log.read_text(encoding='utf-8')[-500:]}")
        addresses = dict(word.split("=", 1) for word in words[1:])
        yield Watched(process, addresses["grpc"], addresses["http"])
    finally:
        process.terminate()
        process.wait(30)


def call_to(address: str, clients: int) -> list[Any]:
    """As many channels' own Predict, over bytes: what is sent need be no message."""
    import grpc

    from tf_ssgn.runtime import wire
    from tf_ssgn.settings import SERVING

    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", 2 * SERVING.message_bytes)]
    channels = [grpc.insecure_channel(address, options=options) for _ in range(clients)]
    return [channel.unary_unary(wire.PREDICT) for channel in channels]
