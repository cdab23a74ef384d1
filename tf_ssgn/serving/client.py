"""A small client of the service: pictures in, hits out. It imports no TensorFlow.

Example: `with Client("localhost:8500") as client: hits = client.search("giraffe.png", k=10)`
"""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from tf_ssgn.config import SERVING
from tf_ssgn.errors import UserError
from tf_ssgn.serving import CLIENT_NEEDS, require_extra, tensors, wire
from tf_ssgn.serving.pictures import ImageError, describe, image_bytes
from tf_ssgn.status import MEANING, Status

__all__ = ["Answer", "Client", "Explanation", "Hit", "ImageError", "RequestError"]

# Seconds before the second, third, ... attempt at a server that is not there (yet); each is stretched at random.
BACKOFF = (0.1, 0.2, 0.4)
# Room that the rest of a request takes beside the pictures.
OVERHEAD_BYTES = 64 * 2**10


class RequestError(UserError):
    """The server refused a request or did not answer; `code` is gRPC's name of the reason."""

    def __init__(self, code: str, message: str):
        self.code = code
        super().__init__(message)


class Hit(NamedTuple):
    """One photo found; `score` is the cosine, `label` the name of the folder that the photo lies in."""

    id: str
    score: float
    label: str


class Answer(NamedTuple):
    """The answer to one picture of a batch: no hits and a `status` other than OK if it was at fault."""

    hits: list[Hit]
    status: Status


class Explanation(NamedTuple):
    """What the model made of a sketch: the codes of both stages [d], its semantics [s], and the nearest classes."""

    coarse: np.ndarray
    fine: np.ndarray
    semantics: np.ndarray
    classes: list[tuple[str, float]]


