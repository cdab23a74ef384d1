"""One rule for what is new, changed, gone, and for a disk that is not mounted: as a function, and on every store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.retrieval.embedder import TinyEmbedder, draw, draw_folder
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval import update
from tf_ssgn.retrieval.items import Item
from tf_ssgn.retrieval.open import open_gallery, open_writer
from tf_ssgn.retrieval.plan import Scope, judge, plan

OLD = Item("a/x/1.png", "/a/x/1.png", "x", 10, 100, "hash")


@pytest.mark.parametrize(
    ("here", "there", "hidden", "again", "verdict"),
    [
        (OLD, None, [], False, "new"),
        (OLD, OLD, [], False, "same"),
        (OLD, OLD, [], True, "changed"),
        (OLD._replace(size=11), OLD, [], False, "changed"),
        (OLD._replace(modified=101), OLD, [], False, "changed"),
        (OLD._replace(label="y"), OLD, [], False, "changed"),
        (OLD._replace(path="/b/x/1.png"), OLD, [], False, "changed"),
        (OLD._replace(size=None, modified=None), OLD, [], False, "same"),
        (OLD, OLD._replace(size=None), [], False, "changed"),
        (None, OLD, [], False, "gone"),
        (None, OLD, ["a/x"], False, "hidden"),
        (None, OLD, ["a/x/1.png"], False, "hidden"),
        (None, OLD, ["a/x/1"], False, "gone"),
        (None, OLD, ["b"], False, "gone"),
    ],
)
def test_what_became_of_a_photo(here: Any, there: Any, hidden: list[str], again: bool, verdict: str) -> None:
    assert judge(here, there, Scope(["a/"], hidden), again) == verdict


def items(*ids: str) -> dict[str, Item]:
    return {id: Item(id, "/" + id, id.split("/")[0], 1, 1) for id in ids}


# Found now, known before, prefixes, hidden, and what is gone; None where it looks like a disk that is not mounted.
CASES: list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...], list[str] | None]] = [
    (("a/1", "b/1"), ("a/1", "a/2", "b/1"), ("a/", "b/"), (), ["a/2"]),
    (("a/1",), ("a/1", "b/1"), ("a/", "b/"), (), None),
    (("a/1", "b/9"), ("a/1", "b/1"), ("a/", "b/"), (), None),
    ((), ("a/1",), ("a/",), (), None),
    ((), ("a/1", "a/2"), ("a/",), ("a",), []),
    (("a/1",), ("a/1", "b/1", "b/2"), ("a/", "b/"), ("b/1",), ["b/2"]),
    (("a/1",), ("a/1", "a/in/1"), ("a/", "a/in/"), (), None),
    (("a/1",), ("a/1", "c/1"), ("a/",), (), ["c/1"]),
    ((), (), ("a/",), (), []),
    (("1",), ("1", "2"), ("",), (), ["2"]),
    (("3",), ("1", "2"), ("",), (), None),
]


@pytest.mark.parametrize(("found", "known", "prefixes", "hidden", "gone"), CASES)
def test_what_is_gone(found: Any, known: Any, prefixes: Any, hidden: Any, gone: list[str] | None) -> None:
    def made(remove: bool) -> Any:
        return plan(items(*found).values(), items(*known), Scope(prefixes, hidden), remove)

    assert made(False).gone == [] and set(made(False).same) == set(found) & set(known)
    assert set(made(False).read) == set(found) - set(known)
    if gone is None:
        with pytest.raises(UserError, match="is the disk mounted"):
            made(True)
    else:
        assert made(True).gone == gone


class Followed:
    """A store beside two folders."""

    def __init__(self, folders: list[Path], where: str):
        self.folders, self.where = folders, where
        update.build(open_writer(where), folders, TinyEmbedder())

    def sync(self) -> int:
        return update.add(open_writer(self.where), self.folders, TinyEmbedder(), remove=True).removed

    def ids(self) -> set[str]:
        with open_gallery(self.where) as gallery:
            return {item.id for item in gallery.items()}


def two_folders(tmp_path: Path) -> list[Path]:
    return [draw_folder(tmp_path / name, classes=1, each=3, seed=seed) for seed, name in enumerate(("one", "two"))]


@pytest.mark.parametrize("store", ["folder", "milvus"])
def test_a_disk_that_is_not_mounted_takes_nothing_away(store: str, tmp_path: Path) -> None:
    if store == "milvus":
        pytest.importorskip("milvus_lite")
    where = f"milvus:{tmp_path}/lite.db/photos" if store == "milvus" else str(tmp_path / "g")
    unmounts_one_of_two(Followed(two_folders(tmp_path), where), tmp_path)


def unmounts_one_of_two(followed: Followed, tmp_path: Path) -> None:
    """For each store the same; `tests/scale/test_spark.py` has Spark."""
    everything = followed.ids()
    assert len(everything) == 6
    (tmp_path / "two").rename(tmp_path / "away")
    (tmp_path / "two").mkdir()  # a mount point without its disk
    (tmp_path / "one/class0/0.png").unlink()
    with pytest.raises(UserError, match="none of the 3 items under 'two' .* is the disk mounted"):
        followed.sync()
    assert followed.ids() == everything
    (tmp_path / "two").rmdir()
    (tmp_path / "away").rename(tmp_path / "two")
    draw(tmp_path / "two/class0/new.png", 77)
    assert followed.sync() == 1
    assert followed.ids() == everything - {"one/class0/0.png"} | {"two/class0/new.png"}
