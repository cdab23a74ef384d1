"""Keeps what is served in step with the folders: newer versions are loaded beside the old one, checked, then swapped.

A model and a gallery belong together by the model's fingerprint, so they are only ever replaced as a pair that fits.
Whatever is wrong with a newer version, the old one stays and answers.
"""

import gc
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.common.cli import log
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.open import open_gallery, state_of
from tf_ssgn.retrieval.searcher import OpenGallery
from tf_ssgn.runtime.saved_model import EmbeddingModel, newest_version
from tf_ssgn.serving.core.service import Served, Service, VersionState, served, warm_up
from tf_ssgn.settings import SELF_RECALL


class Reloader:
    """Watches the folders of a model and of its gallery. `load` makes a model of the folder of a version; `ready` is
    called with every version after it became the one that answers."""

    def __init__(
        self,
        service: Service,
        model: str | os.PathLike,
        gallery: str | os.PathLike | None,
        load: Callable[[Path], EmbeddingModel],
        ready: Callable[[Served], Any] = lambda version: None,
    ):
        self._service, self._model_path, self._gallery_path = service, Path(model), gallery
        self._load, self._ready = load, ready
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._folder: Path | None = None
        self._pointer: Any = None
        self._refused: Any = None
        self._reason = ""

    def first(self) -> Served:
        """Loads what is there now and lets it answer; UserError if it is not whole or does not fit together."""
        with self._lock:
            folder, pointer = self._wanted()
            return self._swap(folder, pointer)

    def refresh(self) -> str:
        """Swaps to what is there now, if that is newer and sound; returns when it answers. Gives why what is there now
        was refused, "" where nothing was."""
        with self._lock:
            try:
                wanted = self._wanted()
            except UserError:
                return ""  # the folder is being replaced, or is gone; what is loaded does not need it
            if wanted == (self._folder, self._pointer):
                return ""
            if wanted != self._refused:
                self._refused, self._reason = None, ""
                try:
                    self._swap(*wanted)
                    self._service.metrics.reload("swapped")
                except Exception as error:  # also what TensorFlow, SQLite or the disk may raise: the old version stays
                    self._refused, self._reason = wanted, _reason(error)
                    self._service.metrics.reload("refused")
                    log(f"refused a newer version, the old one stays: {self._reason}")
                    self._follow_gallery(wanted[1])
            return self._reason

    def _follow_gallery(self, pointer: Any) -> None:
        """Lets the old model go on with a newer gallery: a model that was refused should not hide what is added."""
        if self._folder is not None and pointer != self._pointer:
            with suppress(Exception):  # the reason was told: the gallery belongs to the new model, or is no good itself
                self._swap(self._folder, pointer)

    def start(self, also: Callable[[], Any] = lambda: None) -> None:
        """Looks every `settings.poll_seconds` from now on, in a thread, and calls `also` each time."""

        def watch() -> None:
            while not self._stop.wait(self._service.settings.poll_seconds):
                self.refresh()
                also()

        self._thread = threading.Thread(target=watch, name="reload", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _wanted(self) -> tuple[Path, Any]:
        """The model's newest folder, and what tells one state of the gallery from another."""
        run = (self._model_path / "config.json").exists()
        folder = self._model_path if run else newest_version(self._model_path)
        if self._gallery_path is None:
            return folder, None
        current = self._service.current
        return folder, state_of(self._gallery_path, None if current is None else current.gallery)

    def _swap(self, folder: Path, pointer: Any) -> Served:
        service, current = self._service, self._service.current
        version = version_of(folder)
        new = current is None or folder != self._folder
        if new:
            service.states[version] = VersionState("LOADING")
        try:
            model = self._load(folder) if current is None or new else current.model
            pair = served(model, self._open(pointer, current), version)
            if new:
                warm_up(pair, service.settings)
            if pair.gallery is not None and (current is None or pair.gallery is not current.gallery):
                check_gallery(pair.gallery)
        except Exception as error:  # whatever it was, the status tells it; `refresh` decides what follows
            if new:
                service.states[version] = VersionState("END", _reason(error))
            raise
        service.publish(pair)
        self._folder, self._pointer = folder, pointer
        self._ready(pair)
        if current is not None:
            del current  # the old version goes when its last request is answered
            gc.collect()
        return pair

    def _open(self, pointer: Any, current: Served | None) -> OpenGallery | None:
        if self._gallery_path is None:
            return None
        if current is not None and pointer == self._pointer:
            return current.gallery
        return open_gallery(self._gallery_path)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def check_gallery(gallery: OpenGallery) -> None:
    """Searches for stored vectors, spread over the gallery; this also loads its index. UserError if too few find
    themselves."""
    hits = gallery.own_hits()
    if hits and np.mean(hits) < SELF_RECALL:
        raise UserError(
            f"the gallery {gallery.path} does not find its own items ({sum(hits)} of {len(hits)}); "
            "`index verify` says what is damaged"
        )


def version_of(folder: Path) -> int:
    """The version that TensorFlow Serving would give a model: the number of its folder; 1 for a run folder."""
    name = folder.name
    return int(name) if name.isascii() and name.isdigit() and len(name) < 19 else 1
