"""Networks in OpenVINO's form: converted, kept, compiled. Nothing else of this package imports `openvino`."""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from tf_ssgn.common.cores import cores
from tf_ssgn.errors import UserError
from tf_ssgn.runtime import kept

PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}  # its own default on CPUs with AMX is bfloat16, cosine 0.987


def library() -> Any:
    """The package `openvino`, whose conversion reports to nobody.

    It would report to an analytics host and keep an identity in `~/intel`, unless `openvino_telemetry` is not there. So
    that is hidden before the import; where a program has imported it before us, openvino's stub is put in its place.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino
    from openvino.tools.ovc import telemetry_stub

    for name, module in list(sys.modules.items()):
        if name.startswith("openvino.tools.ovc.") and hasattr(module, "tm"):
            setattr(module, "tm", telemetry_stub)  # noqa: B010 (a module of any kind has no such attribute for mypy)
    return openvino


def concrete(encode: Any) -> Any:
    """The graph of a function, from a SavedModel or still in memory."""
    concrete = encode.concrete_functions[0] if hasattr(encode, "concrete_functions") else None
    return concrete or encode.get_concrete_function()


def graph_hash(concrete: Any) -> str:
    """sha256 of a function's graph, whatever its nodes are called: Keras numbers its layers as a process makes them."""
    graph = concrete.graph.as_graph_def()
    numbers = {node.name: str(number) for number, node in enumerate(graph.node)}
    for node in graph.node:
        node.name = numbers[node.name]
        node.ClearField("experimental_debug_info")  # names again
        for place, tensor in enumerate(node.input):  # `name`, `name:output` or `^name`
            name, colon, output = tensor.removeprefix("^").partition(":")
            node.input[place] = f"{'^' * tensor.startswith('^')}{numbers[name]}{colon}{output}"
    return hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()


def convert(concrete: Any) -> Any:
    """The graph of a function in OpenVINO's form; UserError where there is none."""
    openvino = library()
    from openvino.frontend import OpConversionFailure
    from openvino.frontend.tensorflow.node_decoder import TFGraphNodeDecoder

    # It looks for each variable ten times, each time among all and with a copy: most of the time of a conversion.
    remembered = functools.cache(TFGraphNodeDecoder.get_variable)
    try:
        with mock.patch.object(TFGraphNodeDecoder, "get_variable", remembered):
            return openvino.convert_model(concrete)
    except (RuntimeError, OpConversionFailure) as error:
        raise UserError(f"OpenVINO cannot compute this model ({error}); use the TensorFlow runtime") from None


def folder_of(name: str, key: str) -> Path:
    """Where a converted network is kept, which takes seconds to make."""
    return kept.folder_of(name, key, library().__version__.partition("-")[0])


def read(folder: Path) -> Any:
    """A converted model; None where there is none or one that was altered."""
    if not kept.is_whole(folder):
        return None
    core = library().Core()
    core.set_property({"ENABLE_MMAP": False})  # a file that is cut while it is mapped ends the process
    try:
        return core.read_model(folder / "model.xml")
    except RuntimeError:
        return None


def keep(model: Any, folder: Path) -> None:
    """Keeps a converted model where `read` finds it."""
    kept.keep(folder, lambda place: library().save_model(model, place / "model.xml", compress_to_fp16=False))


def compiled(model: Any, images: int) -> Any:
    """For so many images at a time, on all cores together."""
    how = PRECISION | {"NUM_STREAMS": images, "INFERENCE_NUM_THREADS": cores()}
    return library().Core().compile_model(model, "CPU", how)


def one_image(model: Any) -> list[int]:
    """Fixes the shape of a model's input to that of one image, and gives it."""
    shape = [1, *(side.get_length() for side in list(model.inputs[0].partial_shape)[1:])]
    model.reshape(shape)
    return shape
