"""Where this user's own data lie, and what can be made anew."""

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

from tf_ssgn.errors import UserError


def data_folder() -> Path:
    """`XDG_DATA_HOME/tf_ssgn`, by default `~/.local/share/tf_ssgn`. UserError where there is no home folder."""
    named = os.environ.get("XDG_DATA_HOME")
    if named and os.path.isabs(named):
        return Path(named) / "tf_ssgn"
    try:
        return Path.home() / ".local" / "share" / "tf_ssgn"
    except RuntimeError:
        raise UserError("this user has no home folder to keep a gallery in; say where with --to, or set HOME") from None


def cache_folder() -> Path:
    """`TF_SSGN_CACHE`, else the user's cache folder, or where none can be written the temporary one of this process."""
    if named := os.environ.get("TF_SSGN_CACHE"):
        return Path(named)
    named = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = (Path(named) if os.path.isabs(named) else Path.home() / ".cache") / "tf_ssgn"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: no home, as in a container for a user whom it does not know
        return _temporary_folder()
    return folder if os.access(folder, os.W_OK) else _temporary_folder()


@functools.cache
def _temporary_folder() -> Path:
    """A folder of this process's own, removed at its end."""
    folder = tempfile.mkdtemp(prefix="tf_ssgn-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
