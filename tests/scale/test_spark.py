"""Bulk embedding on a real Spark of two executors, against the gallery that one machine builds."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.retrieval.embedder import TinyEmbedder, draw, draw_folder
from tests.retrieval.test_plan import Followed, two_folders, unmounts_one_of_two
from tests.scale import poison
from tests.scale.processes import kill_one
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder import builder
from tf_ssgn.retrieval.folder.builder import FolderWriter
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.verify import verify
from tf_ssgn.scale.card import Card
from tf_ssgn.scale.dataset import BAD, open_embedded
from tf_ssgn.scale.gallery import import_dataset
from tf_ssgn.scale.session import session
from tf_ssgn.scale.spark import _sent, embed
from tf_ssgn.scale.worker import load_model

CARD = Card(TinyEmbedder.path, "tiny-1", TinyEmbedder.dimension, 0)


def run(spark: Any, source: Path | str, to: Path, load: Any = poison.load_tiny, card: Card = CARD) -> Any:
    return embed(spark, [str(source)], card, str(to), load=load)


def rows_of(to: Path, *kind: str) -> dict[str, dict[str, Any]]:
    """The rows of a dataset by id; fails where an id comes twice."""
    dataset, manifest = open_embedded(str(to))
    rows = [row for table in dataset.tables(manifest, *kind) for row in table.to_pylist()]
    assert len({row["id"] for row in rows}) == len(rows) == manifest["rows_bad" if kind else "count"]
    return {row["id"]: row for row in rows}


def assert_same(to: Path, gallery_folder: Path) -> None:
    rows, gallery = rows_of(to), Gallery.open(gallery_folder)
    assert sorted(rows) == sorted(gallery.ids)
    for item, vector in zip(gallery.items(), gallery.vectors, strict=True):
        row = rows[item.id]
        assert [row[name] for name in ("uri", *item._fields[2:])] == list(item[1:]), item.id
        assert np.array_equal(np.array(row["vector"], np.float32), vector)


def test_follows_a_folder_as_one_machine_does(spark: Any, tmp_path: Path) -> None:
    photos, out = draw_folder(tmp_path / "photo", classes=5, each=12), tmp_path / "out"
    (photos / "class0" / "broken.jpg").write_bytes(b"\xff\xd8\xffbroken")
    (photos / "class1" / b"caf\xe9 100%.png".decode("utf-8", "surrogateescape")).write_bytes(
        (photos / "class0" / "0.png").read_bytes()
    )
    report = run(spark, photos, out)
    assert (report.count, report.bad, report.embedded, report.version) == (61, 1, 61, 1)
    builder.build(tmp_path / "g", [photos], TinyEmbedder())
    assert_same(out, tmp_path / "g")
    (bad,) = rows_of(out, BAD).values()
    assert bad["id"] == "photo/class0/broken.jpg" and bad["status"] > 0 and bad["final"]
    assert report.skipped == [(bad["uri"], bad["reason"])]

    # Nothing has changed: nothing is embedded or written, what cannot be used is not tried again.
    report = run(spark, photos, out)
    assert (report.version, report.embedded, report.unchanged) == (1, 0, 61)

    # Imported, it is the gallery that one machine made, and `sync` goes on with it.
    import_dataset(str(out), FolderWriter(tmp_path / "imported"), CARD)
    assert verify(tmp_path / "imported")["damage"] == []
    ours, theirs = Gallery.open(tmp_path / "imported"), Gallery.open(tmp_path / "g")
    assert list(ours.items()) == list(theirs.items()) and np.array_equal(ours.vectors, theirs.vectors)
    assert ours.manifest["sources"] == theirs.manifest["sources"]
    synced = builder.sync(tmp_path / "imported", [], TinyEmbedder())
    assert (synced.unchanged, synced.embedded, synced.removed) == (61, 0, 0)

    # One new, one changed, one gone, one mended.
    before = {entry["file"] for entry in open_embedded(str(out))[1]["data"]}
    draw(photos / "class2" / "new.png", 77)
    draw(photos / "class3" / "1.png", 78, (30, 30))
    (photos / "class4" / "2.png").unlink()
    draw(photos / "class0" / "broken.jpg", 79)
    report = run(spark, photos, out)
    assert (report.embedded, report.removed, report.count, report.bad, report.version) == (3, 1, 62, 0, 2)
    builder.sync(tmp_path / "g", [], TinyEmbedder())
    assert_same(out, tmp_path / "g")
    assert before & {entry["file"] for entry in open_embedded(str(out))[1]["data"]}, "other files stay as they are"

    with pytest.raises(UserError, match="another model"):
        run(spark, photos, out, poison.load_other, Card("m", "other", 16, 0))
    with pytest.raises(UserError, match="fingerprint tiny-1, expected other"):
        run(spark, draw(tmp_path / "one" / "1.png", 80).parent, tmp_path / "lie", card=Card("m", "other", 16, 0))
    shutil.rmtree(photos / "class0")
    with pytest.raises(UserError, match="another model"):
        import_dataset(str(out), FolderWriter(tmp_path / "no"), Card("m", "other", 16, 0))


class FollowedBySpark(Followed):
    def __init__(self, folders: list[Path], where: Path, spark: Any):
        self.folders, self.where, self._spark = folders, where, spark
        self.sync()

    def sync(self) -> int:
        folders = [str(folder) for folder in self.folders]
        return embed(self._spark, folders, CARD, str(self.where), load=poison.load_tiny).removed

    def ids(self) -> set[str]:
        return set(rows_of(self.where))


def test_a_disk_that_is_not_mounted_takes_nothing_away(spark: Any, tmp_path: Path) -> None:
    unmounts_one_of_two(FollowedBySpark(two_folders(tmp_path), tmp_path / "out", spark), tmp_path)


def test_a_model_is_sent_once_for_all_runs_of_a_session(spark: Any, tmp_path: Path) -> None:
    """Spark refuses a second file under one name, so a second run in the session would fail."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"any")
    card = Card(str(tmp_path), "sent-once", 16, 0)
    names = [_sent(spark, card, load_model) for _ in range(2)]
    assert names[0] and names[0] == names[1]
    assert sum(names[0] in archive for archive in spark.sparkContext.listArchives) == 1


