"""The forward pass through OpenVINO on the CPU, at full precision: the same codes as TensorFlow's, in less time.

Bytes become pixels by the model's own TensorFlow ops, so that decoding agrees to the bit; pixels become codes here.
Images are computed one by one, as many at a time as there are cores: measured faster than batches, which leave the
caches, and no core waits for another. A row is therefore the same whatever stands beside it, and one core decodes
while another computes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import queue
import secrets
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tf_ssgn.common.cores import cores
from tf_ssgn.common.status import Status
from tf_ssgn.errors import UserError
from tf_ssgn.runtime.features import default_folder
from tf_ssgn.runtime.saved_model import Function

OPENVINO = "openvino f32"
PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}  # its own default on CPUs with AMX is bfloat16, cosine 0.987
LOWEST_COSINE = 0.9999  # that a code may have with TensorFlow's
DECODED_TOGETHER = 4
HALVES = ("decode_sketch", "decode_photo", "encode_sketch", "encode_photo", "classes")


def why_not(module: Any) -> str:
    """Why a model cannot be computed here; empty if it can. `module` is a loaded SavedModel or an `Embedder`."""
    if importlib.util.find_spec("openvino") is None:
        return "openvino is not installed; pip install 'tf_ssgn[serve]'"
    if not all(hasattr(module, half) for half in HALVES):
        return "the model was exported by an older version; export it again"
    return ""


def library() -> Any:
    """The package `openvino`, whose conversion reports to nobody; nothing else of this package imports it.

    Converting a model reports to an analytics host and keeps an identity in `~/intel`, unless `openvino_telemetry` is
    not there: then it uses a stub of its own. So the package is hidden before the import; where a program has imported
    it before us, the stub is put in its place.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino
    from openvino.tools.ovc import telemetry_stub

    for name, module in list(sys.modules.items()):
        if name.startswith("openvino.tools.ovc.") and hasattr(module, "tm"):
            setattr(module, "tm", telemetry_stub)  # noqa: B010 (a module of any kind has no such attribute for mypy)
    return openvino


def openvino_functions(module: Any, fingerprint: str) -> dict[str, Function]:
    """The signatures of a model as plain functions.

    Raises:
        UserError: OpenVINO cannot convert it, or answers differently from TensorFlow.
    """
    library()
    from openvino.frontend import OpConversionFailure

    encoders = {}
    for kind in ("sketch", "photo"):
        encode = getattr(module, f"encode_{kind}")
        concrete = encode.concrete_functions[0] if hasattr(encode, "concrete_functions") else None
        concrete = concrete or encode.get_concrete_function()
        try:
            encoders[kind] = Encoder(_converted(concrete, f"{fingerprint[:16]}-{kind}"))
        except (RuntimeError, OpConversionFailure) as error:
            raise UserError(f"OpenVINO cannot compute this model ({error}); use the TensorFlow runtime") from None
        _check(encoders[kind], encode)
    rows = Rows()
    names, vectors = (part.numpy() for part in module.classes())

    def embed(kind: str) -> Function:
        def call(images: list[bytes]) -> dict[str, np.ndarray]:
            codes, status = rows(images, getattr(module, f"decode_{kind}"), encoders[kind])
            return {"embedding": codes["code"], "status": status}

        return call

    def explain(images: list[bytes]) -> dict[str, np.ndarray]:
        codes, status = rows(images, module.decode_sketch, encoders["sketch"])
        return {
            **{name: codes[name] for name in ("coarse", "fine", "semantics")},
            "class_names": np.tile(names[None], [len(images), 1]),
            "class_scores": codes["semantics"] @ vectors.T,
            "status": status,
        }

    return {"embed_sketch": embed("sketch"), "embed_photo": embed("photo"), "explain": explain}


