"""Several devices: the history of a run is that of one device."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import socket
import subprocess
import sys

import keras
import pytest

from tf_ssgn.config import override
from tf_ssgn.errors import UserError
from tf_ssgn.train import train
from tf_ssgn.training.devices import Devices, open_devices

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="strategies are TensorFlow's")

TRAIN = """
import os, pickle, sys
arguments = pickle.load(sys.stdin.buffer)
if arguments[-1] == "mirrored":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tf_ssgn.train import train
train(*arguments)
"""


def history(run):
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def start(arguments, **environment):
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | environment
    )
    process.stdin.write(pickle.dumps(arguments))
    process.stdin.close()
    process.stdin = None
    return process


def free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def test_mirrored_and_several_workers_follow_one_device(chain, tiny_config, cache, tmp_path):
    """Two virtual CPU devices in one process; two processes with one each."""
    places = (tiny_config, str(chain.data), None)
    workers = [f"localhost:{port}" for port in free_ports(2)]
    tasks = [{"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}} for index in range(2)]
    processes = [start((*places, str(tmp_path / "mirrored"), cache, "mirrored"))]
    processes += [
        start((*places, str(tmp_path / "multiworker"), cache, "multiworker"), TF_CONFIG=json.dumps(task))
        for task in tasks
    ]
    for process in processes:
        _, errors = process.communicate(timeout=800)
        assert process.returncode == 0, errors.decode()
    expected = history(chain.run)
    for name in ("mirrored", "multiworker"):
        rows = history(tmp_path / name)
        assert [(row["phase"], row["epoch"]) for row in rows] == [(row["phase"], row["epoch"]) for row in expected]
        for ours, theirs in zip(rows, expected, strict=True):
            assert {k: v for k, v in ours.items() if k != "seconds"} == pytest.approx(
                {k: v for k, v in theirs.items() if k != "seconds"}, abs=1e-4
            )


def test_mistakes(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match="needs TF_CONFIG"):
        open_devices("multiworker")
    with pytest.raises(UserError, match="32 pairs cannot be shared out evenly over 3 devices"):
        dataclasses.replace(Devices(), strategy=type("Three", (), {"num_replicas_in_sync": 3})()).check_batch(32)
    assert Devices().replicas == 1


def test_a_backbone_in_training_is_refused(drawn, tiny_config, tmp_path):
    tuned = override(tiny_config, {"training.finetune_from": "conv_3"})
    with pytest.raises(UserError, match="--strategy: received with --training.finetune_from conv_3, expected a frozen"):
        train(tuned, str(drawn), None, str(tmp_path / "run"), strategy="mirrored")
    assert not (tmp_path / "run").exists()
