"""The queue in front of the model: whoever is free takes all that waits and fits together, and computes it at once.

No timer: while nothing is computed a request starts immediately, and under load batches grow by themselves. The queue
is bounded in requests and in bytes, and refuses at once what does not fit. Once it had to refuse, a long queue is of no
use to anybody, since it would stay full and everybody accepted wait through all of it: it is kept short until the
storm is over. What nobody waits for any more leaves it without being computed.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any

from tf_ssgn.serving.core.faults import Fault
from tf_ssgn.settings import STORM_SECONDS, Serving


@dataclass(frozen=True)
class Call:
    """Until when a caller waits for its answer (`time.monotonic()`), and whether it still does.

    `watch` is given a function that is to be called when the caller goes away.
    """

    deadline: float
    alive: Callable[[], bool] = lambda: True
    watch: Callable[[Callable[[], Any]], Any] = lambda gone: None

    def remaining(self) -> float:
        return self.deadline - time.monotonic()

    def fault(self) -> Fault | None:
        """Why nobody waits for the answer any more; None while somebody does."""
        if not self.alive():
            return Fault("CANCELLED", "the client cancelled the request")
        if self.remaining() <= 0:
            return Fault("DEADLINE_EXCEEDED", "the deadline passed before the request could be computed")
        return None

    def check(self) -> None:
        """Raises that Fault, so that nothing is computed for nobody."""
        if fault := self.fault():
            raise fault


@dataclass(eq=False)
class Work:
    """One request in the queue."""

    key: Hashable  # requests of equal keys are computed together
    rows: int  # that it adds to a batch
    size: int  # bytes that it holds in memory
    payload: Any  # what `compute` gets
    call: Call
    answer: Future[Any] = field(default_factory=Future)
    waiting_since: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Batch:
    """What one batch was, for the metrics: seconds that its requests waited, rows, seconds of computing."""

    waited: list[float]
    rows: int
    seconds: float


class Batcher:
    """Threads, as many as `settings.slots`, that compute what waits: `compute` makes of (key, payloads) one answer for
    each payload; `observe` is told of every batch."""

    def __init__(
        self,
        compute: Callable[[Any, list[Any]], Sequence[Any]],
        settings: Serving,
        observe: Callable[[Batch], None],
    ):
        self._compute, self._settings, self._observe = compute, settings, observe
        self._calm_from = -math.inf  # when the last storm is over
        self._waiting: deque[Work] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True) for number in range(settings.slots)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        with self._changed:
            return len(self._waiting)

    def check(self) -> None:
        """Raises what `submit` would if no further request fits, before any work is put into one."""
        with self._changed:
            self._admit(0)

    def submit(self, work: Work) -> Future[Any]:
        """Puts a request into the queue; its answer comes in the future, whose cancellation takes it out again.

        Raises:
            Fault: RESOURCE_EXHAUSTED if the queue is full, CANCELLED or DEADLINE_EXCEEDED if nobody waits.
        """
        work.call.check()
        with self._changed:
            self._admit(work.size)
            self._waiting.append(work)
            self._changed.notify()
        work.call.watch(work.answer.cancel)
        work.answer.add_done_callback(lambda answer: self._leave(work) if answer.cancelled() else None)
        return work.answer

    def wait(self, work: Work) -> Any:
        """`submit`, then the answer; no longer than the caller waits."""
        answer = self.submit(work)
        try:
            return answer.result(timeout=max(work.call.remaining(), 0.0))
        except FutureTimeout:
            answer.cancel()
            raise Fault("DEADLINE_EXCEEDED", "the deadline passed before the answer was there") from None
        except CancelledError:
            raise Fault("CANCELLED", "the client cancelled the request") from None

    def close(self) -> None:
        """Answers what waits, then ends the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _admit(self, size: int) -> None:
        """Raises Fault unless a request of `size` bytes fits."""
        if self._closed:
            raise Fault("UNAVAILABLE", "the server is shutting down")
        if not self._fits(size):
            self._drop_abandoned()
        if not self._fits(size):
            self._calm_from = time.monotonic() + STORM_SECONDS
            raise Fault("RESOURCE_EXHAUSTED", f"the server is busy: {len(self._waiting)} requests wait; try later")

    def _fits(self, size: int) -> bool:
        settings = self._settings
        most = settings.queue if time.monotonic() >= self._calm_from else settings.storm_queue
        held = sum(waiting.size for waiting in self._waiting)
        return len(self._waiting) < most and (not self._waiting or held + size <= settings.queue_bytes)

    def _drop_abandoned(self) -> None:
        for work in list(self._waiting):
            if fault := work.call.fault():
                self._waiting.remove(work)
                _abandon(work, fault)

    def _leave(self, work: Work) -> None:
        with self._changed:
            if work in self._waiting:
                self._waiting.remove(work)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch = self._take()
            self._answer(batch)

    def _take(self) -> list[Work]:
        """The oldest request that someone waits for, and those behind it that can be computed with it."""
        batch: list[Work] = []
        rows = 0
        left: deque[Work] = deque()
        while self._waiting:
            work = self._waiting.popleft()
            if fault := work.call.fault():
                _abandon(work, fault)
            elif not batch or (work.key == batch[0].key and rows + work.rows <= self._settings.rows):
                if work.answer.set_running_or_notify_cancel():
                    batch.append(work)
                    rows += work.rows
            else:
                left.append(work)
        self._waiting = left
        return batch

    def _answer(self, batch: list[Work]) -> None:
        if not batch:
            return
        start = time.monotonic()
        try:
            answers = self._compute(batch[0].key, [work.payload for work in batch])
        except BaseException as error:
            if len(batch) > 1:  # whoever caused it must not fail the others
                for work in batch:
                    self._answer([work])
            else:
                batch[0].answer.set_exception(error)
            return
        for work, answer in zip(batch, answers, strict=True):
            work.answer.set_result(answer)
        waited = [start - work.waiting_since for work in batch]
        self._observe(Batch(waited, sum(work.rows for work in batch), time.monotonic() - start))


def _abandon(work: Work, fault: Fault) -> None:
    if work.answer.set_running_or_notify_cancel():
        work.answer.set_exception(fault)
