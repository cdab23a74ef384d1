"""What a page has to know before it asks: the gallery's size and metadata, the model, and what this server allows."""

import math
import threading
import weakref
from typing import Any

from tf_ssgn.retrieval.searcher import OpenGallery
from tf_ssgn.serving.core.faults import not_found
from tf_ssgn.serving.core.service import Service
from tf_ssgn.settings import LISTED_COLUMNS, LISTED_LABELS, LISTED_VALUES, QUERY_RASTER


def of(service: Service, writable: bool) -> dict[str, Any]:
    """What the page shows: `{"model": {"name", "version", "seen", "words"}, "gallery": {"items", "expected", "version",
    "labels", "columns"} or null, "limits": {"k", "bytes"}, "writable"}`.

    `expected` is how many items a gallery that is growing will have, 0 where that is not known yet, and null for one
    that is whole. `labels` is a list of [label, items], and null where there are too many to list; `columns` gives the
    same for each column of the users' tables.
    """
    version = service.find()
    card = version.model.card
    gallery = None if version.gallery is None else _counted(version.gallery) | {"expected": service.expected}
    return {
        "model": {
            "name": str(card.get("name") or service.settings.name),
            "version": version.version,
            "seen": [str(name) for name in card.get("seen") or ()],
            "words": version.words is not None,
        },
        "gallery": gallery,
        "raster": QUERY_RASTER._asdict(),
        "limits": {"k": service.settings.k, "bytes": service.settings.message_bytes},
        "writable": writable and gallery is not None,
    }


_counts: weakref.WeakKeyDictionary[OpenGallery, dict[str, Any]] = weakref.WeakKeyDictionary()
_one_counts = threading.Lock()


def _counted(gallery: OpenGallery) -> dict[str, Any]:
    """A version of a gallery is counted once."""
    with _one_counts:
        if gallery not in _counts:
            _counts[gallery] = _count(gallery)
        return _counts[gallery]


def _count(gallery: OpenGallery) -> dict[str, Any]:
    columns = {name: _listed(gallery.counts(name, LISTED_VALUES)) for name in gallery.columns[:LISTED_COLUMNS]}
    labels = _listed(gallery.counts("label", LISTED_LABELS))
    return {"items": len(gallery), "version": gallery.version, "labels": labels, "columns": columns}


def item(gallery: OpenGallery, id: str) -> dict[str, Any]:
    """`{"id", "label", "width", "height", "bytes", "columns"}` of a photo; Fault NOT_FOUND where there is none. The id
    is the path below the folder that was indexed; where that is, stays on the server."""
    photo = gallery.find(id)
    if photo is None:
        raise not_found("there is no photo of that id")
    sizes = {"width": photo.width, "height": photo.height, "bytes": photo.size}
    values = gallery.extra_of([id]).get(id, {})
    columns = {name: value for name, value in values.items() if _plain(value)}
    return {"id": photo.id, "label": photo.label, **sizes, "columns": columns}


def _listed(counts: dict[Any, int] | None) -> list[tuple[Any, int]] | None:
    if counts is None:
        return None
    return sorted(((value, number) for value, number in counts.items() if _plain(value)), key=lambda pair: str(pair[0]))


def _plain(value: Any) -> bool:
    """Whether JSON has a word for it: SQLite also keeps bytes and infinities."""
    return isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))
