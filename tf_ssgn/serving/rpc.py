"""The TensorFlow Serving gRPC API, spoken with its stock protos; everything that is decided is decided in `service`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

from tf_ssgn.serving import contract, tensors
from tf_ssgn.serving.faults import Fault, invalid
from tf_ssgn.serving.service import Served, Service, Target
from tf_ssgn.serving.slots import Call

METHOD_NAME = "tensorflow/serving/predict"
AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE

# What stands for a request that could not be parsed.
UNREADABLE = object()

logger = logging.getLogger(__name__)


def handlers(service: Service) -> list[grpc.GenericRpcHandler]:
    """The handlers of PredictionService and ModelService."""
    answers = Answers(service)
    predict, metadata, status = predict_pb2, get_model_metadata_pb2, get_model_status_pb2
    return [
        grpc.method_handlers_generic_handler(
            "tensorflow.serving.PredictionService",
            {
                "Predict": _unary(answers.predict, predict.PredictRequest),
                "GetModelMetadata": _unary(answers.metadata, metadata.GetModelMetadataRequest),
            },
        ),
        grpc.method_handlers_generic_handler(
            "tensorflow.serving.ModelService",
            {
                "GetModelStatus": _unary(answers.status, status.GetModelStatusRequest),
                "HandleReloadConfigRequest": _unary(answers.reload, model_management_pb2.ReloadConfigRequest),
            },
        ),
    ]


def _unary(answer: Callable[[Any, Any], Any], request_class: Any) -> grpc.RpcMethodHandler:
    """A handler that turns faults into status codes, and bytes that are no such message into INVALID_ARGUMENT.

    gRPC calls an exception or a None of the parser INTERNAL, hence UNREADABLE.
    """

    def parse(data: bytes) -> Any:
        try:
            return request_class.FromString(data)
        except DecodeError:
            return UNREADABLE

    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            if request is UNREADABLE:
                raise invalid(f"the request is not a {request_class.DESCRIPTOR.full_name}")
            return answer(request, context)
        except Fault as fault:
            code, message = getattr(grpc.StatusCode, fault.code), str(fault)
        except Exception:
            logger.exception("a request failed")
            code, message = grpc.StatusCode.INTERNAL, "the server failed; its log says why"
        context.abort(code, message)

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=parse, response_serializer=lambda response: response.SerializeToString()
    )


class Answers:
    """Messages to arrays, the service, arrays to messages."""

    def __init__(self, service: Service):
        self._service = service

    def predict(self, request: Any, context: Any) -> Any:
        settings = self._service.settings
        remaining = context.time_remaining()
        longest = settings.deadline_seconds
        call = Call(time.monotonic() + (longest if remaining is None else min(remaining, longest)), context.is_active)
        call.check()
        try:
            inputs = {name: tensors.pending(proto, settings.message_bytes) for name, proto in request.inputs.items()}
        except tensors.TensorFault as fault:
            raise invalid(f"an input is not a tensor: {fault}") from None
        target = _target(request.model_spec)
        version, name, outputs = self._service.predict(target, inputs, list(request.output_filter), call)
        response = predict_pb2.PredictResponse()
        _fill_spec(response.model_spec, target.name, version, name)
        for key, array in outputs.items():
            tensors.encode(array, response.outputs[key])
        return response

    def metadata(self, request: Any, context: Any) -> Any:
        if not request.metadata_field:
            raise invalid("the request has no metadata_field, expected 'signature_def'")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"metadata_field {field[:64]!r} is not supported, expected 'signature_def'")
        target = _target(request.model_spec)
        version = self._service.find(target)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        _fill_spec(response.model_spec, target.name, version, "")
        response.metadata["signature_def"].Pack(_signature_map(version))
        return response

    def status(self, request: Any, context: Any) -> Any:
        version = self._service.find(_target(request.model_spec))
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=version.version, state=AVAILABLE).status.SetInParent()
        return response

    def reload(self, request: Any, context: Any) -> Any:
        raise Fault("UNIMPLEMENTED", "this server takes its models from its command line only")


def _target(spec: Any) -> Target:
    return Target(
        name=spec.name,
        version=spec.version.value if spec.HasField("version") else None,
        label=spec.version_label,
        signature=spec.signature_name,
    )


def _fill_spec(spec: Any, name: str, version: Served, signature: str) -> None:
    spec.name = name
    spec.version.value = version.version
    spec.signature_name = signature


def _signature_map(version: Served) -> Any:
    result = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in version.signatures.items():
        definition = result.signature_def[name]
        definition.method_name = METHOD_NAME
        for side, specs in ((definition.inputs, signature.inputs), (definition.outputs, signature.outputs)):
            for key, spec in specs.items():
                _fill_info(side[key], f"{name}_{key}:0", spec)
    return result


def _fill_info(info: Any, name: str, spec: contract.Spec) -> None:
    info.name = name
    info.dtype = tensors.BY_NAME[spec.dtype].number
    for size in spec.shape:
        info.tensor_shape.dim.add(size=size)
