"""Taking turns: a few requests are computed at a time, a bounded number waits, the rest is refused at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tf_ssgn.serving.faults import Fault


@dataclass(frozen=True)
class Call:
    """Until when a caller waits for its answer (`time.monotonic()`), and whether it still does."""

    deadline: float
    alive: Callable[[], bool]

    def remaining(self) -> float:
        return self.deadline - time.monotonic()

    def check(self) -> None:
        """Raises Fault if nobody waits for the answer any more, so that nothing is computed for nobody."""
        if not self.alive():
            raise Fault("CANCELLED", "the client cancelled the request")
        if self.remaining() <= 0:
            raise Fault("DEADLINE_EXCEEDED", "the deadline passed before the request could be computed")


class Slots:
    """`count` computations at a time, `queue` requests waiting for one; `under_way` counts both."""

    def __init__(self, count: int, queue: int):
        self._free = threading.Semaphore(count)
        self._size = count + queue
        self._lock = threading.Lock()
        self.under_way = 0

    @contextmanager
    def turn(self, call: Call) -> Iterator[None]:
        """Waits for a slot no longer than the caller does, and holds it.

        Raises:
            Fault: RESOURCE_EXHAUSTED with a full queue, DEADLINE_EXCEEDED or CANCELLED while waiting.
        """
        with self._lock:
            if self.under_way >= self._size:
                raise Fault("RESOURCE_EXHAUSTED", f"the server is busy: {self._size} requests are under way; try later")
            self.under_way += 1
        try:
            if not self._free.acquire(timeout=max(call.remaining(), 0.0)):
                raise Fault("DEADLINE_EXCEEDED", "the deadline passed while the request waited for its turn")
            try:
                call.check()
                yield
            finally:
                self._free.release()
        finally:
            with self._lock:
                self.under_way -= 1
