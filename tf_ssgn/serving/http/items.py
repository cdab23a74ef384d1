"""Photos of a served gallery: their thumbnails, and with a write token their coming and going."""

import functools
import hashlib
import os
import re
import threading
from pathlib import Path

from tf_ssgn.common import atomic
from tf_ssgn.common.names import composed
from tf_ssgn.data.folders import excluder, is_system, suffix_of
from tf_ssgn.data.images.picture import Unusable, as_query, thumbnail_jpeg
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.files import to_file, to_text
from tf_ssgn.retrieval.folder import changes
from tf_ssgn.retrieval.folder.builder import FolderWriter
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.photos import Skipped, stable_bytes
from tf_ssgn.retrieval.searcher import OpenGallery
from tf_ssgn.runtime.saved_model import EmbeddingModel
from tf_ssgn.serving.core.faults import Fault, invalid, not_found
from tf_ssgn.settings import KEPT_THUMBNAILS

LABEL = re.compile(r"[^\W_][\w ().,'+-]{0,63}")


class Thumbnails:
    """Small JPEGs of a gallery's own photos; one is decoded at a time, so that memory stays that of one."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._kept = functools.lru_cache(KEPT_THUMBNAILS)(self._make)

    def of(self, gallery: OpenGallery, id: str, side: int) -> bytes:
        """A JPEG. Only ids are looked up, so no path of a request is ever opened; Fault NOT_FOUND for an id that the
        gallery does not have, or whose file is there no more or no photo."""
        item = gallery.find(id)
        if item is None or not item.path:
            raise not_found("there is no photo of that id")
        try:
            picture = self._kept(to_file(item.path), item.sha256, side)
        except Skipped:
            picture = None
        if picture is None:
            raise not_found("the photo of that id cannot be read")
        return picture

    def _make(self, path: str, sha256: str, side: int) -> bytes | None:
        with self._one_at_a_time:
            return thumbnail_jpeg(stable_bytes(path)[0], side)


class Uploads:
    """Adds photos to the gallery in a folder and deletes items from it, one writer at a time. New photos are kept in
    `folder`, a source of the gallery like any other, so `index sync` knows it."""

    def __init__(self, gallery: str | Path, folder: str | Path | None):
        self._gallery, self._folder = gallery, None if folder is None else Path(os.path.abspath(folder))
        self._lock = threading.Lock()

    @property
    def possible(self) -> bool:
        """Whether there is a folder for new photos."""
        return self._folder is not None

    def add(self, model: EmbeddingModel, content: bytes, label: str, opened: Gallery) -> str:
        """The id of the photo, which is durable and in the gallery's newest version when this returns; `opened` is the
        gallery as it is served, and need not be opened again while nobody else writes. Fault: no folder for uploads, a
        label that makes no folder name, no photo, or another writer at work."""
        if self._folder is None:
            raise Fault("FAILED_PRECONDITION", "this server has no folder for new photos; start it with --uploads DIR")
        label = composed(label).strip()
        if not LABEL.fullmatch(label):
            raise invalid("label: expected up to 64 letters, digits, spaces and ().,'+-, the first a letter or digit")
        try:
            as_query(content)
        except Unusable as reason:
            raise invalid(f"the photo cannot be used: {reason}") from None
        path = self._folder / label / (hashlib.sha256(content).hexdigest()[:32] + suffix_of(content[:16]))
        left_out = excluder(opened.manifest.get("exclude", ()))
        if is_system(label) or left_out(f"{label}/{path.name}"):  # `index sync` would take the photo away again
            raise invalid(f"label: this gallery leaves out what is called {label!r}; expected another name")
        with self._lock:
            new = not path.exists()
            try:
                if new:
                    with atomic.writing(path) as temporary:
                        temporary.write_bytes(content)
                id, report = FolderWriter(self._gallery, opened).add_photo(self._folder, path, model)
            except (UserError, OSError) as error:
                if new:
                    path.unlink(missing_ok=True)
                raise _unavailable(error) from None
            skipped = dict(report.skipped)
            if to_text(str(path)) in skipped:
                path.unlink(missing_ok=True)
                raise invalid(f"the photo cannot be used: {skipped[to_text(str(path))]}")
            return id

    def delete(self, opened: Gallery, id: str) -> None:
        """Deletes an item; with it its photo, if that was uploaded. Fault NOT_FOUND where there is none."""
        with self._lock:
            item = opened.find(id)
            path = None if item is None else Path(os.path.normpath(to_file(item.path)))  # an imported one may have ..
            try:
                if path is not None and self._folder is not None and path.is_relative_to(self._folder):
                    path.unlink(missing_ok=True)  # first, or the next upload would bring the item back
                if not changes.delete(self._gallery, ids=[id]).removed:
                    raise not_found("there is no item of that id")
            except (UserError, OSError) as error:
                raise _unavailable(error) from None


def _unavailable(error: Exception) -> Fault:
    """Another writer, a full disk: no mistake of the client, and no business of its where the gallery is."""
    busy = "being written" in str(error)
    return Fault(
        "UNAVAILABLE",
        "the gallery is being written by another process; try again" if busy else "the gallery cannot be written",
    )
