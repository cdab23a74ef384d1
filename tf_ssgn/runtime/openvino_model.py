"""The forward pass through OpenVINO on the CPU, at full precision: the same codes as TensorFlow's, in less time.

Bytes become pixels by the model's own TensorFlow ops, or for plain photos by what was seen to give the same bits
(`direct`); pixels become codes here.
Images are computed one by one, as many at a time as there are cores: measured faster than batches, which leave the
caches, and no core waits for another. A row is therefore the same whatever stands beside it, and one core decodes
while another computes.
"""

from __future__ import annotations

import importlib.util
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_ssgn.common.cores import cores
from tf_ssgn.common.status import Status
from tf_ssgn.errors import UserError
from tf_ssgn.runtime import kept, network
from tf_ssgn.runtime.saved_model import Function
from tf_ssgn.settings import DECODED_TOGETHER, LOWEST_COSINE, QUERY_LIMITS

if TYPE_CHECKING:
    from tf_ssgn.data.images.direct import Short

OPENVINO = "openvino f32"
KINDS = ("sketch", "photo")
# Encoder of a kind, once it is ready; None where it has to be made from the model itself.
Begun = Callable[[str], "CompiledEncoder | None"]
HALVES = ("decode_sketch", "decode_photo", "encode_sketch", "encode_photo", "classes")


def why_not(module: Any) -> str:
    """Why a model cannot be computed here; empty if it can. `module` is a loaded SavedModel or an `EmbeddingGraph`."""
    if importlib.util.find_spec("openvino") is None:
        return "openvino is not installed; pip install 'tf_ssgn[serve]'"
    # A property that builds its half when it is asked for is found in the class.
    if not all(hasattr(type(module), half) or hasattr(module, half) for half in HALVES):
        return "the model was exported by an older version; export it again"
    return ""


def nothing_begun(kind: str) -> CompiledEncoder | None:
    """The `Begun` of a model whose encoders nobody makes meanwhile."""
    return None


def openvino_functions(module: Any, fingerprint: str, begun: Begun = nothing_begun) -> dict[str, Function]:
    """The signatures of a model as plain functions; `begun` waits for an encoder that was begun before, and has none
    where that came to nothing. UserError where OpenVINO cannot convert it, or answers differently from TensorFlow."""

    def compile_encoders() -> dict[str, CompiledEncoder]:
        made = {kind: begun(kind) for kind in KINDS}
        return {kind: made[kind] or CompiledEncoder(converted_form(module, kind, fingerprint)) for kind in KINDS}

    from tf_ssgn.data.images.direct import short_way

    try:
        with ThreadPoolExecutor(3) as workers:  # while they are compiled, the decoders are built and set up
            encoders_there = workers.submit(compile_encoders)
            ways = {
                kind: workers.submit(short_way, kind, getattr(module, f"decode_{kind}"), QUERY_LIMITS) for kind in KINDS
            }
            short = {kind: way.result() for kind, way in ways.items()}
            encoders = encoders_there.result()
    except RuntimeError as error:
        raise UserError(f"OpenVINO cannot compute this model ({error}); use the TensorFlow runtime") from None
    rows = RowByRow()
    names, vectors = (part.numpy() for part in module.classes())

    def embed(kind: str) -> Function:
        def call(images: list[bytes]) -> dict[str, np.ndarray]:
            codes, status = rows(images, getattr(module, f"decode_{kind}"), encoders[kind], short[kind])
            return {"embedding": codes["code"], "status": status}

        return call

    def explain(images: list[bytes]) -> dict[str, np.ndarray]:
        codes, status = rows(images, module.decode_sketch, encoders["sketch"], short["sketch"])
        return {
            **{name: codes[name] for name in ("coarse", "fine", "semantics")},
            "class_names": np.tile(names[None], [len(images), 1]),
            "class_scores": codes["semantics"] @ vectors.T,
            "status": status,
        }

    return {"embed_sketch": embed("sketch"), "embed_photo": embed("photo"), "explain": explain}


class CompiledEncoder:
    """Pixels of one image float32 `[1, 1 + views, S, S, 3]` to its codes; safe to call from several threads. It is
    compiled twice: all cores on one image, for a single query, and one core for each image, for many."""

    def __init__(self, model: Any):
        network.one_image(model)
        self.sizes = {name: int(port.shape[1]) for port in model.outputs for name in port.names}
        self._alone, self._among_others = _Requests(model, 1), _Requests(model, cores())

    def __call__(self, pixels: np.ndarray, alone: bool) -> dict[str, np.ndarray]:
        """Codes float32 `[d]` by name; `alone` says that no other image is under way."""
        return (self._alone if alone else self._among_others)(pixels)