def test_a_run_that_was_cut_off_is_finished(spark: Any, tmp_path: Path) -> None:
    photos, out = draw_folder(tmp_path / "photo", classes=4, each=80), tmp_path / "out"

    def cut() -> None:
        while len(list(out.glob("runs/*/done/part-*.json"))) < 2:
            time.sleep(0.02)
        spark.sparkContext.cancelAllJobs()

    thread = threading.Thread(target=cut, daemon=True)
    thread.start()
    with pytest.raises(UserError, match="Spark gave up"):
        run(spark, photos, out, poison.load_slow)
    thread.join(5)
    with pytest.raises(UserError, match="begun and not finished"):
        open_embedded(str(out))
    (half,) = out.glob("data/*")
    (half / "part-000000-deadbeef.parquet").write_bytes(b"PAR1 half")
    report = run(spark, photos, out)
    assert report.count == 320 and 0 < report.resumed < 320
    builder.build(tmp_path / "g", [photos], TinyEmbedder())
    assert_same(out, tmp_path / "g")
    assert not list(out.glob("data/*/*deadbeef.parquet"))


def test_a_photo_that_kills_its_reader_is_left_out_and_tried_again(spark: Any, tmp_path: Path) -> None:
    photos, out = draw_folder(tmp_path / "photo", classes=2, each=10), tmp_path / "out"
    bad = photos / "class1" / "3.png"
    bad.write_bytes(bad.read_bytes() + poison.POISON)
    report = run(spark, photos, out, poison.load)
    assert (report.count, report.bad) == (19, 1)
    assert report.skipped == [(str(bad), "the process that read it died, 2 times")]
    report = run(spark, photos, out)
    assert (report.count, report.bad, report.embedded) == (20, 0, 1)


