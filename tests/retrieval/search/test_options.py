"""What a search may ask for: filters, exclusions, a threshold, groups; against a naive loop."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.retrieval.embedder import TinyEmbedder, draw, draw_folder
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder import builder, changes, compaction, gallery, segment
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.search import scann_index
from tf_ssgn.retrieval.search.options import Options
from tf_ssgn.retrieval.searcher import groups

D, N = TinyEmbedder.dimension, 240


def units(n: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """240 items in two segments, every seventh deleted."""
    folder = tmp_path_factory.mktemp("options") / "g"
    vectors = units(N, 0)
    ids = [f"{row:03d}" for row in range(N)]
    labels = [f"label{row % 5}" for row in range(N)]
    paths = [f"/photos/{'a' if row % 2 else 'b'}/{row}.png" for row in range(N)]
    changes.import_columns(folder, TinyEmbedder(), "test", vectors[:200], ids[:200], labels[:200], paths[:200])
    changes.add_vectors(folder, "tiny-1", vectors[200:], ids[200:], labels[200:], paths[200:])
    changes.delete(folder, ids=ids[::7])
    return Gallery.open(folder)


def naive(query: np.ndarray, k: int, allowed) -> list[str]:
    vectors = units(N, 0).astype(np.float64)
    rows = [row for row in range(N) if row % 7 and allowed(row)]
    return [f"{row:03d}" for row in sorted(rows, key=lambda row: -(vectors[row] @ query))[:k]]


@pytest.mark.parametrize("method", ["auto", "exact", "scann"])
@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        (Options(labels=("label3",)), lambda row: row % 5 == 3),
        (Options(labels=("label3", "label4")), lambda row: row % 5 >= 3),
        (Options(path_prefix="/photos/a"), lambda row: row % 2),
        (Options(where="id < '100' OR label = 'label0'"), lambda row: row < 100 or row % 5 == 0),
        (Options(where="id < '100' OR 1", labels=("label1",)), lambda row: row % 5 == 1),
        (Options(exclude=("003", "017", "nobody", "000")), lambda row: row not in (3, 17)),
        (
            Options(labels=("label2",), path_prefix="/photos/b", exclude=("012",)),
            lambda row: row % 10 == 2 and row != 12,
        ),
        (Options(labels=("no such",)), lambda row: False),
    ],
)
def test_filters_equal_a_naive_loop(opened: Gallery, options: Options, allowed, method: str) -> None:
    queries = units(3, 1)
    for k in (1, 8, 300):
        expected = [naive(query, k, allowed) for query in queries]
        assert [[hit.id for hit in hits] for hits in opened.search(queries, k, method, options)] == expected
    ids, scores, count = opened.search_batch(queries, [2, 300, 0], method, options)
    assert [row[:n].tolist() for row, n in zip(ids, count, strict=True)][:2] == [
        naive(queries[0], 2, allowed), naive(queries[1], 300, allowed)
    ]  # fmt: skip
    assert count[2] == 0 and np.isnan(scores[2]).all()


def test_k_for_each_query_and_threshold(opened: Gallery) -> None:
    queries = units(3, 1)
    assert [len(hits) for hits in opened.search(queries, [1, 5, 2])] == [1, 5, 2]
    every = opened.search(queries[0], 300)
    limit = every[6].score
    near = opened.search(queries[0], 300, options=Options(threshold=limit))
    assert near == every[:7] and opened.search(queries[0], 300, options=Options(threshold=1.0)) == []
    for k in ([1, 2], [1, 0, 2], [1, 2, True], "ten"):
        with pytest.raises(UserError, match="k: received"):
            opened.search(queries, k)


@pytest.mark.parametrize(
    "bad",
    [
        {"threshold": float("nan")}, {"threshold": 1.5}, {"threshold": "0.5"}, {"threshold": True}, {"group": -2},
        {"labels": "cat"}, {"labels": [3]}, {"exclude": "x"}, {"where": 1}, {"path_prefix": None},
        {"exclude": ["x"] * 10_001}, {"labels": 5},
    ],
)  # fmt: skip
def test_bad_options(bad: dict) -> None:
    with pytest.raises(UserError, match=f"{next(iter(bad))}: received"):
        Options(**bad)


@pytest.mark.parametrize(
    "where",
    [
        "0) UNION SELECT 1000 /*", "1) OR (1", "1) LIMIT 2 --", "label = ?", "(SELECT 1)", " ", "'a", "1 LIMIT 1",
        "nothing = 1", "(", "1; DROP TABLE items", "label = giraffe", "load_extension('x')", "\0", "\udc80",
        "EXISTS (SELECT 1 FROM sqlite_master)", "length(randomblob(2000000000)) > 1",
        "id IN (SELECT name FROM pragma_table_info('items'))", "(" * 300 + "1" + ")" * 300,
        "EXISTS (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 1 FROM n WHERE i < 0)",
    ],
)  # fmt: skip
def test_conditions_that_are_refused(opened: Gallery, where: str) -> None:
    with pytest.raises(UserError, match="received the condition"):
        opened.search(units(1, 1)[0], options=Options(where=where))


def test_a_condition_that_takes_too_long(opened: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "GALLERY", segment.GALLERY._replace(filter_seconds=0.05))
    slow = f"replace(hex(zeroblob(40000)), '0', 'a') || id LIKE '%{'a' * 150}b%'"
    with pytest.raises(UserError, match="it took too long"):
        opened.search(units(1, 1)[0], options=Options(where=slow))
    assert opened.search(units(1, 1)[0], options=Options(where="1")), "the next one is answered"


def test_near_duplicates_are_grouped(tmp_path: Path) -> None:
    base = units(12, 3)
    noise = 1e-3 * np.random.default_rng(4).normal(size=(12, 5, D))
    vectors = (base[:, None] + noise).reshape(-1, D)
    ids = [f"{group:02d}-{twin}" for group in range(12) for twin in range(5)]
    changes.import_columns(tmp_path / "g", TinyEmbedder(), "test", vectors.astype(np.float32), ids)
    opened = Gallery.open(tmp_path / "g")
    hits = opened.search(base[0], 3, options=Options(group=0.99))
    order = np.argsort(-(base @ base[0]))[:3]
    assert [hit.id[:2] for hit in hits] == [f"{group:02d}" for group in order]
    for hit in hits:
        assert {hit.id, *hit.duplicates} == {f"{hit.id[:2]}-{twin}" for twin in range(5)}
    assert len(opened.search(base[0], 50, options=Options(group=0.99))) == 12
    assert all(hit.duplicates == () for hit in opened.search(base[0], 50))
    ids_, _, count = opened.search_batch(base[:1], [2], options=Options(group=0.99, exclude=(hits[0].id,)))
    assert count[0] == 2 and ids_[0, 0][:2] == "00" and ids_[0, 0] != hits[0].id


def test_equal_content_is_one_group_whatever_its_cosine(tmp_path: Path) -> None:
    photo = draw_folder(tmp_path / "photo", classes=1, each=3)
    draw(photo / "class0/copy.png", 0)
    draw(photo / "class0/0.png", 0)
    builder.build(tmp_path / "g", [photo], TinyEmbedder())
    opened = Gallery.open(tmp_path / "g")
    hits = opened.search(opened.vector("photo/class0/0.png"), 10, options=Options(group=1.0))
    assert len(hits) == 3 and hits[0].duplicates == ("photo/class0/copy.png",)


@pytest.mark.skipif(bool(scann_index.why_not()), reason="ScaNN does not run here")
def test_filters_over_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few items kept: exact among them; many: a wider search of the tree."""
    small = gallery.GALLERY._replace(exact_below=500, tree_from=2000)
    for module in (gallery, compaction, scann_index):
        monkeypatch.setattr(module, "GALLERY", small)
    vectors = units(4000, 0)
    labels = [f"{row % 100}" for row in range(4000)]
    changes.import_columns(tmp_path / "g", TinyEmbedder(), "test", vectors, labels=labels)
    opened = Gallery.open(tmp_path / "g")
    assert opened.manifest["segments"][0]["scann"]["recall_at_10"] >= 0.95
    queries = units(40, 1)
    for kept in (1, 30):
        options = Options(labels=tuple(str(label) for label in range(kept)))
        truth = opened.search(queries, 10, "exact", options)
        for method in ("auto", "scann"):
            found = opened.search(queries, 10, method, options)
            assert all(len(hits) == 10 and {hit.label for hit in hits} <= set(options.labels) for hits in found)
            same = [len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]
            assert np.mean(same) >= (1 if kept == 1 and method == "auto" else 0.95)