class Client:
    """Talks to a tf_ssgn server, or to TensorFlow Serving with an exported model.

    Args:
        address: "HOST:PORT".
        timeout: seconds that one call may take, retries included.
        model: the name that the model is served under.

    Pictures are paths, bytes, PIL images or uint8 arrays. Methods raise `ImageError` for a picture at fault and
    `RequestError` for a server that refused or did not answer. Only UNAVAILABLE is tried again: nothing was computed.
    """

    def __init__(self, address: str, timeout: float = SERVING.deadline_seconds, model: str = SERVING.name):
        require_extra(CLIENT_NEEDS)
        import grpc

        host, _, port = address.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
            raise UserError(f"received the server address {address!r}, expected HOST:PORT such as localhost:8500")
        self.address, self.timeout, self.model = address, timeout, model
        self._grpc = grpc
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", SERVING.message_bytes),
                ("grpc.initial_reconnect_backoff_ms", 100),  # the default of a second would outlast our retries
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.enable_http_proxy", 0 if is_loopback(host) else 1),
            ],
        )
        self._methods = {
            path: self._channel.unary_unary(
                path,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response.FromString,
            )
            for path, response in (
                (wire.PREDICT, wire.PredictResponse),
                (wire.METADATA, wire.GetModelMetadataResponse),
                (wire.STATUS, wire.GetModelStatusResponse),
            )
        }

    def search(self, sketch: Any, k: int = SERVING.default_k) -> list[Hit]:
        """The `k` photos nearest to a sketch, best first; fewer if the gallery has fewer."""
        return self._one("search", sketch, k)

    def search_photo(self, photo: Any, k: int = SERVING.default_k) -> list[Hit]:
        """The `k` photos nearest to a photo, best first."""
        return self._one("search_photo", photo, k)

    def search_batch(self, sketches: Sequence[Any], k: int = SERVING.default_k) -> list[Answer]:
        """One answer per sketch; a sketch at fault has its status and spoils no other. Any number of sketches."""
        return self._search("search", sketches, k)

    def embed_sketch(self, sketch: Any) -> np.ndarray:
        """Unit vectors float32: [d] for one sketch, [B, d] for a list of them."""
        return self._embed("embed_sketch", sketch)

    def embed_photo(self, photo: Any) -> np.ndarray:
        """Unit vectors float32: [d] for one photo, [B, d] for a list of them."""
        return self._embed("embed_photo", photo)

    def explain(self, sketch: Any) -> Explanation:
        """The codes of both stages, the semantics and the nearest classes of one sketch."""
        (out,) = self._batches("explain", [image_bytes(sketch)])
        _raise_for(out["status"], [sketch])
        names = [name.decode("utf-8", "replace") for name in out["class_names"][0]]
        classes = list(zip(names, out["class_scores"][0].tolist(), strict=True))
        return Explanation(out["coarse"][0], out["fine"][0], out["semantics"][0], classes)

    def metadata(self) -> dict[str, Any]:
        """`{"model", "version", "signatures": {name: {"inputs": {name: {"dtype", "shape"}}, "outputs": ...}}}`."""
        request = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.model
        response = self._call(wire.METADATA, request)
        table = wire.SignatureDefMap.FromString(response.metadata["signature_def"].value)
        return {
            "model": response.model_spec.name,
            "version": response.model_spec.version.value,
            "signatures": {
                name: {"inputs": _infos(item.inputs), "outputs": _infos(item.outputs)}
                for name, item in sorted(table.signature_def.items())
            },
        }

    def status(self) -> list[dict[str, Any]]:
        """`{"version", "state", "error"}` of every version that the server knows; a ready one is AVAILABLE."""
        request = wire.GetModelStatusRequest()
        request.model_spec.name = self.model
        return [
            {
                "version": item.version,
                "state": wire.STATES.get(item.state, "UNKNOWN"),
                "error": item.status.error_message,
            }
            for item in self._call(wire.STATUS, request).model_version_status
        ]

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _one(self, signature: str, picture: Any, k: int) -> list[Hit]:
        (answer,) = self._search(signature, [picture], k)
        if answer.status == Status.BAD_K:
            raise UserError(f"received k {k}, expected 1 to {SERVING.k}: {MEANING[Status.BAD_K]}")
        _raise_for([answer.status], [picture])
        return answer.hits

    def _search(self, signature: str, pictures: Sequence[Any], k: int) -> list[Answer]:
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not -(2**31) <= k < 2**31:
            raise UserError(f"received k {k!r}, expected a whole number from 1 to {SERVING.k}")
        answers: list[Answer | None] = [None] * len(pictures)
        contents: dict[int, bytes] = {}
        for index, picture in enumerate(pictures):
            try:
                contents[index] = image_bytes(picture)
            except ImageError as error:
                answers[index] = Answer([], error.status)
        sent = iter(contents)
        for out in self._batches(signature, list(contents.values()), int(k)):
            for row in zip(out["ids"], out["scores"], out["count"], out["status"], strict=True):
                answers[next(sent)] = _answer(*row)
        return [answer for answer in answers if answer is not None]

    def _embed(self, signature: str, pictures: Any) -> np.ndarray:
        single = not isinstance(pictures, (list, tuple))
        batch = [pictures] if single else list(pictures)
        found: list[np.ndarray] = []
        for out in self._batches(signature, [image_bytes(picture) for picture in batch]):
            _raise_for(out["status"], batch[sum(len(part) for part in found) :])
            found.append(out["embedding"])
        if not found:
            raise UserError("received an empty list of pictures, expected at least one")
        return found[0][0] if single else np.concatenate(found)

    def _batches(self, signature: str, images: list[bytes], k: int | None = None) -> Iterator[dict[str, np.ndarray]]:
        """The outputs of as many requests as the limits of one request make necessary."""
        for batch in _split(images):
            request = wire.PredictRequest()
            request.model_spec.name = self.model
            request.model_spec.signature_name = signature
            array = np.empty(len(batch), np.object_)
            array[:] = batch
            tensors.encode(array, request.inputs["image_bytes"])
            if k is not None:
                tensors.encode(np.full(len(batch), k, np.int32), request.inputs["k"])
            response = self._call(wire.PREDICT, request)
            try:
                yield {name: tensors.decode(item, SERVING.message_bytes) for name, item in response.outputs.items()}
            except tensors.TensorFault as fault:
                raise RequestError("DATA_LOSS", f"{self.address}: the answer is not readable: {fault}") from None

    def _call(self, path: str, request: Any) -> Any:
        end = time.monotonic() + self.timeout
        for delay in (*BACKOFF, None):
            try:
                return self._methods[path](request, timeout=max(end - time.monotonic(), 0.001))
            except self._grpc.RpcError as error:
                code = error.code()
                wait = None if delay is None else delay * random.uniform(1.0, 1.5)
                again = code == self._grpc.StatusCode.UNAVAILABLE
                if not again or wait is None or time.monotonic() + wait >= end:
                    raise self._error(code.name, error.details() or "") from None
                time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _error(self, code: str, details: str) -> RequestError:
        if code == "UNAVAILABLE":
            return RequestError(
                code, f"no answer from {self.address} ({details}); expected a running `python -m tf_ssgn.serve`"
            )
        if code == "DEADLINE_EXCEEDED":
            return RequestError(code, f"{self.address} did not answer within {self.timeout:g} s; give it longer")
        return RequestError(code, f"{self.address} refused the request: {details} ({code})")


def label_of(item: str) -> str:
    """The label of an id: the name of the folder that the photo lies in."""
    return item.rpartition("/")[0].rpartition("/")[2]


def is_loopback(host: str) -> bool:
    """Whether a host name can only mean this machine."""
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _answer(ids: np.ndarray, scores: np.ndarray, count: int, status: int) -> Answer:
    names = [item.decode("utf-8", "replace") for item in ids[:count]]
    hits = [Hit(*pair, label_of(pair[0])) for pair in zip(names, scores[:count].tolist(), strict=True)]
    return Answer(hits, Status(int(status)))


def _raise_for(statuses: Any, pictures: Sequence[Any]) -> None:
    for status, picture in zip(statuses, pictures, strict=False):
        if status != Status.OK:
            raise ImageError(describe(picture), int(status))


def _split(images: list[bytes]) -> Iterator[list[bytes]]:
    """Batches within the limits on rows and bytes; a picture that alone is over the limit travels alone."""
    batch: list[bytes] = []
    size = 0
    for image in images:
        if batch and (len(batch) == SERVING.batch or size + len(image) > SERVING.message_bytes - OVERHEAD_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(image)
        size += len(image)
    if batch:
        yield batch


def _infos(side: Any) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "dtype": tensors.BY_NUMBER[info.dtype].name if info.dtype in tensors.BY_NUMBER else str(info.dtype),
            "shape": [dim.size for dim in info.tensor_shape.dim],
        }
        for name, info in sorted(side.items())
    }
