"""Tables of labels and columns: joined by id or path, kept through every change, refused where they are unclear."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.retrieval.embedder import TinyEmbedder, draw, draw_folder, item_of
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval import metadata
from tf_ssgn.retrieval.folder import builder, changes, compaction
from tf_ssgn.retrieval.folder.compaction import compact
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.verify import verify
from tf_ssgn.retrieval.search.options import Options


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "photo", classes=2, each=3)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def extra(gallery: Gallery, id: str) -> dict:
    return gallery.extra(gallery.rows_of_ids([id]))[0]


def test_columns_are_typed_and_found_by_conditions(photo: Path, tmp_path: Path) -> None:
    table = write(
        tmp_path / "t.csv",
        "\ufeffid,price,zip,weight,title,label\n"
        'photo/class0/0.png,12,007,1.5,"a, ""b""\nc",cat\n'
        "photo/class0/1.png,-3,123,2,,\n"
        "photo/class1/0.png,,999,,x,dog\n"
        "photo/gone.png,1,000,1,x,dog\n",
    )
    report = builder.build(tmp_path / "g", [photo], TinyEmbedder(), table)
    opened = Gallery.open(tmp_path / "g")
    assert report.unmatched == ["photo/gone.png"] and opened.columns == ["price", "zip", "weight", "title"]
    assert extra(opened, "photo/class0/0.png") == {"price": 12, "zip": "007", "weight": 1.5, "title": 'a, "b"\nc'}
    assert extra(opened, "photo/class1/0.png") == {"zip": "999", "title": "x"}
    assert extra(opened, "photo/class1/1.png") == {}
    labels = [item_of(opened, f"photo/{name}.png").label for name in ("class0/0", "class0/1", "class1/0", "class1/1")]
    assert labels == ["cat", "class0", "dog", "class1"], "an empty cell says nothing"
    query = opened.vectors[0]
    for where, count in (("price > 0", 1), ("price < 0", 1), ("zip = '007'", 1), ("title IS NULL", 4), ("1", 6)):
        assert len(opened.search(query, 10, options=Options(where=where))) == count, where
    assert changes.delete(tmp_path / "g", where="weight >= 1.5").removed == 2


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_cells_are_parted_as_spreadsheets_do(tmp_path: Path, mark: str, start: str) -> None:
    lines = [["path", "licence"], ['"photo/cat/a, b; c.jpg"', "cc"], ['"line\nbreak\t.jpg"', "own"]]
    table = metadata.read_table(write(tmp_path / "t.csv", start + "\n".join(mark.join(line) for line in lines) + "\n"))
    assert table.key == "path"
    assert table.rows == {"photo/cat/a, b; c.jpg": {"licence": "cc"}, "line\nbreak\t.jpg": {"licence": "own"}}
    spaced = metadata.read_table(write(tmp_path / "s.csv", f"id{mark} label{mark} n\na{mark} cat{mark} 7\n"))
    assert spaced.rows == {"a": {"label": "cat", "n": 7}}


@pytest.mark.parametrize("how", ["absolute", "indexed folder", "table folder"])
def test_paths_are_joined(photo: Path, tmp_path: Path, how: str) -> None:
    name = {
        "absolute": str(photo / "class0/0.png"),
        "indexed folder": "./class0//0.png",
        "table folder": "photo/class0/0.png",
    }
    table = write(tmp_path / "t.csv", f"path,n\n{name[how]},1\n")
    assert builder.build(tmp_path / "g", [photo], TinyEmbedder(), table).unmatched == []
    assert extra(Gallery.open(tmp_path / "g"), "photo/class0/0.png") == {"n": 1}


def test_columns_outlive_changes_and_follow_a_new_table(photo: Path, tmp_path: Path) -> None:
    g, model = tmp_path / "g", TinyEmbedder()
    builder.build(
        g, [photo], model, write(tmp_path / "t.csv", "id,n,label\nphoto/class0/0.png,1,cat\nphoto/class0/1.png,2,dog\n")
    )
    draw(photo / "class0/0.png", 77)
    draw(photo / "class0/new.png", 78)
    os.utime(photo / "class0/1.png", ns=(5, 5))
    report = builder.sync(g, [photo], model)
    opened = Gallery.open(g)
    assert report.embedded == 2 and extra(opened, "photo/class0/0.png") == {"n": 1}
    assert item_of(opened, "photo/class0/0.png").label == "cat" and item_of(opened, "photo/class0/1.png").label == "dog"

    calls = model.calls
    table = write(
        tmp_path / "t2.csv", "id,n,m\nphoto/class0/0.png,1,\nphoto/class0/1.png,5,x\nphoto/class1/0.png,7,y\n"
    )
    report = builder.add(g, [photo], model, table)
    assert model.calls == calls and report.count == 7 and (report.reused, report.embedded) == (2, 0)
    expected = {
        "photo/class0/0.png": {"n": 1},
        "photo/class0/1.png": {"n": 5, "m": "x"},
        "photo/class1/0.png": {"n": 7, "m": "y"},
    }
    for _ in range(2):
        opened = Gallery.open(g)
        assert {id: extra(opened, id) for id in expected} == expected
        assert len(opened.search(opened.vectors[0], 10, options=Options(where="m = 'y' AND n > 6"))) == 1
        assert item_of(opened, "photo/class0/1.png").label == "dog" and not verify(g)["damage"]
        compaction.compact(g)
    version = Gallery.open(g).version
    assert builder.add(g, [photo], model, table).version == version, "the same table again changes nothing"


def test_parquet_or_one_line(photo: Path, tmp_path: Path) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        (tmp_path / "t.parquet").write_bytes(b"PAR1")
        with pytest.raises(UserError, match="needs the package pyarrow"):
            metadata.read_table(tmp_path / "t.parquet")
        return
    import datetime

    columns = {
        "id": ["photo/class0/0.png", "x"], "day": [datetime.date(2020, 2, 3), None], "ok": [True, False],
        "share": [float("nan"), 0.5], "n": [2**40, None],
    }  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    builder.build(tmp_path / "g", [photo], TinyEmbedder(), tmp_path / "t.parquet")
    assert extra(Gallery.open(tmp_path / "g"), "photo/class0/0.png") == {"day": "2020-02-03", "ok": 1, "n": 2**40}
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"], "v": [[1, 2]]}), tmp_path / "l.parquet")
    with pytest.raises(UserError, match="column 'v' has a value of type list"):
        metadata.read_table(tmp_path / "l.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="cannot be read as parquet"):
        metadata.read_table(tmp_path / "bad.parquet")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected one of `id` and `path`"),
        ("name,n\na,1\n", "expected one of `id` and `path`"),
        ("id,path\na,b\n", "expected one of `id` and `path`"),
        ("id,n\na,1\na,2\n", "comes more than once"),
        ("id,n\n,2\n", "row 1 has the id ''"),
        ("id,n\na\n", "line 2 has 1 cells; expected 2"),
        ("id,n,n\na,1,2\n", "more than once in its header"),
        ("id,n,N\na,1,2\n", "capitals not counted"),
        ("id,sha256\na,1\n", "which a gallery has already"),
        ("id,Row\na,1\n", "which a gallery has already"),
        ("id,\na,1\n", "without a name"),
        ('id,n\na,"x\n', "cannot be read as CSV"),
        ("id," + ",".join(f"c{i}" for i in range(101)) + "\n", "expected at most 100"),
    ],
)
def test_unclear_tables_are_refused(photo: Path, tmp_path: Path, text: str, words: str) -> None:
    table = write(tmp_path / "t.csv", text)
    with pytest.raises(UserError, match=words):
        builder.build(tmp_path / "g", [photo], TinyEmbedder(), table)
    assert not (tmp_path / "g").exists()


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"id,n\n\xff,1\n")
    for name, words in (("t.csv", "CSV in UTF-8"), ("none.csv", "no file"), ("t.txt", "no file")):
        with pytest.raises(UserError, match=words):
            metadata.read_table(tmp_path / name)
    write(tmp_path / "t.txt", "id\n")
    with pytest.raises(UserError, match=r"expected metadata as \.csv or \.parquet"):
        metadata.read_table(tmp_path / "t.txt")


def test_a_column_with_an_odd_name(photo: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", 'id,"a ""b""; DROP TABLE items --"\nphoto/class0/0.png,3\n')
    builder.build(tmp_path / "g", [photo], TinyEmbedder(), table)
    opened = Gallery.open(tmp_path / "g")
    (name,) = opened.columns
    assert extra(opened, "photo/class0/0.png") == {name: 3}
    assert len(opened.search(np.ones(16), 10, options=Options(where='"a ""b""; DROP TABLE items --" = 3'))) == 1


def test_a_killed_build_is_resumed_with_the_same_table_only(photo: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "id,n\nphoto/class0/0.png,1\n")
    draw_folder(photo / "more", classes=1, each=40, seed=3)
    with pytest.raises(KeyboardInterrupt):
        builder.build(tmp_path / "g", [photo], TinyEmbedder(stops_after=1), table)
    with pytest.raises(UserError, match="unfinished build"):
        builder.build(tmp_path / "g", [photo], TinyEmbedder())
    report = builder.build(tmp_path / "g", [photo], TinyEmbedder(), table)
    assert report.resumed == 32 and extra(Gallery.open(tmp_path / "g"), "photo/class0/0.png") == {"n": 1}


def test_tables_are_merged_and_capitals_tell_no_columns_apart(photo: Path, tmp_path: Path) -> None:
    g, model = tmp_path / "g", TinyEmbedder()
    builder.build(g, [photo], model, write(tmp_path / "a.csv", "id,Price,n\nphoto/class0/0.png,3,1\n"))
    table = write(tmp_path / "b.csv", "id,price\nphoto/class0/0.png,4\nphoto/class0/1.png,1e999\n")
    builder.add(g, [photo], model, table)
    assert builder.add(g, [photo], model, table).version == 2, "nothing is new"
    compact(g)
    opened = Gallery.open(g)
    assert opened.columns == ["Price", "n"]
    assert extra(opened, "photo/class0/0.png") == {"Price": "4", "n": 1}
    assert extra(opened, "photo/class0/1.png") == {"Price": "1e999"}
