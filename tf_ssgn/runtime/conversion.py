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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tf_ssgn.common.cli import log, prepare_tensorflow
from tf_ssgn.common.folders import cache_folder
from tf_ssgn.common.hashes import versions_sha256
from tf_ssgn.runtime import kept, openvino_model
from tf_ssgn.runtime.shipped import COMPILING, open_shipped, package_of, shipped_fingerprint
from tf_ssgn.settings import CONVERSION_LOOK_SECONDS

_begun: dict[Path, openvino_model.Begun] = {}


def begin_early(folder: Path) -> None:
    """`begin`, for the next caller of `begin`, who imports TensorFlow first: that takes as long as compiling."""
    _begun[folder] = begin(folder)


def begin(folder: Path) -> openvino_model.Begun:
    """Compiles both encoders in a thread; what is not kept yet is made in a process of its own first."""
    if (begun := _begun.pop(folder, None)) is not None:
        return begun
    mark, key, package = shipped_fingerprint(folder), versions_sha256(), package_of(folder)
    needs = ("openvino", *([package.module] if package else []))
    if not all(map(importlib.util.find_spec, needs)):
        return openvino_model.nothing_begun
    wait = _begin_making(folder, mark, key)

    def compiled(kind: str) -> openvino_model.CompiledEncoder | None:
        wait(kind)
        return openvino_model.kept_encoder(mark, kind, key)

    thread = ThreadPoolExecutor(1, COMPILING)
    futures = {kind: thread.submit(compiled, kind) for kind in openvino_model.KINDS}
    thread.submit(_tell, wait, kept.decoders_of(mark))
    thread.shutdown(wait=False)
    return lambda kind: futures[kind].result()


def _tell(wait: Callable[[str], None], decoders: Path) -> None:
    wait("")
    if _can_keep() and not kept.is_there(decoders):
        log(
            f"the decoders of images were not kept in {decoders.parent}: each start traces them anew, which takes some "
            "seconds; check space and rights there"
        )


def _begin_making(folder: Path, mark: str, key: str) -> Callable[[str], None]:
    """Begins what is not kept yet; what is returned waits until one encoder is, or, for "", until nothing more will
    come."""
    all_there = all(openvino_model.is_kept(mark, kind, key) for kind in openvino_model.KINDS)
    if not sys.executable or not _can_keep() or (all_there and kept.is_there(kept.decoders_of(mark))):
        return lambda kind: None
    if not all_there:
        log(f"putting {folder.name} together with the weights of its backbone, this once")
    # -P: the working directory may be a folder of anybody's files, and `-m` would import from it first.
    words = [sys.executable, "-P", "-m", "tf_ssgn.runtime.conversion", os.fspath(folder)]
    environment = {**os.environ, "TF_SSGN_CACHE": os.fspath(cache_folder())}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(words, stdin=quiet, stdout=quiet, stderr=quiet, env=environment)

    def wait(kind: str) -> None:
        while process.poll() is None and not (kind and openvino_model.is_kept(mark, kind, key)):
            time.sleep(CONVERSION_LOOK_SECONDS)

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
    from tf_ssgn.runtime import decoder

    for kind in openvino_model.KINDS:
        openvino_model.converted_form(module, kind, card["fingerprint"])
    folder = kept.decoders_of(card["fingerprint"])
    if not kept.is_whole(folder):
        decoder.keep(module, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)  # all is written; TensorFlow takes a second to end
