"""The gallery folder: immutable versions, the pointer to the current one, checksums, the writer's lock.

G/gallery.json              the pointer: version, name and SHA-256 of its manifest; replaced atomically
G/versions/000003.json      the manifest: model, counts, parameters, the parts with sizes and SHA-256
G/parts/<name>/             vectors.npy, items.sqlite, perhaps scann/; never changed once a manifest names them
G/parts/dead-000003.npy     int64 row numbers that were deleted
G/journal.json, G/lock      an unfinished write, to be resumed; the writer's lock
"""

import errno
import json
import os
import re
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.common import atomic
from tf_ssgn.common.hashes import file_sha256
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder.segment import HEADER_BYTES, VECTORS

FORMAT = 2  # 1 had ScaNN score with a copy of the vectors, and no columns of users' tables; it is still read
POINTER, JOURNAL, LOCK, VERSIONS, PARTS = "gallery.json", "journal.json", "lock", "versions", "parts"
_OUR_NAMES = {POINTER, JOURNAL, LOCK, VERSIONS, PARTS}
_DISK = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_PART = re.compile("[0-9a-f]{12}")
_NEEDED = ("version", "count", "dimension", "model", "segments", "dead", "sources")


def describe(path: Path) -> dict[str, Any]:
    """What a manifest keeps of a file."""
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def describe_folder(folder: Path) -> dict[str, dict[str, Any]]:
    """The same for every file below a folder, each of them and the folders synced to the disk."""
    files: dict[str, dict[str, Any]] = {}
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(place, name)
            atomic.sync(path)
            files[path.relative_to(folder).as_posix()] = describe(path)
        atomic.sync(place)
    return files


