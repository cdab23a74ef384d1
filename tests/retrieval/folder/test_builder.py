"""Photos into a gallery: build, add, sync, and what each leaves alone."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.retrieval.embedder import TinyEmbedder, draw, draw_folder, item_of
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder import builder, changes, compaction
from tf_ssgn.retrieval.folder.builder import FolderWriter
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.verify import verify


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "photo")


@pytest.fixture
def model() -> TinyEmbedder:
    return TinyEmbedder()


def content(folder: Path) -> dict[str, list[float]]:
    opened = Gallery.open(folder)
    assert verify(folder)["damage"] == []
    return dict(zip(opened.ids, opened.vectors.tolist(), strict=True))


def test_build_notes_everything(photo: Path, tmp_path: Path, model: TinyEmbedder) -> None:
    report = builder.build(tmp_path / "g", [photo], model)
    opened = Gallery.open(tmp_path / "g")
    assert (report.count, report.embedded, report.version, report.skipped) == (12, 12, 1, [])
    assert opened.ids == sorted(f"photo/class{i}/{j}.png" for i in range(3) for j in range(4))
    item = item_of(opened, "photo/class1/2.png")
    path = photo / "class1/2.png"
    assert (item.label, item.path, item.size) == ("class1", str(path), path.stat().st_size)
    assert (item.width, item.height, item.modified) == (24, 20, path.stat().st_mtime_ns)
    about = {"path": os.path.abspath(model.path), "fingerprint": "tiny-1", "views": 0, "runtime": "tiny f32"}
    assert opened.manifest["model"] == about
    assert (opened.manifest["normalisation"], opened.manifest["count"]) == ("l2", 12)
    payload = np.array([path.read_bytes()], object)
    vector = model.call("embed_photo", {"image_bytes": payload})["embedding"][0]
    np.testing.assert_array_equal(opened.vector(item.id), vector)
    assert {path.name for path in (tmp_path / "g").iterdir()} == {"gallery.json", "lock", "parts", "versions"}


def test_build_reads_other_formats_and_reports_bad_files(photo: Path, tmp_path: Path, model: TinyEmbedder) -> None:
    for name in ("a.webp", "b.bmp", "c.GIF", "d.jpeg"):
        draw(photo / "more" / name, 77)
    (photo / "more/empty.png").write_bytes(b"")
    (photo / "more/text.jpg").write_text("not an image")
    (photo / "more/cut.png").write_bytes((photo / "class0/0.png").read_bytes()[:-40])
    report = builder.build(tmp_path / "g", [photo], model)
    assert report.count == 16
    reasons = {Path(path).name: reason for path, reason in report.skipped}
    assert set(reasons) == {"empty.png", "text.jpg", "cut.png"}
    assert (
        "no bytes" in reasons["empty.png"] and "not a format" in reasons["text.jpg"] and "damaged" in reasons["cut.png"]
    )


def test_equal_content_is_two_items_and_embedded_once(photo: Path, tmp_path: Path, model: TinyEmbedder) -> None:
    shutil.copy(photo / "class0/0.png", photo / "class2/copy.png")
    report = builder.build(tmp_path / "g", [photo], model)
    assert (report.count, report.embedded, report.reused, model.calls) == (13, 12, 1, 12)
    hits = Gallery.open(tmp_path / "g").search(Gallery.open(tmp_path / "g").vector("photo/class2/copy.png"), k=2)
    assert [hit.id for hit in hits] == ["photo/class0/0.png", "photo/class2/copy.png"]
    assert hits[0].score == hits[1].score


def test_build_into_a_gallery_is_refused(photo: Path, tmp_path: Path, model: TinyEmbedder) -> None:
    builder.build(tmp_path / "g", [photo], model)
    before = content(tmp_path / "g")
    with pytest.raises(UserError, match="already is a gallery"):
        builder.build(tmp_path / "g", [photo], model)
    assert content(tmp_path / "g") == before


@pytest.mark.parametrize("bad", ["empty", "none good", "missing", "file", "foreign"])
def test_a_refused_build_leaves_nothing(tmp_path: Path, model: TinyEmbedder, bad: str) -> None:
    (tmp_path / "photo").mkdir()
    target = tmp_path / "g"
    if bad == "none good":
        (tmp_path / "photo/1.png").write_bytes(b"no image")
    elif bad == "missing":
        (tmp_path / "photo").rmdir()
    elif bad == "file":
        draw(tmp_path / "photo/1.png", 1)
        target.write_text("a file")
    elif bad == "foreign":
        draw(tmp_path / "photo/1.png", 1)
        target.mkdir()
        (target / "thesis.txt").write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError):
        builder.build(target, [tmp_path / "photo"], model)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupted_build_goes_on(tmp_path: Path) -> None:
    photo = draw_folder(tmp_path / "photo", classes=4, each=25)
    with pytest.raises(KeyboardInterrupt):
        builder.build(tmp_path / "g", [photo], TinyEmbedder(stops_after=64))
    assert len(Gallery.open(tmp_path / "g")) == 32, "the first step is there to be searched"
    assert verify(tmp_path / "g") == {
        "count": 32,
        "damage": [],
        "leftovers": [],
        "unfinished": "build",
        "self_recall": 1.0,
    }
    with pytest.raises(UserError, match="unfinished build of other folders"):
        builder.build(tmp_path / "g", [photo / "class0"], TinyEmbedder())
    with pytest.raises(UserError, match="unfinished build of other folders or with another model"):
        builder.build(tmp_path / "g", [photo], TinyEmbedder("other"))
    # Meanwhile one finished photo changed, one vanished and one came.
    draw(photo / "class0/0.png", 4242)
    (photo / "class0/1.png").unlink()
    draw(photo / "class0/a.png", 4243)
    model = TinyEmbedder()
    report = builder.build(tmp_path / "g", [photo], model)
    assert (report.count, report.resumed, model.calls) == (100, 62, 38)
    builder.build(tmp_path / "fresh", [photo], TinyEmbedder())
    assert content(tmp_path / "g") == content(tmp_path / "fresh")


def test_add_embeds_only_what_is_new_or_changed(photo: Path, tmp_path: Path, model: TinyEmbedder) -> None:
    builder.build(tmp_path / "g", [photo], model)
    draw(photo / "class0/new.png", 500)
    draw(photo / "class1/0.png", 501)
    os.utime(photo / "class1/1.png", ns=(1, 1))
    (photo / "class2/0.png").unlink()
    model.calls = 0
    report = builder.add(tmp_path / "g", [photo], model)
    assert (report.embedded, report.unchanged, report.removed, report.count, model.calls) == (2, 10, 0, 13, 2)
    again = builder.add(tmp_path / "g", [photo], model)
    assert (again.embedded, again.count, again.version, model.calls) == (0, 13, report.version, 2)
    changed = item_of(Gallery.open(tmp_path / "g"), "photo/class1/0.png")
    assert changed.size == (photo / "class1/0.png").stat().st_size
    assert len(content(tmp_path / "g")) == 13


def test_add_of_a_folder_inside_and_of_another_one(photo: Path, tmp_path: Path, model: TinyEmbedder) -> None:
    builder.build(tmp_path / "g", [photo], model)
    assert builder.add(tmp_path / "g", [photo / "class0"], model).unchanged == 4
    photo = draw_folder(tmp_path / "other/photo", classes=1, each=2, seed=1)
    builder.add(tmp_path / "g", [photo], model)
    builder.add(tmp_path / "g", [photo], model)
    assert [id for id in Gallery.open(tmp_path / "g").ids if id.startswith("photo-2/")] == [
        "photo-2/class0/0.png",
        "photo-2/class0/1.png",
    ]
    assert len(content(tmp_path / "g")) == 14


def test_sync_follows_the_folders(photo: Path, tmp_path: Path, model: TinyEmbedder) -> None:
    builder.build(tmp_path / "g", [photo], model)
    model.calls = 0
    (photo / "class0").rename(photo / "zebra")
    (photo / "class1/3.png").unlink()
    (photo / "class1/2.png").write_bytes(b"damaged now")
    report = builder.sync(tmp_path / "g", [], model)
    assert (report.reused, report.removed, report.count, model.calls) == (4, 6, 10, 0)
    assert [name for name, _ in report.skipped] == [str(photo / "class1/2.png")]
    opened = Gallery.open(tmp_path / "g")
    assert item_of(opened, "photo/zebra/0.png").label == "zebra" and opened.find("photo/class0/0.png") is None
    assert len(content(tmp_path / "g")) == 10
    assert builder.sync(tmp_path / "g", [photo], model).version == report.version


def test_sync_does_not_take_an_unmounted_disk_for_deletion(photo: Path, tmp_path: Path, model: TinyEmbedder) -> None:
    builder.build(tmp_path / "g", [photo], model)
    photo.rename(tmp_path / "away")
    with pytest.raises(UserError, match="no folder"):
        builder.sync(tmp_path / "g", [], model)
    photo.mkdir()
    with pytest.raises(UserError, match="is the disk mounted"):
        builder.sync(tmp_path / "g", [], model)
    assert len(content(tmp_path / "g")) == 12


def test_sync_keeps_what_is_in_a_folder_that_cannot_be_read(
    photo: Path, tmp_path: Path, model: TinyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder.build(tmp_path / "g", [photo], model)
    scandir = os.scandir

    def guarded(folder):
        if str(folder).endswith("class1"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    (photo / "class0/0.png").unlink()
    report = builder.sync(tmp_path / "g", [photo], model)
    assert (report.removed, report.count) == (1, 11) and report.skipped == [
        (str(photo / "class1"), "Permission denied")
    ]


def test_another_models_vectors_are_never_mixed_in(photo: Path, tmp_path: Path, model: TinyEmbedder) -> None:
    builder.build(tmp_path / "g", [photo], model)
    with pytest.raises(UserError, match="another model"):
        builder.add(tmp_path / "g", [photo], TinyEmbedder("other"))


def test_a_deleted_item_comes_back_with_add(photo: Path, tmp_path: Path, model: TinyEmbedder) -> None:
    builder.build(tmp_path / "g", [photo], model)
    before = content(tmp_path / "g")
    changes.delete(tmp_path / "g", ids=["photo/class0/0.png"])
    report = builder.add(tmp_path / "g", [photo], model)
    assert (report.reused, model.calls) == (1, 12) and content(tmp_path / "g") == before


def test_a_build_that_stops_before_its_first_step_is_no_gallery_yet(tmp_path: Path) -> None:
    photo = draw_folder(tmp_path / "photo", classes=4, each=25)
    with pytest.raises(KeyboardInterrupt):
        builder.build(tmp_path / "g", [photo], TinyEmbedder(stops_after=0))
    with pytest.raises(UserError, match="not finished"):
        Gallery.open(tmp_path / "g")
    assert verify(tmp_path / "g")["unfinished"] == "build"
    assert builder.build(tmp_path / "g", [photo], TinyEmbedder()).count == 100


def test_many_additions_are_merged(photo: Path, tmp_path: Path, model: TinyEmbedder) -> None:
    builder.build(tmp_path / "g", [photo], model)
    parts = []
    for number in range(5):
        draw(photo / f"late/{number:02d}.png", 600 + number)
        builder.add(tmp_path / "g", [photo], model)
        parts.append([part["rows"] for part in Gallery.open(tmp_path / "g").manifest["segments"]])
    assert parts == [[12, 1], [12, 2], [12, 2, 1], [12, 4], [12, 4, 1]], "each is larger than all after it"
    assert len(Gallery.open(tmp_path / "g")) == 17
    before = content(tmp_path / "g")
    compaction.compact(tmp_path / "g")
    manifest = Gallery.open(tmp_path / "g").manifest
    assert [segment["rows"] for segment in manifest["segments"]] == [17] and manifest["segments"][0]["in_id_order"]
    assert content(tmp_path / "g") == before
    assert compaction.compact(tmp_path / "g")["version"] == manifest["version"]


def test_photos_that_come_one_by_one(
    photo: Path, tmp_path: Path, model: TinyEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gallery as it is served is not opened again for each of them, and they do not stay parts of one row."""
    builder.build(tmp_path / "g", [photo], model)
    opened = Gallery.open(tmp_path / "g")
    for number in range(9):
        path = draw(tmp_path / f"uploads/cat/{number}.png", 900 + number)
        draw(tmp_path / f"uploads/other/{number}.png", 950 + number)
        with monkeypatch.context() as patch:
            patch.setattr(Gallery, "open", lambda path: pytest.fail("it is open already"))
            id, report = FolderWriter(tmp_path / "g", opened).add_photo(tmp_path / "uploads", path, model)
        assert (id, report.count, report.embedded) == (f"uploads/cat/{number}.png", 13 + number, 1)
        assert len(opened.search(np.ones(16), 50)) == 12 + number, "it stays as it was"
        opened = Gallery.open(tmp_path / "g")
        assert item_of(opened, id).label == "cat"
    assert [part["rows"] for part in opened.manifest["segments"]] == [12, 8, 1]
    id, report = FolderWriter(tmp_path / "g", opened).add_photo(tmp_path / "uploads", path, model)
    assert (id, report.unchanged, report.version) == ("uploads/cat/8.png", 1, opened.version)
    assert builder.sync(tmp_path / "g", [], model).count == 30, "what lies beside them is found by `sync`"


