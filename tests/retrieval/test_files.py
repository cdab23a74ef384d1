"""Walking folders of photos: ids, labels, escapes, links, what cannot be read."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tf_ssgn.data.folders import counted
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.files import to_file, to_text, walk

names = st.binary(min_size=1, max_size=12).filter(lambda raw: b"\0" not in raw and b"/" not in raw)
tricky = st.lists(st.sampled_from([b"%", b"25", b"F", b"8", b"\xff", b"\xc3", b"\xa9", b"a", b"\n"]), min_size=1).map(
    b"".join
)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def ids(*folders: Path, known=()) -> list[str]:
    return [found.id for found in walk(folders, known).files]


@given(names | tricky)
@example(b"%FF")
@example(b"%25FF")
@example(b"%\xff")
def test_escape_is_undone_and_text_is_utf8(raw: bytes) -> None:
    text = to_text(os.fsdecode(raw))
    text.encode("utf-8")
    assert os.fsencode(to_file(text)) == raw


@given(tricky, tricky)
def test_no_two_names_share_an_id(one: bytes, other: bytes) -> None:
    assert (one == other) == (to_text(os.fsdecode(one)) == to_text(os.fsdecode(other)))


def test_escape_touches_only_what_is_not_utf8() -> None:
    assert to_text("100% wool %20.png") == "100% wool %20.png"
    assert to_text("giraffe\n é.png") == "giraffe\n é.png"
    assert to_text(os.fsdecode(b"a\xffb.png")) == "a%FFb.png"
    assert to_text("a%FFb.png") == "a%25FFb.png"


def test_ids_labels_and_extensions(tmp_path: Path) -> None:
    for name in (
        "photo/cat/1.PNG",
        "photo/cat/2.JpEg",
        "photo/deep/er/3.webp",
        "photo/4.gif",
        "photo/cat/notes.txt",
        "photo/5.bmp",
    ):
        touch(tmp_path / name)
    found = walk([tmp_path / "photo"]).files
    expected = {"photo/4.gif": "photo", "photo/5.bmp": "photo", "photo/cat/1.PNG": "cat", "photo/cat/2.JpEg": "cat"}
    assert {item.id: item.label for item in found} == {**expected, "photo/deep/er/3.webp": "er"}
    assert [item.id for item in found] == sorted(item.id for item in found)


SYSTEM = (
    "@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg",
    *("#recycle/1.jpg", "@Recycle/1.jpg", "$RECYCLE.BIN/1.jpg", "System Volume Information/1.jpg", "lost+found/1.jpg"),
    *("__MACOSX/cat/1.jpg", ".Trash-1000/files/1.jpg", ".thumbnails/1.jpg", ".ipynb_checkpoints/1.jpg", ".git/1.jpg"),
    *("._1.jpg", ".hidden.png", "Thumbs.db", "desktop.ini"),
)


def test_system_folders_are_no_photos_at_any_depth(tmp_path: Path) -> None:
    for name in SYSTEM:
        touch(tmp_path / "photo" / name)
        touch(tmp_path / "photo/cat" / name)
    touch(tmp_path / "photo/cat/1.jpg")
    touch(tmp_path / "photo/recycle @home/#1.jpg")
    result = walk([tmp_path / "photo"])
    assert [item.id for item in result.files] == ["photo/cat/1.jpg", "photo/recycle @home/#1.jpg"]
    assert not result.left_out and not result.problems
    # Whoever names such a folder means it; the id stays the same when the folder above is walked as well.
    inner = walk([tmp_path / "photo", tmp_path / "photo/.thumbnails"])
    assert [item.id for item in inner.files][0] == ".thumbnails/1.jpg" and len(inner.files) == 3
    assert ids(*(source.folder for source in inner.sources), known=inner.sources) == [item.id for item in inner.files]


def test_exclude(tmp_path: Path) -> None:
    cafe = "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    for name in ("a.jpg", "a_thumb.jpg", "raw/b.jpg", "2019/raw/c.jpg", "2019/d.jpg", "2020/d.jpg", f"{cafe}/e.jpg"):
        touch(tmp_path / "photo" / name)

    def left(*globs: str) -> set[str]:
        return {found.id.removeprefix("photo/") for found in walk([tmp_path / "photo"], exclude=globs).files}

    every = left()
    assert len(every) == 7
    assert every - left("*_thumb.jpg") == {"a_thumb.jpg"}
    assert every - left("raw") == every - left("raw/") == {"raw/b.jpg", "2019/raw/c.jpg"}
    assert every - left("2019/raw") == every - left("./2019/raw/*") == {"2019/raw/c.jpg"}
    assert every - left("/raw") == {"raw/b.jpg"} and every - left("20??", "raw") == every - {
        "a.jpg",
        "a_thumb.jpg",
        f"{cafe}/e.jpg",
    }
    assert every - left(unicodedata.normalize("NFD", cafe)) == {f"{cafe}/e.jpg"}
    assert left("photo") == left("RAW") == every
    # The same rule, however deep the walk starts.
    assert [f.id for f in walk([tmp_path / "photo/2019"], walk([tmp_path / "photo"]).sources, ["2019/raw"]).files] == [
        "photo/2019/d.jpg"
    ]
    with pytest.raises(UserError, match="expected a glob"):
        left("")


def test_files_of_other_kinds_are_counted_and_those_without_an_extension_looked_into(tmp_path: Path) -> None:
    marks = (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x10\0\0\0WEBPVP8 ", b"BM\x10\0\0\0\0\0\0\0")
    for number, mark in enumerate(marks):
        (touch(tmp_path / "photo/1").with_name(f"IMG {number}.10")).write_bytes(mark)
    (tmp_path / "photo/letter").write_bytes(b"BMW drives by, and this is text")
    for name in ("notes.txt", "more.TXT", "film.mp4", "empty", "photo.jfif", "photo.JPE"):
        touch(tmp_path / "photo" / name)
    result = walk([tmp_path / "photo"])
    expected = [f"photo/IMG {number}.10" for number in range(5)] + ["photo/photo.JPE", "photo/photo.jfif"]
    assert [item.id for item in result.files] == expected
    assert result.left_out == {"": 3, ".txt": 2, ".mp4": 1}
    assert counted(result.left_out) == "3 without an extension, 2 .txt, 1 .mp4"


def test_second_folder_of_the_same_name(tmp_path: Path) -> None:
    for name in ("a/photo/1.png", "b/photo/1.png", "c/photo/1.png"):
        touch(tmp_path / name)
    first = walk([tmp_path / "a/photo", tmp_path / "b/photo"])
    assert [item.id for item in first.files] == ["photo-2/1.png", "photo/1.png"]
    later = walk([tmp_path / "c/photo", tmp_path / "b/photo"], first.sources)
    assert sorted((item.id, Path(item.path).parts[-3]) for item in later.files) == [
        ("photo-2/1.png", "b"),
        ("photo-3/1.png", "c"),
    ]


def test_same_folder_twice_and_a_folder_inside_another(tmp_path: Path) -> None:
    touch(tmp_path / "photo/cat/1.png")
    assert ids(tmp_path / "photo", tmp_path / "photo", tmp_path / "photo/cat") == ["photo/cat/1.png"]
    inner = walk([tmp_path / "photo/cat"])
    assert [item.id for item in inner.files] == ["cat/1.png"]
    touch(tmp_path / "photo/dog/2.png")
    outer = walk([tmp_path / "photo"], inner.sources)
    assert [item.id for item in outer.files] == ["cat/1.png", "photo/dog/2.png"]
    assert set(outer.prefixes) == {"photo/", "cat/"}


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    real = touch(tmp_path / "photo/real/1.png")
    (tmp_path / "photo/a_loop").symlink_to(tmp_path / "photo", target_is_directory=True)
    (tmp_path / "photo/a_link").symlink_to(real.parent, target_is_directory=True)
    (tmp_path / "photo/file.png").symlink_to(real)
    touch(tmp_path / "elsewhere/2.png")
    (tmp_path / "photo/out").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert ids(tmp_path / "photo") == ["photo/file.png", "photo/out/2.png", "photo/real/1.png"]


def test_problems_are_named(tmp_path: Path) -> None:
    touch(tmp_path / "photo/1.png")
    (tmp_path / "photo/gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "photo/pipe.png")
    problems = {problem.id: problem.reason for problem in walk([tmp_path / "photo"]).problems}
    assert problems == {"photo/gone.png": "No such file or directory", "photo/pipe.png": "not a regular file"}


def test_unreadable_folder_is_named_and_the_rest_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "photo/open/1.png")
    touch(tmp_path / "photo/shut/2.png")
    scandir = os.scandir

    def guarded(folder):  # permissions do not stop root, under which tests may run
        if str(folder).endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    result = walk([tmp_path / "photo"])
    assert [item.id for item in result.files] == ["photo/open/1.png"]
    assert [(problem.id, problem.reason) for problem in result.problems] == [("photo/shut", "Permission denied")]


def test_names_with_newlines_and_invalid_utf8(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/photo/\xff\xfe"
    os.makedirs(folder)
    Path(os.fsdecode(folder + b"/line\nbreak.png")).write_bytes(b"x")
    (found,) = walk([tmp_path / "photo"]).files
    assert (found.id, found.label) == ("photo/%FF%FE/line\nbreak.png", "%FF%FE")
    assert Path(to_file(to_text(found.path))).read_bytes() == b"x"


@pytest.mark.parametrize("name", ["missing", "file.png"])
def test_missing_folder(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "file.png")
    with pytest.raises(UserError, match="expected a folder"):
        walk([tmp_path / name])
