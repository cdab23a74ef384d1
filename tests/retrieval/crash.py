"""Run as a script: one writer's command, killed at the n-th write it makes, for n = 1, 1 + STEP, ... until it survives.

    python -m retrieval.crash build|add|sync|delete|compact WORK STEP

Prints, for each kill, the number of items that a reader then finds (-1: no gallery yet), and at the end `done COUNT`.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
from contextlib import redirect_stderr
from pathlib import Path

from tests.retrieval.embedder import TinyEmbedder
from tf_ssgn.retrieval.folder import builder, changes
from tf_ssgn.retrieval.folder.compaction import compact
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.verify import verify

WRITES = ("fsync", "replace", "unlink", "rmdir", "mkdir")


def command(verb: str, work: Path):
    return {
        "build": lambda: builder.build(work / "g", [work / "photo"], TinyEmbedder()),
        "add": lambda: builder.add(work / "g", [work / "photo"], TinyEmbedder()),
        "sync": lambda: builder.sync(work / "g", [work / "photo"], TinyEmbedder()),
        "delete": lambda: changes.delete(work / "g", where="label = 'class0'"),
        "compact": lambda: compact(work / "g"),
    }[verb]


def kill_at(count: int) -> None:
    """From now on the process dies right before its write number `count`."""
    left = [count]
    for name in WRITES:
        write = getattr(os, name)

        def counted(*args, write=write, **options):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(*args, **options)

        setattr(os, name, counted)


def items(folder: Path) -> int:
    if not (folder / "gallery.json").exists():
        return -1
    result = verify(folder)
    assert not result["damage"], result
    return len(Gallery.open(folder))


def main(verb: str, work: Path, step: int) -> None:
    if (work / "g").exists():
        shutil.copytree(work / "g", work / "before")
    for count in range(1, 500, step):
        child = os.fork()
        if child == 0:
            with redirect_stderr(io.StringIO()):
                kill_at(count)
                command(verb, work)()
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            print("done", items(work / "g"))
            return
        print(items(work / "g"))
        # Every other time the killed command is continued, else it starts anew from the state before.
        if (count // step) % 2:
            shutil.rmtree(work / "g", ignore_errors=True)
            if (work / "before").exists():
                shutil.copytree(work / "before", work / "g")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
