"""From folders of photos to items: which files, with which id, label and path."""

import codecs
import itertools
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tf_ssgn.data.folders import excluder, extension, is_photo, is_system
from tf_ssgn.errors import UserError


class Source(NamedTuple):
    """A folder that was indexed: its absolute path and the first part of its items' ids."""

    folder: str
    prefix: str


def as_manifest(sources: Iterable[Source]) -> list[dict[str, str]]:
    """Sources as a manifest has them."""
    return [{"folder": to_text(source.folder), "prefix": source.prefix} for source in sources]


def sources_of(manifest: Mapping[str, Any]) -> list[Source]:
    return [Source(to_file(entry["folder"]), entry["prefix"]) for entry in manifest["sources"]]


class PhotoFile(NamedTuple):
    """A photo file that the walk came by. `path` opens the file, `modified` is in nanoseconds."""

    id: str
    path: str
    label: str
    size: int
    modified: int


class Problem(NamedTuple):
    """A file or folder that could not be looked at; items whose id is `id` or below it may still exist."""

    id: str
    path: str
    reason: str


@dataclass
class Walk:
    """What a walk found below the ids' beginnings that it covers, `prefixes`, each ending in `/`: how many files were
    `left_out`, as no photos by their name, by extension ("" for none), and the globs of what was not looked at."""

    sources: list[Source]
    files: list[PhotoFile] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    exclude: list[str] = field(default_factory=list)


# Only bytes from 0x80 on can be invalid UTF-8, so only %80 to %FF are ever written by the escape. A name that already
# holds such a text gets its percent sign escaped, so that no two names share an id; "100%" and "a%20b" stay unchanged.
_LOOKS_ESCAPED = re.compile(rb"%(?=(?:25)*[89A-Fa-f][0-9A-Fa-f])")
_ESCAPED = re.compile(rb"%25(?=(?:25)*[89A-Fa-f][0-9A-Fa-f])|%([89A-Fa-f][0-9A-Fa-f])")


def _percent(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"%{byte:02X}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("tf_ssgn_percent", _percent)


def to_text(name: str) -> str:
    """A file name as valid, unique text: bytes that are not UTF-8 become `%XX`. Undone by `to_file`."""
    return _LOOKS_ESCAPED.sub(b"%25", os.fsencode(name)).decode("utf-8", "tf_ssgn_percent")


def to_file(text: str) -> str:
    """The file name (for `open`) that `to_text` made `text` from."""
    raw = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]) if match[1] else b"%", text.encode("utf-8"))
    return os.fsdecode(raw)


def resolve(
    folders: Sequence[str | os.PathLike], known: Sequence[Source]
) -> tuple[list[Source], list[tuple[Source, str]]]:
    """Matches folders to sources: (all sources, new ones included; for each folder its source and the path to walk).
    One inside a known source belongs to it, so a file has the same id by whichever folder it is reached; but one inside
    a system folder, where a walk of that source does not come, is a source of its own."""
    sources = list(known)
    scopes: list[tuple[Source, str]] = []
    for name in folders:
        folder = os.path.abspath(os.fspath(name))
        if not os.path.exists(folder):
            raise UserError(f"no folder {to_text(folder)!r}; expected a folder of photos")
        if not os.path.isdir(folder):
            raise UserError(f"{to_text(folder)!r} is a file; expected a folder of photos")
        real = os.path.realpath(folder)
        for source in sources:
            root = os.path.realpath(source.folder)
            inside = real.startswith(root.rstrip("/") + "/")
            if real == root or inside and not any(map(is_system, os.path.relpath(real, root).split("/"))):
                scopes.append((source, os.path.normpath(os.path.join(source.folder, os.path.relpath(real, root)))))
                break
        else:
            name, taken = to_text(os.path.basename(folder)) or "root", {source.prefix for source in sources}
            names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
            source = Source(folder, next(prefix for prefix in names if prefix not in taken))
            sources.append(source)
            scopes.append((source, folder))
    return sources, scopes


def walk(
    folders: Sequence[str | os.PathLike],
    known: Sequence[Source] = (),
    exclude: Sequence[str] = (),
    most: int | None = None,
    tell: Callable[[int, int], None] = lambda looked, photos: None,
) -> Walk:
    """Every photo below `folders`, ordered by id, but for what `folders.is_system` or a glob of `exclude` names.

    With `most` at least as many where there are so many.
    `tell` is called after each folder with how many were looked through and how many photos were found so far.

    Links are followed; a folder that can be reached by several ways is visited once, by its real path where there is
    one, so that a loop of links ends. Raises UserError where a folder itself is missing.
    """
    excludes = excluder(exclude)
    sources, scopes = resolve(folders, known)
    result = Walk(sources, exclude=sorted(exclude))
    roots = {os.path.normpath(source.folder): source for source in sources}
    for source, top in scopes:
        inner = [root for root in sources if root.folder.startswith(top.rstrip("/") + "/")]
        result.prefixes += [_id(source, top) + "/"] + [root.prefix + "/" for root in inner]
    visited: set[tuple[int, int]] = set()
    pending, links = list(scopes), list[tuple[Source, str]]()
    while (pending or links) and (most is None or len(result.files) < most):
        source, folder = pending.pop() if pending else links.pop(0)
        source = roots.get(folder, source)  # a source that lies inside another one keeps its own ids
        try:
            about = os.stat(folder)
            if (about.st_dev, about.st_ino) in visited:
                continue
            visited.add((about.st_dev, about.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            result.problems.append(Problem(_id(source, folder), folder, error.strerror or str(error)))
            continue
        for entry in entries:
            if is_system(entry.name) or excludes(to_text(os.path.relpath(entry.path, source.folder))):
                continue
            try:
                about = entry.stat()
                photo = is_photo(entry)
            except OSError as error:
                result.problems.append(Problem(_id(source, entry.path), entry.path, error.strerror or str(error)))
                continue
            if stat.S_ISDIR(about.st_mode):
                (links if entry.is_symlink() else pending).append((source, entry.path))
            elif not photo:
                result.left_out[extension(entry.name)] += 1
            elif stat.S_ISREG(about.st_mode):
                label = to_text(os.path.basename(folder)) or source.prefix
                item = PhotoFile(_id(source, entry.path), entry.path, label, about.st_size, about.st_mtime_ns)
                result.files.append(item)
            else:
                result.problems.append(Problem(_id(source, entry.path), entry.path, "not a regular file"))
        tell(len(visited), len(result.files))
    result.files.sort()
    return result


def walk_one(
    folder: str | os.PathLike, path: str | os.PathLike, known: Sequence[Source] = (), exclude: Sequence[str] = ()
) -> Walk:
    """The same for one photo file below a folder, all else left unlooked at. OSError where it is not there."""
    sources, ((source, _),) = resolve([folder], known)
    about, path = os.stat(path), os.path.abspath(path)
    file = PhotoFile(_id(source, path), path, to_text(path.split("/")[-2]), about.st_size, about.st_mtime_ns)
    return Walk(sources, [file], prefixes=[file.id], exclude=list(exclude))


def _id(source: Source, path: str) -> str:
    below = os.path.relpath(path, source.folder)
    return source.prefix if below == "." else f"{source.prefix}/{to_text(below)}"
