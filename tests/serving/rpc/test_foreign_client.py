"""A client that is not ours and knows nothing of TensorFlow Serving: it learns all there is from server reflection."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.serving import serving_tiny as tiny

grpc_requests = pytest.importorskip("grpc_requests")


@pytest.fixture(scope="module")
def client(server: Any) -> Any:
    return grpc_requests.Client.get_by_endpoint(server.address)


def test_what_it_finds(client: Any) -> None:
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService", "grpc.health.v1.Health"} <= set(
        client.service_names
    )


def test_a_drawing_finds_itself(client: Any) -> None:
    image = base64.b64encode(tiny.drawing(4)).decode()
    one = {"dim": [{"size": 1}]}
    answer = client.service("tensorflow.serving.PredictionService").Predict(
        {
            "model_spec": {"name": "ssgn", "signature_name": "search"},
            "inputs": {
                "image_bytes": {"dtype": "DT_STRING", "tensor_shape": one, "string_val": [image]},
                "k": {"dtype": "DT_INT32", "tensor_shape": one, "int_val": [3]},
            },
        }
    )
    outputs = answer["outputs"]
    assert base64.b64decode(outputs["ids"]["string_val"][0]) == b"photo/square/4.png"
    assert outputs["scores"]["float_val"][0] == pytest.approx(1) and outputs["status"]["int_val"] == [0]
    assert answer["model_spec"] == {"name": "ssgn", "version": "1", "signature_name": "search"}


def test_status_and_errors(client: Any) -> None:
    models = client.service("tensorflow.serving.ModelService")
    (found,) = models.GetModelStatus({"model_spec": {"name": "ssgn"}})["model_version_status"]
    assert (found["version"], found["state"]) == ("1", "AVAILABLE")
    with pytest.raises(Exception, match="NOT_FOUND") as caught:
        models.GetModelStatus({"model_spec": {"name": "other"}})
    assert "other" in str(caught.value)
    health = client.service("grpc.health.v1.Health").Check({"service": "ssgn"})
    assert health == {"status": "SERVING"}
