"""TensorProto to NumPy and back without TensorFlow, safe against whatever the other side sent.

Works on any message class with TensorProto's fields: the stock one and `wire.TensorProto`. Nothing is allocated
before the shape was checked against what the message really carries.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_ssgn.settings import HIGHEST_RANK


class TensorFault(ValueError):
    """A TensorProto that does not describe a tensor; the message is one line."""


@dataclass(frozen=True)
class Kind:
    """One element type: TensorFlow's enum value, its `..._val` field, and how `tensor_content` holds it."""

    name: str
    number: int
    field: str
    numpy: Any


KINDS = (
    Kind("float32", 1, "float_val", np.float32),
    Kind("float64", 2, "double_val", np.float64),
    Kind("int32", 3, "int_val", np.int32),
    Kind("uint8", 4, "int_val", np.uint8),
    Kind("int16", 5, "int_val", np.int16),
    Kind("int8", 6, "int_val", np.int8),
    Kind("string", 7, "string_val", np.object_),
    Kind("int64", 9, "int64_val", np.int64),
    Kind("bool", 10, "bool_val", np.bool_),
    Kind("uint16", 17, "int_val", np.uint16),
    Kind("float16", 19, "half_val", np.float16),
)
BY_NUMBER = {kind.number: kind for kind in KINDS}
BY_NAME = {kind.name: kind for kind in KINDS}


def kind_of(array: np.ndarray) -> Kind:
    """The element type of an array; bytes and text are `string`. TensorFault for any other."""
    if array.dtype.kind in "OSU":
        return BY_NAME["string"]
    if array.dtype.name not in BY_NAME:
        raise TensorFault(f"received dtype {array.dtype.name}, expected one of {', '.join(BY_NAME)}")
    return BY_NAME[array.dtype.name]


@dataclass(frozen=True)
class Pending:
    """A tensor whose type and shape are known and whose values are not yet taken from the message."""

    dtype: str
    shape: tuple[int, ...]
    array: Callable[[], np.ndarray]


def pending(proto: Any, largest: int) -> Pending:
    """Reads type and shape only; `array()` decodes. Arguments and errors are those of `decode`."""
    return Pending(_kind(proto).name, _shape(proto, largest), lambda: decode(proto, largest))


def decode(proto: Any, largest: int) -> np.ndarray:
    """The array of a TensorProto, of at most `largest` bytes, all strings counted: strings as bytes in an object array,
    all else in its NumPy dtype.

    Values come from `tensor_content` or from the `..._val` field. As TensorFlow has it, a `..._val` field that is
    shorter than the shape repeats its last value, and an empty one is zeros (empty strings). TensorFault: unknown dtype
    or rank, negative or too large shape, more values than fit in it, or a content of another size.
    """
    kind = _kind(proto)
    shape = _shape(proto, largest)
    count = math.prod(shape)
    size = np.dtype(kind.numpy).itemsize
    if count * size > largest:
        raise TensorFault(f"shape {list(shape)} is too large: {count * size} bytes, expected at most {largest}")
    if proto.tensor_content:
        values = _from_content(kind, proto.tensor_content, count)
    else:
        values = _from_field(kind, getattr(proto, kind.field), count, largest)
    return values.reshape(shape)


def _kind(proto: Any) -> Kind:
    if proto.dtype not in BY_NUMBER:
        raise TensorFault(f"received dtype number {proto.dtype}, expected one of {', '.join(BY_NAME)}")
    return BY_NUMBER[proto.dtype]


def _shape(proto: Any, largest: int) -> tuple[int, ...]:
    if proto.tensor_shape.unknown_rank:
        raise TensorFault("received an unknown rank, expected a shape")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if len(shape) > HIGHEST_RANK:
        raise TensorFault(f"received rank {len(shape)}, expected at most {HIGHEST_RANK}")
    # Each side is bounded by itself, so that [0, 2**62] cannot overflow NumPy's own arithmetic.
    if any(side < 0 or side > largest for side in shape):
        raise TensorFault(f"received shape {list(shape)}, expected sides from 0 to {largest}")
    return shape


def _from_content(kind: Kind, content: bytes, count: int) -> np.ndarray:
    if kind.name == "string":
        return np.array(split_strings(content, count), np.object_)
    wanted = count * np.dtype(kind.numpy).itemsize
    if len(content) != wanted:
        raise TensorFault(f"tensor_content has {len(content)} bytes, expected {wanted} for {count} x {kind.name}")
    return np.frombuffer(content, np.dtype(kind.numpy).newbyteorder("<")).astype(kind.numpy)


def split_strings(content: bytes, count: int) -> list[bytes]:
    """The strings of a string tensor's `tensor_content`: `count` lengths as base-128 varints, then all the bytes."""
    lengths, position = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if position >= len(content) or shift > 28:
                raise TensorFault(f"tensor_content is cut short, expected the lengths of {count} strings")
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise TensorFault(f"tensor_content has {len(content)} bytes, expected {position + sum(lengths)}")
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    return strings


def _from_field(kind: Kind, field: Any, count: int, largest: int) -> np.ndarray:
    length = len(field)
    if length > count:
        raise TensorFault(f"{kind.field} has {length} values, expected at most {count} by the shape")
    if kind.name == "string":
        strings = list(field)
        strings += [strings[-1] if strings else b""] * (count - length)
        total = sum(map(len, strings))
        if total > largest:
            raise TensorFault(f"the strings take {total} bytes once repeated to the shape, expected at most {largest}")
        return np.array(strings, np.object_)
    values = np.zeros(count, kind.numpy)
    if length:
        values[:length] = _numbers(kind, field)
        values[length:] = values[length - 1]
    return values


def _numbers(kind: Kind, field: Any) -> np.ndarray:
    raw = np.array(field)
    if kind.name == "float16":  # the low 16 bits of each int32 are the number's bits
        if ((raw < 0) | (raw > 0xFFFF)).any():
            raise TensorFault("half_val has a value of more than 16 bits")
        return raw.astype(np.uint16).view(np.float16)
    if np.issubdtype(kind.numpy, np.integer):
        bounds = np.iinfo(kind.numpy)
        if ((raw < bounds.min) | (raw > bounds.max)).any():
            raise TensorFault(f"{kind.field} has a value that does not fit {kind.name}")
    return raw.astype(kind.numpy)


def encode(array: np.ndarray, proto: Any) -> None:
    """Fills an empty TensorProto with an array, text as UTF-8. Values go to the `..._val` fields as TensorFlow
    Serving's own answers do: many clients read `float_val` directly."""
    kind = kind_of(array)
    proto.dtype = kind.number
    for side in array.shape:
        proto.tensor_shape.dim.add(size=side)
    flat = array.reshape(-1)
    if kind.name == "string":
        proto.string_val.extend(_bytes(item) for item in flat.tolist())
    elif kind.name == "float16":
        proto.half_val.extend(flat.view(np.uint16).tolist())
    else:
        getattr(proto, kind.field).extend(flat.tolist())


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
