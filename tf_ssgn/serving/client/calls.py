"""What a client asks and how it reads the answers, without waiting for anything: the same for threads and asyncio.

Each function is a generator that yields `(method, request)`, is sent the response, and returns the result.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_ssgn.common.markup import visible
from tf_ssgn.common.status import Status
from tf_ssgn.data.images.content import ImageError, describe, image_bytes, is_picture
from tf_ssgn.errors import UserError
from tf_ssgn.runtime import wire
from tf_ssgn.serving.core import tensors
from tf_ssgn.settings import OVERHEAD_BYTES, SERVING

METHODS = {
    wire.PREDICT: wire.PredictResponse,
    wire.METADATA: wire.GetModelMetadataResponse,
    wire.STATUS: wire.GetModelStatusResponse,
}

Outputs = dict[str, np.ndarray]


class RequestError(UserError):
    """The server refused a request or did not answer; `code` is gRPC's name of the reason."""

    def __init__(self, code: str, message: str):
        self.code = code
        super().__init__(message)


class RemoteHit(NamedTuple):
    """One photo found; `score` is the cosine, `label` the gallery's, or the name of the photo's folder."""

    id: str
    score: float
    label: str


class Answer(NamedTuple):
    """The answer to one picture of a batch: no hits and a `status` other than OK if it was at fault."""

    hits: list[RemoteHit]
    status: Status


class Explanation(NamedTuple):
    """What the model made of a sketch: the codes of both stages [d], its semantics [s], and the nearest classes."""

    coarse: np.ndarray
    fine: np.ndarray
    semantics: np.ndarray
    classes: list[tuple[str, float]]


def search_one(
    model: str, signature: str, picture: Any, k: int, word: str = ""
) -> Generator[Any, Any, list[RemoteHit]]:
    (answer,) = yield from search(model, signature, [picture], k, word)
    if answer.status == Status.BAD_K:
        raise UserError(f"received k {k}, expected 1 to {SERVING.k}")
    _raise_for([answer.status], [picture], word)
    return answer.hits


def search(
    model: str, signature: str, pictures: Iterable[Any], k: int, word: str = ""
) -> Generator[Any, Any, list[Answer]]:
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not -(2**31) <= k < 2**31:
        raise UserError(f"received k {k!r}, expected a whole number from 1 to {SERVING.k}")
    if is_picture(pictures) or not isinstance(pictures, Iterable):
        raise UserError(f"received {type(pictures).__name__} as a batch, expected a list of pictures")
    pictures = list(pictures)
    answers: list[Answer | None] = [None] * len(pictures)
    contents: dict[int, bytes] = {}
    for index, picture in enumerate(pictures):
        try:
            contents[index] = b"" if picture is None and word else image_bytes(picture)
        except ImageError as error:
            answers[index] = Answer([], error.status)
    sent = iter(contents)
    for out in (yield from _predict(model, signature, list(contents.values()), int(k), word)):
        labels = out.get("labels", [None] * len(out["ids"]))  # another server has none
        for row in zip(out["ids"], out["scores"], out["count"], out["status"], labels, strict=True):
            answers[next(sent)] = _answer(*row)
    return [answer for answer in answers if answer is not None]


def embed(model: str, signature: str, pictures: Any, word: str = "") -> Generator[Any, Any, np.ndarray]:
    single = is_picture(pictures) or not isinstance(pictures, Iterable)
    batch = [pictures] if single else list(pictures)
    vectors: list[np.ndarray] = []
    contents = [b"" if picture is None and word else image_bytes(picture) for picture in batch]
    for out in (yield from _predict(model, signature, contents, word=word)):
        _raise_for(out["status"], batch[sum(len(part) for part in vectors) :], word)
        vectors.append(out["embedding"])
    if not vectors:
        raise UserError("received an empty list of pictures, expected at least one")
    return vectors[0][0] if single else np.concatenate(vectors)


def explain(model: str, sketch: Any) -> Generator[Any, Any, Explanation]:
    (out,) = yield from _predict(model, "explain", [image_bytes(sketch)])
    _raise_for(out["status"], [sketch])
    classes = list(zip(_texts(out["class_names"][0]), out["class_scores"][0].tolist(), strict=True))
    return Explanation(out["coarse"][0], out["fine"][0], out["semantics"][0], classes)


def metadata(model: str) -> Generator[Any, Any, dict[str, Any]]:
    request = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = model
    response = yield wire.METADATA, request
    table = wire.SignatureDefMap.FromString(response.metadata["signature_def"].value)
    return {
        "model": response.model_spec.name,
        "version": response.model_spec.version.value,
        "signatures": {
            name: {"inputs": _infos(item.inputs), "outputs": _infos(item.outputs)}
            for name, item in sorted(table.signature_def.items())
        },
    }


def status(model: str) -> Generator[Any, Any, list[dict[str, Any]]]:
    request = wire.GetModelStatusRequest()
    request.model_spec.name = model
    response = yield wire.STATUS, request
    return [
        {"version": item.version, "state": wire.STATES.get(item.state, "UNKNOWN"), "error": item.status.error_message}
        for item in response.model_version_status
    ]


def _predict(
    model: str, signature: str, images: list[bytes], k: int | None = None, word: str = ""
) -> Generator[Any, Any, list[Outputs]]:
    """The outputs of as many requests as the limits of one request make necessary."""
    replies = []
    for batch in _split(images):
        request = wire.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = signature
        tensors.encode(np.array(batch, np.object_), request.inputs["image_bytes"])
        if word:
            tensors.encode(np.full(len(batch), word.encode("utf-8", "replace"), np.object_), request.inputs["word"])
        if k is not None:
            tensors.encode(np.full(len(batch), k, np.int32), request.inputs["k"])
        response = yield wire.PREDICT, request
        try:
            replies.append(
                {name: tensors.decode(item, SERVING.message_bytes) for name, item in response.outputs.items()}
            )
        except tensors.TensorFault as fault:
            raise RequestError("DATA_LOSS", f"the answer is not readable: {fault}") from None
    return replies


def label_of(item: str) -> str:
    """The label of an id: the name of the folder that the photo lies in."""
    return item.rpartition("/")[0].rpartition("/")[2]


def _answer(ids: np.ndarray, scores: np.ndarray, count: int, status: int, labels: np.ndarray | None) -> Answer:
    names = _texts(ids[:count])
    called = map(label_of, names) if labels is None else _texts(labels[:count])
    return Answer(list(map(RemoteHit, names, scores[:count].tolist(), called)), Status(int(status)))


def _texts(values: Iterable[bytes]) -> list[str]:
    return [value.decode("utf-8", "replace") for value in values]


def _raise_for(statuses: Any, pictures: Sequence[Any], word: str = "") -> None:
    for code, picture in zip(statuses, pictures, strict=False):
        if code == Status.UNKNOWN_WORD:
            raise UserError(f"word: {visible(word)!r} is not among those that the model knows (status {int(code)})")
        if code != Status.OK:
            raise ImageError(describe(picture), int(code))


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
