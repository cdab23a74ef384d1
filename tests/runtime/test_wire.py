"""Our messages against the stock protos: every field."""

from __future__ import annotations

import importlib

import pytest

from tf_ssgn.runtime import wire

STOCK = {
    "tensorflow.Dim": ("tensorflow.core.framework.tensor_shape_pb2", "TensorShapeProto.Dim"),
    "tensorflow.TensorShapeProto": ("tensorflow.core.framework.tensor_shape_pb2", "TensorShapeProto"),
    "tensorflow.TensorProto": ("tensorflow.core.framework.tensor_pb2", "TensorProto"),
    "tensorflow.TensorInfo": ("tensorflow.core.protobuf.meta_graph_pb2", "TensorInfo"),
    "tensorflow.SignatureDef": ("tensorflow.core.protobuf.meta_graph_pb2", "SignatureDef"),
    "tensorflow.serving.Version": ("google.protobuf.wrappers_pb2", "Int64Value"),
    "tensorflow.serving.Any": ("google.protobuf.any_pb2", "Any"),
    "tensorflow.serving.ModelSpec": ("tensorflow_serving.apis.model_pb2", "ModelSpec"),
    "tensorflow.serving.PredictLog": ("tensorflow_serving.apis.prediction_log_pb2", "PredictLog"),
    "tensorflow.serving.PredictionLog": ("tensorflow_serving.apis.prediction_log_pb2", "PredictionLog"),
    "tensorflow.serving.StatusProto": ("tensorflow_serving.apis.status_pb2", "StatusProto"),
}
MODULES = {
    "Predict": "predict_pb2",
    "GetModelMetadata": "get_model_metadata_pb2",
    "SignatureDefMap": "get_model_metadata_pb2",
    "GetModelStatus": "get_model_status_pb2",
    "ModelVersionStatus": "get_model_status_pb2",
}


def stock_descriptor(name: str):
    if name in STOCK:
        module, path = STOCK[name]
    else:
        path = name.rpartition(".")[2]
        module = "tensorflow_serving.apis." + next(value for key, value in MODULES.items() if path.startswith(key))
    found = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found.DESCRIPTOR


@pytest.mark.parametrize("name", wire.SCHEMA)
def test_fields_are_those_of_the_stock_protos(name: str) -> None:
    descriptor = stock_descriptor(name)
    for field, number, kind in wire.SCHEMA[name]:
        stock = descriptor.fields_by_name[field]
        assert stock.number == number, field
        assert stock.is_repeated == (kind[0] in "*{"), field
        is_map = stock.message_type is not None and stock.message_type.GetOptions().map_entry
        assert is_map == kind.startswith("{"), field
        plain = kind.strip("*{}")
        if "." in plain:
            assert stock.type == stock.TYPE_MESSAGE, field
        elif stock.type == stock.TYPE_ENUM:
            assert plain == "int32", field
        else:
            assert stock.type == getattr(stock, f"TYPE_{plain.upper()}"), field


def test_states_are_the_stock_ones() -> None:
    from tensorflow_serving.apis import get_model_status_pb2

    stock = get_model_status_pb2.ModelVersionStatus.State.items()
    assert {number: name for name, number in stock} == wire.STATES


def test_bytes_are_read_by_both_sides() -> None:
    from tensorflow_serving.apis import predict_pb2

    ours = wire.PredictRequest(output_filter=["ids"])
    ours.model_spec.name, ours.model_spec.version.value = "ssgn", 7
    ours.inputs["k"].int_val.extend([1, -2, 3])
    stock = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert (stock.model_spec.name, stock.model_spec.version.value) == ("ssgn", 7)
    assert list(stock.inputs["k"].int_val) == [1, -2, 3]
    assert wire.PredictRequest.FromString(stock.SerializeToString()) == ours
