"""Turns: bounded, in time, and released whatever happens."""

from __future__ import annotations

import threading
import time

import pytest

from tf_ssgn.serving.faults import Fault
from tf_ssgn.serving.slots import Call, Slots


def call(seconds: float = 10.0, alive: bool = True) -> Call:
    return Call(time.monotonic() + seconds, lambda: alive)


def test_only_so_many_run_at_once() -> None:
    slots, running, most = Slots(2, 20), 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal running, most
        with slots.turn(call()):
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.01)
            with lock:
                running -= 1

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, slots.under_way) == (2, 0)


def test_a_full_queue_refuses_at_once_and_a_free_place_is_given_again() -> None:
    slots = Slots(1, 0)
    with slots.turn(call()), pytest.raises(Fault) as caught, slots.turn(call()):
        pass
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    with slots.turn(call()):
        pass


@pytest.mark.parametrize(
    ("late", "code"),
    [(call(0.05), "DEADLINE_EXCEEDED"), (call(-1), "DEADLINE_EXCEEDED")],
    ids=["passes while waiting", "has passed"],
)
def test_nobody_waits_longer_than_its_deadline(late: Call, code: str) -> None:
    slots = Slots(1, 1)
    with slots.turn(call()), pytest.raises(Fault) as caught, slots.turn(late):
        pass
    assert (caught.value.code, slots.under_way) == (code, 0)


@pytest.mark.parametrize(("gone", "code"), [(call(alive=False), "CANCELLED"), (call(-1), "DEADLINE_EXCEEDED")])
def test_nothing_is_computed_for_nobody(gone: Call, code: str) -> None:
    slots = Slots(1, 1)
    with pytest.raises(Fault) as caught, slots.turn(gone):
        raise AssertionError("computed")
    assert (caught.value.code, slots.under_way) == (code, 0)


def test_a_failing_computation_gives_its_slot_back() -> None:
    slots = Slots(1, 0)
    with pytest.raises(ZeroDivisionError), slots.turn(call()):
        raise ZeroDivisionError
    with slots.turn(call()):
        assert slots.under_way == 1
