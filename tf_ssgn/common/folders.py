"""Where this user's own data lie."""

from __future__ import annotations

import os
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