class Sour(TinyEmbedder):
    def call(self, signature, inputs):
        answer = super().call(signature, inputs)
        answer["embedding"][0], answer["embedding"][1] = np.nan, 0
        return answer


def test_vectors_that_are_not_finite_or_zero_are_skipped(photo: Path, tmp_path: Path) -> None:
    report = builder.build(tmp_path / "g", [photo], Sour())
    assert report.count == 10 and {reason for _, reason in report.skipped} == {"the model gave no usable vector for it"}


def test_content_that_comes_again_is_embedded_once(tmp_path: Path) -> None:
    photo = draw_folder(tmp_path / "photo", classes=1, each=7)
    useless = (photo / "class0/0.png").read_bytes()
    for number in range(96 - 7):
        shutil.copy(photo / f"class0/{number % 7}.png", photo / f"{number}.png")

    class Picky(TinyEmbedder):
        def call(self, signature, inputs):
            answer = super().call(signature, inputs)
            answer["embedding"][[content == useless for content in inputs["image_bytes"]]] = 0
            return answer

    model = Picky()
    report = builder.build(tmp_path / "g", [photo], model)
    useless_ones = len(report.skipped)
    assert useless_ones == sum(file.read_bytes() == useless for file in photo.rglob("*.png"))
    assert (report.embedded, report.reused, report.count, model.calls) == (6, 90 - useless_ones, 96 - useless_ones, 7)


def test_two_batches_are_embedded_at_a_time(tmp_path: Path) -> None:
    together = threading.Barrier(2, timeout=60)

    class Waits(TinyEmbedder):
        def call(self, signature, inputs):
            together.wait()
            return super().call(signature, inputs)

    photo = draw_folder(tmp_path / "photo", classes=2, each=32)
    assert builder.build(tmp_path / "g", [photo], Waits()).count == 64


def test_odd_names(tmp_path: Path, model: TinyEmbedder) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/photo/\xff")
    for name in ("line\nbreak.png", "quote'\".png", "%FF.png", "emoji \U0001f992.png"):
        draw(Path(folder) / name, hash(name) % 1000)
    builder.build(tmp_path / "g", [tmp_path / "photo"], model)
    names = ["%25FF.png", "emoji \U0001f992.png", "line\nbreak.png", "quote'\".png"]
    assert Gallery.open(tmp_path / "g").ids == [f"photo/%FF/{name}" for name in names]
    assert builder.sync(tmp_path / "g", [], model).unchanged == 4
    assert changes.delete(tmp_path / "g", paths=[folder]).removed == 4
