"""What takes seconds to make of a model and is kept in the user's cache folder: converted networks, traced decoders."""

import functools
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tf_ssgn.common.atomic import making, write_json
from tf_ssgn.common.cli import log
from tf_ssgn.common.folders import cache_folder
from tf_ssgn.common.hashes import file_sha256, versions_sha256
from tf_ssgn.errors import reason

SUMS = "checksums.json"


def folder_of(name: str, key: str, release: str) -> Path:
    """Where something is kept: under all that it depends on."""
    return cache_folder() / "openvino" / f"{name}-{key[:16]}-{release}"


def decoders_of(fingerprint: str) -> Path:
    """Where the traced decoders of a model are kept; another for each state of the code that they are traced from."""
    return folder_of(f"{fingerprint[:16]}-decoders", versions_sha256(), _decoders_code()[:8])


@functools.cache
def _decoders_code() -> str:
    """sha256 of what the decoders are traced from."""
    package = Path(__file__).parent.parent
    code = [package / "settings.py", package / "common" / "status.py", package / "runtime" / "decoder.py"]
    code += sorted((package / "data" / "images").glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in code)).hexdigest()


def is_there(folder: Path) -> bool:
    """Whether it is kept, if nobody damaged it."""
    return (folder / SUMS).is_file()


def is_whole(folder: Path) -> bool:
    """Whether it is kept and every file is as it was written."""
    try:
        return bool(json.loads((folder / SUMS).read_text(encoding="utf-8")) == sums(folder))
    except (OSError, ValueError, RecursionError):
        return False


def keep(folder: Path, write: Callable[[Path], Any]) -> None:
    """Has `write` fill a new folder, which then takes this one's place; where nothing can be written, says so."""
    try:
        with making(folder) as temporary:
            write(temporary)
            write_json(temporary / SUMS, sums(temporary))
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, RuntimeError) as error:
        log(f"{folder.parent} cannot be written ({reason(error)}): the model is converted again at the next start")


def sums(folder: Path) -> dict[str, str]:
    """sha256 of the files in a folder and below, by their names in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != SUMS)
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
