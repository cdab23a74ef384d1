"""The TensorFlow Serving gRPC API, spoken with its stock protos; everything that is decided is decided in `service`."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

from tf_ssgn.runtime import wire
from tf_ssgn.serving.core import messages, tensors
from tf_ssgn.serving.core.access import Access
from tf_ssgn.serving.core.batcher import Call
from tf_ssgn.serving.core.faults import Fault, invalid
from tf_ssgn.serving.core.service import Service, Target, request_id

UNREADABLE = object()  # stands for a request that could not be parsed

logger = logging.getLogger(__name__)


def handlers(service: Service, access: Access, refresh: Callable[[], Any]) -> list[grpc.GenericRpcHandler]:
    """The handlers of PredictionService and ModelService; `refresh` looks for newer versions of what is
    served, and says why it refused one."""
    answers = Answers(service, refresh)
    unary = partial(_unary, service, access)
    return [
        grpc.method_handlers_generic_handler(
            "tensorflow.serving.PredictionService",
            {
                "Predict": unary("Predict", answers.predict, predict_pb2.PredictRequest),
                "GetModelMetadata": unary(
                    "GetModelMetadata", answers.metadata, get_model_metadata_pb2.GetModelMetadataRequest
                ),
            },
        ),
        grpc.method_handlers_generic_handler(
            "tensorflow.serving.ModelService",
            {
                "GetModelStatus": unary("GetModelStatus", answers.status, get_model_status_pb2.GetModelStatusRequest),
                "HandleReloadConfigRequest": unary(
                    "HandleReloadConfigRequest", answers.reload, model_management_pb2.ReloadConfigRequest
                ),
            },
        ),
    ]


def _unary(
    service: Service,
    access: Access,
    method: str,
    answer: Callable[[Any, Any], Any],
    request_class: Any,
) -> grpc.RpcMethodHandler:
    """A handler that turns faults into status codes, and bytes that are no such message into INVALID_ARGUMENT.

    gRPC calls an exception or a None of the parser INTERNAL, hence UNREADABLE.
    """

    def parse(data: bytes) -> Any:
        try:
            return request_class.FromString(data)
        except DecodeError:
            return UNREADABLE

    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        start = time.monotonic()
        service.begin(_metadata(context, "traceparent"))
        code, message = "OK", ""
        try:
            access.admit(_client(context), _metadata(context, "authorization"), "search")
            if request is UNREADABLE:
                raise invalid(f"the request is not a {request_class.DESCRIPTOR.full_name}")
            return answer(request, context)
        except Fault as fault:
            code, message = fault.code, str(fault)
        except Exception:  # gRPC would tell the client our exception's text, paths and all
            logger.exception("a request failed")
            code, message = "INTERNAL", "the server failed; its log says why"
        finally:
            identity = request_id(_metadata(context, "x-request-id"))
            service.answered("grpc", method, code, time.monotonic() - start, identity)
        context.abort(getattr(grpc.StatusCode, code), message)

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=parse, response_serializer=lambda response: response.SerializeToString()
    )


def _client(context: grpc.ServicerContext) -> str:
    """The address without its port: `ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000`."""
    return context.peer().rpartition(":")[0]


def _metadata(context: grpc.ServicerContext, name: str) -> str | None:
    value = next((value for key, value in context.invocation_metadata() if key == name), None)
    return value if isinstance(value, str) else None


class Answers:
    """Messages to arrays, the service, arrays to messages."""

    def __init__(self, service: Service, refresh: Callable[[], Any]):
        self._service, self._refresh = service, refresh

    def predict(self, request: Any, context: Any) -> Any:
        settings = self._service.settings
        remaining = context.time_remaining()
        longest = settings.deadline_seconds
        wait = longest if remaining is None else min(remaining, longest)
        call = Call(time.monotonic() + wait, context.is_active, context.add_callback)
        call.check()
        self._service.batcher.check()  # a full server says so before it looks at a picture
        try:
            inputs = {name: tensors.pending(proto, settings.message_bytes) for name, proto in request.inputs.items()}
        except tensors.TensorFault as fault:
            raise invalid(f"an input is not a tensor: {fault}") from None
        target = _target(request.model_spec)
        more = _metadata(context, wire.MORE_OUTPUTS) is not None
        version, name, outputs = self._service.predict(target, inputs, list(request.output_filter), call, more)
        response = predict_pb2.PredictResponse()
        spec = response.model_spec
        spec.name, spec.version.value, spec.signature_name = target.name, version.version, name
        for key, array in outputs.items():
            tensors.encode(array, response.outputs[key])
        return response

    def metadata(self, request: Any, context: Any) -> Any:
        if not request.metadata_field:
            raise invalid("the request has no metadata_field, expected 'signature_def'")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"metadata_field {field[:64]!r} is not supported, expected 'signature_def'")
        return messages.metadata(self._service, _target(request.model_spec))

    def status(self, request: Any, context: Any) -> Any:
        return messages.status(self._service, _target(request.model_spec))

    def reload(self, request: Any, context: Any) -> Any:
        """Looks for newer versions now. The config may only name what is served: no path is taken from a request."""
        name = self._service.settings.name
        models = request.config.model_config_list.config
        if request.config.WhichOneof("config") != "model_config_list" or [model.name for model in models] != [name]:
            raise invalid(f"expected a model_config_list with the one model {name!r}, which the command line names")
        if models[0].base_path:
            raise invalid("base_path: expected none; this server takes its folders from its command line only")
        if refused := self._refresh():
            raise Fault("FAILED_PRECONDITION", f"a newer version was refused, the old one stays: {refused}")
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response


def _target(spec: Any) -> Target:
    return Target(
        name=spec.name,
        version=spec.version.value if spec.HasField("version") else None,
        label=spec.version_label,
        signature=spec.signature_name,
    )
