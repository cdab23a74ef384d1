"""The signatures as clients see them, and the check of a request against one of them, before anything is decoded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tf_ssgn.serving.core.faults import invalid
from tf_ssgn.serving.core.tensors import Pending

DEFAULT = "serving_default"
ANY = -1


@dataclass(frozen=True)
class Spec:
    """Element type and shape of one input or output; -1 is a side that varies."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """One named function of the served model."""

    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    more: Mapping[str, Spec] = field(default_factory=dict)  # outputs that only those get who name them


def signatures(dimension: int, semantic_dimension: int, with_gallery: bool, with_words: bool) -> dict[str, Signature]:
    """The signatures that a model, with or without a gallery, is served with. `search` is also `serving_default`;
    without a gallery there is no default."""
    batch, table = (ANY,), (ANY, ANY)
    images = {"image_bytes": Spec("string", batch)}
    status = {"status": Spec("int32", batch)}
    embed = Signature(images, {"embedding": Spec("float32", (ANY, dimension)), **status})
    names = {
        "embed_sketch": embed,
        "embed_photo": embed,
        "explain": Signature(
            images,
            {
                "coarse": Spec("float32", (ANY, dimension)),
                "fine": Spec("float32", (ANY, dimension)),
                "semantics": Spec("float32", (ANY, semantic_dimension)),
                "class_names": Spec("string", table),
                "class_scores": Spec("float32", table),
                **status,
            },
        ),
    }
    word = {"word": Spec("string", batch)}
    if with_words:
        names["embed_word"] = Signature({**images, **word}, embed.outputs)
    if with_gallery:
        k = {"k": Spec("int32", batch)}
        search = Signature(
            {**images, **k},
            {"ids": Spec("string", table), "scores": Spec("float32", table), "count": Spec("int32", batch), **status},
            {"labels": Spec("string", table)},
        )
        names |= {"search": search, "search_photo": search, DEFAULT: search}
        if with_words:
            names["search_word"] = Signature({**images, **word, **k}, search.outputs, search.more)
    return names


def check(name: str, signature: Signature, inputs: Mapping[str, Pending], wanted: Sequence[str], batch: int) -> None:
    """Raises Fault INVALID_ARGUMENT unless names, types, ranks and batch sizes, of `batch` rows at most, fit. `wanted`
    is the request's output filter; empty for all outputs."""
    missing = sorted(set(signature.inputs) - set(inputs))
    extra = sorted(set(inputs) - set(signature.inputs))
    if missing or extra:
        raise invalid(
            f"signature {name!r}: input names do not match; expected {sorted(signature.inputs)}, "
            f"missing {missing}, not expected {[_short(item) for item in extra[:8]]}"
        )
    rows = None
    for key, spec in signature.inputs.items():
        tensor = inputs[key]
        if tensor.dtype != spec.dtype:
            raise invalid(f"input {key!r}: received dtype {tensor.dtype}, expected {spec.dtype}")
        if len(tensor.shape) != len(spec.shape):
            raise invalid(f"input {key!r}: received shape {list(tensor.shape)}, expected [batch]")
        if not 1 <= tensor.shape[0] <= batch:
            raise invalid(f"input {key!r}: received a batch of {tensor.shape[0]}, expected 1 to {batch}")
        if rows is not None and tensor.shape[0] != rows:
            raise invalid(f"input {key!r}: received a batch of {tensor.shape[0]}, the other input has {rows}")
        rows = tensor.shape[0]
    unknown = [item for item in wanted if item not in signature.outputs and item not in signature.more]
    if unknown:
        raise invalid(f"output_filter has {_short(unknown[0])!r}, expected some of {sorted(signature.outputs)}")
    if len(set(wanted)) != len(wanted):
        raise invalid("output_filter names an output twice")


def _short(text: str) -> str:
    return text if len(text) <= 64 else text[:64] + "..."
