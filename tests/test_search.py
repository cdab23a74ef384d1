"""`python -m tf_ssgn.search`: from a folder of photos to answers, in the terminal and on the page."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.serving import serving_tiny as tiny
from tf_ssgn import search, serve
from tf_ssgn.common.folders import data_folder
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.folder.gallery import Gallery
from tf_ssgn.runtime import shipped
from tf_ssgn.serving.core.notes import claimed, gallery_of


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.model_folder(tmp_path_factory.getbasetemp()))


LOAD = functools.cache(search._load)


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading takes seconds: the commands that run in this process share what the first of them has loaded."""
    monkeypatch.setattr(search, "_load", LOAD)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """80 drawings in two folders, so that a drawing finds itself."""
    folder = tmp_path / "my photos"
    for seed in range(80):
        path = folder / ("round" if seed % 2 else "square") / f"{seed:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny.drawing(seed))
    return folder


@pytest.fixture
def sketch(tmp_path: Path) -> str:
    path = tmp_path / "sketch.png"
    path.write_bytes(tiny.drawing(7))
    return str(path)


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "data" / "tf_ssgn"


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def test_a_drawing_is_answered_in_the_terminal(photos, sketch, model, user, capsys) -> None:
    before = tree(photos)
    assert search.main([str(photos), "--model", model, "--sketch", sketch, "-k", "3"]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].split() == ["rank", "score", "label", "id"] and len(lines) == 4
    assert lines[1].split(maxsplit=3) == ["1", "1.0000", "round", "my photos/round/07.png"]
    assert "all 80 photos can be found" in told.err
    assert tree(photos) == before, "something was written into the photos"
    (gallery,) = (user / "galleries").iterdir()
    assert gallery.name.startswith("my-photos-") and len(Gallery.open(gallery)) == 80


