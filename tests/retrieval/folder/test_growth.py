"""A gallery that grows: what can be searched when, and what a stop costs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.retrieval.embedder import TinyEmbedder, draw, draw_folder
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.files import walk
from tf_ssgn.retrieval.folder import builder, growth
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.verify import verify


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "photo", classes=10, each=20)


def searched(folder: Path) -> dict[str, list[float]]:
    opened = Gallery.open(folder)
    return dict(zip(opened.ids, opened.vectors.tolist(), strict=True))


def test_it_can_be_searched_after_each_step_and_ends_as_build_leaves_it(photo: Path, tmp_path: Path) -> None:
    model, expected, sizes = TinyEmbedder(), [], []
    for report in growth.grow(tmp_path / "g", [photo], model, expected.append):
        gallery = Gallery.open(tmp_path / "g")
        assert (len(gallery), gallery.version) == (report.count, report.version)
        (hit,) = gallery.search(gallery.vectors[-1], k=1)
        assert hit.score == pytest.approx(1, abs=1e-5)
        sizes.append(len(gallery))
    assert sizes[0] == 32 and sizes[-1] == 200 and sizes == sorted(sizes) and expected == [200]
    assert model.calls == 200
    builder.build(tmp_path / "whole", [photo], model)
    assert searched(tmp_path / "g") == searched(tmp_path / "whole")
    assert verify(tmp_path / "g")["damage"] == [] and not verify(tmp_path / "g")["unfinished"]


def test_a_second_time_only_what_changed_is_embedded(photo: Path, tmp_path: Path) -> None:
    list(growth.grow(tmp_path / "g", [photo], TinyEmbedder()))
    draw(photo / "class3/new.png", 77)
    draw(photo / "class0/0.png", 78)
    (photo / "class1/0.png").unlink()
    shutil.move(photo / "class2/0.png", photo / "class9/moved.png")
    model = TinyEmbedder()
    *_, last = growth.grow(tmp_path / "g", [photo], model)
    assert (model.calls, last.count, last.removed) == (2, 200, 2)
    names = set(searched(tmp_path / "g"))
    assert {"photo/class3/new.png", "photo/class9/moved.png"} <= names
    assert not {"photo/class1/0.png", "photo/class2/0.png"} & names
    again = TinyEmbedder()
    (only,) = growth.grow(tmp_path / "g", [photo], again)
    assert (again.calls, only.count, only.version) == (0, 200, last.version)


def test_what_was_embedded_before_a_stop_is_not_embedded_again(photo: Path, tmp_path: Path) -> None:
    done = 0
    for _ in range(4):
        model = TinyEmbedder(stops_after=64)
        with pytest.raises(KeyboardInterrupt):
            for _ in growth.grow(tmp_path / "g", [photo], model):
                pass
        done += model.calls
        if done > 130:
            break
    model = TinyEmbedder()
    *_, last = growth.grow(tmp_path / "g", [photo], model)
    assert done + model.calls == 200 and last.count == 200


def test_unusable_photos_at_the_beginning_hold_nothing_up(photo: Path, tmp_path: Path) -> None:
    for number in range(40):
        (photo / f"a{number}.png").parent.mkdir(exist_ok=True)
        (photo / f"a{number}.png").write_bytes(b"no image")
    *_, last = growth.grow(tmp_path / "g", [photo], TinyEmbedder())
    assert last.count == 200 and len(last.skipped) == 40


def test_none_usable_and_none_at_all(tmp_path: Path) -> None:
    (tmp_path / "photo").mkdir()
    with pytest.raises(UserError, match="no photos"):
        list(growth.grow(tmp_path / "g", [tmp_path / "photo"], TinyEmbedder()))
    (tmp_path / "photo/1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 1 photos could be embedded"):
        list(growth.grow(tmp_path / "g", [tmp_path / "photo"], TinyEmbedder()))
    assert not (tmp_path / "g").exists()


def test_a_folder_that_vanishes_between_steps_takes_nothing_away(photo: Path, tmp_path: Path) -> None:
    steps = growth.grow(tmp_path / "g", [photo], TinyEmbedder())
    next(steps)
    next(steps)
    before = searched(tmp_path / "g")
    photo.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="none of the|no folder"):
        list(steps)
    assert before.items() <= searched(tmp_path / "g").items()


def test_a_walk_of_some_photos_ends_early_and_tells_how_far_it_is(photo: Path) -> None:
    told: list[tuple[int, int]] = []
    some = walk([photo], most=30, tell=lambda looked, photos: told.append((looked, photos)))
    assert 30 <= len(some.files) < 200
    assert told[-1] == (len(told), len(some.files)) and len(told) < 11
    assert len(walk([photo]).files) == 200


def test_links_in_a_circle_end(photo: Path, tmp_path: Path) -> None:
    (photo / "class0/up").symlink_to(photo)
    *_, last = growth.grow(tmp_path / "g", [photo], TinyEmbedder())
    assert last.count == 200