class _Requests:
    """A model compiled for so many images at a time: its infer requests, lent to whoever computes."""

    def __init__(self, model: Any, images: int):
        model = network.compiled(model, images)
        self._tensor = network.library().Tensor
        self._ports = {name: port for port in model.outputs for name in port.names}
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(images):
            self._free.put(model.create_infer_request())

    def __call__(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        request = self._free.get()
        try:
            request.set_input_tensor(self._tensor(pixels, shared_memory=True))  # `infer(pixels)` takes 0.1 ms more
            request.start_async()
            request.wait()
            return {name: request.get_tensor(port).data[0].copy() for name, port in self._ports.items()}
        finally:
            self._free.put(request)


class RowByRow:
    """Images to codes, row by row on all cores; a faulty image is not computed at all."""

    def __init__(self) -> None:
        self._cores = cores()
        self._pool = ThreadPoolExecutor(self._cores, thread_name_prefix="openvino")

    def __call__(
        self, images: list[bytes], decode: Any, encoder: CompiledEncoder, short: Short | None = None
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Codes float32 `[B, d]` by name, and status int32 `[B]`; a faulty row is zero. `short` gives the pixels
        float32 `[S, S, 3]` of an image with one view, or leaves it to `decode`."""
        import tensorflow as tf

        codes = {name: np.zeros((len(images), size), np.float32) for name, size in encoder.sizes.items()}
        status = np.full(len(images), Status.OK, np.int32)

        def encode(row: int, pixels: np.ndarray) -> None:
            for name, code in encoder(pixels, alone=len(images) == 1).items():
                codes[name][row] = code

        def compute(row: int) -> bool:
            pixels = None if short is None else short(images[row])
            if pixels is not None:
                encode(row, pixels[np.newaxis, np.newaxis])
            return pixels is not None

        def compute_left(rows: list[int]) -> None:
            pixels, status[rows] = (part.numpy() for part in decode(tf.constant([images[row] for row in rows])))
            for place, row in enumerate(rows):
                if status[row] == Status.OK:
                    encode(row, pixels[place : place + 1])

        spread = map if len(images) == 1 else self._pool.map
        left = [row for row, done in enumerate(spread(compute, range(len(images)))) if not done]
        # A few together, as calling the decoder costs as much as one image; but enough parts for every core.
        size = max(1, min(DECODED_TOGETHER, len(left) // self._cores))
        for _ in spread(compute_left, [left[start : start + size] for start in range(0, len(left), size)]):
            pass
        return codes, status


def _check(model: Any, encode: Any) -> None:
    """Raises UserError unless the codes of some picture are TensorFlow's: a conversion is not taken on trust."""
    import tensorflow as tf

    pixels = np.random.default_rng(0).uniform(0, 255, network.one_image(model)).astype(np.float32)
    expected = encode(tf.constant(pixels))["code"].numpy()[0]
    code = _Requests(model, 1)(pixels)["code"]
    cosine = float(code @ expected) / float(np.linalg.norm(code) * np.linalg.norm(expected))
    if not cosine >= LOWEST_COSINE:
        raise UserError(
            f"OpenVINO's code of a test picture has a cosine of {cosine:.6f} with TensorFlow's, expected "
            f"{LOWEST_COSINE} or more; use the TensorFlow runtime"
        )


def converted_form(module: Any, kind: str, fingerprint: str) -> Any:
    """The OpenVINO form of an encoder: the kept one, or a new one that was compared with TensorFlow's. A model that can
    tell what its graph depends on without having it (`graph_key`) is not built where one is kept."""
    key = getattr(module, "graph_key", "")
    encode = None if key else getattr(module, f"encode_{kind}")
    folder = network.folder_of(f"{fingerprint[:16]}-{kind}", key or network.graph_hash(network.concrete(encode)))
    if (model := network.read(folder)) is None:
        encode = encode or getattr(module, f"encode_{kind}")
        model = network.convert(network.concrete(encode))
        _check(model, encode)
        network.keep(model, folder)
    return model


def is_kept(fingerprint: str, kind: str, key: str) -> bool:
    """Whether the converted form of an encoder with this `graph_key` is there, if nobody damaged it."""
    return kept.is_there(network.folder_of(f"{fingerprint[:16]}-{kind}", key))


def kept_encoder(fingerprint: str, kind: str, key: str) -> CompiledEncoder | None:
    """An encoder with this `graph_key`, without its model; None where it is not kept."""
    model = network.read(network.folder_of(f"{fingerprint[:16]}-{kind}", key))
    return None if model is None else CompiledEncoder(model)
