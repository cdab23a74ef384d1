"""Search and explanation with what the TF Serving API has no word for: filters, exclusions, thresholds, groups."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any
from urllib.parse import quote

import numpy as np

from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.data.semantics.vocabulary import NONE
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder.segment import quoted
from tf_ssgn.retrieval.search.options import NO_OPTIONS, Options
from tf_ssgn.retrieval.searcher import OpenGallery, Unreachable
from tf_ssgn.runtime.saved_model import EMBED_WORD
from tf_ssgn.serving.core import tracing
from tf_ssgn.serving.core.batcher import Call
from tf_ssgn.serving.core.faults import Fault, invalid, not_found
from tf_ssgn.serving.core.service import NO_GALLERY_NOW, ModelRequest, Served, Service
from tf_ssgn.serving.http import rest
from tf_ssgn.serving.http.bodies import from_base64
from tf_ssgn.settings import COMPLETIONS, GUESS_COSINE, GUESSES, MOST_COLUMNS, SERVING

KINDS = {"sketch": "embed_sketch", "photo": "embed_photo"}
FIELDS = ("image", "word", "id", "kind", "k", "labels", "columns", "exclude", "threshold", "group")
OUR_COLUMNS = ("label", "width", "height", "size")  # what may be asked for beside the users' own; never the path


class ImageFault(Fault):
    """An image, or a k, that its row's status is for; `status` says which."""

    def __init__(self, status: Status):
        super().__init__("INVALID_ARGUMENT", MEANING[status])
        self.status = status


@dataclass(frozen=True)
class Query:
    """A search: an image's bytes and what it is, a word beside a drawing or alone, or the id of a photo of the gallery;
    how many answers, and which."""

    image: bytes = b""
    word: str = ""
    id: str | None = None
    kind: str = "sketch"
    k: int = SERVING.default_k
    labels: Sequence[str] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    exclude: Sequence[str] = ()
    threshold: float | None = None
    group: float | None = None


def from_json(body: bytes) -> Query:
    """`{"image": base64, "word": text, "kind": "sketch" or "photo", "k", "labels": [...], "columns": {name: value},
    "exclude": [ids], "threshold", "group"}`; all but image or word may be left out. `{"id": ...}` in their place asks
    for what is like that photo of the gallery, which is no answer itself."""
    fields = rest.parse(body)
    if unknown := sorted(set(fields) - set(FIELDS)):
        raise invalid(f"received the field {unknown[0][:64]!r}, expected some of {', '.join(FIELDS)}")
    if "id" in fields:
        if not isinstance(fields["id"], str) or {"image", "word", "kind"} & set(fields):
            raise invalid("id: expected the text that names a photo of the gallery, in place of image, word and kind")
    elif "image" in fields or not fields.get("word"):
        if not isinstance(fields.get("image"), str):
            raise invalid("image: expected the bytes of a PNG or JPEG as base64 text")
        fields["image"] = from_base64(fields["image"], "image")
    return _checked(Query(**fields))


def from_parameters(image: bytes, parameters: Mapping[str, list[str]]) -> Query:
    """The same from the bytes of an image and a query string: `?k=10&kind=photo&labels=cat&labels=dog`."""
    fields: dict[str, Any] = {}
    for name, values in parameters.items():
        if name in ("labels", "exclude"):
            fields[name] = values
        elif name in FIELDS and name not in ("image", "id", "columns") and len(values) == 1:
            fields[name] = values[0]
        else:
            raise invalid(
                f"received the parameter {name[:64]!r}, expected kind, word, k, labels, exclude, threshold or group"
            )
    try:
        fields |= {name: float(fields[name]) for name in ("threshold", "group") if name in fields}
        fields |= {"k": int(fields["k"])} if "k" in fields else {}
    except ValueError:
        raise invalid("k, threshold and group: expected numbers") from None
    return _checked(Query(image, **fields))


