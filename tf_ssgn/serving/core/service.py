"""The answers: signatures over a model and a gallery, as arrays in and arrays out, with no transport in sight."""

import json
import logging
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tf_ssgn.common.status import Status
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.searcher import OpenGallery, Unreachable
from tf_ssgn.runtime.saved_model import EmbeddingModel, warm_up_drawing
from tf_ssgn.runtime.words import Words
from tf_ssgn.serving.core import contract, tracing
from tf_ssgn.serving.core.batcher import Batcher, Call, Work
from tf_ssgn.serving.core.faults import Fault, invalid, not_found
from tf_ssgn.serving.core.metrics import Metrics
from tf_ssgn.serving.core.tensors import Pending, TensorFault
from tf_ssgn.settings import GUESSED_LABELS, SERVING, Serving

NO_GALLERY_NOW = Fault(
    "UNAVAILABLE", "the gallery does not answer now, so there are embeddings but no searches; try again soon"
)
EMBEDDER = {"search": "embed_sketch", "search_photo": "embed_photo", "search_word": "embed_word"}
REQUESTS = logging.getLogger("tf_ssgn.requests")
REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


def request_id(wanted: str | None) -> str:
    """The client's own id of a request, if it is short and plain, else a new one."""
    return wanted if wanted is not None and REQUEST_ID.fullmatch(wanted) else secrets.token_hex(8)


@dataclass(frozen=True, eq=False)
class Served:
    """One version of the model with its gallery: never changed, only replaced as a whole."""

    model: EmbeddingModel
    gallery: OpenGallery | None
    version: int
    signatures: Mapping[str, contract.Signature]

    @property
    def words(self) -> Words | None:
        """The words that can be told; None for a model without any."""
        return self.model.words if self.model.has_words else None

    @cached_property
    def guessable(self) -> list[int]:
        """The rows of the words that a drawing may be: the kinds that drawings taught, and the gallery's own labels."""
        assert self.words is not None
        labels = None if self.gallery is None else self.gallery.counts("label", GUESSED_LABELS)
        known = map(self.words.vocabulary.row, map(str, (*self.model.card.get("seen", ()), *(labels or ()))))
        return sorted({row for row in known if row is not None})


def served(model: EmbeddingModel, gallery: OpenGallery | None, version: int) -> Served:
    """Puts a model and its gallery together; UserError if the gallery was made by another model."""
    if gallery is not None:
        gallery.require_model(model.fingerprint)
    semantic = int(model.card.get("semantic_dimension") or contract.ANY)
    signatures = contract.signatures(model.dimension, semantic, gallery is not None, model.has_words)
    return Served(model, gallery, version, signatures)


@dataclass(frozen=True)
class Target:
    """Which model a request means; empty and None mean the default."""

    name: str
    version: int | None = None
    label: str = ""
    signature: str = ""


@dataclass(frozen=True)
class VersionState:
    """What is known of a version: START, LOADING, AVAILABLE, UNLOADING or END, and what went wrong."""

    name: str
    error: str = ""


@dataclass(frozen=True)
class ModelRequest:
    """What one request asks of a model function: images [B], for `embed_word` with words [B]; with k int32 [B] also
    their neighbours, and with `labels` the labels of those."""

    images: np.ndarray
    k: np.ndarray | None = None
    labels: bool = False
    words: np.ndarray | None = None
    trace: tracing.Trace | None = field(default_factory=tracing.current)
    received: int = field(default_factory=time.time_ns)

    def note(self, name: str, start: int, end: int) -> None:
        """A stage of the request, in ns."""
        if self.trace is not None:
            self.trace.stages.append((name, start, end))


