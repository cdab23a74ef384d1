"""A gallery as its readers see it: answers, ties, deltas, deletions, another model, damage."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import sqlite3
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.retrieval.embedder import TinyEmbedder, item_of
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder import changes, compaction, gallery
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.segment import ITEMS, VECTORS
from tf_ssgn.retrieval.items import Hit
from tf_ssgn.retrieval.search import scann_index
from tf_ssgn.retrieval.search.options import Options
from tf_ssgn.serving.http import overview

D = TinyEmbedder.dimension


def vectors_of(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    vectors = np.random.default_rng(99).normal(size=(12, D))[rng.integers(0, 12, n)] + 0.4 * rng.normal(size=(n, D))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make(folder: Path, vectors: np.ndarray, ids: list[str] | None = None, labels: list[str] | None = None) -> Gallery:
    columns: dict[str, Any] = {"vectors": vectors}
    if ids is not None:
        columns["ids"] = np.array(ids)
    if labels is not None:
        columns["labels"] = np.array(labels)
    np.savez(folder.parent / "vectors.npz", **columns)
    changes.import_vectors(folder.parent / "vectors.npz", folder, TinyEmbedder())
    return Gallery.open(folder)


def first_part(folder: Path) -> Path:
    entry = Gallery.open(folder).manifest["segments"][0]
    return folder / "parts" / entry["folder"]


def test_what_nobody_uses_any_more_is_freed_without_a_look_for_garbage(tmp_path: Path) -> None:
    """A server opens a gallery anew with every change; files of old ones would stay open."""
    opened = make(tmp_path / "g", vectors_of(5), labels=list("aabbb"))
    for _ in range(2):
        assert len(opened.search(vectors_of(1)[0], options=Options(labels=("b",)))) == 3
    assert overview._counted(opened)["labels"] == [("a", 2), ("b", 3)]
    left = weakref.ref(opened)
    gc.disable()
    try:
        del opened
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("items", [1, 5, 50])
@pytest.mark.parametrize("method", ["auto", "exact", "scann"])
def test_tiny_galleries(tmp_path: Path, items: int, method: str) -> None:
    vectors = vectors_of(items)
    opened = make(tmp_path / "g", vectors)
    assert len(opened) == items and opened.method == "exact" and opened.dimension == D
    hits = opened.search(vectors[0], k=200, method=method)
    assert len(hits) == items and isinstance(hits[0], Hit)
    assert hits[0].id == opened.ids[0] and hits[0].score == pytest.approx(1, abs=1e-6)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    many = opened.search(vectors[:3], k=2, method=method)
    assert [len(row) for row in many] == [min(2, items)] * min(3, items)


def test_scores_are_cosines_of_any_length_of_query(tmp_path: Path) -> None:
    vectors = vectors_of(40)
    opened = make(tmp_path / "g", vectors * 7)
    query = np.random.default_rng(1).normal(size=D)
    hits = opened.search(query * 1e6, k=40)
    cosines = vectors.astype(np.float64) @ query / np.linalg.norm(query)
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(cosines)[::-1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(opened.vectors, axis=1), 1, atol=1e-6)


def test_equal_vectors_are_ordered_by_id_whatever_their_rows(tmp_path: Path) -> None:
    vectors = np.tile(vectors_of(1), (9, 1))
    opened = make(tmp_path / "g", vectors, ids=list("ihgfedcba"))
    for method in ("exact", "scann"):
        assert [hit.id for hit in opened.search(vectors[0], k=9, method=method)] == list("abcdefghi")
    assert [hit.id for hit in opened.search(vectors[0], k=3)] == list("abc")


def test_search_batch_pads_and_counts(tmp_path: Path) -> None:
    vectors = vectors_of(6)
    opened = make(tmp_path / "g", vectors)
    queries = np.stack([vectors[0], np.zeros(D), np.full(D, np.nan), vectors[3], vectors[4]]).astype(np.float32)
    ids, scores, count = opened.search_batch(queries, np.array([2, 5, 5, 9, 0]))
    assert ids.shape == scores.shape == (5, 9) and ids.dtype == object
    assert (scores.dtype, count.dtype, count.tolist()) == (np.float32, np.int32, [2, 0, 0, 6, 0])
    for row in range(5):
        assert all(ids[row, : count[row]]) and not any(ids[row, count[row] :])
        assert np.isfinite(scores[row, : count[row]]).all() and np.isnan(scores[row, count[row] :]).all()
    expected = opened.search(vectors[3], k=9)
    assert ids[3, :6].tolist() == [hit.id for hit in expected] and scores[3, :6].tolist() == [
        hit.score for hit in expected
    ]
    with pytest.raises(UserError, match="shapes"):
        opened.search_batch(queries, np.array([1]))


@pytest.mark.parametrize("k", [0, -1, 2.5, True])
def test_bad_k(tmp_path: Path, k) -> None:
    with pytest.raises(UserError, match="k: received"):
        make(tmp_path / "g", vectors_of(3)).search(vectors_of(1)[0], k=k)


def test_bad_queries(tmp_path: Path) -> None:
    opened = make(tmp_path / "g", vectors_of(3))
    for query, words in (
        (np.zeros(D), "zero"),
        (np.full(D, np.inf), "infinite"),
        (np.ones(D + 1), "shape"),
        ("cat", "numbers"),
    ):
        with pytest.raises(UserError, match=words):
            opened.search(query)
    with pytest.raises(UserError, match="method"):
        opened.search(np.ones(D), method="faiss")


def test_another_model_is_refused(tmp_path: Path) -> None:
    opened = make(tmp_path / "g", vectors_of(3))
    opened.require_model("tiny-1")
    with pytest.raises(UserError, match="another model.*received other"):
        opened.require_model("other")


def test_deleted_items_are_gone_from_every_answer(tmp_path: Path) -> None:
    vectors = vectors_of(60)
    before = make(tmp_path / "g", vectors, labels=["odd" if i % 2 else "even" for i in range(60)])
    changes.delete(tmp_path / "g", where="label = 'odd'")
    after = Gallery.open(tmp_path / "g")
    assert not before.is_current() and after.is_current() and len(before) == 60 and len(after) == 30
    assert after.ids == before.ids[::2] and set(after.labels) == {"even"}
    np.testing.assert_array_equal(after.vectors, vectors[::2])
    for method in ("exact", "scann"):
        hits = after.search(vectors[1], k=60, method=method)
        assert [hit.id for hit in hits] == [hit.id for hit in before.search(vectors[1], k=60) if hit.label == "even"]
    assert after.find(before.ids[1]) is None and after.vector(before.ids[1]) is None
    assert item_of(after, before.ids[2]).label == "even"
    np.testing.assert_array_equal(after.vector(before.ids[2]), vectors[2])


def test_a_gallery_made_anew_in_the_same_folder_is_another_one(tmp_path: Path) -> None:
    before = make(tmp_path / "g", vectors_of(5))
    shutil.rmtree(tmp_path / "g")
    after = make(tmp_path / "g", vectors_of(6, seed=1))
    assert before.version == after.version and not before.is_current() and after.is_current()


def test_a_gallery_from_which_everything_was_deleted(tmp_path: Path) -> None:
    opened = make(tmp_path / "g", vectors_of(5))
    changes.delete(tmp_path / "g", ids=opened.ids)
    for _ in range(2):
        empty = Gallery.open(tmp_path / "g")
        assert len(empty) == 0 and empty.search(np.ones(D)) == [] and empty.ids == []
        assert empty.vectors.shape == (0, D) and empty.search_batch(np.ones((1, D)), [3])[2].tolist() == [0]
        compaction.compact(tmp_path / "g")


@pytest.mark.skipif(bool(scann_index.why_not()), reason="ScaNN does not run here")
def test_scann_is_chosen_by_size_and_agrees_with_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = gallery.GALLERY._replace(exact_below=500, tree_from=2000)
    for module in (gallery, compaction, scann_index):
        monkeypatch.setattr(module, "GALLERY", small)
    opened = make(tmp_path / "g", vectors_of(3000), labels=[str(i % 10) for i in range(3000)])
    assert opened.method == "scann" and opened.manifest["segments"][0]["scann"]["kind"] == "tree"
    queries = vectors_of(50, seed=5)

    def recall(opened: Gallery) -> float:
        exact, approximate = opened.search(queries, method="exact"), opened.search(queries, method="scann")
        scores = {hit: hit.score for row in exact for hit in row}
        assert all(hit in scores or hit.score < 1 for row in approximate for hit in row)
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, approximate, strict=True)]))

    assert recall(opened) >= 0.95
    changes.delete(tmp_path / "g", where="label IN ('1', '2', '3', '4', '5', '6', '7')")
    thinned = Gallery.open(tmp_path / "g")
    assert len(thinned) == 900 and thinned.method == "scann" and recall(thinned) >= 0.9
    assert all(len(row) == 10 for row in thinned.search(queries))
    shutil.move(tmp_path / "g", tmp_path / "moved")
    assert recall(Gallery.open(tmp_path / "moved")) >= 0.9


def test_exact_where_scann_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scann_index, "why_not", lambda: "this CPU lacks AVX2 or FMA")
    opened = make(tmp_path / "g", vectors_of(30))
    assert opened.search(vectors_of(1)[0], k=5, method="scann") == opened.search(vectors_of(1)[0], k=5, method="exact")


def test_readable_with_numpy_and_sql(tmp_path: Path) -> None:
    """What docs/gallery.md shows."""
    vectors = vectors_of(7)
    make(tmp_path / "g", vectors, labels=list("aabbccc"))
    manifest = json.loads(
        (tmp_path / "g" / json.loads((tmp_path / "g/gallery.json").read_text())["manifest"]).read_text()
    )
    part = tmp_path / "g/parts" / manifest["segments"][0]["folder"]
    np.testing.assert_array_equal(np.load(part / VECTORS, mmap_mode="r"), vectors)
    rows = sqlite3.connect(part / ITEMS).execute("SELECT row, id FROM items WHERE label = 'b'").fetchall()
    assert rows == [(2, "2"), (3, "3")]


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("where", ["vectors", "header", "items", "dead", "manifest"])
@pytest.mark.parametrize("how", ["flip", "truncate", "remove"])
def test_open_refuses_a_damaged_gallery(tmp_path: Path, where: str, how: str) -> None:
    opened = make(tmp_path / "g", vectors_of(30))
    changes.delete(tmp_path / "g", ids=opened.ids[:3])
    part = first_part(tmp_path / "g")
    path = {
        "vectors": part / VECTORS,
        "header": part / VECTORS,
        "items": part / ITEMS,
        "dead": tmp_path / "g/parts/dead-000002.npy",
        "manifest": tmp_path / "g/versions/000002.json",
    }[where]
    if how == "flip":
        flip(path, 60 if where == "header" else path.stat().st_size // 2)
    elif how == "truncate":
        path.write_bytes(path.read_bytes()[: 40 if where == "header" else -5])
    else:
        path.unlink()
    with pytest.raises(UserError, match="damaged|missing"):
        Gallery.open(tmp_path / "g")


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"format": "x"}', '{"format": 1, "manifest": "versions/000009.json"}']
)
def test_open_refuses_a_damaged_pointer(tmp_path: Path, content: str) -> None:
    make(tmp_path / "g", vectors_of(3))
    (tmp_path / "g/gallery.json").write_text(content)
    with pytest.raises(UserError):
        Gallery.open(tmp_path / "g")


def test_open_refuses_what_is_no_gallery(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no gallery at"):
        Gallery.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match="not a gallery"):
        Gallery.open(tmp_path)
    make(tmp_path / "g", vectors_of(3))
    pointer = json.loads((tmp_path / "g/gallery.json").read_text())
    (tmp_path / "g/gallery.json").write_text(json.dumps({**pointer, "format": 99}))
    with pytest.raises(UserError, match="format 99"):
        Gallery.open(tmp_path / "g")


def test_what_is_open_stays_readable_when_a_writer_removes_it(tmp_path: Path) -> None:
    vectors = vectors_of(20)
    old = make(tmp_path / "g", vectors)
    changes.delete(tmp_path / "g", ids=old.ids[:5])
    compaction.compact(tmp_path / "g")
    assert [hit.id for hit in old.search(vectors[0], k=1)] == [old.ids[0]]
    assert len(Gallery.open(tmp_path / "g")) == 15


def test_vectors_of_another_kind_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "g", vectors_of(3))
    path = tmp_path / "g/versions/000001.json"
    path.write_text(path.read_text().replace('"l2"', '"none"'))
    pointer = json.loads((tmp_path / "g/gallery.json").read_text())
    pointer["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "g/gallery.json").write_text(json.dumps(pointer))
    with pytest.raises(UserError, match="none vectors with cosine similarity; expected l2"):
        Gallery.open(tmp_path / "g")
