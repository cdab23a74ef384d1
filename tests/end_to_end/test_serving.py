"""A served gallery answers drawings over gRPC with the scores of the model in process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import tf_ssgn
from tf_ssgn import query
from tf_ssgn.client import Client
from tf_ssgn.common import cli

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def address(chain):
    words = ["--model", chain.models, "--gallery", chain.gallery, "--port", "0", "--http-port", "-1"]
    server = subprocess.Popen(
        [sys.executable, "-m", "tf_ssgn.serve", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    ready = re.fullmatch(r"ready grpc=(\S+) http=off\n", server.stdout.readline())
    assert ready, server.stderr.read()
    yield ready.group(1)
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) == 0


def test_scores_equal_the_model_in_process(address, chain):
    model, gallery = tf_ssgn.load(chain.run), tf_ssgn.Gallery.open(chain.gallery)
    sketches = [sorted(folder.iterdir())[0] for folder in sorted((chain.data / "sketch").iterdir())[:6]]
    with Client(address) as client:
        for sketch in sketches:
            served = client.search(sketch, k=20)
            expected = gallery.search(model.embed_sketch(sketch), k=20)
            np.testing.assert_allclose([hit.score for hit in served], [hit.score for hit in expected], atol=1e-5)
            assert [hit.id for hit in served] == [hit.id for hit in expected]
        photo = chain.data / "photo/apple"
        photo = sorted(photo.iterdir())[0]
        assert client.search_photo(photo, k=1)[0].id == f"photo/apple/{photo.name}"
        np.testing.assert_allclose(client.embed_sketch(sketches[0]), model.embed_sketch(sketches[0]), atol=1e-5)


def test_query_prints_a_table_and_writes_a_grid(address, chain, tmp_path, command):
    sketch = sorted((chain.data / "sketch/giraffe").iterdir())[0]
    done = command("query", sketch, "--server", address, "-k", 5, "--html", tmp_path / "out.html")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert lines[0].split() == ["rank", "score", "label", "id"]
    assert len(lines) == 6
    page = (tmp_path / "out.html").read_text()
    assert page.count("data:image/") == 6, "the drawing and its five answers"


@pytest.fixture
def refused(address, capsys):
    """What `query` says, in one line, where it must fail; in this process, since the one above shows the command."""

    def of(*words):
        with pytest.raises(SystemExit) as left:
            cli.run(query.main, [*map(str, words), "--server", address])
        assert left.value.code == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    return of


@pytest.mark.parametrize(
    ("content", "k", "message"),
    [
        (b"", 5, "status 1"),
        (b"GIF89a not here", 5, "status 2"),
        (b"\x89PNG\r\n\x1a\n", 5, "status 3"),
        (None, 0, "k"),
        (None, 201, "k"),
    ],
)
def test_bad_queries_are_one_line(content, k, message, refused, chain, tmp_path):
    sketch = tmp_path / "x.png"
    sketch.write_bytes(
        content if content is not None else sorted((chain.data / "sketch/cup").iterdir())[0].read_bytes()
    )
    assert message in refused(sketch, "-k", k, "--html", tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_transparent_and_huge_drawings(refused, tmp_path):
    from PIL import Image

    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert "status 6" in refused(tmp_path / "clear.png")
    Image.new("1", (8000, 8000), 1).save(tmp_path / "huge.png")
    assert "status 4" in refused(tmp_path / "huge.png")


def test_the_lines_of_the_readme_run(chain, capsys):
    """As they are written, with the folders of this test."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## In Python") : text.index("Published mAP")]
    code = textwrap.dedent("\n".join(line for line in section.splitlines() if line.startswith("    ") or not line))
    sketch = sorted((chain.data / "sketch/giraffe").iterdir())[0]
    for written, here in (("everyday", chain.models), ("galleries/mine", chain.gallery), ("giraffe.png", sketch)):
        assert f'"{written}"' in code
        code = code.replace(f'"{written}"', repr(str(here)))
    values: dict = {"queries": np.eye(3), "query_labels": [0, 1, 2], "photos": np.eye(3), "photo_labels": [0, 1, 2]}
    exec(compile(code, "README.md", "exec"), values)
    printed = capsys.readouterr().out.splitlines()
    hits = values["gallery"].search(values["model"].embed_sketch(sketch), k=10)
    assert [line.split()[1] for line in printed] == [hit.label for hit in hits] and len(hits) == 10
