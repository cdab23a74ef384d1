"""A note in the user's own folder that says which gallery a server on this machine answers from.

An answer on the wire holds ids only, and paths have no business there. `query --html` on the same machine, run by the
same user, still should find the photos: it reads this note, which never leaves the machine.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tf_ssgn.common import atomic


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


def _read(note: Path) -> dict:
    try:
        value = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
