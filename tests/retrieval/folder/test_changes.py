"""Deleting items, importing and exporting vectors."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.retrieval.embedder import TinyEmbedder, draw_folder
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.files import to_file
from tf_ssgn.retrieval.folder import builder, changes
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.store import Store

D = TinyEmbedder.dimension


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    builder.build(tmp_path / "g", [draw_folder(tmp_path / "photo")], TinyEmbedder())
    return tmp_path / "g"


def test_delete_by_id_path_and_condition(gallery: Path, tmp_path: Path) -> None:
    assert changes.delete(gallery, ids=["photo/class0/0.png", "nobody"]).removed == 1
    assert changes.delete(gallery, paths=[str(tmp_path / "photo/class1")]).removed == 4
    assert changes.delete(gallery, paths=[str(tmp_path / "photo/class0/1.png")]).removed == 1
    assert changes.delete(gallery, paths=[str(tmp_path / "photo/class")]).removed == 0
    assert changes.delete(gallery, where="id LIKE '%/3.png' AND width > 3").removed == 2
    report = changes.delete(gallery, ids=["photo/class0/0.png"])
    assert (report.removed, report.count, len(Gallery.open(gallery))) == (0, 4, 4)


@pytest.mark.parametrize("where", ["label = giraffe", "1); DROP TABLE items --", "(", "nothing.like = 1", "\0"])
def test_delete_refuses_what_is_no_condition(gallery: Path, where: str) -> None:
    with pytest.raises(UserError, match="received the condition"):
        changes.delete(gallery, where=where)
    assert len(Gallery.open(gallery)) == 12


def save(path: Path, **columns) -> Path:
    np.savez(path, **columns)
    return path


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"vectors": np.zeros((3, D))}, "zero"),
        ({"vectors": np.full((3, D), np.nan)}, "NaN"),
        ({"vectors": np.ones((3, D + 1))}, "expected"),
        ({"vectors": np.ones((0, D))}, "at least 1"),
        ({"vectors": np.ones((2, D)), "ids": np.array(["a", "a"])}, "more than once"),
        ({"vectors": np.ones((2, D)), "labels": np.array(["a"])}, "expected one each"),
        ({"vectors": np.array(["x"])}, "not numbers"),
        ({"vectors": np.ones((2, D)), "ids": np.array(["a", "\udc80"])}, "expected valid Unicode"),
        ({"other": np.ones(3)}, "at least `vectors`"),
    ],
)
def test_import_refuses_bad_vectors_and_leaves_nothing(tmp_path: Path, columns: dict, words: str) -> None:
    file = save(tmp_path / "v.npz", **columns)
    with pytest.raises(UserError, match=words):
        changes.import_vectors(file, tmp_path / "g", TinyEmbedder())
    assert not (tmp_path / "g").exists()


def test_import_refuses_bad_files(tmp_path: Path, gallery: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not really")
    (tmp_path / "bad.csv").write_text("1,2")
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY not really")
    save(tmp_path / "pickled.npz", vectors=np.array([{}], object))
    for name, words in (
        ("bad.npz", "no .npz file"),
        ("bad.csv", r"expected \.npy, \.npz or \.parquet"),
        ("bad.npy", "readable"),
        ("none.npz", "no file"),
        ("pickled.npz", "Python objects"),
    ):
        with pytest.raises(UserError, match=words):
            changes.import_vectors(tmp_path / name, tmp_path / "new", TinyEmbedder())
    good = save(tmp_path / "good.npz", vectors=np.ones((2, D)))
    with pytest.raises(UserError, match="already is a gallery"):
        changes.import_vectors(good, gallery, TinyEmbedder())


def test_parquet_there_and_back_or_one_line(gallery: Path, tmp_path: Path) -> None:
    opened = Gallery.open(gallery)
    file = tmp_path / "g.parquet"
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match="needs the package pyarrow"):
            changes.export_parquet(opened, file)
        assert not file.exists()
        return
    assert changes.export_parquet(opened, file) == 12
    changes.import_vectors(file, tmp_path / "back", TinyEmbedder())
    back = Gallery.open(tmp_path / "back")
    assert (back.ids, back.labels, back.paths) == (opened.ids, opened.labels, opened.paths)
    np.testing.assert_array_equal(back.vectors, opened.vectors)


def test_import_of_a_plain_array_is_not_held_in_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(D, dtype=np.float32))
    assert isinstance(changes.read_columns(tmp_path / "v.npy")["vectors"].base, np.memmap)
    assert changes.import_vectors(tmp_path / "v.npy", tmp_path / "g", TinyEmbedder()).count == D
    np.testing.assert_array_equal(Gallery.open(tmp_path / "g").vectors, np.eye(D))


def test_add_vectors(gallery: Path) -> None:
    before = Gallery.open(gallery)
    first, new = before.ids[0], np.eye(D, dtype=np.float32)
    report = changes.add_vectors(gallery, "tiny-1", 3 * new[:2], [first, "new"], ["a", "b"])
    after = Gallery.open(gallery)
    assert report.count == len(after) == 13 and sorted(after.ids) == sorted([*before.ids, "new"])
    np.testing.assert_array_equal(after.vector(first), new[0])
    assert [hit.label for hit in after.search(new[1], 1)] == ["b"]
    for words, fingerprint, vectors, ids in (
        ("another model", "other", new[:1], ["x"]),
        ("NaN", "tiny-1", np.full((1, D), np.nan), ["x"]),
        ("zero", "tiny-1", np.zeros((1, D)), ["x"]),
        ("shape", "tiny-1", np.ones((1, D + 1)), ["x"]),
        ("more than once", "tiny-1", new[:2], ["x", "x"]),
    ):
        with pytest.raises(UserError, match=words):
            changes.add_vectors(gallery, fingerprint, vectors, ids)
        assert Gallery.open(gallery).version == after.version
    assert not (gallery / "journal.json").exists()


@pytest.mark.parametrize("ids", [[1, 2], [None, "a"], [b"a", b"b"], "ab"])
def test_ids_that_are_no_text_are_refused(gallery: Path, ids) -> None:
    with pytest.raises(UserError, match="expected"):
        changes.add_vectors(gallery, "tiny-1", np.eye(D, dtype=np.float32)[:2], ids)
    assert len(Gallery.open(gallery)) == 12


@pytest.mark.parametrize("dead", [[12], [-1], [3, 3]])
def test_no_version_has_impossible_deletions(gallery: Path, dead: list[int]) -> None:
    store = Store(gallery)
    manifest = store.manifest()
    with store.writing(), pytest.raises(UserError, match="deleted rows"):
        store.commit(manifest, np.array(dead), manifest)
    assert store.manifest() == manifest


@pytest.mark.parametrize("journal", ["{}", '{"kind": "add"}', '{"kind": "add", "part": "../x"}', "[]", "{"])
def test_a_broken_journal_blocks_nothing(gallery: Path, journal: str) -> None:
    (gallery / "journal.json").write_text(journal)
    assert changes.add_vectors(gallery, "tiny-1", np.eye(D, dtype=np.float32)[:1], ["a"]).count == 13


def test_rows_are_named_as_the_file_has_them(tmp_path: Path) -> None:
    vectors = np.ones((3, D))
    vectors[0] = 0
    with pytest.raises(UserError, match="row 0 is zero"):
        file = save(tmp_path / "v.npz", vectors=vectors, ids=["c", "b", "a"])
        changes.import_vectors(file, tmp_path / "g", TinyEmbedder())


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x05\x06" + bytes(18)])
def test_broken_plain_arrays(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.npy").write_bytes(content)
    with pytest.raises(UserError, match="not a readable"):
        changes.import_vectors(tmp_path / "v.npy", tmp_path / "g", TinyEmbedder())


def test_a_model_path_that_is_not_utf8(tmp_path: Path) -> None:
    model = TinyEmbedder()
    model.path = os.fsdecode(b"/models/\xff")  # type: ignore[misc]
    changes.import_columns(tmp_path / "g", model, "test", np.eye(D, dtype=np.float32))
    assert to_file(Gallery.open(tmp_path / "g").manifest["model"]["path"]) == model.path