class Store:
    """One gallery folder. Reading needs no lock; every change happens inside `writing()`."""

    def __init__(self, folder: str | os.PathLike):
        if "\0" in os.fsdecode(folder):
            raise UserError(f"received the gallery {os.fspath(folder)!r}; expected a path without a zero character")
        self.folder = Path(os.path.abspath(folder))

    def exists(self) -> bool:
        return (self.folder / POINTER).is_file()

    def pointer(self) -> dict[str, Any]:
        """`{"format", "version", "manifest", "sha256"}` of the current version."""
        if not self.folder.is_dir():
            raise UserError(f"no gallery at {self.folder}; make one with `python -m tf_ssgn.index build`")
        if not self.exists():
            started = (self.folder / JOURNAL).is_file()
            hint = "its build was not finished; run that command again" if started else "make one with `index build`"
            raise UserError(f"{self.folder} is not a gallery: it has no {POINTER}; {hint}")
        pointer = _read_json(self.folder / POINTER)
        if not isinstance(pointer.get("format"), int) or not isinstance(pointer.get("manifest"), str):
            raise UserError(f"{self.folder / POINTER} is damaged; restore it from a copy")
        if pointer["format"] > FORMAT:
            raise UserError(f"{self.folder} has gallery format {pointer['format']}; this version reads up to {FORMAT}")
        return pointer

    def manifest(self, pointer: dict[str, Any] | None = None) -> dict[str, Any]:
        """The manifest that `pointer` names, by default the current version's, its checksum verified."""
        pointer = pointer or self.pointer()
        path = self.folder / pointer["manifest"]
        if path.is_file() and file_sha256(path) != pointer.get("sha256"):
            raise UserError(f"{path} is damaged: its SHA-256 is not the one in {POINTER}; restore it from a copy")
        manifest = _read_json(path)
        if any(key not in manifest for key in _NEEDED) or manifest["version"] != pointer.get("version"):
            raise UserError(f"{path} is damaged; restore it from a copy")
        return manifest

    def dead_rows(self, manifest: dict[str, Any]) -> np.ndarray:
        """int64, ascending: deleted rows, counted over the segments in their order."""
        entry = manifest["dead"]
        if entry is None:
            return np.empty(0, np.int64)
        path = self.folder / PARTS / entry["file"]
        if not path.is_file() or not describe(path).items() <= entry.items():
            raise UserError(f"{path} is missing or damaged; restore it from a copy")
        return np.load(path, allow_pickle=False)

    def damaged(self, entry: dict[str, Any], hash_up_to: float) -> list[str]:
        """Names of files of a segment that are missing, of another size or, up to a size, of another content."""
        faults = []
        for name, about in entry["files"].items():
            path = self.folder / PARTS / entry["folder"] / name
            if not path.is_file():
                faults.append(f"{path} is missing")
            elif path.stat().st_size != about["bytes"]:
                faults.append(f"{path} has {path.stat().st_size:,} bytes, expected {about['bytes']:,}")
            elif (about["bytes"] <= hash_up_to or name.endswith(".sqlite")) and file_sha256(path) != about["sha256"]:
                faults.append(f"{path} has changed: its SHA-256 is not the manifest's")
        return faults

    @contextmanager
    def writing(self, create: bool = False) -> Iterator[None]:
        """Holds the writer's lock; a disk that is full or read-only becomes a UserError."""
        if not create:
            self.pointer()  # says what is wrong where there is no gallery
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock():
                yield
        except OSError as error:
            if error.errno in _DISK or isinstance(error, (FileExistsError, NotADirectoryError, IsADirectoryError)):
                raise UserError(f"cannot write to {self.folder}: {error.strerror}; nothing in it was changed") from None
            raise
        except sqlite3.OperationalError as error:
            raise UserError(f"cannot write to {self.folder}: {error}; nothing in it was changed") from None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        while True:
            with open(self.folder / LOCK, "a+") as handle:
                if not atomic.lock(handle):
                    handle.seek(0)
                    other = handle.read().strip() or "another process"
                    wait = "wait until it is done, then run this again"
                    raise UserError(f"{self.folder} is being written by {other}; {wait}")
                try:
                    if not os.path.samestat(os.fstat(handle.fileno()), os.stat(self.folder / LOCK)):
                        continue  # its last holder removed the file
                except FileNotFoundError:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    continue
                handle.truncate(0)
                handle.write(f"process {os.getpid()}\n")
                handle.flush()
                yield
                return

    def commit(self, manifest: dict[str, Any], dead: np.ndarray, previous: dict[str, Any] | None) -> dict[str, Any]:
        """Makes `manifest` the current version; it is durable when this returns. Call it inside `writing()`."""
        version = previous["version"] + 1 if previous else 1
        rows = sum(segment["rows"] for segment in manifest["segments"])
        if dead.size and (dead.min() < 0 or dead.max() >= rows or np.unique(dead).size != dead.size):
            raise UserError(f"deleted rows: received a number twice or not of 0 to {rows - 1:,}; nothing was changed")
        (self.folder / PARTS).mkdir(exist_ok=True)
        entry = None
        if dead.size:
            path = self.folder / PARTS / f"dead-{version:06d}.npy"
            with atomic.writing(path) as temporary, open(temporary, "wb") as handle:
                np.save(handle, np.unique(dead.astype(np.int64)))
            entry = {"file": path.name, "count": int(np.unique(dead).size), **describe(path)}
        count = rows - (entry["count"] if entry else 0)
        written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        manifest = {**manifest, "format": FORMAT, "version": version, "written": written, "count": count, "dead": entry}
        atomic.sync(self.folder / PARTS)
        name = f"{VERSIONS}/{version:06d}.json"
        atomic.write_json(self.folder / name, manifest)
        pointer = {"format": FORMAT, "version": version, "manifest": name, "sha256": file_sha256(self.folder / name)}
        atomic.write_json(self.folder / POINTER, pointer)
        atomic.sync(self.folder)
        return manifest

    def journal(self) -> dict[str, Any] | None:
        """What the last write that a process did not end was about, or None; a broken one is as good as none."""
        path = self.folder / JOURNAL
        try:
            journal = _read_json(path) if path.is_file() else {}
        except UserError:
            return None
        sound = isinstance(journal.get("kind"), str) and _PART.fullmatch(str(journal.get("part")))
        return journal if sound else None

    def unfinished(self) -> dict[str, Any] | None:
        """The journal of a write to be resumed; None where its part is already in the current version."""
        journal = self.journal()
        if journal and self.exists() and journal["part"] in {part["folder"] for part in self.manifest()["segments"]}:
            return None
        return journal

    def new_part(self, **about: Any) -> dict[str, Any]:
        """Starts a write: a journal that names a new part folder and what it is for."""
        journal = {**about, "part": secrets.token_hex(6)}
        atomic.write_json(self.folder / JOURNAL, journal)
        return journal

    def part(self, name: str) -> Path:
        return self.folder / PARTS / name

    def leftovers(self) -> list[Path]:
        """Files of ours that neither the current version nor the journal needs; the next writer removes them."""
        manifest = self.manifest() if self.exists() else None
        journal = self.journal()
        keep = {journal["part"]} if journal else set()
        if manifest:
            keep |= {segment["folder"] for segment in manifest["segments"]}
            keep |= {manifest["dead"]["file"]} if manifest["dead"] else set()
            keep.add(f"{manifest['version']:06d}.json")
        places = [*self.folder.glob(f"{PARTS}/*"), *self.folder.glob(f"{VERSIONS}/*")]
        return [path for path in places if path.name not in keep] + list(self.folder.glob(atomic.LEFTOVER))

    def collect(self) -> None:
        """Removes what nobody needs. Readers that have the old version open keep their files."""
        for path in self.leftovers():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def finish(self) -> None:
        """Ends a write: its journal and what only older versions needed go."""
        (self.folder / JOURNAL).unlink(missing_ok=True)
        self.collect()

    def has_rows(self, journal: dict[str, Any]) -> bool:
        """Whether an unfinished write has done anything that resuming it would save."""
        vectors = self.part(journal["part"]) / VECTORS
        return vectors.exists() and vectors.stat().st_size > HEADER_BYTES

    def abandon(self) -> None:
        """Gives an unfinished write up, also on a bad disk; a folder in which no version was ever made goes too."""
        with suppress(OSError):
            self.finish()
            if not self.exists() and {path.name for path in self.folder.iterdir()} <= _OUR_NAMES:
                shutil.rmtree(self.folder)

    def refuse_foreign(self) -> None:
        """UserError where the folder holds things that are not a gallery's."""
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder} is a file; expected a folder for the gallery, new or empty")
        try:
            foreign = sorted({path.name for path in self.folder.iterdir()} - _OUR_NAMES) if self.folder.is_dir() else []
        except OSError as error:
            raise UserError(f"cannot read {self.folder}: {error.strerror}") from None
        if foreign := [name for name in foreign if not fnmatch(name, atomic.LEFTOVER)]:
            raise UserError(
                f"{self.folder} holds other things ({foreign[0]!r}); expected a new or empty folder for the gallery"
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; restore it from a copy") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it from a copy") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged; restore it from a copy")
    return value
