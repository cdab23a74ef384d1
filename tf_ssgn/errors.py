"""The one exception that a user's mistake raises, and those that damaged archives raise."""

from __future__ import annotations

import zipfile
import zlib

# What NumPy and zipfile raise for a damaged `.npz`; RuntimeError for one that claims to be encrypted, or newer.
DAMAGED_ARCHIVE = (ValueError, EOFError, KeyError, RuntimeError, OSError, zipfile.BadZipFile, zlib.error)


class UserError(Exception):
    """A mistake of the caller: bad path, bad value, bad file.

    The message is one line: what was received, what was expected, what to do.
    Commands print it to stderr and exit with code 2 (see `tf_ssgn.cli`).
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))
