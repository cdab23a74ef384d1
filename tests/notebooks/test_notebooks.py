"""Every notebook runs from top to bottom, in small, in one folder as a reader who goes through all of them."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = REPOSITORY / "notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))
SMALL = {"IMAGES": 4, "EPOCHS": 1, "SEEDS": 2}
BEGIN = "%reset -f"
# Books 2 to 4 show a run whose steps were compiled; the two runs of the last have two steps each.
PLAINLY = "\nfrom tests.eagerly import eagerly as _eagerly\n_plainly = _eagerly()\n_plainly.__enter__()"
LARGEST = 30_000  # bytes of a stored notebook, which has no outputs


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture(scope="module")
def kernel(workplace: Path) -> Iterator[Any]:
    """One process for all books, so that TensorFlow is imported once; each book begins with an empty namespace."""
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)
        patch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)  # set for the tests; a reader has it not
        manager.start_kernel(cwd=str(workplace))
    yield manager
    manager.shutdown_kernel(now=True)


def test_there_are_five() -> None:
    assert [book.name[0] for book in BOOKS] == list("12345")


def smaller(source: str) -> str:
    """A cell of parameters with the values of `SMALL`; each of its names must be one of them."""
    for line in ast.parse(source).body:
        assert isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
        name = line.targets[0].id
        source = re.sub(rf"(?m)^{name} = \d+", f"{name} = {SMALL[name]}", source)
    return source


@pytest.mark.parametrize("book", BOOKS, ids=[book.stem for book in BOOKS])
def test_it_runs(book: Path, kernel: Any) -> None:
    notebook = nbformat.read(book, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = smaller(cell.source)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BEGIN + (PLAINLY if book == BOOKS[-1] else "")))
    client = nbclient.NotebookClient(notebook, km=kernel, timeout=280)
    client.execute()
    client.kc.stop_channels()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    )
    assert WORDS[book.name[0]] in printed
    assert "cuInit" not in printed and "local_rendezvous" not in printed, "TensorFlow's own messages"


def test_each_installs_the_package_from_one_place() -> None:
    """One first cell in all; as soon as CITATION.cff names a repository, it is that one, and a badge opens the book."""
    cells = [json.loads(book.read_text(encoding="utf-8"))["cells"] for book in BOOKS]
    (install,) = {"".join(next(cell["source"] for cell in some if cell["cell_type"] == "code")) for some in cells}
    (source,) = re.findall(r'^SOURCE = "(.*)"$', install, re.MULTILINE)
    cited = re.search(r"^repository-code: *(\S+)$", (FOLDER.parent / "CITATION.cff").read_text(), re.MULTILINE)
    assert source == (f"git+{cited[1]}" if cited else "")
    for book, some in zip(BOOKS, cells, strict=True):
        badge = re.search(r"\]\((https://colab\.research\.google\.com/github/[^)]+)\)", "".join(some[0]["source"]))
        if cited:
            place = cited[1].removeprefix("https://github.com/")
            assert badge and badge[1].startswith(f"https://colab.research.google.com/github/{place}/")
            assert badge[1].endswith(f"/notebooks/{book.name}")
        else:
            assert not badge, "a badge would open somebody else's repository"


# What only a run that went well prints.
WORDS = {
    "1": "guessing would give 0.25",
    "2": "the retrieval code is the last stage's: True",
    "3": "map_all 0.450",
    "4": "stopped with 0",
    "5": "2 seeds, 0 extra views",
}


@pytest.mark.parametrize("book", BOOKS, ids=[book.stem for book in BOOKS])
def test_it_is_kept_small_and_says_what_to_try_next(book: Path) -> None:
    assert book.stat().st_size <= LARGEST
    cells = json.loads(book.read_text(encoding="utf-8"))["cells"]
    assert all(cell.get("outputs", []) == [] and cell.get("execution_count") is None for cell in cells)
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert "## What to try next" in "".join(cells[-1]["source"])
    install = "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "code"))
    assert "%pip install" in install and "find_spec" in install, "a Colab user needs no clone"
