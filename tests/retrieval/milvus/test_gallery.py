"""A gallery on a real Milvus Lite server beside the same gallery in a folder."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.retrieval.embedder import TinyEmbedder, draw, draw_folder
from tests.retrieval.milvus_server import Server
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval import update
from tf_ssgn.retrieval.folder import builder
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.items import Item
from tf_ssgn.retrieval.milvus import writer as milvus_writer
from tf_ssgn.retrieval.milvus.connection import address
from tf_ssgn.retrieval.milvus.gallery import MilvusGallery
from tf_ssgn.retrieval.milvus.writer import MilvusWriter
from tf_ssgn.retrieval.open import open_gallery
from tf_ssgn.retrieval.search.options import Options
from tf_ssgn.retrieval.searcher import Unreachable

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("milvus") / "data")
    yield made
    made.kill()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw_folder(tmp_path_factory.mktemp("photos") / "photo", classes=3, each=20)
    for copy in range(3):  # equal scores
        (folder / "class1" / f"copy{copy}.png").write_bytes((folder / "class0" / "0.png").read_bytes())
    draw(folder / 'it\'s "a\\b" %_é' / "1.png", 99)
    return folder


@pytest.fixture(scope="module")
def both(server: Server, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("galleries") / "g"
    builder.build(folder, [photos], TinyEmbedder())
    report = update.build(MilvusWriter(server.address("photos")), [photos], TinyEmbedder())
    assert (report.count, report.embedded, report.reused) == (64, 61, 3)
    opened = open_gallery(server.address("photos"))
    assert isinstance(opened, MilvusGallery)
    return Gallery.open(folder), opened


QUERIES = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)


def assert_same_hits(ours: list[Any], theirs: list[Any]) -> None:
    assert [[hit._replace(score=0) for hit in hits] for hits in ours] == [
        [hit._replace(score=0) for hit in hits] for hits in theirs
    ]
    for mine, other in zip(ours, theirs, strict=True):
        assert [hit.score for hit in mine] == pytest.approx([hit.score for hit in other], abs=1e-6)


OPTIONS = [
    {},
    {"labels": ("class1", 'it\'s "a\\b" %_é')},
    {"where": "label <> 'class0' AND width >= 3"},
    {"where": "NOT (label = 'class1' OR size < 300)"},
    {"exclude": ("photo/class0/1.png", "nobody")},
    {"threshold": 0.2},
    {"group": 0.999},
    {"labels": ("class1",), "where": "id GLOB 'photo/class1/c*'"},
    {"labels": ("nothing",)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_answers_are_those_of_the_folder(both: Any, options: dict[str, Any]) -> None:
    folder, remote = both
    queries = np.concatenate([QUERIES, folder.vectors[:2]])
    assert_same_hits(
        remote.search(queries, 10, options=Options(**options)), folder.search(queries, 10, options=Options(**options))
    )


def test_a_path_prefix_is_taken_literally(both: Any, photos: Path) -> None:
    folder, remote = both
    for prefix in (str(photos / "class1"), str(photos / 'it\'s "a\\b" %_é') + "/", str(photos / "%")):
        options = Options(path_prefix=prefix)
        assert_same_hits(remote.search(QUERIES, 30, options=options), folder.search(QUERIES, 30, options=options))


def test_batches_items_and_vectors(both: Any) -> None:
    folder, remote = both
    vectors = np.stack([QUERIES[0], np.zeros(16), QUERIES[1], np.full(16, np.nan)]).astype(np.float32)
    wanted = np.array([3, 3, 0, 2])
    for mine, theirs in zip(remote.search_batch(vectors, wanted), folder.search_batch(vectors, wanted), strict=True):
        assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
        if mine.dtype == object:
            assert mine.tolist() == theirs.tolist()
        else:
            np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert len(remote) == 64 and list(remote.items()) == list(folder.items())
    id = folder.ids[5]
    assert remote.find(id) == folder.find(id) and remote.find("nobody") is None
    assert np.array_equal(remote.vector(id), folder.vector(id)) and remote.vector("nobody") is None
    assert remote.verify() == {
        "count": 64, "damage": [], "leftovers": [], "unfinished": None, "self_recall": 1.0
    }  # fmt: skip
    stats = MilvusWriter(remote.path).stats()
    assert (stats["count"], stats["search"], stats["dimension"]) == (64, "FLAT", 16)
    for wrong in ("vectors", {"k": 20_000}, {"k": 0}):
        with pytest.raises(UserError, match="received|expected numbers"):
            remote.search(wrong if isinstance(wrong, str) else QUERIES, **(wrong if isinstance(wrong, dict) else {}))


def test_add_sync_and_delete(server: Server, tmp_path: Path) -> None:
    photos, where = draw_folder(tmp_path / "photo", classes=2, each=5), server.address("kept")
    update.build(MilvusWriter(where), [photos], TinyEmbedder())
    with pytest.raises(UserError, match="already is a gallery"):
        update.build(MilvusWriter(where), [photos], TinyEmbedder())
    draw(photos / "class0" / "new.png", 50)
    (photos / "class0" / "bad.png").write_bytes(b"no photo")
    (photos / "class1" / "1.png").unlink()
    (photos / "class1" / "2.png").touch()
    model = TinyEmbedder()
    report = update.add(MilvusWriter(where), [photos], model)
    assert (report.embedded, report.unchanged, report.count, model.calls) == (1, 9, 11, 1)
    assert report.skipped[0][0].endswith("bad.png")
    report = update.add(MilvusWriter(where), [], TinyEmbedder(), remove=True)
    assert (report.embedded, report.removed, report.count) == (0, 1, 10)
    builder.build(tmp_path / "g", [photos], TinyEmbedder())
    with MilvusGallery.open(where) as gallery:
        expected = [item._replace(modified=None) for item in Gallery.open(tmp_path / "g").items()]
        assert [item._replace(modified=None) for item in gallery.items()] == expected
    assert MilvusWriter(where).delete(ids=["photo/class0/new.png", "nobody"]).removed == 1
    assert MilvusWriter(where).delete(paths=[str(photos / "class1")]).removed == 4
    assert MilvusWriter(where).delete(where="label = 'class0'").count == 0
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    for number in range(3):
        draw(photos / decomposed / f"{number}.png", number)
    assert update.add(MilvusWriter(where), [photos / decomposed], TinyEmbedder()).count == 3
    assert MilvusWriter(where).delete(ids=[f"photo/{composed}/0.png", "nobody"]).removed == 1
    assert MilvusWriter(where).delete(paths=[str(photos / composed)]).count == 0
    with pytest.raises(UserError, match="another model"):
        update.add(MilvusWriter(where), [photos], TinyEmbedder("other"))
    for file in photos.rglob("*.png"):
        file.unlink()
    assert update.add(MilvusWriter(where), [], TinyEmbedder(), remove=True).count == 0


def test_ids_are_deleted_as_they_are_written(tmp_path: Path) -> None:
    ids = ["a", "b", "a','b", 'q"\\', "\x01\n\0", "it's"]
    with milvus_writer.open_or_create(address(f"milvus:{tmp_path}/x.db/items"), TinyEmbedder())[0] as gallery:
        vectors = np.eye(16, dtype=np.float32)[: len(ids)]
        milvus_writer.upsert(gallery, milvus_writer.rows_of([Item(id, f"/{id}", id) for id in ids], vectors))
        for number, id in enumerate(ids[2:], 1):
            assert gallery.find(id) is not None
            milvus_writer.delete_ids(gallery, [id])
            assert gallery.find(id) is None and len(list(gallery.items())) == len(ids) - number


def test_a_server_that_dies_in_the_middle_of_an_insert(tmp_path: Path) -> None:
    """What was acknowledged is there when it comes back; written again, nothing is there twice."""
    vectors = np.random.default_rng(1).normal(size=(3000, 16)).astype(np.float32)
    items = [Item(f"item/{row:05d}", "", "") for row in range(3000)]
    server = Server(tmp_path / "data")
    try:
        where = server.address("vectors")

        def blocks() -> Iterator[tuple[list[Item], np.ndarray]]:
            for low in range(0, 3000, 1000):
                if low == 2000 and not killed:
                    server.kill()
                    killed.append(low)
                yield items[low : low + 1000], vectors[low : low + 1000]

        killed: list[int] = []
        with pytest.raises(Unreachable, match="does not answer"):
            MilvusWriter(where).import_blocks(TinyEmbedder(), "vectors", blocks(), 3000)
        server.restart()
        with eventually(lambda: MilvusGallery.open(where)) as gallery:
            assert gallery.count() == 2000
            assert gallery.find("item/01999") is not None
        assert MilvusWriter(where).import_blocks(TinyEmbedder(), "vectors", blocks(), 3000).count == 3000
        assert MilvusWriter(where).verify()["damage"] == []
    finally:
        server.kill()


def test_an_open_gallery_outlives_its_server(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    try:
        update.build(MilvusWriter(server.address("g")), [draw_folder(tmp_path / "photo")], TinyEmbedder())
        gallery = MilvusGallery.open(server.address("g"))
        expected, before = gallery.search(QUERIES), gallery.identity()
        server.kill()
        with pytest.raises(Unreachable, match="does not answer"):
            gallery.search(QUERIES)
        assert len(gallery) == 12, "what was counted last"
        server.restart()
        assert_same_hits(eventually(lambda: gallery.search(QUERIES)), expected)
        server.pause()
        with pytest.raises(Unreachable):
            gallery.search(QUERIES)
        with pytest.raises(Unreachable, match="asked again soon"):  # who comes next does not wait for it too
            gallery.search(QUERIES)
        server.go_on()
        assert_same_hits(eventually(lambda: gallery.search(QUERIES)), expected)
        assert gallery.identity() == before, "the same collection"
    finally:
        server.go_on()
        server.kill()


def eventually(call: Any, seconds: float = 15.0) -> Any:
    stop = time.monotonic() + seconds
    while True:
        try:
            return call()
        except Unreachable:
            if time.monotonic() > stop:
                raise
            time.sleep(0.1)
