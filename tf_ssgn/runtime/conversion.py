"""The first use of a shipped model: its network is built, converted and checked in a process of its own.

So the memory that this takes, which is more than all later use, is given back, and the caller gets ready meanwhile.
Where that process fails the caller converts the model itself, and says what is wrong.
"""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tf_ssgn.common.cli import log, prepare_tensorflow
from tf_ssgn.common.folders import cache_folder
from tf_ssgn.common.hashes import versions_sha256
from tf_ssgn.runtime import openvino_model
from tf_ssgn.runtime.shipped import open_shipped, package_of, shipped_fingerprint
from tf_ssgn.settings import CONVERSION_LOOK_SECONDS


def begin(folder: Path) -> Callable[[str], None]:
    """Begins it where not all is kept; what is returned waits until one encoder is, or nothing more will come."""
    mark, key, package = shipped_fingerprint(folder), versions_sha256(), package_of(folder)
    needs = ("openvino", *([package.module] if package else []))
    if not all(map(importlib.util.find_spec, needs)) or not sys.executable or not _can_keep():
        return lambda kind: None
    if all(openvino_model.is_kept(mark, kind, key) for kind in openvino_model.KINDS):
        return lambda kind: None
    log(f"putting {folder.name} together with the weights of its backbone, this once")
    # -P: the working directory may be a folder of anybody's files, and `-m` would import from it first.
    words = [sys.executable, "-P", "-m", "tf_ssgn.runtime.conversion", os.fspath(folder)]
    environment = {**os.environ, "TF_SSGN_CACHE": os.fspath(cache_folder())}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=quiet, env=environment)

    def wait(kind: str) -> None:
        while process.poll() is None and not openvino_model.is_kept(mark, kind, key):
            time.sleep(CONVERSION_LOOK_SECONDS)
        if kind == openvino_model.KINDS[-1]:
            process.wait()

    return wait


def _can_keep() -> bool:
    place = cache_folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(place, os.W_OK)


def main(folder: Path) -> None:
    prepare_tensorflow()
    module, card = open_shipped(folder)
    for kind in openvino_model.KINDS:
        openvino_model.converted_form(module, kind, card["fingerprint"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)  # all is written; TensorFlow takes a second to end
