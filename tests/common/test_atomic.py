"""Whole or absent, whatever happens while writing."""

from __future__ import annotations

import errno
import json

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
