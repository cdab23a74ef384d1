"""Notes in the user's own folders, which never leave the machine: what a process of theirs tells another one.

A server says which gallery it answers from: an answer on the wire holds ids only, and paths have no business there, but
`query --html` by the same user should find the photos. A `search` says, in a locked note, that it has a gallery, which
one has at a time, and where its page is.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tf_ssgn.common import atomic
from tf_ssgn.common.folders import data_folder
from tf_ssgn.errors import UserError


def _note(port: int) -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tf_ssgn" / f"serve-{port}.json"


@contextmanager
def announced(port: int, gallery: str | os.PathLike) -> Iterator[None]:
    """Keeps the note while the server runs. Without a writable folder there is no note, and that is no error."""
    try:
        note = _note(port)
        atomic.write_json(note, {"pid": os.getpid(), "gallery": str(Path(gallery).absolute())})
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        yield
        return
    try:
        yield
    finally:
        if _read(note).get("pid") == os.getpid():
            note.unlink(missing_ok=True)


def find_gallery(port: int) -> Path | None:
    """The gallery of the running server on this machine's `port`, if its user left a note."""
    try:
        note = _read(_note(port))
        os.kill(int(note["pid"]), 0)  # a note of a server that was killed is stale
        gallery = Path(str(note["gallery"]))
        return gallery if gallery.is_dir() else None
    except (OSError, RuntimeError, KeyError, ValueError):
        return None


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
        if not atomic.lock(handle):
            yield _read(note)
            return
        handle.truncate(0)
        try:
            yield Claim(handle)
        finally:
            handle.truncate(0)


def gallery_of(folders: list[str], fingerprint: str) -> Path:
    """Where the gallery of some folders lies in the user's data folder, for one model."""
    real = sorted({os.path.realpath(folder) for folder in folders})
    digest = hashlib.sha256(b"\0".join([fingerprint.encode(), *map(os.fsencode, real)])).hexdigest()[:12]
    words = "".join(letter if letter.isalnum() else "-" for letter in os.path.basename(real[0]))[:40].strip("-")
    return data_folder() / "galleries" / f"{words or 'photos'}-{digest}"


def _read(note: Path) -> dict:
    try:
        value = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