class Service:
    """Answers requests from the version that is current when they arrive; shared by all transports."""

    def __init__(self, settings: Serving = SERVING):
        self.settings = settings
        self.metrics = Metrics()
        self.traces: tracing.Traces | None = None
        self.states: dict[int, VersionState] = {}
        self.draining = False
        self.expected: int | None = None  # photos that the gallery will have, while it grows; 0: not known yet
        self.batcher = Batcher(self._compute, settings, self.metrics.batch)
        self.current: Served | None = None  # the version that answers; None while the first one is being loaded

    @property
    def most_under_way(self) -> int:
        """Requests that can wait and be computed at a time; each of them holds a thread."""
        return self.settings.queue + self.settings.slots * self.settings.rows

    def publish(self, version: Served) -> None:
        """Makes a version current; requests under way finish on the one they began with."""
        old, self.current = self.current, version
        self.states[version.version] = VersionState("AVAILABLE")
        if old is not None and old.version != version.version:
            self.states[old.version] = VersionState("END")
        self.metrics.follow("queue_waiting", lambda: self.batcher.waiting)
        self.metrics.follow("model_version", lambda: version.version)
        gallery = version.gallery
        self.metrics.follow("gallery_version", lambda: 0 if gallery is None else gallery.version)
        self.metrics.follow("gallery_items", lambda: 0 if gallery is None else len(gallery))

    def check_name(self, target: Target) -> None:
        """Fault INVALID_ARGUMENT without a model name or with a label, NOT_FOUND for another name."""
        if not target.name:
            raise invalid(f"the model spec has no name, expected {self.settings.name!r}")
        if target.name != self.settings.name:
            raise not_found(f"servable not found: model {target.name[:64]!r}; this server has {self.settings.name!r}")
        if target.label:
            raise invalid(f"unrecognized version label {target.label[:64]!r}; this server has no labels")

    def find(self, target: Target | None = None) -> Served:
        """The version that a request means, None any; Fault as `check_name`, NOT_FOUND for another version, UNAVAILABLE
        while the model is being loaded."""
        target = target or Target(self.settings.name)
        self.check_name(target)
        current = self.current
        if current is None:
            raise Fault("UNAVAILABLE", f"model {self.settings.name!r} is still being loaded; try again soon")
        if target.version is not None and target.version != current.version:
            raise not_found(
                f"servable not found: version {target.version} of model {self.settings.name!r}; "
                f"this server has version {current.version}"
            )
        return current

    def status(self, target: Target) -> dict[int, VersionState]:
        """The states of the versions that a request means, newest first; Fault NOT_FOUND where there is none."""
        self.check_name(target)
        if target.version is None:
            return dict(sorted(self.states.items(), reverse=True))
        if target.version not in self.states:
            raise not_found(f"servable not found: version {target.version} of model {self.settings.name!r}")
        return {target.version: self.states[target.version]}

    def predict(
        self, target: Target, inputs: Mapping[str, Pending], wanted: Sequence[str], call: Call, more: bool = False
    ) -> tuple[Served, str, dict[str, np.ndarray]]:
        """Answers one request: the version and the signature it was answered with, and the outputs asked for; `more`
        adds to all outputs those that TensorFlow Serving does not have. Fault: a malformed request, an overloaded
        server, or a caller who does not wait any more."""
        version = self.find(target)
        name = target.signature or contract.DEFAULT
        signature = self.signature(version, name)
        contract.check(name, signature, inputs, wanted, self.settings.batch)
        try:
            arrays = {key: tensor.array() for key, tensor in inputs.items()}
        except TensorFault as fault:
            raise invalid(f"signature {name!r}: {fault}") from None
        function = EMBEDDER["search" if name == contract.DEFAULT else name] if "k" in arrays else name
        wanted = wanted or [*signature.outputs, *(signature.more if more else ())]
        request = ModelRequest(arrays["image_bytes"], arrays.get("k"), "labels" in wanted, arrays.get("word"))
        outputs = self.batcher.wait(self.work(version, function, request, call))
        return version, name, {key: outputs[key] for key in wanted}

    def signature(self, version: Served, name: str) -> contract.Signature:
        """The signature of that name, of the default one for ""; Fault FAILED_PRECONDITION where there is none."""
        name = name or contract.DEFAULT
        if name not in version.signatures:
            missing = "; this server has no gallery: start it with --gallery" if version.gallery is None else ""
            known = f"signature {name[:64]!r} not found; this model has {sorted(version.signatures)}"
            raise Fault("FAILED_PRECONDITION", known + missing)
        return version.signatures[name]

    def work(self, version: Served, function: str, request: ModelRequest, call: Call) -> Work:
        """A request for the queue. Its answer is a dict of arrays: the outputs of `function`, or those of a search."""
        size = sum(map(len, request.images)) + (0 if request.words is None else sum(map(len, request.words)))
        if request.trace is not None:
            request.note("decode", request.trace.begun, request.received)
        return Work((version, function), len(request.images), size, request, call)

    def begin(self, parent: str | None) -> None:
        """A request came, whose caller traces it by that W3C `traceparent`."""
        if self.traces is not None:
            self.traces.begin(parent)

    def answered(self, transport: str, method: str, code: str, seconds: float, identity: str) -> None:
        """Counts an answered request, and writes a line of JSON about it to the log `tf_ssgn.requests`."""
        self.metrics.request(transport, method, code, seconds)
        if self.traces is not None:
            self.traces.end(transport, method, code, identity)
        if REQUESTS.isEnabledFor(logging.INFO):
            about = {"time": time.time(), "id": identity, "transport": transport, "method": method, "code": code}
            REQUESTS.info(json.dumps({**about, "seconds": round(seconds, 6)}))

    def _compute(self, key: tuple[Served, str], requests: list[ModelRequest]) -> list[dict[str, np.ndarray]]:
        """One call of the model and one of the gallery for all requests. Rows whose k is bad are not even decoded."""
        version, function = key
        begun = time.time_ns()
        good = [
            np.ones(len(one.images), bool) if one.k is None else (one.k >= 1) & (one.k <= self.settings.k)
            for one in requests
        ]
        inputs = {"image_bytes": np.concatenate([one.images[rows] for one, rows in zip(requests, good, strict=True)])}
        if function == "embed_word":
            words = [one.words[rows] for one, rows in zip(requests, good, strict=True)]  # type: ignore[index]
            inputs["word"] = np.concatenate(words)
        outputs = version.model.call(function, inputs) if len(inputs["image_bytes"]) else {}
        embedded = time.time_ns()
        ends = np.cumsum([rows.sum() for rows in good])
        parts = {name: np.split(values, ends[:-1]) for name, values in outputs.items()}
        answers = [{name: split[place] for name, split in parts.items()} for place in range(len(requests))]
        searches = [place for place, request in enumerate(requests) if request.k is not None]
        if searches:
            assert version.gallery is not None
            asked = [(requests[place], good[place], answers[place]) for place in searches]
            for place, answer in zip(searches, _search(version.gallery, asked), strict=True):
                answers[place] = answer
        done = time.time_ns()
        for request in requests:
            request.note("queue", request.received, begun)
            request.note("embed", begun, embedded)
            if request.k is not None:
                request.note("search", embedded, done)
        return answers


