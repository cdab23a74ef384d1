"""Versions come and go while clients ask: galleries that grow and shrink, models that replace one another. No request
fails or gets a wrong answer, and the server's memory is afterwards what it was. The server is a process of its own."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from typing import Any

import numpy as np

from tests.long import served, soak
from tf_ssgn.runtime.saved_model import newest_version

CLIENTS = 4
LOOKS = 10  # at the memory, before and after
PATIENCE = 120.0  # seconds until a new version answers


def measure(
    server: served.Watched, folders: served.Folders, galleries: int, models: int, warm_up: int, looks: int = LOOKS
) -> dict[str, Any]:
    """Counts of `gallery_reloads` and `model_reloads` after so many to warm up, of `requests` answered meanwhile, of
    those that `failed` or were `wrong`, and the server's memory in MB before and after with its growth in percent."""
    version = int(newest_version(folders.model).name)
    with _Asking(server, folders) as counts:
        for number in range(warm_up):
            version = _new_model(server, folders, version)
            _new_gallery(server, folders, number)
        before = _settled(server, looks)
        for number in range(galleries):
            _new_gallery(server, folders, warm_up + number)
            if number % max(1, galleries // models) == 0:
                version = _new_model(server, folders, version)
        after = _settled(server, looks)
    return {
        "gallery_reloads": galleries, "model_reloads": models, "requests": counts["requests"],
        "failed": counts["failed"], "wrong": counts["wrong"], "crashes": 0 if server.alive else 1,
        "before_mb": before, "after_mb": after, "growth_percent": 100 * (after / before - 1),
    }  # fmt: skip


def _new_gallery(server: served.Watched, folders: served.Folders, number: int) -> None:
    """By turns an item more and an item fewer, far from all queries; returns when the server has it."""
    from tf_ssgn.retrieval.folder import changes
    from tf_ssgn.retrieval.folder.gallery import Gallery

    if number % 2 == 0:
        old = Gallery.open(folders.gallery)
        far = -np.mean(old.vectors[: served.DRAWINGS], axis=0)
        old.close()
        changes.add_vectors(folders.gallery, folders.fingerprint, far[None].astype(np.float32), ["more/1"])
    else:
        changes.delete(folders.gallery, ids=["more/1"])
    opened = Gallery.open(folders.gallery)
    _wait(server, "gallery_version", opened.version)
    opened.close()


def _new_model(server: served.Watched, folders: served.Folders, version: int) -> int:
    """The same model under the next number; older folders go, as whoever cleans up would do it."""
    base = folders.model / "embed"
    shutil.copytree(base / str(version), base / ".new")
    (base / ".new").rename(base / str(version + 1))
    _wait(server, "model_version", version + 1)
    shutil.rmtree(base / str(version))
    return version + 1


def _wait(server: served.Watched, what: str, version: int) -> None:
    import urllib.request

    end = time.monotonic() + PATIENCE
    while True:
        with urllib.request.urlopen(f"http://{server.http}/readyz", timeout=20) as answer:
            if json.loads(answer.read())[what] >= version:
                return
        if time.monotonic() > end:
            raise RuntimeError(f"{what} {version} did not come to answer within {PATIENCE:g} s")
        time.sleep(0.02)


def _settled(server: served.Watched, looks: int) -> float:
    """Memory once what was replaced is gone: the median of so many looks."""
    found = []
    for _ in range(looks):
        time.sleep(0.3)
        found.append(server.resident())
    return float(np.median(found))


class _Asking:
    """Clients that ask until the block ends; `counts` says what they saw."""

    def __init__(self, server: served.Watched, folders: served.Folders):
        self._folders, self._calls = folders, served.call_to(server.grpc, CLIENTS)
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._counts: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._ask, args=(client,)) for client in range(CLIENTS)]

    def __enter__(self) -> Counter[str]:
        for thread in self._threads:
            thread.start()
        return self._counts

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, client: int) -> None:
        random = np.random.default_rng(client)
        while not self._stop.is_set():
            chosen = int(random.integers(served.DRAWINGS))
            reply = soak.ask(self._calls[client], self._folders.drawings[chosen])
            with self._lock:
                self._counts["requests"] += 1
                if isinstance(reply, str) or int(reply["status"][0]):
                    self._counts["failed"] += 1
                else:
                    ids = [id.decode() for id in reply["ids"][0]]
                    self._counts["wrong"] += not self._folders.right(chosen, ids, reply["scores"][0].tolist())
