"""What the pages say holds: links lead somewhere, commands parse, Python runs, quoted errors exist."""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tf_ssgn
from tf_ssgn import index, prepare
from tf_ssgn.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), ROOT / "serving" / "README.md"])
BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
COMMANDS = ("search", "train", "evaluate", "export", "index", "serve", "query", "prepare", "demo", "bench")


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def anchors(page: Path) -> set[str]:
    """As MkDocs and GitHub make them of headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        found = (page.parent / place).resolve() if place else page
        assert found.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(found), f"{target}: no such heading"


def commands(page: Path) -> list[str]:
    """Lines of blocks, continued ones joined, and those within a text that say more than the command's name."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    text = re.sub(r" \\\n\s*", " ", text)
    text = re.sub(r"(^\s*(?:\S*/)?|`)tf-ssgn (?=\w)", r"\1python -m tf_ssgn.", text, flags=re.MULTILINE)
    lines = re.findall(r"^\s*(?:\$ )?(?:\S*/)?(python -m tf_ssgn\.\w.*)$", text, re.MULTILINE)
    return lines + re.findall(r"`(python -m tf_ssgn\.\w+ [^`]*-[^`]*)`", text)


def test_commands_are_found() -> None:
    assert sum(len(commands(page)) for page in PAGES + BOOKS) >= 40


class Parsed(Exception):
    """The command's own parser took the words; what comes after it is not run."""


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    taken = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *words: Any) -> None:
        taken(parser, *words)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)

    def one(command: str) -> None:
        words = shlex.split(command.rstrip("&"), comments=True)
        module = importlib.import_module(words[2])
        try:
            module.main(words[3:])
        except Parsed:
            pass
        except SystemExit as helped:
            assert not helped.code and "--help" in words, command
        except UserError as error:
            pytest.fail(f"{command}: {error}")
        else:
            pytest.fail(f"{command}: nothing was parsed")

    return one


@pytest.mark.parametrize("page", PAGES + BOOKS, ids=names(PAGES + BOOKS))
def test_commands_are_taken_by_their_own_parsers(page: Path, parse: Callable[[str], None]) -> None:
    for command in commands(page):
        parse(command)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_help_are_taken_by_their_own_parsers(
    name: str, parse: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of subcommands too: each `--help` has one."""
    main = importlib.import_module(f"tf_ssgn.{name}").main
    verbs = {"index": index.EXAMPLES, "prepare": prepare.EXAMPLES}.get(name, {})
    for words in ([], *([verb] for verb in verbs)):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        shown = re.sub(r" \\\n\s*", " ", capsys.readouterr().out).partition("\n\n")[2]  # without the usage
        examples = re.findall(rf"^ *(python -m tf_ssgn\.{' '.join([name, *words])}\b.*)$", shown, re.MULTILINE)
        assert examples, f"{name} {words} --help shows no example"
        for example in examples:
            parse(example)


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_python_compiles_and_imports_what_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tf_ssgn"):
                module = importlib.import_module(str(node.module))
                for name in node.names:
                    assert hasattr(module, name.name), f"{node.module} has no {name.name}"


def test_the_researchers_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "researcher.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, "docs/researcher.md", "exec"), {})
    first, second = map(float, capsys.readouterr().out.split())
    assert 0 < first < 1 and 0 < second < 1


@functools.cache
def messages() -> list[str]:
    """All texts that the code can say: string literals without docstrings, values in them as `{}`; and the Makefile."""
    texts = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    for path in (ROOT / "tf_ssgn").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                texts.append(node.value)
    return texts


def absent(page: str) -> list[str]:
    """Every message in the first cell of a table's rows that the code has nowhere."""
    said = messages()
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| message")]
    assert len(rows) >= 20
    parts = [part for row in rows for part in re.findall(r"`([^`]+)`", row.split(" | ")[0]) or [row]]
    return [part for part in parts if not any(part in text for text in said)]


def test_every_quoted_message_is_one_of_the_code() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    assert absent(page) == []
    made_up = page.replace("`was made by another model`", "`was made by another model` or `the moon is full`")
    assert absent(made_up) == ["the moon is full"]
    # Words of a docstring or a comment are no message.
    assert absent(page + "| `texts that the code can say` | |\n") == ["texts that the code can say"]


def test_the_citation_file_is_one() -> None:
    checker = Path(sys.executable).parent / "check-jsonschema"
    if not checker.exists():
        pytest.skip("no check-jsonschema here")
    words = [checker, "--builtin-schema", "vendor.citation-file-format", ROOT / "CITATION.cff"]
    made = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stdout + made.stderr
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {tf_ssgn.__version__}\n" in text and "1904.01971" in text


def test_the_site_builds(tmp_path: Path) -> None:
    """All links, anchors and docstrings that it is made of are sound, and it asks no other host for anything."""
    pytest.importorskip("mkdocs")
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        capture_output=True, text=True, timeout=300, cwd=ROOT,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(list(DOCS.glob("*.md")))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]+src=\"(https?:[^\"]+)\"", text)
        loaded += re.findall(r"<link[^>]+rel=\"(?:stylesheet|preconnect|icon)\"[^>]+href=\"(https?:[^\"]+)\"", text)
        assert not loaded, f"{page.name} loads {loaded}"
    assert "cosine" in (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8")