def test_prefixes_and_tables_of_uris(spark: Any, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    photos = draw_folder(tmp_path / "photo", classes=2, each=6)
    draw(photos / "a b%20#?é" / "1.PNG", 5)
    draw(photos / "top.png", 6)
    (photos / "notes.txt").write_text("no photo")
    prefix = f"file://{photos}"
    report = run(spark, prefix, tmp_path / "out")
    builder.build(tmp_path / "g", [photos], TinyEmbedder())
    rows, gallery = rows_of(tmp_path / "out"), Gallery.open(tmp_path / "g")
    assert report.count == 14 and sorted(rows) == sorted(gallery.ids)
    for item, vector in zip(gallery.items(), gallery.vectors, strict=True):
        row = rows[item.id]
        assert row["uri"] == f"{prefix}/{item.id.split('/', 1)[1]}"
        assert (row["label"], row["sha256"], row["size"]) == (item.label, item.sha256, item.size)
        assert np.array_equal(np.array(row["vector"], np.float32), vector)
    assert run(spark, prefix, tmp_path / "out").version == 1
    (photos / "a b%20#?é" / "loop").symlink_to(photos)
    (photos / "out").symlink_to(draw_folder(tmp_path / "elsewhere", classes=1, each=1))
    (photos / "link.png").symlink_to(photos / "top.png")
    assert run(spark, prefix, tmp_path / "out").version == 1, "links are not followed"
    odd = os.path.join(os.fsencode(photos), b"a b%20#?\xc3\xa9", b"\xff.png")
    with open(odd, "wb"):
        pass
    with pytest.raises(UserError, match=r"has a name that is not UTF-8 \(%FF.png\)"):
        run(spark, prefix, tmp_path / "out")
    os.unlink(odd)

    lines = [f"{n},{row['uri']},{'cat' if n % 2 else ''}" for n, row in enumerate(rows.values())]
    table = tmp_path / "list.csv"
    table.write_text("\n".join(["id,uri,label", *lines, f"99,file://{tmp_path}/nowhere.png,dog"]) + "\n")
    report = run(spark, table, tmp_path / "listed")
    assert (report.count, report.bad) == (14, 1) and report.skipped[0][1] == "No such file"
    assert {row["label"] for row in rows_of(tmp_path / "listed").values()} == {"cat", ""}
    for text, said in (
        ("id,url\n1,x\n", "expected `uri` or `path`"),
        ("id,uri\n1,x\n1,y\n", "the id '1' comes 2 times"),
        ("id,uri\n,x\n", "without id or uri"),
        ("id,uri\n1,x\n", "none of the 1 photos could be embedded"),
    ):
        table.write_text(text)
        with pytest.raises(UserError, match=said):
            run(spark, table, tmp_path / "no")
    parquet.write_table(pyarrow.table({"uri": ["/x/y.png"], "modified": [datetime.now()]}), tmp_path / "odd.parquet")
    for source, said in (
        (tmp_path / "odd.parquet", "its column modified is of timestamp"),
        (f"{prefix}/..", "without `.` and `..`"),
        (f"file://{tmp_path}/nowhere", "cannot list"),
        ("gopher://host/photos", "cannot open"),
        ("s3://key:secret@bucket/photos", "credentials"),
        (tmp_path / "nowhere", "no folder"),
        (tmp_path / "nowhere.parquet", "no table"),
    ):
        with pytest.raises(UserError, match=said):
            run(spark, source, tmp_path / "no")
    with pytest.raises(UserError, match="holds other things"):
        run(spark, photos, photos)


@pytest.fixture(scope="module")
def four(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four embedded photos."""
    folder = tmp_path_factory.mktemp("four")
    run(spark, draw_folder(folder / "photo", classes=1, each=4), folder / "out")
    return folder / "out"


@pytest.fixture
def embedded(four: Path, tmp_path: Path) -> Path:
    """A copy of them, to be changed."""
    return Path(shutil.copytree(four, tmp_path / "out"))


def test_a_damaged_file_is_found(embedded: Path, tmp_path: Path) -> None:
    file = next(embedded.glob("data/*/*.parquet"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(UserError, match="missing or damaged"):
        import_dataset(str(embedded), FolderWriter(tmp_path / "g"), CARD)
    assert not (tmp_path / "g").exists()


def test_a_dataset_that_lost_all_its_photos_makes_no_gallery(embedded: Path, tmp_path: Path) -> None:
    (manifest,) = embedded.glob("manifests/*.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"count": 0, "data": []}))
    with pytest.raises(UserError, match="holds no photo; there is nothing to import"):
        import_dataset(str(embedded), FolderWriter(tmp_path / "g"), CARD)
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize("harm", ["width", "missing", "null"])
def test_vectors_that_are_none_of_the_models_are_refused(harm: str, embedded: Path, tmp_path: Path) -> None:
    """A file that another tool wrote, with a manifest that says it is right."""
    import pyarrow
    from pyarrow import parquet

    file = next(embedded.glob("data/*/*.parquet"))
    table = parquet.read_table(file)
    place = table.schema.get_field_index("vector")
    rows = table.column("vector").to_pylist()
    if harm == "missing":
        table = table.drop_columns(["vector"])
    else:
        kind = table.schema.field("vector").type
        values = [None, *rows[1:]] if harm == "null" else [[*row, *row] for row in rows]
        kind = kind if harm == "null" else pyarrow.list_(pyarrow.float32(), 2 * len(rows[0]))
        table = table.set_column(place, "vector", pyarrow.array(values, kind))
    parquet.write_table(table, file)
    (manifest,) = embedded.glob("manifests/*.json")
    content = json.loads(manifest.read_text())
    for entry in (entry for entry in content["data"] if entry["file"].endswith(file.name)):
        entry |= {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    manifest.write_text(json.dumps(content))
    with pytest.raises(UserError, match="column vector is|photos without a vector"):
        import_dataset(str(embedded), FolderWriter(tmp_path / "g"), CARD)
    assert not (tmp_path / "g").exists()


def test_executors_that_are_killed_change_nothing(spark: Any, tmp_path: Path) -> None:
    """The last of those that use them: executors that are new are slow at first."""
    photos, out = draw_folder(tmp_path / "photo", classes=4, each=80), tmp_path / "out"
    killed: list[int] = []

    def kill() -> None:
        for number in range(2):
            while len(list(out.glob("runs/*/done/part-*.json"))) < 1 + number:
                time.sleep(0.02)
            killed.append(kill_one(number))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    report = run(spark, photos, out, poison.load_slow)
    thread.join(5)
    assert len(set(killed)) == 2 and report.count == 320
    builder.build(tmp_path / "g", [photos], TinyEmbedder())
    assert_same(out, tmp_path / "g")
    assert not list(out.glob("runs/*")), "nothing is left of the run"
    named = {entry["file"] for entry in open_embedded(str(out))[1]["data"]}
    assert {str(path.relative_to(out)) for path in out.glob("data/*/*.parquet")} == named


@pytest.mark.parametrize(
    ("master", "said"),
    [("spark://127.0.0.1:1", "no Spark master answers"), ("http://127.0.0.1", "expected spark://HOST:PORT")],
)
def test_masters_that_are_none(master: str, said: str) -> None:
    pytest.importorskip("pyspark")
    with pytest.raises(UserError, match=said), session(master):
        pass
