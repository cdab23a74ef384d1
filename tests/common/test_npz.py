"""Arrays from files of other people: bounded, never unpickled, every fault one line."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tf_ssgn.common.npz import names, read_npz
from tf_ssgn.errors import UserError

NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4)


def packed(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text.ljust(117) + "\n").to_bytes(2, "little") + (text.ljust(117) + "\n").encode()


def archive(path: Path, content: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr("a.npy", content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_wanted_arrays_and_no_others(tmp_path: Path, save) -> None:
    save(tmp_path / "f.npz", a=NUMBERS, b=np.array(["é", "b"]), c=np.array([{}], object))
    found = read_npz(tmp_path / "f.npz", ("a", "b", "absent"), 1000)
    assert list(found) == ["a", "b"] and names(tmp_path / "f.npz") == ["a", "b", "c"]
    np.testing.assert_array_equal(found["a"], NUMBERS)
    assert found["b"].tolist() == ["é", "b"]


def test_the_bound_is_checked_before_anything_is_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "f.npz", a=np.zeros(2**25, np.uint8), b=np.zeros(10, np.uint8))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="the array a takes 33,554,432 bytes"):
            read_npz(tmp_path / "f.npz", ("a",), 2**25 - 1)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    with pytest.raises(UserError, match="the array b takes 10 bytes"):
        read_npz(tmp_path / "f.npz", ("a", "b"), 2**25 + 9)
    assert len(read_npz(tmp_path / "f.npz", ("a", "b"), 2**25 + 10)) == 2


SHAPE = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }"
FAULTS = {
    "ends early": packed(NUMBERS)[:-1],
    "goes on": packed(NUMBERS) + b"x",
    "negative": header(SHAPE % "(-1, 4)") + bytes(64),
    "huge": header(SHAPE % "(2**60,)".replace("2**60", str(2**60))),
    "nested": header("(" * 100),
    "no dictionary": header("[1]"),
    "no type": header("{'descr': 'f99', 'fortran_order': False, 'shape': (1,), }"),
    "other version": b"\x93NUMPY\x09\x00" + bytes(64),
    "no array": b"hello",
    "empty": b"",
    "objects": packed(np.array([{}], object)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_arrays_are_one_line(tmp_path: Path, fault: str) -> None:
    with pytest.raises(UserError, match="f.npz: the array a ") as caught:
        read_npz(archive(tmp_path / "f.npz", FAULTS[fault]), ("a",), 10**6)
    assert "\n" not in str(caught.value) and "pickle" not in str(caught.value)


def test_other_files_are_one_line(tmp_path: Path) -> None:
    archive(tmp_path / "lzma.npz", packed(NUMBERS), zipfile.ZIP_LZMA)
    (tmp_path / "text.npz").write_text("hello")
    os.mkfifo(tmp_path / "pipe.npz")
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as made, pytest.warns(UserWarning, match="Duplicate"):
        made.writestr("a.npy", packed(NUMBERS))
        made.writestr("a.npy", packed(NUMBERS))
    for name, message in (
        ("lzma.npz", "packed by method 14"),
        ("text.npz", "is no .npz file"),
        ("pipe.npz", "not a regular file"),
        ("twice.npz", "holds the array a twice"),
        ("absent.npz", "No such file"),
        (".", "Is a directory"),
    ):
        with pytest.raises(UserError, match=message):
            read_npz(tmp_path / name, ("a",), 1000)
