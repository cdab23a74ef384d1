"""TensorFlow Serving's REST surface: JSON to arrays and back.

Row format: `{"signature_name": ..., "instances": [{"image_bytes": {"b64": ...}, "k": 10}]}` gives `{"predictions":
[...]}`. Column format: `{"inputs": {"image_bytes": [...], "k": [...]}}` gives `{"outputs": {...}}`. With one input or
one output its name may be, and is, left out. Numbers that are not finite become null: NaN is not JSON.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict

from tf_ssgn.common.cli import jsonable
from tf_ssgn.serving.core import contract, messages
from tf_ssgn.serving.core.batcher import Call
from tf_ssgn.serving.core.faults import invalid, not_found
from tf_ssgn.serving.core.service import Service, Target
from tf_ssgn.serving.core.tensors import BY_NAME, Pending
from tf_ssgn.serving.http.bodies import from_base64

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a request; Fault INVALID_ARGUMENT for anything else."""
    try:
        text = body.decode("utf-8-sig")  # some clients put a byte-order mark first
        value = json.loads(text)
        if SURROGATE.search(text):  # "\ud800" alone is JSON, but no text: neither SQLite nor an answer could hold it
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise invalid(f"the body is not JSON in UTF-8: {error}") from None
    if not isinstance(value, dict):
        raise invalid(f"the body is a JSON {type(value).__name__}, expected an object")
    return value


def target_of(path: str, signature: str = "") -> Target:
    """`<model>`, `<model>/versions/<n>` or `<model>/labels/<label>` as a target."""
    name, _, rest = path.partition("/")
    if not rest:
        return Target(name, signature=signature)
    kind, _, value = rest.partition("/")
    if kind == "versions" and value.isascii() and value.isdigit() and len(value) < 19:
        return Target(name, version=int(value), signature=signature)
    if kind == "labels" and value:
        return Target(name, label=value, signature=signature)
    raise not_found(
        f"malformed path {path[:100]!r}, expected <model>, <model>/versions/<number> or <model>/labels/<label>"
    )


def predict(service: Service, path: str, body: bytes, call: Call) -> dict[str, Any]:
    """Answers `POST /v1/models/<path>:predict`."""
    request = parse(body)
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("signature_name: expected text")
    target = target_of(path, name)
    version = service.find(target)
    signature = service.signature(version, name)
    rows = "instances" in request
    if rows == ("inputs" in request):
        raise invalid('expected one of "instances" (rows) and "inputs" (columns)')
    columns = _of_rows(request["instances"], signature) if rows else _of_columns(request["inputs"], signature)
    inputs = {key: _pending(key, values, signature) for key, values in columns.items()}
    _, _, outputs = service.predict(target, inputs, [], call)
    if rows:
        return {"predictions": _rows(outputs)}
    plain = {key: _values(array) for key, array in outputs.items()}
    return {"outputs": plain if len(plain) > 1 else next(iter(plain.values()))}


def _of_rows(instances: Any, signature: contract.Signature) -> dict[str, list[Any]]:
    if not isinstance(instances, list) or not instances:
        raise invalid('"instances": expected a list of at least one')
    single = next(iter(signature.inputs)) if len(signature.inputs) == 1 else None
    columns: dict[str, list[Any]] = {}
    for row, instance in enumerate(instances):
        if single is not None and not (isinstance(instance, dict) and single in instance):
            instance = {single: instance}
        if not isinstance(instance, dict):
            raise invalid(f"instance {row}: expected an object with {sorted(signature.inputs)}")
        if row and set(instance) != set(columns):
            raise invalid(f"instance {row} has other names than the first one")
        for key, value in instance.items():
            columns.setdefault(key, []).append(value)
    return columns


def _of_columns(inputs: Any, signature: contract.Signature) -> dict[str, list[Any]]:
    single = next(iter(signature.inputs)) if len(signature.inputs) == 1 else None
    if single is not None and not (isinstance(inputs, dict) and single in inputs):
        inputs = {single: inputs}
    if not isinstance(inputs, dict):
        raise invalid(f'"inputs": expected an object with {sorted(signature.inputs)}')
    for key, values in inputs.items():
        if not isinstance(values, list):
            raise invalid(f"input {key[:64]!r}: expected a list")
    return inputs


def _pending(key: str, values: list[Any], signature: contract.Signature) -> Pending:
    """Values of one input; an unknown name passes here and is refused by the contract."""
    dtype = signature.inputs[key].dtype if key in signature.inputs else "string"
    if dtype == "string":
        strings = [_bytes(key, value) for value in values] if key in signature.inputs else []
        array = np.array(strings, np.object_)
        return Pending(dtype, (len(values),), lambda: array)
    bounds = np.iinfo(BY_NAME[dtype].numpy)
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not bounds.min <= value <= bounds.max:
            raise invalid(f"input {key!r}: received {json.dumps(value)[:64]}, expected {dtype}")
    numbers = np.array(values, BY_NAME[dtype].numpy)
    return Pending(dtype, numbers.shape, lambda: numbers)


def _bytes(key: str, value: Any) -> bytes:
    if not isinstance(value, dict) or set(value) != {"b64"} or not isinstance(value["b64"], str):
        raise invalid(f'input {key!r}: expected bytes as {{"b64": "..."}}')
    return from_base64(value["b64"], f"input {key!r}")


def _rows(outputs: Mapping[str, np.ndarray]) -> list[Any]:
    plain = {key: _values(array) for key, array in outputs.items()}
    if len(plain) == 1:
        return next(iter(plain.values()))
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]


def _values(array: np.ndarray) -> list[Any]:
    if array.dtype == np.object_:
        decoded = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in array.reshape(-1)]
        return np.array(decoded, np.object_).reshape(array.shape).tolist()
    return jsonable(array)


def metadata(service: Service, path: str) -> dict[str, Any]:
    """Answers `GET /v1/models/<path>/metadata`."""
    answer = _as_json(messages.metadata(service, target_of(path)))
    table = answer["metadata"]["signature_def"]
    del table["@type"]
    for definition in table["signature_def"].values():
        del definition["defaults"]
    return answer


def status(service: Service, path: str) -> dict[str, Any]:
    """Answers `GET /v1/models/<path>`."""
    return _as_json(messages.status(service, target_of(path)))


def _as_json(message: Any) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
