"""The client in a process of its own, without TensorFlow and beside it, whose messages have the same names."""

from __future__ import annotations

import subprocess
import sys

from tf_ssgn.client import Client

CALLS = """
import sys
from tf_ssgn.client import Client
client = Client(sys.argv[1])
hits = client.search(sys.argv[2], k=3)
assert len(hits) == 3 and client.status()[0]["state"] == "AVAILABLE" and "search" in client.metadata()["signatures"]
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"tensorflow", "tensorflow_serving", "keras", "scann"}, loaded

from tensorflow_serving.apis import predict_pb2  # imports TensorFlow, whose protos have the same names
assert "tensorflow" in sys.modules
predict_pb2.PredictRequest().inputs["k"].int_val.append(1)
assert client.search(sys.argv[2], k=3) == hits
print(hits[0].id)
"""


def test_client_without_tensorflow_and_with_it_imported_later(server, photos) -> None:
    sketch = photos / "circle" / "0.png"
    command = [sys.executable, "-c", CALLS, server.address, str(sketch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "photo/circle/0.png"


def test_client_with_tensorflow_imported_first(server, photos) -> None:
    assert "tensorflow" in sys.modules
    with Client(server.address) as client:
        assert client.search(photos / "circle" / "0.png", k=1)[0].id == "photo/circle/0.png"
