"""TensorProto to NumPy and back, against TensorFlow's own reading, and against hostile messages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_ssgn.runtime import wire
from tf_ssgn.serving.core import tensors

LARGEST = 2**20
DTYPES = ["float32", "float64", "int32", "uint8", "int16", "int8", "int64", "bool", "uint16", "float16"]


def proto(dtype: str, shape: list[int], **values):
    made = wire.TensorProto(dtype=tensors.BY_NAME[dtype].number, **values)
    for side in shape:
        made.tensor_shape.dim.add(size=side)
    return made


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (3, 2), (0, 4)])
def test_round_trip_and_both_of_tensorflows_forms(dtype: str, shape: tuple[int, ...]) -> None:
    import tensorflow as tf

    array = (np.random.default_rng(0).normal(size=shape) * 5).clip(0, 100).astype(dtype)
    ours = wire.TensorProto()
    tensors.encode(array, ours)
    stock = tf.make_tensor_proto(array)  # tensor_content where it can
    for message in (ours, stock):
        decoded = tensors.decode(message, LARGEST)
        assert decoded.dtype == array.dtype
        np.testing.assert_array_equal(decoded, array)
    their = type(stock).FromString(ours.SerializeToString())
    np.testing.assert_array_equal(tf.make_ndarray(their), array)


def test_strings_as_values_and_as_content() -> None:
    import tensorflow as tf

    values = [b"", b"a", bytes(range(256)) * 2]
    content = b"".join((b"\x00", b"\x01", b"\x80\x04", *values))
    for message in (
        tf.make_tensor_proto(values),
        proto("string", [3], string_val=values),
        proto("string", [3], tensor_content=content),
    ):
        assert tensors.decode(message, LARGEST).tolist() == values


def test_short_fields_repeat_their_last_value_as_in_tensorflow() -> None:
    import tensorflow as tf

    for message in (tf.make_tensor_proto(7, tf.int32, [3]), proto("int32", [3], int_val=[7])):
        assert tensors.decode(message, LARGEST).tolist() == [7, 7, 7]
    assert tensors.decode(proto("int32", [2]), LARGEST).tolist() == [0, 0]
    assert tensors.decode(proto("string", [2], string_val=[b"x"]), LARGEST).tolist() == [b"x", b"x"]


HOSTILE = {
    "shape bomb": proto("float32", [2**40]),
    "product bomb": proto("int32", [2**16, 2**16]),
    "empty with a huge side": proto("int32", [0, 2**62]),
    "negative side": proto("int32", [-1], int_val=[1]),
    "two negative sides": proto("int32", [-1, -1], int_val=[1]),
    "unknown rank": wire.TensorProto(dtype=3, tensor_shape={"unknown_rank": True}),
    "rank 9": proto("int32", [1] * 9, int_val=[1]),
    "no dtype": wire.TensorProto(),
    "a dtype that does not exist": wire.TensorProto(dtype=9999),
    "complex": wire.TensorProto(dtype=8),
    "too many values": proto("int32", [1], int_val=[1, 2]),
    "too many strings": proto("string", [1], string_val=[b"a", b"b"]),
    "values for an empty shape": proto("int32", [0], int_val=[1]),
    "short content": proto("int32", [2], tensor_content=b"\x00" * 7),
    "long content": proto("int32", [2], tensor_content=b"\x00" * 12),
    "string content that ends early": proto("string", [3], tensor_content=b"\x01\x01"),
    "string content with a false length": proto("string", [1], tensor_content=b"\x05abc"),
    "string content with an endless length": proto("string", [1], tensor_content=b"\xff" * 40),
    "string content with a length of 2**34": proto("string", [1], tensor_content=b"\xff\xff\xff\xff\x7f"),
    "half of more than 16 bits": proto("float16", [1], half_val=[2**20]),
    "negative half": proto("float16", [1], half_val=[-1]),
    "int8 that does not fit": proto("int8", [1], int_val=[300]),
    "strings that repeat beyond the limit": proto("string", [100], string_val=[b"x" * 20_000]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(tensors.TensorFault) as caught:
        tensors.decode(HOSTILE[name], LARGEST)
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([*(kind.number for kind in tensors.KINDS), 0, 8, 21, 101]),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 4), max_size=4),
    st.binary(max_size=24),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    st.lists(st.binary(max_size=4), max_size=4),
)
def test_any_message_gives_an_array_of_its_shape_or_a_fault(dtype, shape, content, numbers, strings) -> None:
    message = wire.TensorProto(
        dtype=dtype, tensor_content=content, int_val=numbers, half_val=numbers, int64_val=numbers, string_val=strings
    )
    for side in shape:
        message.tensor_shape.dim.add(size=side)
    try:
        decoded = tensors.decode(message, LARGEST)
    except tensors.TensorFault:
        return
    assert list(decoded.shape) == shape
    assert decoded.nbytes <= LARGEST


def test_arrays_that_no_tensor_holds() -> None:
    with pytest.raises(tensors.TensorFault, match="complex64"):
        tensors.encode(np.zeros(1, np.complex64), wire.TensorProto())
