"""The queue: batches of what fits together, bounded, in time, nothing computed for nobody, nobody failed by others."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tf_ssgn.serving.core import batcher as batcher_module
from tf_ssgn.serving.core.batcher import Batch, Batcher, Call, Work
from tf_ssgn.serving.core.faults import Fault
from tf_ssgn.settings import Serving


class Doubler:
    """Doubles numbers, key by key; waits at its gate and remembers its batches."""

    def __init__(self) -> None:
        self.gate, self.batches = threading.Event(), []

    def __call__(self, key: Any, numbers: list[Any]) -> list[Any]:
        self.batches.append((key, list(numbers)))
        assert self.gate.wait(20)
        if "bad" in numbers:
            raise ZeroDivisionError
        return [2 * number for number in numbers]


def made(doubler: Doubler, observe: Any = lambda batch: None, **options: Any) -> Batcher:
    few = {"slots": 1, "rows": 4, "queue": 8, "storm_queue": 8, "queue_bytes": 1000}
    return Batcher(doubler, Serving(**{**few, **options}), observe)


def work(number: Any, key: str = "a", rows: int = 1, size: int = 1, seconds: float = 20.0, **call: Any) -> Work:
    return Work(key, rows, size, number, Call(time.monotonic() + seconds, **call))


def busy(doubler: Doubler, **options: Any) -> Batcher:
    """One whose only worker computes a request, until the gate opens: what comes then waits."""
    batcher = made(doubler, **options)
    batcher.submit(work(0))
    wait_until(lambda: doubler.batches)
    return batcher


def wait_until(true: Any) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_what_waits_is_computed_together_by_key_and_up_to_the_rows() -> None:
    doubler = Doubler()
    seen: list[Batch] = []
    batcher = made(doubler, observe=seen.append)
    first = batcher.submit(work(0))
    wait_until(lambda: doubler.batches)
    answers = [batcher.submit(work(number, key)) for number, key in enumerate("ababaaa", start=1)]
    answers.append(batcher.submit(work(8, "b", rows=3)))
    assert batcher.waiting == 8
    doubler.gate.set()
    assert first.result(20) == 0
    assert [answer.result(20) for answer in answers] == [2, 4, 6, 8, 10, 12, 14, 16]
    assert doubler.batches == [("a", [0]), ("a", [1, 3, 5, 6]), ("b", [2, 4]), ("a", [7]), ("b", [8])]
    batcher.close()
    assert [batch.rows for batch in seen] == [1, 4, 2, 1, 3]
    assert batcher.waiting == 0 and all(seconds >= 0 for batch in seen for seconds in batch.waited)


def test_one_larger_than_a_batch_is_computed_alone() -> None:
    doubler = Doubler()
    doubler.gate.set()
    batcher = made(doubler)
    assert batcher.wait(work(4, rows=9)) == 8


@pytest.mark.parametrize(("options", "fits"), [({"queue": 3}, 3), ({"queue_bytes": 20}, 2)], ids=["requests", "bytes"])
def test_a_full_queue_refuses_at_once(options: dict, fits: int) -> None:
    doubler = Doubler()
    batcher = busy(doubler, **options)
    waiting = [batcher.submit(work(number, size=10)) for number in range(fits)]
    with pytest.raises(Fault) as caught:  # while the gate is shut, so at once
        batcher.submit(work(99, size=10))
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    waiting[0].cancel()
    waiting[0] = batcher.submit(work(7, size=10))
    doubler.gate.set()
    assert waiting[0].result(20) == 14


def test_while_others_are_refused_the_queue_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "STORM_SECONDS", 0.2)
    doubler = Doubler()
    batcher = busy(doubler, queue=3, storm_queue=1)
    accepted = []
    for number in range(3):
        batcher.check()
        accepted.append(batcher.submit(work(number)))
    for ask in (batcher.check, lambda: batcher.submit(work(9))):
        with pytest.raises(Fault, match="3 requests wait") as caught:
            ask()
        assert caught.value.code == "RESOURCE_EXHAUSTED"
    doubler.gate.set()
    assert [answer.result(20) for answer in accepted] == [0, 2, 4]
    doubler.gate.clear()
    batcher.submit(work(0))
    wait_until(lambda: batcher.waiting == 0)
    batcher.submit(work(1))
    with pytest.raises(Fault, match="1 requests wait"):
        batcher.check()
    wait_until(lambda: time.monotonic() > batcher._calm_from)
    batcher.check()
    batcher.submit(work(2))
    doubler.gate.set()
    batcher.close()
    with pytest.raises(Fault, match="shutting down"):
        batcher.check()


def test_a_request_of_any_size_fits_into_an_empty_queue() -> None:
    doubler = Doubler()
    doubler.gate.set()
    assert made(doubler, queue_bytes=1).wait(work(1, size=100)) == 2


def test_those_who_gave_up_make_room_and_are_not_computed() -> None:
    doubler, here = Doubler(), threading.Event()
    here.set()
    batcher = busy(doubler, queue=2)
    gone = batcher.submit(work(1, alive=here.is_set))
    late = batcher.submit(work(2, seconds=0.01))
    wait_until(lambda: batcher._waiting[-1].call.remaining() <= 0)
    here.clear()
    kept = batcher.submit(work(3))
    doubler.gate.set()
    assert kept.result(20) == 6
    for answer, code in ((gone, "CANCELLED"), (late, "DEADLINE_EXCEEDED")):
        with pytest.raises(Fault) as caught:
            answer.result(0)
        assert caught.value.code == code
    assert doubler.batches == [("a", [0]), ("a", [3])]


@pytest.mark.parametrize(
    ("options", "code"), [({"seconds": -1.0}, "DEADLINE_EXCEEDED"), ({"alive": bool}, "CANCELLED")]
)
def test_nobody_is_queued_who_does_not_wait(options: dict, code: str) -> None:
    doubler = Doubler()
    with pytest.raises(Fault) as caught:
        made(doubler).submit(work(1, **options))
    assert caught.value.code == code and not doubler.batches


def test_a_caller_waits_no_longer_than_its_deadline() -> None:
    doubler = Doubler()
    batcher = busy(doubler)
    with pytest.raises(Fault) as caught:
        batcher.wait(work(1, seconds=0.05))
    assert (caught.value.code, batcher.waiting) == ("DEADLINE_EXCEEDED", 0)
    doubler.gate.set()


def test_a_caller_who_goes_away_leaves_the_queue() -> None:
    doubler = Doubler()
    batcher = busy(doubler)
    leave: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(batcher.wait, work(1, watch=leave.append))
        wait_until(lambda: batcher.waiting == 1)
        leave[0]()
        with pytest.raises(Fault) as caught:
            waiter.result(20)
    assert (caught.value.code, batcher.waiting) == ("CANCELLED", 0)
    doubler.gate.set()


def test_a_failure_is_of_its_own_request_only() -> None:
    doubler = Doubler()
    batcher = busy(doubler)
    answers = [batcher.submit(work(number)) for number in (1, "bad", 3)]
    doubler.gate.set()
    assert (answers[0].result(20), answers[2].result(20)) == (2, 6)
    with pytest.raises(ZeroDivisionError):
        answers[1].result(20)
    assert batcher.wait(work(5)) == 10


def test_closing_answers_what_waits_and_refuses_the_rest() -> None:
    doubler = Doubler()
    batcher = made(doubler, slots=2)
    answers = [batcher.submit(work(number)) for number in range(8)]
    doubler.gate.set()
    batcher.close()
    assert [answer.result(0) for answer in answers] == [2 * number for number in range(8)]
    with pytest.raises(Fault) as caught:
        batcher.submit(work(1))
    assert caught.value.code == "UNAVAILABLE"


def test_many_callers_get_their_own_answers() -> None:
    doubler = Doubler()
    doubler.gate.set()
    batcher = made(doubler, slots=2, queue=100)
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda number: batcher.wait(work(number, "ab"[number % 2])), range(500)))
    assert found == [2 * number for number in range(500)]