@pytest.mark.parametrize("where", ["label = 'a ) -- ; /* select'", "label <> 'it''s (' AND (1)"])
def test_quoted_text_may_hold_anything(opened: Gallery, where: str) -> None:
    opened.search(units(1, 1)[0], options=Options(where=where))


def test_a_duplicate_reaches_a_threshold_of_1(opened: Gallery) -> None:
    for id, vector in zip(opened.ids, opened.vectors, strict=True):
        hits = opened.search(vector, 1, options=Options(threshold=1.0))
        assert [hit.id for hit in hits] == [id] and hits[0].score <= 1


def test_groups_equal_a_naive_loop_for_every_k() -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 4))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    expected: list[list[int]] = []
    for place, vector in enumerate(vectors):
        near = [group for group in expected if vectors[group[0]] @ vector >= 0.8 - 1e-5]
        near[0].append(place) if near else expected.append([place])
    for k in (1, 3, 10, 300):
        assert groups(vectors, [None] * 300, k, 0.8) == expected[:k]
    assert groups(vectors[:3], ["a", "b", "a"], 3, 1.0) == [[0, 2], [1]]


def test_calls_that_no_gallery_can_answer(opened: Gallery) -> None:
    query = units(1, 1)
    assert opened.search(np.empty((0, D))) == []
    assert opened.search_batch(query, np.array([10**13]))[0].shape == (1, 10_000)
    assert opened.search_batch(query, 3)[2].tolist() == [3]
    for call in (
        lambda: opened.search(query, options={"labels": ["a"]}),  # type: ignore[arg-type]
        lambda: opened.find("\udcff"),
        lambda: opened.search(query, options=Options(exclude=("\udcff",))),
        lambda: opened.search_batch(query, "x"),
    ):
        with pytest.raises(UserError):
            call()


