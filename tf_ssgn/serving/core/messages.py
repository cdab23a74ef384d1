"""What is served, in the stock messages of TensorFlow Serving: gRPC sends them, REST writes them as JSON."""

from typing import Any

from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from tf_ssgn.serving.core.service import Service, Target
from tf_ssgn.serving.core.tensors import BY_NAME

METHOD_NAME = "tensorflow/serving/predict"


def metadata(service: Service, target: Target) -> Any:
    """The answer to GetModelMetadata."""
    version = service.find(target)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name, response.model_spec.version.value = target.name, version.version
    table = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in version.signatures.items():
        definition = table.signature_def[name]
        definition.method_name = METHOD_NAME
        for side, specs in ((definition.inputs, signature.inputs), (definition.outputs, signature.outputs)):
            for key, spec in specs.items():
                side[key].name, side[key].dtype = f"{name}_{key}:0", BY_NAME[spec.dtype].number
                for size in spec.shape:
                    side[key].tensor_shape.dim.add(size=size)
    response.metadata["signature_def"].Pack(table)
    return response


def status(service: Service, target: Target) -> Any:
    """The answer to GetModelStatus."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for version, state in service.status(target).items():
        entry = response.model_version_status.add(version=version, state=state.name)
        entry.status.error_message = state.error
        entry.status.error_code = error_codes_pb2.UNKNOWN if state.error else error_codes_pb2.OK
    return response
