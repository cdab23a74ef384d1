"""Writers that are killed, two at once, on a full or read-only disk: nothing acknowledged is lost."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.retrieval.embedder import TinyEmbedder, draw, draw_folder
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder import builder, changes, compaction, segment
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.retrieval.folder.store import Store
from tf_ssgn.retrieval.folder.verify import verify

REPOSITORY = Path(__file__).resolve().parents[2]


def prepare(work: Path, verb: str) -> tuple[int, int]:
    """Photos and, unless it is to be built, a gallery of them with changes due: (items before, items after)."""
    photo = draw_folder(work / "photo", classes=2, each=5)
    if verb == "build":
        return -1, 10
    builder.build(work / "g", [photo], TinyEmbedder())
    if verb == "delete":
        return 10, 5
    draw_folder(photo / "late", classes=1, each=3, seed=1)
    (photo / "class1/0.png").unlink()
    if verb == "compact":
        builder.sync(work / "g", [photo], TinyEmbedder())
        return 12, 12
    return 10, {"add": 13, "sync": 12}[verb]


@pytest.mark.parametrize(("verb", "step"), [("build", 2), ("sync", 5), ("delete", 2), ("compact", 4)])
def test_killed_before_any_of_its_writes(tmp_path: Path, verb: str, step: int) -> None:
    before, after = prepare(tmp_path, verb)
    script = [sys.executable, "-m", "tests.retrieval.crash", verb, str(tmp_path), str(step)]
    paths = str(REPOSITORY)
    done = subprocess.run(script, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, timeout=120)
    assert done.returncode == 0, done.stderr
    *kills, last = done.stdout.splitlines()
    # A build that was killed right after its last step is complete, and continuing it says so.
    assert last == f"done {after}"
    assert len(kills) >= 4 and {int(count) for count in kills} <= {before, after}
    assert not (tmp_path / "g/journal.json").exists() and Store(tmp_path / "g").leftovers() == []


@pytest.mark.parametrize("batches", range(1, 5))
def test_a_build_killed_at_any_moment_resumes(tmp_path: Path, batches: int) -> None:
    photo = draw_folder(tmp_path / "photo", classes=3, each=40)
    code = (
        "import sys; from tests.retrieval.embedder import TinyEmbedder; from tf_ssgn.retrieval.folder import builder;"
        "call = TinyEmbedder.call\n"
        "def told(*words): print('batch', flush=True); return call(*words)\n"
        "TinyEmbedder.call = told; builder.build(sys.argv[1], [sys.argv[2]], TinyEmbedder())"
    )
    paths = str(REPOSITORY)
    script = [sys.executable, "-c", code, str(tmp_path / "g"), str(photo)]
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(
        script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for _ in range(batches):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    if (tmp_path / "g/journal.json").exists():
        assert verify(tmp_path / "g")["damage"] == []
    try:
        builder.build(tmp_path / "g", [photo], TinyEmbedder())
    except UserError as error:  # the kill came after the gallery was complete
        assert "already is a gallery" in str(error)
    assert len(Gallery.open(tmp_path / "g")) == 120 and verify(tmp_path / "g")["damage"] == []


@pytest.mark.parametrize("verb", ["build", "add", "delete", "compact"])
def test_every_write_made_to_fail(tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.retrieval.crash import WRITES, command

    before, after = prepare(tmp_path, verb)
    kind = errno.EROFS if verb == "delete" else errno.ENOSPC
    for count in range(1, 100):
        left = [count]

        def failing(write, left=left):
            def counted(*args, **options):
                left[0] -= 1
                if left[0] == 0:
                    raise OSError(kind, os.strerror(kind))
                return write(*args, **options)

            return counted

        with monkeypatch.context() as patch:
            for name in WRITES:
                patch.setattr(os, name, failing(getattr(os, name)))
            patch.setattr(segment, "_write_all", failing(segment._write_all))
            try:
                command(verb, tmp_path)()
            except UserError as error:
                assert os.strerror(kind) in str(error) or "already is a gallery" in str(error)
        exists = (tmp_path / "g/gallery.json").exists()
        if exists:
            assert len(Gallery.open(tmp_path / "g")) in (before, after) and not verify(tmp_path / "g")["damage"]
        if left[0] > 0:
            break
    assert len(Gallery.open(tmp_path / "g")) == after


def test_a_file_size_limit_is_one_line_and_harmless(tmp_path: Path) -> None:
    """A real full disk, as near as a test gets without mounting one."""
    photo = draw_folder(tmp_path / "photo", classes=2, each=40)
    builder.build(tmp_path / "g", [draw(tmp_path / "one/1.png", 9).parent], TinyEmbedder())
    code = (
        "import sys, resource; from tests.retrieval.embedder import TinyEmbedder; from tf_ssgn.common import cli;"
        "from tf_ssgn.retrieval.folder import builder; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "cli.run(lambda argv: builder.add(sys.argv[1], [sys.argv[2]], TinyEmbedder()) and None)"
    )
    paths = str(REPOSITORY)
    script = [sys.executable, "-c", code, str(tmp_path / "g"), str(photo)]
    done = subprocess.run(script, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: cannot write to") and "Traceback" not in done.stderr
    assert len(Gallery.open(tmp_path / "g")) == 1 and not verify(tmp_path / "g")["damage"]
    assert builder.add(tmp_path / "g", [photo], TinyEmbedder()).count == 81


def test_two_writers(tmp_path: Path) -> None:
    photo = draw_folder(tmp_path / "photo", classes=1)
    builder.build(tmp_path / "g", [photo], TinyEmbedder())
    with Store(tmp_path / "g").writing():
        for write in (
            lambda: builder.add(tmp_path / "g", [photo], TinyEmbedder()),
            lambda: changes.delete(tmp_path / "g", where="1"),
            lambda: compaction.compact(tmp_path / "g"),
        ):
            with pytest.raises(UserError, match=f"being written by process {os.getpid()}; wait"):
                write()
        assert len(Gallery.open(tmp_path / "g")) == 4, "readers need no lock"
    assert changes.delete(tmp_path / "g", where="1").removed == 4


def test_reading_needs_no_write_access(tmp_path: Path) -> None:
    builder.build(tmp_path / "g", [draw_folder(tmp_path / "photo")], TinyEmbedder())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "g").rglob("*")}
    opened = Gallery.open(tmp_path / "g")
    opened.search(opened.vectors[0])
    verify(tmp_path / "g")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "g").rglob("*")} == before


def test_verify_names_damage_and_forgives_leftovers(tmp_path: Path) -> None:
    builder.build(tmp_path / "g", [draw_folder(tmp_path / "photo")], TinyEmbedder())
    (tmp_path / "g/parts/orphan").mkdir()
    (tmp_path / "g/versions/000009.json").write_text("{")
    (tmp_path / "g/.gallery.json.0123.tmp").write_text("{")
    result = verify(tmp_path / "g")
    assert result["damage"] == [] and len(result["leftovers"]) == 3 and result["count"] == 12
    builder.add(tmp_path / "g", [tmp_path / "photo"], TinyEmbedder())
    assert verify(tmp_path / "g")["leftovers"] == []
    for name in ("vectors.npy", "items.sqlite"):
        (path,) = (tmp_path / "g/parts").glob(f"*/{name}")
        sound = path.read_bytes()
        for damage in (sound[:-1], sound[:200] + bytes([sound[200] ^ 1]) + sound[201:]):
            path.write_bytes(damage)
            assert any(name in line for line in verify(tmp_path / "g")["damage"])
        path.write_bytes(sound)
    assert verify(tmp_path / "g")["damage"] == []
