"""Arrays of an `.npz` file that somebody else made: sizes are checked before anything is unpacked or unpickled."""

import math
import os
import zipfile
import zlib
from collections.abc import Iterable
from tokenize import TokenError
from typing import IO

import numpy as np

from tf_ssgn.common.names import printable
from tf_ssgn.errors import UserError, reason

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # as NumPy writes them
# What NumPy and zipfile raise for a damaged `.npz`; RuntimeError for one that claims to be encrypted, or newer.
DAMAGED_ARCHIVE = (ValueError, EOFError, KeyError, RuntimeError, OSError, zipfile.BadZipFile, zlib.error)


def read_npz(path: str | os.PathLike[str], wanted: Iterable[str], max_bytes: int) -> dict[str, np.ndarray]:
    """The wanted arrays that a file has; nothing else of it is unpacked, and no Python objects are.

    UserError: no such file, no `.npz`, a damaged one, an array that is there twice or holds Python objects, or all of
    them together above `max_bytes` by what their headers say.
    """
    shown = printable(os.fspath(path))
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"{shown}: {'Is a directory' if os.path.isdir(path) else 'not a regular file'}; expected .npz")
    arrays: dict[str, np.ndarray] = {}
    left = max_bytes
    try:
        with zipfile.ZipFile(path) as archive:
            members: dict[str, list[zipfile.ZipInfo]] = {}
            for member in archive.infolist():
                members.setdefault(member.filename.removesuffix(".npy"), []).append(member)
            for name in wanted:
                if len(members.get(name, ())) > 1:
                    raise UserError(f"{shown} holds the array {name} twice; expected it once, so write the file again")
                for member in members.get(name, ()):
                    arrays[name] = _read(archive, member, f"{shown}: the array {name}", left)
                    left -= arrays[name].nbytes
    except FileNotFoundError as error:
        raise UserError(f"{shown}: {error.strerror}; expected an .npz file") from None
    except zipfile.BadZipFile as error:
        if not zipfile.is_zipfile(path):
            raise UserError(f"{shown} is no .npz file, or a part of one") from None
        raise UserError(f"{shown} is damaged ({reason(error)}); write it again") from None
    except DAMAGED_ARCHIVE as error:
        raise UserError(f"{shown} cannot be read ({reason(error)}); write it again") from None
    return arrays


def names(path: str | os.PathLike[str]) -> list[str]:
    """The names of all arrays of a file that `read_npz` could read."""
    with zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, what: str, limit: int) -> np.ndarray:
    if member.compress_type not in PACKED:
        raise UserError(f"{what} is packed by method {member.compress_type}; expected what np.savez writes")
    try:
        with archive.open(member) as handle:
            shape, dtype = _header(handle)
        if dtype.hasobject:
            raise UserError(f"{what} holds Python objects, which are not read; store numbers or text (`.astype(str)`)")
        size = math.prod(shape) * max(dtype.itemsize, 1)
        if size > limit:
            raise UserError(f"{what} takes {size:,} bytes {list(shape)}, {limit:,} are left of what is allowed")
        with archive.open(member) as handle:
            array = np.lib.format.read_array(handle, allow_pickle=False)
            if handle.read(1):  # also checks the member's checksum
                raise ValueError("goes on after its last number")
    except (MemoryError, *DAMAGED_ARCHIVE) as error:
        raise UserError(f"{what} cannot be read: it is damaged ({reason(error)}); write it again") from None
    return array


def _header(handle: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(handle)
    if version not in HEADERS:
        raise ValueError(f"version {version} of the format")
    try:
        shape, _, dtype = HEADERS[version](handle)
    except (SyntaxError, RecursionError, TypeError, TokenError) as error:  # of the Python literal that it is
        raise ValueError(f"its header: {reason(error)}") from None
    if min(shape, default=0) < 0:
        raise ValueError(f"its header says {list(shape)}")
    return shape, dtype
