"""Class vectors are kept by the content of their source and the names asked for; damage only costs time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tf_ssgn.data.semantics import vector_cache
from tf_ssgn.data.semantics.class_vectors import class_vectors
from tf_ssgn.data.semantics.vector_cache import cached_vectors
from tf_ssgn.errors import UserError


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The classes of each call that went to the source itself."""
    calls: list[list[str]] = []

    def counted(classes, source):
        calls.append(list(classes))
        return class_vectors(classes, source)

    monkeypatch.setattr(vector_cache, "class_vectors", counted)
    return calls


def words(path: Path, shift: float = 0.0) -> str:
    path.write_text(f"cat {1 + shift} 2\ndog 3 4\n")
    return str(path)


def test_read_once_for_the_same_content_and_names(tmp_path: Path, reads: list[list[str]]) -> None:
    source, cache = words(tmp_path / "v.txt"), tmp_path / "cache"
    first = cached_vectors(["cat", "dog"], source, cache)
    np.testing.assert_array_equal(cached_vectors(["cat", "dog"], source, cache), first)
    moved = words(tmp_path / "moved.txt")  # the same content at another place
    np.testing.assert_array_equal(cached_vectors(["cat", "dog"], moved, cache), first)
    assert len(reads) == 1 and first.dtype == np.float32
    np.testing.assert_array_equal(cached_vectors(["dog", "cat"], source, cache), first[::-1])
    assert len(reads) == 2, "other names or another order is another entry"
    changed = cached_vectors(["cat", "dog"], words(tmp_path / "v.txt", 5.0), cache)
    assert changed[0, 0] == 6.0 and len(reads) == 3


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "foreign"])
def test_a_damaged_entry_is_made_again(
    harm: str, tmp_path: Path, reads: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    source, cache = words(tmp_path / "v.txt"), tmp_path / "cache"
    expected = cached_vectors(["cat", "dog"], source, cache)
    (entry,) = (cache / "semantics").iterdir()
    content = bytearray(entry.read_bytes())
    if harm == "flip":
        content[content.find(np.float32(3).tobytes())] ^= 0xFF
    if harm == "foreign":
        np.savez(entry, vectors=np.zeros((1, 2), np.float32))
    else:
        entry.write_bytes({"cut": bytes(content[:-40]), "flip": bytes(content), "empty": b""}[harm])
    np.testing.assert_array_equal(cached_vectors(["cat", "dog"], source, cache), expected)
    assert len(reads) == 2 and "damaged" in capsys.readouterr().err
    np.testing.assert_array_equal(cached_vectors(["cat", "dog"], source, cache), expected)
    assert len(reads) == 2


def test_what_gets_no_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "v.npz", names=np.array(["cat"]), vectors=np.ones((1, 2)))
    cached_vectors(["cat"], str(tmp_path / "v.npz"), tmp_path / "cache")
    with pytest.raises(UserError, match="no vector for 1 of 1 classes: emu"):
        cached_vectors(["emu"], words(tmp_path / "v.txt"), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    (tmp_path / "file").write_text("in the way")
    assert len(cached_vectors(["cat"], words(tmp_path / "v.txt"), tmp_path / "file")) == 1
    assert "are not kept" in capsys.readouterr().err