def test_json_and_a_grid(photos, sketch, model, tmp_path, capsys) -> None:
    out = tmp_path / "answers.html"
    words = [str(photos), "--model", model, "--sketch", sketch, "-k", "2", "--json", "--html", str(out)]
    assert search.main([*words, "--to", str(tmp_path / "g")]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    best = told["hits"][0]
    assert best.pop("score") == pytest.approx(1, abs=1e-4)
    path = str(photos / "round" / "07.png")
    assert best == {"rank": 1, "id": "my photos/round/07.png", "label": "round", "path": path}
    assert [hit["rank"] for hit in told["hits"]] == [1, 2] and told["gallery"] == str(tmp_path / "g")
    assert out.read_text(encoding="utf-8").count("data:image/jpeg;base64,") == 3
    assert len(Gallery.open(tmp_path / "g")) == 80


def test_a_shipped_model_is_not_loaded_to_tell_that_a_word_is_unknown(photos, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(search, "_load", lambda name: pytest.fail("loaded"))
    monkeypatch.setattr(shipped, "words", lambda folder: pytest.fail("read more than names"))
    with pytest.raises(UserError, match="'girafe' is not among the .* spelled most alike: giraffe"):
        search.main([str(photos), "--word", "girafe", "--to", str(tmp_path / "g")])
    assert not (tmp_path / "g").exists()


def test_a_word_beside_the_drawing_or_alone(photos, sketch, model, tmp_path, capsys) -> None:
    words = [str(photos), "--model", model, "-k", "3", "--to", str(tmp_path / "g")]
    with pytest.raises(UserError, match="spelled most alike: circle"):
        search.main([*words, "--word", "cirkle"])
    assert not (tmp_path / "g" / "CURRENT").exists() and not list((tmp_path / "g").glob("*/vectors.npy"))
    answers = set()
    for asked in (["--sketch", sketch], ["--sketch", sketch, "--word", "squares"], ["--word", "square"]):
        assert search.main([*words, *asked]) == 0
        answers.add(capsys.readouterr().out)
    assert len(answers) == 3


def test_a_second_time_only_what_changed_is_read(photos, sketch, model, user, capsys) -> None:
    words = [str(photos), "--model", model, "--sketch", sketch, "-k", "1"]
    search.main(words)
    (photos / "round" / "07.png").unlink()
    (photos / "new").mkdir()
    (photos / "new" / "copy.png").write_bytes(tiny.drawing(7))
    (photos / "new" / "bad.jpg").write_bytes(b"no picture")
    capsys.readouterr()
    search.main(words)
    told = capsys.readouterr()
    assert "my photos/new/copy.png" in told.out and "bad.jpg" in told.err
    assert "all 80 photos can be found" in told.err
    assert len(list((user / "galleries").iterdir())) == 1


def test_the_gallery_belongs_to_the_folders_whatever_way_they_are_named(photos, tmp_path, monkeypatch) -> None:
    (tmp_path / "link").symlink_to(photos)
    monkeypatch.chdir(tmp_path)
    names = [str(photos), "my photos", "link", f"{photos}/../my photos/"]
    assert len({gallery_of([name], "f") for name in names}) == 1
    two = {gallery_of(["a", "b"], "f"), gallery_of(["b", "a"], "f"), gallery_of(["a", "b", "a/"], "f")}
    assert len(two) == 1 and two.isdisjoint({gallery_of(["a"], "f"), gallery_of(["a", "b"], "other")})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "no folder"),
        (["EMPTY"], "no photos (PNG, JPEG, WebP, BMP, GIF, TIFF, AVIF) below"),
        (["FILE"], "is a file; expected a folder"),
        (["PHOTOS", "--sketch", "nowhere.png"], "--sketch: there is no file nowhere.png"),
        (["PHOTOS", "--sketch", "BAD"], "bad.png"),
        (["PHOTOS", "-k", "0", "--sketch", "BAD"], "-k: received '0', expected 1 to 200"),
        (["PHOTOS", "--word", ""], "--word: received '', expected what is drawn"),
        (["PHOTOS", "--json"], "--json is about the answers to a drawing"),
        (["PHOTOS", "--html", "x.html"], "--html is about the answers to a drawing"),
        (["PHOTOS", "--sketch", "BAD", "--html", "."], "--html: received the folder"),
        (["PHOTOS", "--port", "0"], "--port: received '0', expected a port from 1 to 65535"),
        (["PHOTOS", "--to", "FILE", "--sketch", "BAD"], "file"),
        (["PHOTOS", "--to", "PHOTOS", "--sketch", "BAD"], "holds other things"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(photos, model, tmp_path, words: list[str], said: str) -> None:
    places = {"PHOTOS": photos, "EMPTY": tmp_path / "empty", "FILE": tmp_path / "file", "BAD": tmp_path / "bad.png"}
    places["EMPTY"].mkdir()
    places["FILE"].write_text("a file")
    places["BAD"].write_text("no picture")
    before = tree(photos)
    with pytest.raises(UserError) as caught:
        search.main([str(places.get(word, word)) for word in words] + ["--model", model])
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert tree(photos) == before


def test_without_a_home_it_says_where_else(photos, sketch, model, monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError("no home"))))
    with pytest.raises(UserError, match="no home folder.*--to"):
        search.main([str(photos), "--model", model, "--sketch", sketch])
    assert search.main([str(photos), "--model", model, "--sketch", sketch, "--to", str(tmp_path / "g")]) == 0
    assert "07.png" in capsys.readouterr().out


def test_a_data_folder_that_cannot_be_written(photos, sketch, model, monkeypatch, tmp_path) -> None:
    (tmp_path / "occupied").write_text("a file")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "occupied"))
    with pytest.raises(UserError, match=r"cannot write to .*occupied.*"):
        search.main([str(photos), "--model", model, "--sketch", sketch])


def test_a_gallery_of_another_model_is_refused(photos, sketch, model, tmp_path) -> None:
    from tests.retrieval.embedder import TinyEmbedder
    from tf_ssgn.retrieval.folder import builder

    builder.build(tmp_path / "g", [photos], TinyEmbedder())
    with pytest.raises(UserError, match="made by another model"):
        search.main([str(photos), "--model", model, "--sketch", sketch, "--to", str(tmp_path / "g")])


