"""A gallery is what its callers ask for, wherever it is kept."""

from __future__ import annotations

import pytest

from tf_ssgn.retrieval.folder.builder import FolderWriter
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.searcher import Searcher


def test_searching_is_said_once() -> None:
    pytest.importorskip("pymilvus")
    from tf_ssgn.retrieval.milvus.gallery import MilvusGallery
    from tf_ssgn.retrieval.milvus.writer import MilvusWriter

    for kind in (Gallery, MilvusGallery):
        assert issubclass(kind, Searcher) and not kind.__abstractmethods__
        for name in ("search", "search_batch", "require_model", "find", "labels_of"):
            assert getattr(kind, name) is getattr(Searcher, name), f"{kind.__name__} has a {name} of its own"
    assert not FolderWriter.__abstractmethods__ and not MilvusWriter.__abstractmethods__