def _search(
    gallery: OpenGallery, asked: list[tuple[ModelRequest, np.ndarray, dict[str, np.ndarray]]]
) -> list[dict[str, np.ndarray]]:
    """The answers of requests with a k, found in one call: of each which of its rows are good, and their embeddings."""
    statuses, vectors, ks = [], [], []
    for request, rows, embedded in asked:
        status = np.full(len(rows), Status.BAD_K, np.int32)
        vector = np.zeros((len(rows), gallery.dimension), np.float32)  # which the gallery answers with nothing
        if rows.any():
            status[rows], vector[rows] = embedded["status"], embedded["embedding"]
        statuses.append(status)
        vectors.append(vector)
        ks.append(np.where(rows, request.k, 0))  # type: ignore[arg-type]
    try:
        ids, scores, count = gallery.search_batch(np.concatenate(vectors), np.concatenate(ks))
        labelled = np.repeat([request.labels for request, *_ in asked], list(map(len, ks)))
        labels = gallery.labels_of(set(ids[labelled].flat) - {""}) if labelled.any() else {}
    except Unreachable:  # the log says which server; clients need not know
        raise NO_GALLERY_NOW from None
    answers = []
    start = 0
    for (request, *_), status, k in zip(asked, statuses, ks, strict=True):
        end, width = start + len(k), k.max()  # another request may have asked for more
        answer = {"ids": ids[start:end, :width], "scores": scores[start:end, :width], "count": count[start:end]}
        if request.labels:
            names = np.array([labels.get(id, "") for id in answer["ids"].flat], object)
            answer["labels"] = names.reshape(answer["ids"].shape)
        answers.append({**answer, "status": status})
        start = end
    return answers


def warm_up(version: Served, settings: Serving = SERVING) -> None:
    """Calls what every signature is made of, so that no client pays for tracing and set-up: with one image and with
    two, since some runtimes compute an image alone in another way than several, and more than two as two."""
    image = warm_up_drawing()
    for rows, signatures in ((1, ("embed_photo", "explain", "embed_sketch")), (2, ("embed_photo", "embed_sketch"))):
        for signature in signatures:
            outputs = version.model.call(signature, {"image_bytes": np.full(rows, image, np.object_)})
        if version.gallery is not None:
            version.gallery.search_batch(outputs["embedding"], np.full(rows, settings.default_k, np.int32))
    if version.words is not None:  # a word is added to what `embed_sketch` gives
        version.words.tell(outputs["embedding"], outputs["status"], version.words.names[:rows])
    if outputs["status"][0] != Status.OK:
        raise UserError(
            f"the model answers a plain drawing with status {int(outputs['status'][0])}, expected 0; "
            "export it again with `python -m tf_ssgn.export`"
        )
