"""One `search` on a gallery at a time: who has it, and where its page is, stands in a locked note of the user's."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tf_ssgn.common.atomic import lock
from tf_ssgn.common.folders import data_folder
from tf_ssgn.errors import UserError


class Claim:
    """What this process says about the gallery that it searches."""

    def __init__(self, handle: IO[str] | None):
        self._handle = handle

    def tell(self, page: str) -> None:
        """Says where the page is, to whoever starts the same search."""
        if self._handle is not None:
            self._handle.seek(0)
            self._handle.truncate()
            json.dump({"pid": os.getpid(), "page": page}, self._handle)
            self._handle.flush()


@contextmanager
def claimed(gallery: str | os.PathLike) -> Iterator[Claim | dict[str, Any]]:
    """A claim on the gallery or, where another process has it, `{"pid", "page"}` of that one as far as it said so.
    Where the user's data folder cannot be written there is nothing to lock: the gallery's own writer lock remains."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(gallery))).hexdigest()[:16]
    try:
        note = data_folder() / "running" / f"{name}.json"
        note.parent.mkdir(parents=True, exist_ok=True)
        handle = open(note, "a+", encoding="utf-8")  # noqa: SIM115
    except (OSError, UserError):
        yield Claim(None)
        return
    with handle:
        if not lock(handle):
            handle.seek(0)
            yield _read(handle)
            return
        handle.truncate(0)
        try:
            yield Claim(handle)
        finally:
            handle.truncate(0)


def _read(handle: IO[str]) -> dict[str, Any]:
    try:
        note = json.load(handle)
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def gallery_of(folders: list[str], fingerprint: str) -> Path:
    """Where the gallery of some folders lies in the user's data folder, for one model."""
    real = sorted({os.path.realpath(folder) for folder in folders})
    digest = hashlib.sha256(b"\0".join([fingerprint.encode(), *map(os.fsencode, real)])).hexdigest()[:12]
    words = "".join(letter if letter.isalnum() else "-" for letter in os.path.basename(real[0]))[:40].strip("-")
    return data_folder() / "galleries" / f"{words or 'photos'}-{digest}"
