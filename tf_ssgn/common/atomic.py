"""Files and folders that are either whole or absent: write to a temporary name, sync, rename."""

import fcntl
import glob
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

LEFTOVER = ".*.tmp*"  # glob of the names below: what a killed writer leaves, harmless and free to delete


def sync(path: str | os.PathLike) -> None:
    """Makes what was written to a file, or renamed inside a folder, survive a power cut."""
    with _opened(path) as handle:
        os.fsync(handle)


@contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Lets errors name the file: a write to an open one says that the disk is full, and not which."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = os.fspath(path)
        raise


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is synced and renamed over `path`, else removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(4)}.tmp.{path.name}")  # keeps the suffix: some writers look at it
    try:
        with naming(path):
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def making(folder: str | os.PathLike) -> Iterator[Path]:
    """Yields a new folder beside `folder`, which takes that name on success and is removed on failure or Ctrl-C. Only a
    hard kill leaves it behind; it is locked while its writer lives, so the next one knows it by its free lock and
    removes it. OSError where something stands at `folder` by then."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for stale in folder.parent.glob(f".{glob.escape(folder.name)}.*.tmp"):
        if stale.is_dir():
            with suppress(OSError), _opened(stale) as handle:
                if lock(handle):
                    shutil.rmtree(stale)
    temporary, handle = _begin(folder)
    try:
        yield temporary
        os.rename(temporary, folder)
        sync(folder.parent)
    finally:
        os.close(handle)
        shutil.rmtree(temporary, ignore_errors=True)


def _begin(folder: Path) -> tuple[Path, int]:
    """A new folder beside `folder`, and its handle, locked where the file system has locks. One that another writer
    took for left behind, before it was locked, is given up for the next."""
    while True:
        temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
        temporary.mkdir()
        try:
            handle = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:
            continue
        with suppress(OSError):
            if not lock(handle) or not temporary.exists():
                os.close(handle)
                continue
        return temporary, handle


@contextmanager
def _opened(path: str | os.PathLike) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def lock(opened: int | IO[Any]) -> bool:
    """Whether this process has the lock of an open file or folder from now on, until it closes it or is killed; False
    where another has it. OSError on a file system without locks."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_text(path: str | os.PathLike, text: str) -> None:
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes indented JSON atomically; NaN is refused, pass the value through `cli.jsonable` first."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def stamp(path: str | os.PathLike) -> tuple[int, int, int] | None:
    """Changes when the file does; None where it cannot be looked at."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_mtime_ns, about.st_ino, about.st_size
