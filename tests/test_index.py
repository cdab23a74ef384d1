"""The command: what it prints, its exit codes, its one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tf_ssgn
from tests.retrieval.embedder import TinyEmbedder, draw, draw_folder
from tf_ssgn import index
from tf_ssgn.common import cli


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load` gives a tiny model; the command with a real one is tested end to end."""
    monkeypatch.setitem(vars(tf_ssgn), "load", lambda path, **options: TinyEmbedder())


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / TinyEmbedder.path).mkdir(parents=True)
    return draw_folder(tmp_path / "photo")


def call(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.run(index.main, list(arguments))
    printed = capsys.readouterr()
    return int(left.value.code or 0), printed.out, printed.err


def call_json(capsys: pytest.CaptureFixture, *arguments: str) -> dict:
    code, out, err = call(capsys, *arguments, "--json")
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def test_the_life_of_a_gallery(photo: Path, capsys: pytest.CaptureFixture) -> None:
    (photo / "class0/bad\nname.png").write_bytes(b"no image")
    built = call_json(capsys, "build", "photo", "--model", "m", "--to", "g")
    assert (built["count"], built["embedded"], built["skipped"]) == (12, 12, 1)
    assert (
        built["skipped_files"][0]["path"].endswith("bad\nname.png")
        and "not a format" in built["skipped_files"][0]["reason"]
    )
    draw(photo / "class0/new.jpg", 9)
    code, out, err = call(capsys, "add", "photo", "--to", "g")
    assert (code, out) == (0, "") and "g: 13 items, version 2 (1 embedded, 12 unchanged, 1 skipped)" in err
    assert 'bad\\nname.png": not a format' in err, "a name never breaks a line"
    (photo / "class1/0.png").unlink()
    assert call_json(capsys, "sync", "photo", "--to", "g")["removed"] == 1
    assert call_json(capsys, "delete", "g", "--id", "photo/class1/1.png", "--id", "photo/class1/2.png")["removed"] == 2
    assert call_json(capsys, "delete", "g", "--path", "photo/class2")["removed"] == 4
    assert call_json(capsys, "delete", "g", "--where", "label = 'class1'")["count"] == 5
    code, _, err = call(capsys, "delete", "g", "--id", "nobody")
    assert code == 0 and "nothing matched" in err
    assert call_json(capsys, "compact", "g")["count"] == 5
    stats = call_json(capsys, "stats", "g")
    assert (stats["count"], stats["dimension"], stats["search"], stats["segments"]) == (5, 16, "exact", [5])
    assert call_json(capsys, "verify", "g")["damage"] == []
    code, out, _ = call(capsys, "stats", "g")
    assert code == 0 and "count  5" in out


def test_exclude_is_kept_and_what_is_no_photo_is_named(photo: Path, capsys: pytest.CaptureFixture) -> None:
    (photo / "class0/film.mp4").write_bytes(b"x")
    draw(photo / "class0/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", 3)
    built = call_json(capsys, "build", "photo", "--model", "m", "--to", "g", "--exclude", "class1")
    assert (built["count"], built["left_out"]) == (8, {".mp4": 1})
    code, _, err = call(capsys, "sync", "--to", "g")
    assert code == 0 and "8 items" in err and "1 files are no photos and were left out: 1 .mp4" in err
    assert call_json(capsys, "sync", "--to", "g", "--exclude", "0.*", "--exclude", "1.*")["removed"] == 4
    assert call_json(capsys, "add", "photo", "--to", "g")["count"] == 4
    code, _, err = call(capsys, "add", "photo", "--to", "g", "--exclude", "/")
    assert code == 2 and "error: exclude: received '/'; expected a glob" in err


def test_verify_of_damage_is_exit_code_2(photo: Path, capsys: pytest.CaptureFixture) -> None:
    call_json(capsys, "build", "photo", "--model", "m", "--to", "g")
    (vectors,) = Path("g/parts").glob("*/vectors.npy")
    vectors.write_bytes(vectors.read_bytes()[:-1])
    code, _, err = call(capsys, "verify", "g")
    assert code == 2 and err.splitlines()[-1].startswith("error: g is damaged in 1 place;") and "vectors.npy has" in err


def test_import(photo: Path, capsys: pytest.CaptureFixture) -> None:
    np.savez("v.npz", vectors=np.eye(16), labels=np.array(["x"] * 16))
    assert call_json(capsys, "import", "v.npz", "--to", "g", "--model", "m")["count"] == 16
    assert call_json(capsys, "stats", "g")["largest_labels"] == {"x": 16}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["build", "--model", "m", "--to", "g"],
        ["build", "nowhere", "--model", "m", "--to", "g"],
        ["build", "photo", "--model", "m"],
        ["build", "photo", "--model", "m", "--to", "photo"],
        ["add", "photo", "--to", "nowhere"],
        ["sync", "--to", "nowhere"],
        ["delete", "nowhere", "--id", "x"],
        ["delete", "g"],
        ["delete", "g", "--id", "x", "--where", "1"],
        ["compact", "nowhere"],
        ["verify", "nowhere"],
        ["stats", "nowhere"],
        ["stats", "photo"],
        ["export", "nowhere", "--parquet", "x.parquet"],
        ["import", "nowhere.npz", "--to", "g", "--model", "m"],
        ["paint"],
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    photo: Path, capsys: pytest.CaptureFixture, arguments: list[str]
) -> None:
    before = sorted(photo.parent.rglob("*"))
    code, out, err = call(capsys, *arguments)
    *before_it, last = err.splitlines()
    assert code == 2 and out == "" and last.startswith("error: ") and set(before_it) <= {"runtime tiny f32"}
    assert sorted(photo.parent.rglob("*")) == before


@pytest.mark.parametrize("verb", ["build", "add", "sync"])
def test_a_missing_folder_is_told_before_the_model_is_loaded(
    verb: str, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    call(capsys, "build", "photo", "--model", TinyEmbedder.path, "--to", "g")
    monkeypatch.setitem(vars(tf_ssgn), "load", lambda path, **options: pytest.fail("the model was loaded"))
    code, _, err = call(capsys, verb, "nowhere", "--to", "h" if verb == "build" else "g")
    assert (code, err) == (2, f"error: no folder '{photo.parent}/nowhere'; expected a folder of photos\n")


def test_a_model_that_moved_is_named(photo: Path, capsys: pytest.CaptureFixture) -> None:
    call_json(capsys, "build", "photo", "--model", "m", "--to", "g")
    Path(TinyEmbedder.path).rmdir()
    code, _, err = call(capsys, "add", "photo", "--to", "g")
    assert code == 2 and "say where it is with --model" in err
    assert call_json(capsys, "add", "photo", "--to", "g", "--model", "elsewhere")["unchanged"] == 12


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-m", "tf_ssgn.index", "build", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--model" in done.stdout
    imports = "import sys, tf_ssgn.index as i; i.parser(); print('numpy' in sys.modules, 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", imports], capture_output=True, text=True).stdout == "False False\n"