@contextmanager
def page(photos: Path, model: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[str], Any]]]:
    """The command as a person starts it, and what its HTTP side answers."""
    command = [sys.executable, "-m", "tf_ssgn.search", str(photos), "--model", model, "--no-open", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    if not line.startswith("ready "):
        process.kill()
        raise AssertionError(process.stderr.read())
    address = "http://" + line.split("http=")[1].strip()

    def ask(path: str) -> Any:
        with urllib.request.urlopen(address + path, timeout=20) as response:
            return json.load(response)

    try:
        yield process, ask
    finally:
        process.kill()
        process.wait()


def whole(ask: Callable[[str], Any]) -> dict[str, Any]:
    """What the page knows of the gallery once it no longer grows and is served."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        gallery = ask("/api/gallery")["gallery"]
        if gallery["expected"] is None and gallery["items"] == 80:
            return gallery
        time.sleep(0.1)
    raise AssertionError(gallery)


def test_the_page_is_there_before_all_photos_are_and_a_second_search_joins_it(photos, model, user) -> None:
    with page(photos, model) as (process, ask):
        assert 32 <= ask("/api/gallery")["gallery"]["items"] <= 80
        assert [label for label, _ in whole(ask)["labels"]] == ["round", "square"]
        again = [sys.executable, "-m", "tf_ssgn.search", str(photos), "--model", model, "--no-open"]
        joined = subprocess.run(again, capture_output=True, text=True, timeout=120)
        assert joined.returncode == 0 and joined.stdout == ""
        assert f"running already (process {process.pid}): http://127.0.0.1:" in joined.stderr
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0 and "all 80 photos can be found" in said and "Traceback" not in said
    with claimed(next((user / "galleries").iterdir())) as claim:
        assert not isinstance(claim, dict), "the claim is still held"


def test_a_port_in_use(photos, model) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: in use"):
            search.main([str(photos), "--model", model, "--port", str(port)])


def test_a_machine_without_a_browser_says_where_the_page_is(monkeypatch, capsys) -> None:
    monkeypatch.setattr("webbrowser.open", lambda page: False)
    serve.show("http://127.0.0.1:8501/", wait=True)
    assert capsys.readouterr().err == "no browser could be started here; open http://127.0.0.1:8501/ yourself\n"


def test_what_ends_the_indexing_leaves_the_page_and_says_why(photos, user, capsys) -> None:
    from tf_ssgn.serving.core.service import Service

    def vanishes() -> Iterator[Any]:
        raise UserError("no folder '/media/gone'")
        yield

    service = Service()
    service.expected = 80
    search._index(vanishes(), service, user, search.Stoppable(None))
    assert service.expected is None
    assert capsys.readouterr().err == "error: no folder '/media/gone'; the page goes on with the photos it has\n"


def test_a_stopped_model_embeds_no_photo_and_still_answers_drawings() -> None:
    class Model:
        path = "somewhere"

        def call(self, signature: str, inputs: Any) -> str:
            return signature

    model = search.Stoppable(Model())
    assert model.path == "somewhere" and model.call("embed_photo", {}) == "embed_photo"
    model.stop.set()
    assert model.call("embed_sketch", {}) == "embed_sketch"
    with pytest.raises(search.Stopped):
        model.call("embed_photo", {})


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from tf_ssgn import search
try:
    search.main(["--help"])
except SystemExit:
    heavy = {"tensorflow", "numpy", "grpc", "PIL"} & set(sys.modules)
    assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--sketch" in done.stdout


def test_the_console_script_runs_the_commands() -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "tf_ssgn", *words], capture_output=True, text=True, timeout=60)

    named = run("search", "nowhere")
    assert (named.returncode, named.stdout) == (2, "") and "no folder" in named.stderr
    unknown = run("serach")
    assert unknown.returncode == 2 and "no command 'serach'; expected one of search," in unknown.stderr
    listed = run()
    assert listed.returncode == 0 and "tf-ssgn search" in listed.stdout and run("--help").stdout == listed.stdout


def test_the_data_folder(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_folder() == tmp_path / "tf_ssgn"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # which the specification says to ignore
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert data_folder() == tmp_path / "home" / ".local" / "share" / "tf_ssgn"
    assert not os.path.exists(tmp_path / "home")


def test_the_benchmark_sees_both_runs(monkeypatch: pytest.MonkeyPatch, capsys: Any, chain: Any) -> None:
    """The model is the one that the tests have; writing an untrained one takes longer than all that is measured."""
    from tf_ssgn.benchmarks import runtime
    from tf_ssgn.benchmarks import search as bench

    monkeypatch.setattr(runtime, "write_model", lambda folder, backbone: shutil.copytree(chain.models, folder))
    monkeypatch.setattr(bench, "SMALL", 40)
    found = bench.run(full=False, only="first")["first"]
    assert (found["first_answers"], found["second_answers"]) == (5, 5)
    assert (found["first_items"], found["second_items"], found["second_items_at_first"]) == (40, 40, 40)
    assert 32 <= found["first_items_at_first"] <= 40 and found["first_peak_mb"] > 300
    assert found["first_answered_seconds"] <= found["first_all_seconds"]
    assert found["build_share_of_bare"] > 0 and "first, first all seconds" in capsys.readouterr().out