class Encoder:
    """Pixels of one image float32 `[1, 1 + views, S, S, 3]` to its codes; safe to call from several threads.

    It is compiled twice: all cores on one image, for a single query, and one core for each image, for many.
    """

    def __init__(self, model: Any):
        openvino = library()
        self.shape = (1, *(side.get_length() for side in list(model.inputs[0].partial_shape)[1:]))
        model.reshape(list(self.shape))
        self.sizes = {name: int(port.shape[1]) for port in model.outputs for name in port.names}
        threads = cores()
        core = openvino.Core()
        together = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads}
        apart = {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
        self._alone = _Requests(core.compile_model(model, "CPU", PRECISION | together), 1)
        self._among_others = _Requests(core.compile_model(model, "CPU", PRECISION | apart), threads)

    def __call__(self, pixels: np.ndarray, alone: bool) -> dict[str, np.ndarray]:
        """Codes float32 `[d]` by name; `alone` says that no other image is under way."""
        return (self._alone if alone else self._among_others)(pixels)


class _Requests:
    """The infer requests of one compiled model, lent to whoever computes."""

    def __init__(self, compiled: Any, count: int):
        self._ports = {name: port for port in compiled.outputs for name in port.names}
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(compiled.create_infer_request())

    def __call__(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        request = self._free.get()
        try:
            request.infer([pixels], share_inputs=True)
            return {name: request.get_tensor(port).data[0].copy() for name, port in self._ports.items()}
        finally:
            self._free.put(request)


class Rows:
    """Images to codes, row by row on all cores; a faulty image is not computed at all."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(cores(), thread_name_prefix="openvino")

    def __call__(self, images: list[bytes], decode: Any, encoder: Encoder) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Codes float32 `[B, d]` by name, and status int32 `[B]`; a faulty row is zero."""
        import tensorflow as tf

        codes = {name: np.zeros((len(images), size), np.float32) for name, size in encoder.sizes.items()}
        status = np.zeros(len(images), np.int32)

        def compute(start: int) -> None:
            pixels, found = (part.numpy() for part in decode(tf.constant(images[start : start + size])))
            status[start : start + size] = found
            for row in np.flatnonzero(found == Status.OK):
                for name, code in encoder(pixels[row : row + 1], alone=len(images) == 1).items():
                    codes[name][start + row] = code

        # A few together, as calling the decoder costs as much as one image; but enough parts for every core.
        size = max(1, min(DECODED_TOGETHER, len(images) // cores()))
        if len(images) == 1:
            compute(0)
        else:
            list(self._pool.map(compute, range(0, len(images), size)))
        return codes, status


def _check(encoder: Encoder, encode: Any) -> None:
    """Raises UserError unless the codes of some picture are TensorFlow's: a conversion is not taken on trust."""
    import tensorflow as tf

    pixels = np.random.default_rng(0).uniform(0, 255, encoder.shape).astype(np.float32)
    expected = encode(tf.constant(pixels))["code"].numpy()[0]
    for alone in (True, False):
        code = encoder(pixels, alone)["code"]
        cosine = float(code @ expected) / float(np.linalg.norm(code) * np.linalg.norm(expected))
        if not cosine >= LOWEST_COSINE:
            raise UserError(
                f"OpenVINO's code of a test picture has a cosine of {cosine:.6f} with TensorFlow's, expected "
                f"{LOWEST_COSINE} or more; use the TensorFlow runtime"
            )


def _converted(concrete: Any, name: str) -> Any:
    """The OpenVINO form of a TensorFlow function. Converting takes seconds, so it is kept in the user's cache folder
    under all that it depends on: the model's fingerprint, the graph, the version of OpenVINO."""
    openvino = library()
    graph = concrete.graph.as_graph_def().SerializeToString(deterministic=True)
    version = openvino.__version__.partition("-")[0]
    folder = default_folder() / "openvino" / f"{name}-{hashlib.sha256(graph).hexdigest()[:16]}-{version}"
    try:
        return openvino.Core().read_model(folder / "model.xml")
    except RuntimeError:  # not there, or damaged
        pass
    model = openvino.convert_model(concrete)
    temporary = folder.with_name(f".{secrets.token_hex(4)}.tmp")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        openvino.save_model(model, temporary / "model.xml", compress_to_fp16=False)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except (OSError, RuntimeError):
        pass  # no room or no right to keep it: it is converted again the next time
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return model
