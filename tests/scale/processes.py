"""The executors that a Spark session of ours started."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def executors(parent: int | None = None) -> list[int]:
    """Process ids of the executors below a process of ours, by default this one."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, mine = [], {parent or os.getpid()}
    while more := {pid for pid, above in parents.items() if above in mine} - mine:
        mine |= more
    for pid in sorted(mine):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"java" in command[0] and any(b"ExecutorBackend" in word for word in command):
            found.append(pid)
    return found


def kill_one(number: int) -> int:
    """kill -9 of one of our executors."""
    alive = executors()
    pid = alive[number % len(alive)]
    os.kill(pid, signal.SIGKILL)
    return pid
