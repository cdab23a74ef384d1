"""The answers: signatures over a model and a gallery, as arrays in and arrays out, with no transport in sight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tf_ssgn.config import QUERY_LIMITS, SERVING, Serving
from tf_ssgn.errors import UserError
from tf_ssgn.serving import contract
from tf_ssgn.serving.faults import Fault, invalid, not_found
from tf_ssgn.serving.slots import Call, Slots
from tf_ssgn.serving.tensors import Pending, TensorFault
from tf_ssgn.status import Status

EMBEDDER = {"search": "embed_sketch", "search_photo": "embed_photo"}


class Model(Protocol):
    """What is needed of an `EmbeddingModel`."""

    fingerprint: str
    dimension: int
    card: dict

    def call(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...


class Searchable(Protocol):
    """What is needed of a `Gallery`."""

    def require_model(self, fingerprint: str) -> None: ...

    def search_batch(self, vectors: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class Served:
    """One version of the model with its gallery: never changed, only replaced as a whole."""

    model: Model
    gallery: Searchable | None
    version: int
    signatures: Mapping[str, contract.Signature]


def served(model: Model, gallery: Searchable | None, version: int) -> Served:
    """Puts a model and its gallery together; UserError if the gallery was made by another model."""
    if gallery is not None:
        gallery.require_model(model.fingerprint)
    semantic = int(model.card.get("semantic_dimension") or contract.ANY)
    return Served(model, gallery, version, contract.signatures(model.dimension, semantic, gallery is not None))


@dataclass(frozen=True)
class Target:
    """Which model a request means; empty and None mean the default."""

    name: str
    version: int | None = None
    label: str = ""
    signature: str = ""


class Service:
    """Answers requests from the version that is current when they arrive."""

    def __init__(self, settings: Serving = SERVING):
        self.settings = settings
        self.slots = Slots(settings.slots, settings.queue)
        self._current: Served | None = None

    def publish(self, version: Served) -> None:
        """Makes a version current; requests under way finish on the one they began with."""
        self._current = version

    def find(self, target: Target) -> Served:
        """The version that a request means.

        Raises:
            Fault: NOT_FOUND for another name or version, INVALID_ARGUMENT without a name or with a label,
                UNAVAILABLE while the model is being loaded.
        """
        if not target.name:
            raise invalid(f"the model spec has no name, expected {self.settings.name!r}")
        if target.name != self.settings.name:
            raise not_found(f"servable not found: model {target.name[:64]!r}; this server has {self.settings.name!r}")
        if target.label:
            raise invalid(f"unrecognized version label {target.label[:64]!r}; this server has no labels")
        current = self._current
        if current is None:
            raise Fault("UNAVAILABLE", f"model {self.settings.name!r} is still being loaded; try again soon")
        if target.version is not None and target.version != current.version:
            raise not_found(
                f"servable not found: version {target.version} of model {self.settings.name!r}; "
                f"this server has version {current.version}"
            )
        return current

    def predict(
        self, target: Target, inputs: Mapping[str, Pending], wanted: Sequence[str], call: Call
    ) -> tuple[Served, str, dict[str, np.ndarray]]:
        """Answers one request: the version and the signature it was answered with, and the outputs asked for.

        Raises:
            Fault: a malformed request, an overloaded server, or a caller who does not wait any more.
        """
        version = self.find(target)
        name = target.signature or contract.DEFAULT
        signature = version.signatures.get(name)
        if signature is None:
            raise invalid(f"signature {name[:64]!r} not found; this model has {sorted(version.signatures)}")
        contract.check(name, signature, inputs, wanted, self.settings.batch)
        with self.slots.turn(call):
            try:
                arrays = {key: tensor.array() for key, tensor in inputs.items()}
            except TensorFault as fault:
                raise invalid(f"signature {name!r}: {fault}") from None
            embedder = EMBEDDER["search" if name == contract.DEFAULT else name] if "k" in arrays else None
            if embedder is None:
                outputs = version.model.call(name, arrays)
            else:
                outputs = self._search(version, embedder, arrays["image_bytes"], arrays["k"])
        return version, name, {key: outputs[key] for key in (wanted or signature.outputs)}

    def _search(self, version: Served, embedder: str, images: np.ndarray, k: np.ndarray) -> dict[str, np.ndarray]:
        """`search` and `search_photo`: images object [B], k int32 [B]. Rows whose k is bad are not even decoded."""
        assert version.gallery is not None
        rows = len(images)
        status = np.full(rows, Status.BAD_K, np.int32)
        good = np.flatnonzero((k >= 1) & (k <= self.settings.k))
        width = int(k[good].max(initial=0))
        ids = np.full((rows, width), b"", np.object_)
        scores = np.full((rows, width), np.nan, np.float32)
        count = np.zeros(rows, np.int32)
        if good.size:
            embedded = version.model.call(embedder, {"image_bytes": images[good]})
            status[good] = embedded["status"]
            fine = embedded["status"] == Status.OK
            rows_found = good[fine]
            if rows_found.size:
                found = version.gallery.search_batch(embedded["embedding"][fine], k[rows_found])
                columns = found[0].shape[1]
                ids[rows_found, :columns], scores[rows_found, :columns], count[rows_found] = found
        return {"ids": ids, "scores": scores, "count": count, "status": status}


def warm_up(version: Served, settings: Serving = SERVING) -> None:
    """Calls every signature with one row and with a full batch, so that no client pays for tracing and set-up."""
    image = warm_up_drawing()
    for rows in (1, settings.batch):
        images = np.full(rows, image, np.object_)
        for signature in ("embed_sketch", "embed_photo", "explain"):
            outputs = version.model.call(signature, {"image_bytes": images})
        if version.gallery is not None:
            vectors: Any = version.model.call("embed_sketch", {"image_bytes": images})["embedding"]
            version.gallery.search_batch(vectors, np.full(rows, settings.default_k, np.int32))
    if outputs["status"][0] != Status.OK:
        raise UserError(
            f"the model answers a plain drawing with status {int(outputs['status'][0])}, expected 0; "
            "export it again with `python -m tf_ssgn.export`"
        )


def warm_up_drawing() -> bytes:
    """A PNG of a circle, as a stand-in for a query; `export` puts it into the warm-up requests too."""
    import io

    from PIL import Image, ImageDraw

    side = max(64, 2 * QUERY_LIMITS.smallest_side)
    image = Image.new("L", (side, side), 255)
    ImageDraw.Draw(image).ellipse((8, 8, side - 8, side - 8), outline=0, width=3)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
