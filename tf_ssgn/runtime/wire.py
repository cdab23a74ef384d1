"""The messages of the TensorFlow Serving API that the client needs, without TensorFlow.

The stock `tensorflow_serving.apis.*_pb2` modules import `tensorflow` (seconds, gigabytes). The wire format needs only
field numbers and types, so the same messages are declared here once more, under the same names, in a descriptor pool
of their own: importing TensorFlow in the same process, before or after, cannot conflict with them. Enums are declared
as int32, which is the same on the wire. `tests/runtime/test_wire.py` compares every field with the stock protos.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# message -> fields as (name, number, type). "*T" is repeated T, "{T}" a map from string to T.
SCHEMA: dict[str, list[tuple[str, int, str]]] = {
    "tensorflow.Dim": [("size", 1, "int64"), ("name", 2, "string")],
    "tensorflow.TensorShapeProto": [("dim", 2, "*tensorflow.Dim"), ("unknown_rank", 3, "bool")],
    "tensorflow.TensorProto": [
        ("dtype", 1, "int32"),
        ("tensor_shape", 2, "tensorflow.TensorShapeProto"),
        ("tensor_content", 4, "bytes"),
        ("float_val", 5, "*float"),
        ("double_val", 6, "*double"),
        ("int_val", 7, "*int32"),
        ("string_val", 8, "*bytes"),
        ("int64_val", 10, "*int64"),
        ("bool_val", 11, "*bool"),
        ("half_val", 13, "*int32"),
    ],
    "tensorflow.TensorInfo": [
        ("name", 1, "string"),
        ("dtype", 2, "int32"),
        ("tensor_shape", 3, "tensorflow.TensorShapeProto"),
    ],
    "tensorflow.SignatureDef": [
        ("inputs", 1, "{tensorflow.TensorInfo}"),
        ("outputs", 2, "{tensorflow.TensorInfo}"),
        ("method_name", 3, "string"),
    ],
    "tensorflow.serving.Version": [("value", 1, "int64")],
    "tensorflow.serving.ModelSpec": [
        ("name", 1, "string"),
        ("version", 2, "tensorflow.serving.Version"),
        ("signature_name", 3, "string"),
        ("version_label", 4, "string"),
    ],
    "tensorflow.serving.PredictRequest": [
        ("model_spec", 1, "tensorflow.serving.ModelSpec"),
        ("inputs", 2, "{tensorflow.TensorProto}"),
        ("output_filter", 3, "*string"),
    ],
    "tensorflow.serving.PredictResponse": [
        ("outputs", 1, "{tensorflow.TensorProto}"),
        ("model_spec", 2, "tensorflow.serving.ModelSpec"),
    ],
    "tensorflow.serving.PredictLog": [("request", 1, "tensorflow.serving.PredictRequest")],
    "tensorflow.serving.PredictionLog": [("predict_log", 6, "tensorflow.serving.PredictLog")],
    "tensorflow.serving.Any": [("type_url", 1, "string"), ("value", 2, "bytes")],
    "tensorflow.serving.GetModelMetadataRequest": [
        ("model_spec", 1, "tensorflow.serving.ModelSpec"),
        ("metadata_field", 2, "*string"),
    ],
    "tensorflow.serving.GetModelMetadataResponse": [
        ("model_spec", 1, "tensorflow.serving.ModelSpec"),
        ("metadata", 2, "{tensorflow.serving.Any}"),
    ],
    "tensorflow.serving.SignatureDefMap": [("signature_def", 1, "{tensorflow.SignatureDef}")],
    "tensorflow.serving.GetModelStatusRequest": [("model_spec", 1, "tensorflow.serving.ModelSpec")],
    "tensorflow.serving.StatusProto": [("error_code", 1, "int32"), ("error_message", 2, "string")],
    "tensorflow.serving.ModelVersionStatus": [
        ("version", 1, "int64"),
        ("state", 2, "int32"),
        ("status", 3, "tensorflow.serving.StatusProto"),
    ],
    "tensorflow.serving.GetModelStatusResponse": [
        ("model_version_status", 1, "*tensorflow.serving.ModelVersionStatus")
    ],
}

# Metadata of a call: our server then adds what TensorFlow Serving, which does not know it, has no output for.
MORE_OUTPUTS = "x-tf-ssgn-more-outputs"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

# ModelVersionStatus.State of TensorFlow Serving
STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}


def _add_field(message: descriptor_pb2.DescriptorProto, package: str, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)
    if kind.startswith("{"):
        entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add_field(entry, package, "key", 1, "string")
        _add_field(entry, package, "value", 2, kind[1:-1])
        kind = f"*{package}.{message.name}.{entry.name}"
    if kind.startswith("*"):
        field.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
        kind = kind[1:]
    if "." in kind:
        field.type, field.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, f".{kind}"
    else:
        field.type = getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}")


def _build() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    packages = dict.fromkeys(name.rpartition(".")[0] for name in SCHEMA)
    earlier: list[str] = []
    for package in packages:
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
        file.dependency.extend(earlier)
        for full_name, fields in SCHEMA.items():
            prefix, _, short = full_name.rpartition(".")
            if prefix == package:
                message = file.message_type.add(name=short)
                for name, number, kind in fields:
                    _add_field(message, package, name, number, kind)
        pool.AddSerializedFile(file.SerializeToString())
        earlier.append(file.name)
    return {
        name.rpartition(".")[2]: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in SCHEMA
    }


_CLASSES = _build()

TensorProto = _CLASSES["TensorProto"]
ModelSpec = _CLASSES["ModelSpec"]
PredictRequest = _CLASSES["PredictRequest"]
PredictResponse = _CLASSES["PredictResponse"]
PredictionLog = _CLASSES["PredictionLog"]
GetModelMetadataRequest = _CLASSES["GetModelMetadataRequest"]
GetModelMetadataResponse = _CLASSES["GetModelMetadataResponse"]
SignatureDefMap = _CLASSES["SignatureDefMap"]
GetModelStatusRequest = _CLASSES["GetModelStatusRequest"]
GetModelStatusResponse = _CLASSES["GetModelStatusResponse"]
