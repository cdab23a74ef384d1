"""A gallery by where it is: a folder, or an address in Milvus. Nothing else asks which of the two it is."""

import os
from typing import Any

from tf_ssgn.retrieval.searcher import OpenGallery
from tf_ssgn.retrieval.writer import Writer


def is_address(where: str | os.PathLike) -> bool:
    """Whether a gallery is named by an address and not by a folder."""
    return os.fspath(where).startswith(("milvus:", "https:"))


def open_writer(where: str | os.PathLike) -> Writer:
    """What makes and changes the gallery at a place, whether or not there is one; UserError for no right address."""
    if is_address(where):
        from tf_ssgn.retrieval.milvus.writer import MilvusWriter

        return MilvusWriter(where)
    from tf_ssgn.retrieval.folder.builder import FolderWriter

    return FolderWriter(where)


def open_gallery(where: str | os.PathLike) -> OpenGallery:
    """The gallery in a folder or, by `milvus:` or `https:`, in Milvus; UserError where there is none."""
    if is_address(where):
        from tf_ssgn.retrieval.milvus.gallery import MilvusGallery

        return MilvusGallery.open(os.fspath(where))
    from tf_ssgn.retrieval.folder.gallery import Gallery

    return Gallery.open(where)


def state_of(where: str | os.PathLike, opened: Any = None) -> Any:
    """What tells one version of a gallery from another; UserError where it cannot be told now."""
    if is_address(where):  # its content changes under an open gallery; only a collection made anew is another one
        from tf_ssgn.retrieval.milvus.gallery import MilvusGallery

        if isinstance(opened, MilvusGallery):
            return opened.identity()
        with MilvusGallery.open(os.fspath(where)) as gallery:
            return gallery.identity()
    from tf_ssgn.retrieval.folder.store import Store

    return Store(where).pointer()
