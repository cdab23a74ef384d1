"""A gallery is what its callers ask for, wherever it is kept."""

from __future__ import annotations

import numpy as np
import pytest

from tf_ssgn.retrieval.folder.builder import FolderWriter
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.items import Item
from tf_ssgn.retrieval.search.options import Options
from tf_ssgn.retrieval.searcher import Near, OpenGallery, Searcher


def test_searching_is_said_once() -> None:
    pytest.importorskip("pymilvus")
    from tf_ssgn.retrieval.milvus.gallery import MilvusGallery
    from tf_ssgn.retrieval.milvus.writer import MilvusWriter

    for kind in (Gallery, MilvusGallery):
        assert issubclass(kind, OpenGallery) and not kind.__abstractmethods__
        for name in ("search", "search_batch", "require_model", "find", "labels_of"):
            assert getattr(kind, name) is getattr(OpenGallery, name), f"{kind.__name__} has a {name} of its own"
    assert not FolderWriter.__abstractmethods__ and not MilvusWriter.__abstractmethods__


class Diagonal(Searcher):
    """The least that a Searcher is: three items on the axes of space, found one way."""

    dimension = 3

    def nearest(self, queries, k, method, options, whole=False):
        ranked = np.argsort(-queries, axis=1, kind="stable")[:, :k]
        items = [Item(id, f"{id}.png", "axis") for id in "abc"]
        return [
            Near(query[rows], [items[row] for row in rows], np.eye(3, dtype=np.float32)[rows] if whole else None)
            for query, rows in zip(queries, ranked, strict=True)
        ]


def test_finding_is_all_that_a_searcher_has_to_do() -> None:
    assert Searcher.__abstractmethods__ == {"nearest"}
    searcher = Diagonal()
    hits = searcher.search([0.0, 3.0, 4.0], k=2)
    assert [(hit.id, hit.path, hit.label) for hit in hits] == [("c", "c.png", "axis"), ("b", "b.png", "axis")]
    np.testing.assert_allclose([hit.score for hit in hits], [0.8, 0.6], atol=1e-6)
    assert [hit.id for hit in searcher.search([0.0, 3.0, 4.0], k=3, options=Options(threshold=0.7))] == ["c"]
    ids, scores, count = searcher.search_batch(np.array([[2, 0, 0], [0, 0, 0]], np.float32), [1, 1])
    assert ids.tolist() == [["a"], [""]] and count.tolist() == [1, 0] and scores[0, 0] == 1
