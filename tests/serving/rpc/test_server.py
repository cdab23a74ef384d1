"""The server as a stock TensorFlow Serving client sees it: answers, errors, health, load."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving import serving_tiny as tiny
from tf_ssgn.client import Client, RequestError
from tf_ssgn.common.status import Status
from tf_ssgn.errors import UserError
from tf_ssgn.serving.core.access import Access
from tf_ssgn.serving.core.addresses import resolve_host
from tf_ssgn.serving.core.service import ModelRequest, Service, VersionState, served
from tf_ssgn.serving.rpc.server import Server
from tf_ssgn.settings import SERVING, Serving

SEARCH_OUTPUTS = {"ids", "scores", "count", "status"}


@pytest.fixture(scope="module")
def stub(channel: Any) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request(
    images: Any, k: Any = None, signature: str = "", name: str = "ssgn", **inputs: Any
) -> predict_pb2.PredictRequest:
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = name, signature
    if images is not None:
        made.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images, tf.string))
    if k is not None:
        made.inputs["k"].CopyFrom(tf.make_tensor_proto(k, tf.int32))
    for key, value in inputs.items():
        made.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return made


def answer(stub: Any, message: Any, **options: Any) -> dict[str, np.ndarray]:
    response = stub.Predict(message, timeout=20, **options)
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def code_of(stub: Any, message: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(message, timeout=20, **options)
    assert "\n" not in caught.value.details()
    return caught.value.code().name, caught.value.details()


def test_search_is_the_default_and_equals_the_calls_in_process(stub, model, gallery) -> None:
    images, k = [tiny.drawing(3), tiny.drawing(50), tiny.drawing(5)], [2, 4, 100]
    out = answer(stub, request(images, k))
    assert set(out) == SEARCH_OUTPUTS
    assert out["ids"].shape == out["scores"].shape == (3, 100)
    assert out["count"].tolist() == [2, 4, len(gallery)]
    assert out["status"].tolist() == [0, 0, 0]
    assert (out["ids"][0, 0], out["ids"][2, 0]) == (b"photo/circle/3.png", b"photo/cross/5.png")
    vectors = model.call("embed_sketch", {"image_bytes": np.array(images, object)})["embedding"]
    for row, hits in enumerate(gallery.search(vectors, k=100)):
        count = out["count"][row]
        assert [item.decode() for item in out["ids"][row, :count]] == [hit.id for hit in hits[:count]]
        np.testing.assert_allclose(out["scores"][row, :count], [hit.score for hit in hits[:count]], atol=1e-5)
        assert np.isnan(out["scores"][row, count:]).all() and set(out["ids"][row, count:]) <= {b""}
    np.testing.assert_equal(answer(stub, request(images, k, "search")), out)


def test_every_signature_answers_as_the_metadata_says(stub) -> None:
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "ssgn"
    response = stub.GetModelMetadata(asked, timeout=20)
    assert response.model_spec.version.value == 1
    table = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(table)
    names = {"serving_default", "search", "search_photo", "embed_sketch", "embed_photo", "explain"}
    names |= {"embed_word", "search_word"}
    assert set(table.signature_def) == names
    for name, definition in table.signature_def.items():
        assert definition.method_name == "tensorflow/serving/predict"
        asked = request([tiny.drawing(1)] * 2, [3, 3] if "k" in definition.inputs else None, name)
        if "word" in definition.inputs:
            asked.inputs["word"].CopyFrom(tf.make_tensor_proto([b"circle", b""]))
        out = answer(stub, asked)
        assert set(out) == set(definition.outputs)
        for key, info in definition.outputs.items():
            assert tf.as_dtype(info.dtype) == tf.as_dtype(out[key].dtype if out[key].dtype != object else tf.string)
            sides = [dim.size for dim in info.tensor_shape.dim]
            assert len(sides) == out[key].ndim
            assert all(side in (-1, real) for side, real in zip(sides, out[key].shape, strict=True))


def test_a_word_beside_a_drawing_or_alone(stub, model) -> None:
    images = [tiny.drawing(1), b"", tiny.drawing(1), b"", tiny.drawing(1)]
    said = [b"circles", b"CIRCLE", b"", b"", b"crcle"]
    asked = request(images, [2] * 5, "search_word")
    asked.inputs["word"].CopyFrom(tf.make_tensor_proto(said))
    out = answer(stub, asked)
    assert out["status"].tolist() == [0, 0, 0, Status.EMPTY, Status.UNKNOWN_WORD]
    assert out["count"].tolist() == [2, 2, 2, 0, 0]
    embedded = request(images, signature="embed_word")
    embedded.inputs["word"].CopyFrom(tf.make_tensor_proto(said))
    expected = model.call("embed_word", {"image_bytes": np.array(images, object), "word": np.array(said, object)})
    np.testing.assert_allclose(answer(stub, embedded)["embedding"], expected["embedding"], atol=1e-6)
    embedded.inputs["word"].CopyFrom(tf.make_tensor_proto([1, 2, 3, 4, 5]))
    assert code_of(stub, embedded)[0] == "INVALID_ARGUMENT"
    del embedded.inputs["word"]
    assert code_of(stub, embedded)[0] == "INVALID_ARGUMENT"


def test_values_lie_where_clients_read_them_directly(stub) -> None:
    response = stub.Predict(request([tiny.drawing(1)], signature="embed_sketch"), timeout=20)
    assert len(response.outputs["embedding"].float_val) == tiny.DIMENSION
    assert np.linalg.norm(response.outputs["embedding"].float_val) == pytest.approx(1, abs=1e-5)
    assert (response.model_spec.name, response.model_spec.signature_name) == ("ssgn", "embed_sketch")
    assert response.model_spec.version.value == 1


def test_output_filter(stub) -> None:
    asked = request([tiny.drawing(1)], [3])
    asked.output_filter.extend(["ids", "count"])
    assert set(answer(stub, asked)) == {"ids", "count"}
    asked.output_filter.append("nothing")
    assert code_of(stub, asked)[0] == "INVALID_ARGUMENT"
    asked.output_filter[2] = "ids"
    assert code_of(stub, asked)[0] == "INVALID_ARGUMENT"


def test_one_k_for_all_rows_as_compressed_by_tensorflow(stub) -> None:
    asked = request([tiny.drawing(1)] * 3)
    asked.inputs["k"].CopyFrom(tf.make_tensor_proto(2, tf.int32, [3]))
    assert answer(stub, asked)["count"].tolist() == [2, 2, 2]


PNG = tiny.drawing(1)
FAULTY = {
    "empty": (b"", Status.EMPTY),
    "text": (b"<html></html>", Status.UNKNOWN_FORMAT),
    "magic only": (b"\x89PNG\r\n\x1a\n", Status.CORRUPT),
    "cut": (PNG[: len(PNG) // 2], Status.CORRUPT),
    "bomb": (PNG[:16] + b"\x7f\xff\xff\xff" * 2 + PNG[24:], Status.TOO_LARGE),
    "too small": (tiny.drawing(1, side=4), Status.TOO_SMALL),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_image_is_its_rows_status_also_alone(stub, name: str) -> None:
    image, status = FAULTY[name]
    alone = answer(stub, request([image], [3]))
    assert (alone["status"].tolist(), alone["count"].tolist()) == ([status], [0])
    out = answer(stub, request([PNG, image, tiny.drawing(5)], [3, 3, 1]))
    assert out["status"].tolist() == [0, status, 0]
    assert out["count"].tolist() == [3, 0, 1]
    assert out["ids"][2, 0] == b"photo/cross/5.png"
    embedded = answer(stub, request([image], signature="embed_photo"))
    assert embedded["status"].tolist() == [status] and not embedded["embedding"].any()


@pytest.mark.parametrize("k", [0, -1, SERVING.k + 1, 2**31 - 1, -(2**31)])
def test_a_bad_k_is_its_rows_status(stub, k: int) -> None:
    out = answer(stub, request([PNG, PNG], [k, 2]))
    assert (out["status"].tolist(), out["count"].tolist()) == ([Status.BAD_K, 0], [0, 2])
    assert answer(stub, request([PNG], [k]))["ids"].shape == (1, 0)


def test_k_at_its_limit(stub, gallery) -> None:
    out = answer(stub, request([PNG], [SERVING.k]))
    assert (out["status"].tolist(), out["count"].tolist()) == ([0], [len(gallery)])


def tensor(shape: list[int], **values: Any) -> Any:
    made = tensor_pb2.TensorProto(**values)
    for side in shape:
        made.tensor_shape.dim.add(size=side)
    return made


MALFORMED = {
    "unknown model": (request([PNG], [1], name="other"), "NOT_FOUND"),
    "no model": (request([PNG], [1], name=""), "INVALID_ARGUMENT"),
    "unknown signature": (request([PNG], [1], "nothing"), "FAILED_PRECONDITION"),
    "missing input": (request([PNG]), "INVALID_ARGUMENT"),
    "no inputs": (request(None), "INVALID_ARGUMENT"),
    "extra input": (request([PNG], [1], other=[1]), "INVALID_ARGUMENT"),
    "misnamed input": (request(None, [1], image_byte=[PNG]), "INVALID_ARGUMENT"),
    "scalar image": (request(PNG, 1), "INVALID_ARGUMENT"),
    "rank 2": (request([[PNG]], [1]), "INVALID_ARGUMENT"),
    "different batches": (request([PNG, PNG], [1]), "INVALID_ARGUMENT"),
    "batch of 0": (request([], []), "INVALID_ARGUMENT"),
    "batch of 33": (request([PNG] * 33, [1] * 33), "INVALID_ARGUMENT"),
    "10,000 images": (request([b""] * 10_000, [1] * 10_000), "INVALID_ARGUMENT"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_refused_in_one_line(stub, name: str) -> None:
    message, code = MALFORMED[name]
    assert code_of(stub, message)[0] == code


@pytest.mark.parametrize(
    "k",
    [
        tf.make_tensor_proto(np.array([1], np.int64)),
        tf.make_tensor_proto(np.array([1.5], np.float32)),
        tensor([2**40], dtype=3, int_val=[1]),
        tensor([-1], dtype=3, int_val=[1]),
        tensor([1], dtype=3, int_val=[1, 2]),
        tensor([1], dtype=3, tensor_content=b"\x01"),
        tensor([1], dtype=7777),
        tensor([1]),
    ],
    ids=["int64", "float", "shape bomb", "negative", "two values", "short content", "odd dtype", "empty"],
)
def test_a_k_that_is_no_int32_vector(stub, k: Any) -> None:
    asked = request([PNG])
    asked.inputs["k"].CopyFrom(k)
    assert code_of(stub, asked)[0] == "INVALID_ARGUMENT"


def test_batch_at_its_limit(stub) -> None:
    assert answer(stub, request([PNG] * SERVING.batch, [1] * SERVING.batch))["count"].sum() == SERVING.batch


def test_labels_are_looked_up_for_those_who_ask(model, gallery, monkeypatch) -> None:
    asked: list[str] = []

    def labels_of(self: Any, ids: Any) -> dict[str, str]:
        asked.extend(ids)
        return {id: f"label of {id}" for id in ids}

    monkeypatch.setattr(type(gallery), "labels_of", labels_of)
    requests = [
        ModelRequest(np.array([tiny.drawing(seed)], object), np.array([1], np.int32), labels=seed == 1)
        for seed in range(3)
    ]
    answers = Service()._compute((served(model, gallery, 1), "embed_sketch"), requests)
    ids = [str(answer["ids"][0, 0]) for answer in answers]
    assert len(set(ids)) == 3 and asked == [ids[1]], "in a batch with those who do not"
    assert answers[1]["labels"].tolist() == [[f"label of {ids[1]}"]]
    assert "labels" not in answers[0] and "labels" not in answers[2]


def test_versions_and_labels(stub) -> None:
    asked = request([PNG], [1])
    asked.model_spec.version.value = 1
    assert answer(stub, asked)["count"].tolist() == [1]
    asked.model_spec.version.value = 2
    assert code_of(stub, asked)[0] == "NOT_FOUND"
    asked.model_spec.version_label = "canary"
    assert code_of(stub, asked)[0] == "INVALID_ARGUMENT"


def test_status_metadata_and_reload_requests(channel, stub) -> None:
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "ssgn"
    (found,) = models.GetModelStatus(asked, timeout=20).model_version_status
    assert (found.version, found.state, found.status.error_code) == (1, 30, 0)
    asked.model_spec.name = "other"
    for call, message, code in (
        (models.GetModelStatus, asked, "NOT_FOUND"),
        (models.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest(), "INVALID_ARGUMENT"),
        (stub.GetModelMetadata, get_model_metadata_pb2.GetModelMetadataRequest(), "INVALID_ARGUMENT"),
        (stub.GetModelMetadata, metadata_request("weights"), "INVALID_ARGUMENT"),
        (stub.Classify, classification_pb2.ClassificationRequest(), "UNIMPLEMENTED"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(message, timeout=20)
        assert caught.value.code().name == code


def metadata_request(field: str) -> Any:
    made = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[field])
    made.model_spec.name = "ssgn"
    return made


@pytest.mark.parametrize(
    "data", [b"\xff" * 20, b"\x12\x05hello", b"\x0a\x03\x0a\x01\xff"], ids=["noise", "text", "utf8"]
)
def test_bytes_that_are_no_message(channel, data: bytes) -> None:
    raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError) as caught:
        raw(data, timeout=20)
    assert caught.value.code().name == "INVALID_ARGUMENT"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_and_any_image_are_answered_without_internal_errors(server, data: bytes) -> None:
    with grpc.insecure_channel(server.address) as channel:
        raw = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        message = predict_pb2.PredictRequest()
        message.model_spec.name = "ssgn"
        message.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([data]))
        message.inputs["k"].CopyFrom(tf.make_tensor_proto([1]))
        for sent in (data, message.SerializeToString() + data):
            try:
                raw(sent, timeout=20)
            except grpc.RpcError as error:
                assert error.code().name in ("INVALID_ARGUMENT", "NOT_FOUND")


def test_a_message_over_the_limit_is_refused(stub) -> None:
    image = bytes(SERVING.message_bytes)
    assert code_of(stub, request([image], [1]))[0] == "RESOURCE_EXHAUSTED"
    assert answer(stub, request([bytes(9 * 2**20)], [1]))["status"].tolist() == [Status.TOO_LARGE]


def test_health_of_every_name(channel) -> None:
    checks = health_pb2_grpc.HealthStub(channel)
    for name in ("", "ssgn", "tensorflow.serving.PredictionService"):
        assert checks.Check(health_pb2.HealthCheckRequest(service=name), timeout=20).status == 1
    with pytest.raises(grpc.RpcError) as caught:
        checks.Check(health_pb2.HealthCheckRequest(service="other"), timeout=20)
    assert caught.value.code().name == "NOT_FOUND"


def test_reflection_tells_services_and_messages(channel) -> None:
    from google.protobuf.descriptor_pool import DescriptorPool
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert {
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
        "grpc.health.v1.Health",
    } <= services
    service = DescriptorPool(database).FindServiceByName("tensorflow.serving.PredictionService")
    assert service.methods_by_name["Predict"].input_type.fields_by_name["inputs"].message_type is not None


def test_many_clients_at_once_get_their_own_answers(server) -> None:
    def ask(seed: int) -> bytes:
        with grpc.insecure_channel(server.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            return answer(stub, request([tiny.drawing(seed % 12)], [1 + seed % 5]))["ids"][0, 0]

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(60)))
    assert found == [f"photo/{tiny.CLASSES[seed % 12 % 3]}/{seed % 12}.png".encode() for seed in range(60)]


def test_requests_of_every_kind_are_batched_and_get_their_own_answers(model, gallery) -> None:
    """All wait behind one; then neighbours of other k, other signatures and faulty ones share batches."""
    calls: list[tuple[str, int]] = []

    class Counting:
        fingerprint, dimension, card, has_words = model.fingerprint, model.dimension, model.card, False

        def call(self, signature: str, inputs: Any) -> Any:
            calls.append((signature, len(inputs["image_bytes"])))
            return model.call(signature, inputs)

    server, gate = gated(Counting(), gallery)
    with server, grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        first = stub.Predict.future(request([PNG], [1]), timeout=30)
        wait_until(lambda: gate.begun == 1)
        calls.clear()
        asked = [
            request([tiny.drawing(3)], [2]),
            request([tiny.drawing(4), b"", tiny.drawing(5)], [1, 5, 3]),
            request([tiny.drawing(6)], signature="embed_sketch"),
            request([tiny.drawing(7)], [1], "search_photo"),
            request([tiny.drawing(8)], signature="explain"),
            request([tiny.drawing(9), tiny.drawing(10)], [0, 12]),
        ]
        futures = [stub.Predict.future(message, timeout=30) for message in asked]
        wait_until(lambda: server.service.batcher.waiting == len(asked))
        gate.opened.set()
        together = [{name: tf.make_ndarray(v) for name, v in future.result().outputs.items()} for future in futures]
        assert first.result().outputs["count"].int_val[:] == [1]
        assert sorted(calls) == [("embed_photo", 1), ("embed_sketch", 6), ("explain", 1)]
        for message, found in zip(asked, together, strict=True):
            alone = answer(stub, message)
            assert set(found) == set(alone)
            for name in alone:
                if alone[name].dtype == np.float32:
                    np.testing.assert_allclose(found[name], alone[name], atol=1e-5)
                else:
                    np.testing.assert_array_equal(found[name], alone[name])


class Gate:
    """A gallery whose searches wait until they are let through, and count how often they began."""

    def __init__(self, gallery: Any):
        self._gallery, self.opened, self.begun = gallery, threading.Event(), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gallery, name)

    def search_batch(self, vectors: np.ndarray, k: np.ndarray) -> Any:
        self.begun += 1
        assert self.opened.wait(30)
        return self._gallery.search_batch(vectors, k)


def gated(model: Any, gallery: Any, **settings_: Any) -> tuple[Server, Gate]:
    gate = Gate(gallery)
    service = Service(Serving(slots=1, **settings_))
    server = Server(service, port=0)
    gate.opened.set()
    server.publish(served(model, gate, 1))
    gate.opened.clear()
    gate.begun = 0
    return server, gate


def wait_until(true: Any) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_deadlines_cancellation_and_overload_are_met_before_compute(model, gallery) -> None:
    server, gate = gated(model, gallery, queue=1)
    with server, grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        first = stub.Predict.future(request([PNG], [1]), timeout=30)
        wait_until(lambda: gate.begun == 1)
        late = stub.Predict.future(request([PNG], [1]), timeout=0.3)
        assert late.code().name == "DEADLINE_EXCEEDED"
        wait_until(lambda: server.service.batcher.waiting == 0)
        second = stub.Predict.future(request([PNG], [1]), timeout=30)
        wait_until(lambda: server.service.batcher.waiting == 1)
        assert code_of(stub, request([PNG], [1]))[0] == "RESOURCE_EXHAUSTED", "while the gate is shut, so at once"
        checks = health_pb2_grpc.HealthStub(channel)
        assert checks.Check(health_pb2.HealthCheckRequest(service="ssgn"), timeout=5).status == 1
        second.cancel()
        wait_until(lambda: not any(work.call.alive() for work in server.service.batcher._waiting))  # it has to travel
        gate.opened.set()
        assert first.result().outputs["count"].int_val[:] == [1]
    assert gate.begun == 1, "neither the late nor the cancelled request was computed before the server had ended"


def states_of(channel: Any) -> list[tuple[int, str, str]]:
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "ssgn"
    answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(asked, timeout=20)
    names = get_model_status_pb2.ModelVersionStatus.State.Name
    return [(item.version, names(item.state), item.status.error_message) for item in answer.model_version_status]


def test_a_model_that_is_still_loading(model, gallery) -> None:
    with Server(Service(), port=0) as server, grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        checks = health_pb2_grpc.HealthStub(channel)
        assert code_of(stub, request([PNG], [1]))[0] == "UNAVAILABLE"
        assert states_of(channel) == []
        server.service.states[1] = VersionState("LOADING")
        assert states_of(channel) == [(1, "LOADING", "")]
        server.service.states[2] = VersionState("END", "not whole")
        assert states_of(channel) == [(2, "END", "not whole"), (1, "LOADING", "")]
        del server.service.states[2]
        assert checks.Check(health_pb2.HealthCheckRequest(service="ssgn"), timeout=20).status == 2
        server.publish(served(model, None, 1))
        assert states_of(channel) == [(1, "AVAILABLE", "")]
        assert checks.Check(health_pb2.HealthCheckRequest(service="ssgn"), timeout=20).status == 1
        code, details = code_of(stub, request([PNG], [1]))
        assert code == "FAILED_PRECONDITION" and "embed_sketch" in details


def test_draining_finishes_what_is_under_way_and_refuses_the_rest(model, gallery) -> None:
    server, gate = gated(model, gallery)
    with server, grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        running = stub.Predict.future(request([PNG], [1]), timeout=30)
        wait_until(lambda: gate.begun == 1)
        drain = threading.Thread(target=server.drain)
        drain.start()
        with grpc.insecure_channel(server.address) as late:
            late_stub = prediction_service_pb2_grpc.PredictionServiceStub(late)
            wait_until(lambda: code_of(late_stub, request([PNG], [1]))[0] == "UNAVAILABLE")
        assert drain.is_alive()
        gate.opened.set()
        assert running.result().outputs["count"].int_val[:] == [1]
        drain.join(30)  # gRPC may wait the whole grace period, 10 s, for a call that came while it closed
        assert not drain.is_alive()


def test_a_failure_of_ours_is_internal_and_keeps_its_traceback_to_the_log(model, gallery, caplog) -> None:
    class Broken(Gate):
        def search_batch(self, vectors: np.ndarray, k: np.ndarray) -> Any:
            if self.opened.is_set():
                raise RuntimeError("secret path")
            return self._gallery.search_batch(vectors, k)

    broken = Broken(gallery)
    with Server(Service(), port=0) as server, grpc.insecure_channel(server.address) as channel:
        server.publish(served(model, broken, 1))
        broken.opened.set()
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        code, details = code_of(stub, request([PNG], [1]))
        assert code == "INTERNAL" and "secret" not in details
        assert "secret path" in caplog.text


def test_a_line_of_json_for_each_request_without_payload(stub, caplog) -> None:
    with caplog.at_level("INFO", "tf_ssgn.requests"):
        stub.Predict(request([PNG], [1]), timeout=20, metadata=[("x-request-id", "mine"), ("authorization", "secret")])
        code_of(stub, request([PNG], [1], "nothing"))
        wait_until(lambda: len(caplog.records) == 2)
    first, second = (json.loads(record.message) for record in caplog.records)
    assert set(first) == {"time", "id", "transport", "method", "code", "seconds"}
    assert (first["id"], first["transport"], first["method"], first["code"]) == ("mine", "grpc", "Predict", "OK")
    assert second["code"] == "FAILED_PRECONDITION" and second["id"] != "mine"
    assert "secret" not in caplog.text


def test_a_port_in_use(server) -> None:
    with pytest.raises(UserError, match=f"{server.port}.*in use.*--port 0"):
        Server(Service(), port=server.port)


def test_hosts_that_others_reach_need_a_flag() -> None:
    assert resolve_host("localhost", insecure=False) in ("127.0.0.1", "::1")
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(UserError, match="--insecure"):
            resolve_host(host, insecure=False)
        assert resolve_host(host, insecure=True) == host
    for host in ("no such host.invalid", "a" * 300 + ".invalid", "host.invalid"):
        with pytest.raises(UserError, match="--host"):
            resolve_host(host, insecure=False)


def test_a_gallery_of_another_model(model, gallery) -> None:
    class Other:
        fingerprint, dimension, card = "0" * 64, model.dimension, model.card

    with pytest.raises(UserError, match="another model"):
        served(Other(), gallery, 1)  # type: ignore[arg-type]


def test_tokens_scopes_and_looking_for_newer_versions_on_request(model, gallery) -> None:
    reader, writer = "r" * 20, "w" * 20
    access = Access({reader: frozenset({"search"}), writer: frozenset({"write"})})
    looked: list[int] = []
    server = Server(Service(), port=0, access=access, refresh=lambda: looked.append(1))
    with server, grpc.insecure_channel(server.address) as channel:
        server.publish(served(model, gallery, 1))
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        models = model_service_pb2_grpc.ModelServiceStub(channel)

        def bearer(token: str) -> list[tuple[str, str]]:
            return [("authorization", f"Bearer {token}")]

        assert code_of(stub, request([PNG], [1]))[0] == "UNAUTHENTICATED"
        assert code_of(stub, request([PNG], [1]), metadata=bearer("x" * 20))[0] == "UNAUTHENTICATED"
        assert answer(stub, request([PNG], [1]), metadata=bearer(reader))["count"].tolist() == [1]
        with Client(server.address, token=reader) as client:
            assert client.search(PNG, k=1)
        with Client(server.address) as client, pytest.raises(RequestError, match="UNAUTHENTICATED"):
            client.search(PNG, k=1)

        def reload(token: str, **model: str) -> str:
            asked = model_management_pb2.ReloadConfigRequest()
            if model:
                asked.config.model_config_list.config.add(**model)
            try:
                models.HandleReloadConfigRequest(asked, timeout=20, metadata=bearer(token))
            except grpc.RpcError as error:
                return error.code().name
            return "OK"

        assert reload(writer, name="ssgn") == "PERMISSION_DENIED"
        assert reload(reader) == reload(reader, name="other") == "INVALID_ARGUMENT"
        assert reload(reader, name="ssgn", base_path="/etc") == "INVALID_ARGUMENT" and not looked
        assert reload(reader, name="ssgn") == "OK" and looked == [1]
        checks = health_pb2_grpc.HealthStub(channel)
        assert checks.Check(health_pb2.HealthCheckRequest(), timeout=20).status == 1, "probes have no token"
