"""Two workers on this machine's loopback: one is killed, both start again, the run ends as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import keras
import pytest

from tests.training.test_devices import free_ports, history, start

pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="strategies are TensorFlow's"),
    pytest.mark.skipif("TF_SSGN_LONG" not in os.environ, reason="takes minutes; `make long` runs it"),
]

NOTICED_SECONDS = 60


def begin(arguments):
    """Both workers, under new ports, as a job that is restarted gives them."""
    workers = [f"localhost:{port}" for port in free_ports(2)]
    cluster = {"worker": workers}
    return [
        start(arguments, TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}))
        for index in range(2)
    ]


def test_a_worker_is_killed_and_returns(chain, tiny_config, cache, tmp_path):
    run = tmp_path / "run"
    arguments = (tiny_config, str(chain.data), None, str(run), cache, "multiworker")
    chief, other = begin(arguments)
    try:
        while not (run / "checkpoints" / "state.npz").exists():
            assert chief.poll() is None and other.poll() is None, chief.stderr.read().decode()
            time.sleep(0.002)
        other.send_signal(signal.SIGKILL)
        other.wait()
        done = len(history(run))
        chief.wait(NOTICED_SECONDS)  # it cannot go on alone, and says so instead of waiting for ever
    except subprocess.TimeoutExpired:
        pytest.fail(f"the chief did not notice within {NOTICED_SECONDS} s that the other worker is gone")
    finally:
        for process in (chief, other):
            process.kill()
    assert chief.returncode != 0
    assert done < len(history(chain.run)), "the kill came before the end"

    for process in begin(arguments):
        _, errors = process.communicate(timeout=280)
        assert process.returncode == 0, errors.decode()
    expected, rows = history(chain.run), history(run)
    assert [(row["phase"], row["epoch"]) for row in rows] == [(row["phase"], row["epoch"]) for row in expected]
    for ours, theirs in zip(rows, expected, strict=True):
        assert {key: value for key, value in ours.items() if key != "seconds"} == pytest.approx(
            {key: value for key, value in theirs.items() if key != "seconds"}, abs=1e-4
        )
