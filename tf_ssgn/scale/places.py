"""Where photos and results lie: a local path, or a URI of a file system that pyarrow opens.

`file:`, `s3:`, `gs:`, `abfs:` and `hdfs:`, the names that Spark has for the same stores (`s3a:`, `gcs:`, `abfss:`)
included. What follows the host is taken literally, spaces and percent signs too. Credentials come from the environment
of the process, as each store has it (AWS_ACCESS_KEY_ID and its like), never from a URI, which is written down.
"""

import functools
import os
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from tf_ssgn.common import atomic
from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.errors import UserError, reason
from tf_ssgn.retrieval.files import to_text
from tf_ssgn.retrieval.photos import Skipped
from tf_ssgn.settings import PHOTO_LIMITS, READ_TRIES, READ_WAIT_SECONDS

_URI = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#]*)(/.*)?", re.IGNORECASE | re.DOTALL)
_SAME = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs"}  # Spark's and Hadoop's names


class Place(NamedTuple):
    """A file system of pyarrow and a path in it."""

    system: Any
    path: str

    def below(self, *names: str) -> "Place":
        return Place(self.system, "/".join([self.path.rstrip("/"), *names]))


def is_uri(text: str) -> bool:
    return _URI.fullmatch(text) is not None


def place(uri: str) -> Place:
    """The file system and path of a local path or URI; UserError where there is none of that kind."""
    from pyarrow import fs

    parts = _URI.fullmatch(uri)
    if not parts:
        return Place(fs.LocalFileSystem(), os.path.abspath(uri))
    scheme, host, path = parts[1].lower(), parts[2], parts[3] or "/"
    if "@" in host and _SAME.get(scheme, scheme) != "abfs":
        raise UserError(
            f"received a {scheme} URI with credentials in it; expected them in the environment, since URIs are "
            "written down"
        )
    system, root = _system(_SAME.get(scheme, scheme), host)
    return Place(system, root.rstrip("/") + path)


@functools.cache
def _system(scheme: str, host: str) -> tuple[Any, str]:
    import pyarrow
    from pyarrow import fs

    try:
        return fs.FileSystem.from_uri(f"{scheme}://{host}/")
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"cannot open {scheme}://{host}/ ({reason(error)}); expected a path or file:, s3:, gs:, abfs: "
                        "or hdfs: with its credentials in the environment") from None  # fmt: skip


def read_photo(uri: str) -> tuple[bytes, int, int | None]:
    """Content, bytes and time of change (ns) of a photo behind a URI; raises Skipped, as `retrieval.photos` does."""
    try:
        where = place(uri)
    except UserError as error:
        raise Skipped(str(error), lost=False) from None
    for left in reversed(range(READ_TRIES)):
        try:
            (about,) = where.system.get_file_info([where.path])
            if not about.is_file:
                raise Skipped("No such file" if about.type.value == 0 else "not a regular file")
            if about.size is not None and about.size > PHOTO_LIMITS.bytes:
                raise Skipped(MEANING[Status.TOO_LARGE])
            with where.system.open_input_stream(where.path) as stream:
                content = stream.read(PHOTO_LIMITS.bytes + 1)
            if len(content) > PHOTO_LIMITS.bytes:
                raise Skipped(MEANING[Status.TOO_LARGE])
            return content, len(content), about.mtime_ns
        except FileNotFoundError:
            raise Skipped("No such file") from None
        except OSError as error:
            if not left:
                raise Skipped(reason(error), lost=False) from None
            time.sleep(READ_WAIT_SECONDS * 2 ** (READ_TRIES - 1 - left))
    raise AssertionError("the last try returns or raises")


def children(where: Place) -> Iterator[Any]:
    """What lies directly in a folder, by name; OSError where it cannot be listed."""
    from pyarrow import fs

    yield from sorted(where.system.get_file_info(fs.FileSelector(where.path)), key=lambda about: about.path)


def exists(where: Place) -> bool:
    (about,) = where.system.get_file_info([where.path])
    return bool(about.is_file)


def read(where: Place) -> bytes:
    with where.system.open_input_stream(where.path) as stream:
        return stream.read()


def write(where: Place, content: bytes) -> None:
    """Writes a file, durable when it returns; a reader may see it half written unless its name is yet unknown."""
    where.system.create_dir(where.path.rpartition("/")[0], recursive=True)
    with where.system.open_output_stream(where.path) as stream:
        stream.write(content)
    if where.system.type_name == "local":
        atomic.sync(where.path)
        atomic.sync(os.path.dirname(where.path))


def write_whole(where: Place, content: bytes) -> None:
    """Writes a file that is either whole or absent: under another name, then renamed."""
    folder, _, name = where.path.rpartition("/")
    temporary = Place(where.system, f"{folder}/.{secrets.token_hex(4)}.tmp.{name}")
    write(temporary, content)
    where.system.move(temporary.path, where.path)


def write_new(where: Place, content: bytes) -> None:
    """The same for a file that is not there; of several writers at once at most one succeeds.

    A store cannot be asked to write only what is new. So each writer leaves a claim beside the file before it looks,
    and where two see each other, both give up. FileExistsError names the file, or another writer's claim.
    """
    folder, _, name = where.path.rpartition("/")
    token = secrets.token_hex(8)
    claim = Place(where.system, f"{folder}/.claim.{name}.{token}")
    write(claim, b"-")
    try:
        names = [about.base_name for about in children(Place(where.system, folder))]
        others = [other for other in names if other.startswith(f".claim.{name}.") and not other.endswith(token)]
        if name in names or others:
            raise FileExistsError(others[0] if others else name)
        write_whole(where, content)
    finally:
        remove(claim)


def remove(where: Place) -> None:
    """Removes a file or a folder with all in it; what is not there is no error."""
    try:
        (about,) = where.system.get_file_info([where.path])
        if about.is_file:
            where.system.delete_file(where.path)
        elif about.type.value != 0:
            where.system.delete_dir(where.path)
    except FileNotFoundError:
        pass


def shown(uri: str) -> str:
    """A URI or path as text for messages."""
    return to_text(uri)