def _checked(query: Query) -> Query:
    if not isinstance(query.kind, str) or query.kind not in KINDS:
        raise invalid(f"kind: expected one of {', '.join(KINDS)}")
    if not isinstance(query.word, str) or query.word and query.kind != "sketch":
        raise invalid("word: expected text, beside a sketch or alone")
    if not isinstance(query.k, int) or isinstance(query.k, bool):
        raise invalid("k: expected a whole number")
    if not isinstance(query.labels, list | tuple) or not isinstance(query.exclude, list | tuple):
        raise invalid("labels and exclude: expected lists of text")
    if not isinstance(query.columns, dict) or len(query.columns) > MOST_COLUMNS:
        raise invalid(f"columns: expected an object with up to {MOST_COLUMNS} names and values")
    return query


def on_current(answer: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Answers from the version that is current; once more where it failed since a newer one came and took the older
    one's files away. Fault UNAVAILABLE where the gallery does not answer, INVALID_ARGUMENT for a mistake in the query.
    """

    @wraps(answer)
    def answered(service: Service, query: Query, call: Call) -> dict[str, Any]:
        version = service.find()
        try:
            return answer(service, version, query, call)
        except Fault:
            raise
        except Exception as error:  # SQLite, NumPy and the disk have each their own for a file that is gone
            if service.current is not None and service.current.gallery is not version.gallery:
                return answered(service, query, call)
            if isinstance(error, Unreachable):
                raise NO_GALLERY_NOW from None
            if isinstance(error, UserError):
                raise invalid(str(error)) from None
            raise

    return answered


@on_current
def search(service: Service, version: Served, query: Query, call: Call) -> dict[str, Any]:
    """`{"hits": [{"id", "score", "label", "duplicates", "photo"}], "status", "model_version", "gallery_version"}`."""
    gallery = gallery_of(version)
    options = _options(service, query, gallery)
    vector = _embedded(service, version, query, call) if query.id is None else gallery.vector(query.id)
    if vector is None:
        raise not_found("there is no photo of that id")
    with tracing.stage("search"):
        hits = _hits(gallery, vector, query.k, options)
    return {
        "hits": hits,
        **({"guesses": guesses(version, vector)} if query.image and not query.word and query.kind == "sketch" else {}),
        "status": int(Status.OK),
        "model_version": version.version,
        "gallery_version": gallery.version,
    }


@on_current
def explain(service: Service, version: Served, query: Query, call: Call) -> dict[str, Any]:
    """What the model made of a drawing: `{"classes": [{"name", "score"}], "coarse", "fine", "semantics", "answers"}`,
    classes best first. `answers` has the hits of each stage's code, `{"coarse": [...], "fine": [...]}`, and with a word
    those of both together, `word`; it is null where there is no gallery."""
    gallery = version.gallery
    options = NO_OPTIONS if gallery is None else _options(service, query, gallery)
    out = _one(service, version, "explain", query.image, call)
    names = [name.decode("utf-8", "replace") for name in out["class_names"][0]]
    ranked = sorted(zip(names, out["class_scores"][0].tolist(), strict=True), key=lambda pair: -pair[1])
    answers = None
    if gallery is not None:
        codes = {stage: out[stage][0] for stage in ("coarse", "fine")}
        if query.word:
            codes["word"] = _embedded(service, version, query, call)
        answers = {stage: _hits(gallery, code, query.k, options) for stage, code in codes.items()}
    return {
        "classes": [{"name": name, "score": score} for name, score in ranked],
        **{name: out[name][0].tolist() for name in ("coarse", "fine", "semantics")},
        "answers": answers,
        "status": int(Status.OK),
        "model_version": version.version,
    }


def words(service: Service, start: str) -> dict[str, Any]:
    """`{"words": [...], "known": N}`: those that begin with a text, the shortest first; N is 0 for a model without."""
    known = service.find().words
    if known is None:
        return {"words": [], "known": 0}
    return {"words": known.vocabulary.complete(start, COMPLETIONS), "known": len(known.names)}


def guesses(version: Served, code: np.ndarray) -> list[str]:
    """What a drawing may be, best first. Empty where such guesses are wrong more often than right (`GUESS_COSINE`;
    docs/word.md says how often)."""
    if version.words is None:
        return []
    ranked = version.words.guess(code, version.guessable, GUESSES)
    return [name for name, _ in ranked] if ranked and ranked[0][1] >= GUESS_COSINE else []


def _embedded(service: Service, version: Served, query: Query, call: Call) -> np.ndarray:
    """The code `[d]` of a drawing, of a word or of both; a word that is not known is answered with the nearest ones."""
    if not query.word:
        return _one(service, version, KINDS[query.kind], query.image, call)["embedding"][0]
    try:
        if version.words is None:
            raise UserError(f"word: {NONE}")
        version.words.vocabulary.find(query.word)
    except UserError as error:
        raise invalid(str(error)) from None
    return _one(service, version, EMBED_WORD, query.image, call, query.word.encode())["embedding"][0]


def gallery_of(version: Served) -> OpenGallery:
    """The gallery that a version answers from; Fault FAILED_PRECONDITION where there is none."""
    if version.gallery is None:
        raise Fault("FAILED_PRECONDITION", "this server has no gallery, only embeddings; start it with --gallery")
    return version.gallery


def _options(service: Service, query: Query, gallery: OpenGallery) -> Options:
    if not 1 <= query.k <= service.settings.k:
        raise ImageFault(Status.BAD_K)
    try:
        return Options(
            labels=tuple(query.labels),
            where=_condition(query.columns, gallery),
            exclude=(*query.exclude, *(() if query.id is None else (query.id,))),
            threshold=query.threshold,
            group=query.group,
        )
    except UserError as error:
        raise invalid(str(error)) from None


def _hits(gallery: OpenGallery, vector: np.ndarray, k: int, options: Options) -> list[dict[str, Any]]:
    return [
        {
            "id": hit.id,
            "score": hit.score,
            "label": hit.label,
            "duplicates": list(hit.duplicates),
            "photo": photo_address(hit.id),
        }
        for hit in gallery.search(vector, k=k, options=options)
    ]


def photo_address(id: str) -> str:
    """Where the photo of an id is. Browsers resolve `.` and `..` between slashes, to another photo; so these ids come
    without slashes."""
    return f"/api/photo/{quote(id, safe='' if {'.', '..'} & set(id.split('/')) else '/')}"


def _one(
    service: Service, version: Served, function: str, image: bytes, call: Call, word: bytes | None = None
) -> dict[str, np.ndarray]:
    words = None if word is None else np.array([word], np.object_)
    request = ModelRequest(np.array([image], np.object_), words=words)
    out = service.batcher.wait(service.work(version, function, request, call))
    status = Status(int(out["status"][0]))
    if status != Status.OK:
        raise ImageFault(status)
    return out


def _condition(columns: Mapping[str, Any], gallery: OpenGallery) -> str:
    """SQL that is true where all columns have these values. Names are checked against those of the gallery, texts are
    quoted, so nothing of a request is ever read as SQL."""
    known = (*OUR_COLUMNS, *gallery.columns)
    parts = []
    for name, value in columns.items():
        if name not in known:
            raise invalid(f"columns: there is no {name[:64]!r}, expected some of {', '.join(map(str, known[:20]))}")
        if isinstance(value, bool):
            value = int(value)
        if value is None:
            parts.append(f"{quoted(name)} IS NULL")
        elif isinstance(value, int | float):
            parts.append(f"{quoted(name)} = {value!r}")
        elif isinstance(value, str) and "\0" not in value:
            text = value.replace("'", "''")
            parts.append(f"{quoted(name)} = '{text}'")
        else:
            raise invalid(f"columns: {name!r} has a {type(value).__name__}, expected text, a number or null")
    return " AND ".join(parts)
