"""The note of a running server: there while it runs, useless afterwards, and never a reason to fail."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tf_ssgn.serving.core import notes


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "run" / "tf_ssgn"


def test_found_while_it_runs(runtime, tmp_path) -> None:
    assert notes.find_gallery(8500) is None
    with notes.announced(8500, tmp_path):
        assert notes.find_gallery(8500) == tmp_path
        assert notes.find_gallery(8501) is None
    assert notes.find_gallery(8500) is None
    assert list(runtime.iterdir()) == []


def test_the_note_of_a_later_server_stays(runtime, tmp_path) -> None:
    with notes.announced(8500, tmp_path):
        (runtime / "serve-8500.json").write_text(json.dumps({"pid": 1, "gallery": "/"}))
    assert (runtime / "serve-8500.json").exists()


def test_a_killed_servers_note_is_stale(runtime, tmp_path) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    runtime.mkdir(parents=True)
    (runtime / "serve-8500.json").write_text(json.dumps({"pid": done.pid, "gallery": str(tmp_path)}))
    assert notes.find_gallery(8500) is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pid": "x", "gallery": "/"}', '{"gallery": "/"}', "\ud800"])
def test_a_damaged_note_is_no_note(runtime, text: str) -> None:
    runtime.mkdir(parents=True)
    (runtime / "serve-8500.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert notes.find_gallery(8500) is None


def test_no_folder_to_write_to(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    with notes.announced(8500, tmp_path):
        assert notes.find_gallery(8500) is None
