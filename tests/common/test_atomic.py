"""Whole or absent, whatever happens while writing."""

from __future__ import annotations

import errno
import json
from contextlib import suppress

import pytest

from tf_ssgn.common import atomic


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    target = tmp_path / "a.json"
    atomic.write_json(target, {"x": 1})
    with pytest.raises(ZeroDivisionError), atomic.writing(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert json.loads(target.read_text()) == {"x": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_has_a_name(tmp_path):
    with pytest.raises(OSError, match="a.json") as caught, atomic.writing(tmp_path / "a.json"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "a.json")
    with pytest.raises(OSError, match="b.json"), atomic.naming(tmp_path / "c.json"):
        open(tmp_path / "b.json")


def test_the_temporary_name_keeps_the_suffix_and_hides(tmp_path):
    with atomic.writing(tmp_path / "best.weights.h5") as temporary:
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(".weights.h5")
        temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["best.weights.h5"]


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_folder_is_made_whole_or_not_at_all(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic.making(tmp_path / "set") as temporary:
        (temporary / "half").write_text("x")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with atomic.making(tmp_path / "set") as temporary:
        (temporary / "whole").write_text("x")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["set", "set/whole"]
    with pytest.raises(OSError), atomic.making(tmp_path / "set"):  # another was faster
        pass
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["set", "set/whole"]


def test_the_next_writer_of_a_folder_removes_what_a_dead_one_left_and_no_other(tmp_path):
    dead, other = tmp_path / ".[1].00.tmp", tmp_path / ".2.00.tmp"
    for folder in (dead, other):
        folder.mkdir()
    with atomic.making(tmp_path / "[1]") as living, suppress(ZeroDivisionError), atomic.making(tmp_path / "[1]"):
        assert living.is_dir() and not dead.exists() and other.is_dir()
        raise ZeroDivisionError
    assert {path.name for path in tmp_path.iterdir()} == {"[1]", ".2.00.tmp"}


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_folder_that_another_writer_took_for_left_behind_is_given_up(tmp_path, monkeypatch, is_gone):
    """Between making a folder and locking it, another writer may lock it, and remove it before or after."""
    lock, taken = atomic.lock, []

    def late(handle):
        if not taken:
            taken.extend(tmp_path.iterdir())
            taken[0].rmdir()
            return is_gone and lock(handle)
        return lock(handle)

    monkeypatch.setattr(atomic, "lock", late)
    with atomic.making(tmp_path / "set") as temporary:
        assert temporary.is_dir() and temporary != taken[0]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_lock_is_taken_once(tmp_path):
    with open(tmp_path / "lock", "w") as one, open(tmp_path / "lock", "w") as other:
        assert atomic.lock(one) and not atomic.lock(other)
        one.close()
        assert atomic.lock(other)