def test_conditions_with_clock_or_chance_are_asked_anew(tmp_path: Path) -> None:
    builder.build(tmp_path / "g", [draw_folder(tmp_path / "photo", classes=1, each=8)], TinyEmbedder())
    opened = Gallery.open(tmp_path / "g")
    for where in (
        "random() > 0", "\"random\" () > 0", "RANDOM() % 2", "abs(random()) % 2 = 0", "unixepoch('now', 'subsec') > 0",
        "strftime('%f', 'now') > 0", "julianday() > 0", "CURRENT_TIMESTAMP > '2020'", "datetime('now') > label",
    ):  # fmt: skip
        opened.search(np.ones(16), 8, options=Options(where=where))
        assert not opened._remembered.cache_info().currsize, where
    found = {len(opened.search(np.ones(16), 8, options=Options(where="random() > 0"))) for _ in range(40)}
    assert len(found) > 1, "chance is asked each time; 40 equal answers of eight come once in 10^26"
    for where in ("label = 'random()'", "width > 3", "id GLOB '*current'"):
        opened.search(np.ones(16), 8, options=Options(where=where))
    assert opened._remembered.cache_info().currsize >= 2


def test_composed_and_decomposed_names_meet(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != decomposed
    for seed, name in enumerate((composed, decomposed, "tea")):
        draw(tmp_path / "photo" / name / f"{seed}.png", seed)
    table = tmp_path / "t.csv"
    table.write_text(
        f"id,mood,{decomposed}\nphoto/{composed}/1.png,{decomposed},1\nphoto/{decomposed}/0.png,{composed},2\nx/é.png,-,3\n"
    )
    report = builder.build(tmp_path / "g", [tmp_path / "photo"], TinyEmbedder(), table)
    assert report.unmatched == ["x/é.png"]
    opened = Gallery.open(tmp_path / "g")

    def count(**options: Any) -> int:
        return len(opened.search(np.ones(16), 10, options=Options(**options)))

    for name in (composed, decomposed):
        assert count(labels=(name,)) == 2
        assert count(path_prefix=f"{tmp_path}/photo/{name}/") == 2
        assert count(where=f"label = '{name}'") == 2 and count(where=f"label <> '{name}'") == 1
        assert count(where=f"{name} = 2") == 1, "a column's name too"
        assert count(exclude=(f"photo/{name}/0.png", f"photo/{name}/1.png")) == 1
        assert count(where=f"mood = '{name}'") == 2 and count(where=f"label GLOB '{name}*' AND mood NOT NULL") == 2
        assert count(where=f"mood = '{name}'", labels=(name,), path_prefix=f"{tmp_path}/photo/{name}") == 2
    assert count(where="label = 'tea'") == 1
    for id in (f"photo/{composed}/0.png", f"photo/{decomposed}/0.png"):
        assert changes.delete(tmp_path / "g", ids=[id]).removed == (id == f"photo/{composed}/0.png"), "its own first"
    draw(tmp_path / "photo" / decomposed / "x" / "7.png", 7)
    builder.add(tmp_path / "g", [tmp_path / "photo" / decomposed / "x"], TinyEmbedder())
    assert changes.delete(tmp_path / "g", paths=[f"{tmp_path}/photo/{composed}/x"]).removed == 1
    assert changes.delete(tmp_path / "g", ids=[f"photo/{composed}/1.png"]).removed == 1
