"""Real kills: a writer of a gallery is ended by `kill -9`, at moments spread over its whole duration.

After each kill the gallery must be the old version or the new one, whole, or for `build` and `add`, which commit step
by step, a version between them; the new one if the writer had said that it was done; and the same command again must
bring it to where an undisturbed one would. Any other outcome ends the run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.common.status import Status
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder import builder, changes
from tf_ssgn.retrieval.folder.compaction import compact
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.store import Store
from tf_ssgn.retrieval.folder.verify import verify

VERBS = ("build", "add", "delete", "compact")
DIMENSION = 32
State = dict[str, bytes] | None  # vectors by id


class Model:
    """Embeds a photo by its size and bytes; as slow as a real model is with a batch."""

    fingerprint, dimension, views, path, runtime = "crash", DIMENSION, 0, "crash", "none"

    def call(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        images = inputs["image_bytes"]
        time.sleep(0.02)
        vectors = np.stack([np.random.default_rng(list(content[-64:])).normal(size=DIMENSION) for content in images])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return {"embedding": vectors.astype(np.float32), "status": np.full(len(images), Status.OK, np.int32)}


def command(verb: str, work: Path) -> None:
    if verb == "build":
        builder.build(work / "g", [work / "photo"], Model())
    elif verb == "add":
        builder.add(work / "g", [work / "photo", work / "more"], Model())
    elif verb == "delete":
        changes.delete(work / "g", where="CAST(substr(id, -5, 1) AS INTEGER) % 2 = 0")
    else:
        compact(work / "g")


def measure(work: Path, photos: int, kills: int) -> dict[str, Any]:
    """For each verb its duration and what a reader found after that many kills."""
    _draw(work / "photo", photos)
    _draw(work / "more", photos // 2)
    return {verb: _kills(verb, work, kills) for verb in VERBS}


def _draw(folder: Path, count: int) -> None:
    from PIL import Image

    folder.mkdir()
    random = np.random.default_rng(count)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{number:04d}.png")


def _state(work: Path) -> State:
    """Vectors by id; None where there is no gallery yet. Raises AssertionError where something is damaged."""
    damage = verify(work / "g")["damage"] if (work / "g").exists() and any((work / "g").iterdir()) else []
    if damage:
        raise AssertionError(f"damaged after a kill: {damage}")
    if not (work / "g/gallery.json").exists():
        return None
    gallery = Gallery.open(work / "g")
    state = {id: vector.tobytes() for id, vector in zip(gallery.ids, gallery.vectors, strict=True)}
    gallery.close()
    return state


def _kills(verb: str, work: Path, kills: int) -> dict[str, Any]:
    """Leaves the gallery as the verb leaves it, for the next verb."""
    before = _state(work)
    if before is not None:
        shutil.copytree(work / "g", work / "before")
    _, seconds = _writer(verb, work, None)
    after, version = _state(work), Store(work / "g").pointer()["version"]
    counts = {"kills": 0, "old": 0, "new": 0, "acknowledged": 0}
    for number in range(kills):
        shutil.rmtree(work / "g")
        if before is not None:
            shutil.copytree(work / "before", work / "g")
        done, _ = _writer(verb, work, seconds * (number + 0.5) / kills)
        state = _state(work)
        if not _is_sound(verb, before, state, after) or (done and state != after):
            raise AssertionError(
                f"{verb}, kill {number}: neither the old version nor the new one, or not what was said"
            )
        counts["kills"] += 1
        counts["acknowledged"] += done
        is_new = state is not None and Store(work / "g").pointer()["version"] == version
        counts["new" if is_new else "old"] += 1
        try:
            command(verb, work)
        except UserError:  # a build that was complete says so
            if verb != "build" or state != after:
                raise
        if _state(work) != after:
            raise AssertionError(f"{verb}, kill {number}: the command repeated does not lead to the new version")
    shutil.rmtree(work / "before", ignore_errors=True)
    return {"seconds": round(seconds, 3), **counts}


def _is_sound(verb: str, before: State, state: State, after: State) -> bool:
    """Whether a killed writer may leave this: never a photo that is in neither version, or has another vector."""
    if state in (before, after):
        return True
    if verb not in ("build", "add") or state is None or after is None:
        return False
    return (before or {}).keys() <= state.keys() and state.items() <= after.items()


def _writer(verb: str, work: Path, kill_after: float | None) -> tuple[bool, float]:
    """Runs the command in a process of its own, killed after so many seconds: (it said that it was done, seconds)."""
    words = [sys.executable, "-m", "tests.long.crash", verb, str(work)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        start = time.perf_counter()
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        done = process.stdout.readline() == "done\n"
        seconds = time.perf_counter() - start
        if kill_after is None and (process.wait() or not done):
            raise AssertionError(f"{verb} failed without having been killed")
    return done, seconds


if __name__ == "__main__":
    print("ready", flush=True)
    command(sys.argv[1], Path(sys.argv[2]))
    print("done", flush=True)
