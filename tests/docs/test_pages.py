"""What the pages say holds: links lead somewhere, commands parse, Python runs, quoted errors exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), ROOT / "serving" / "README.md"])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
COMMANDS = ("train", "evaluate", "export", "index", "serve", "query", "prepare", "demo", "bench")


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


def blocks(page: Path) -> list[str]:
    """Lines of shell: indented or fenced ones that begin with a command of ours, continued lines joined."""
    text = re.sub(r" \\\n\s*", " ", page.read_text(encoding="utf-8"))
    return [line.strip() for line in text.splitlines() if re.match(r"\s*(\$ )?python -m tf_ssgn\.", line)]


def commands(page: Path) -> list[str]:
    return blocks(page) + re.findall(r"`(python -m tf_ssgn\.[^`]+)`", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_commands_have_the_flags_they_are_written_with(page: Path) -> None:
    for command in commands(page):
        words = shlex.split(command.removeprefix("$ ").rstrip("&").strip(), comments=True)
        module = words[2].removeprefix("tf_ssgn.")
        if module.startswith("<") or "SUBJECT" in words:
            continue
        assert module in COMMANDS, command
        known = help_of(module, *words[3:4])
        for word in words[3:]:
            if word.startswith("--"):
                assert re.search(rf"{re.escape(word.partition('=')[0])}\b", known), f"{command}: {word} is unknown"


_helps: dict[tuple[str, ...], str] = {}


def help_of(module: str, *first: str) -> str:
    """What `--help` prints, of a subcommand where the module has that one."""
    if module not in ("index", "prepare", "bench") or not first or first[0].startswith("-"):
        first = ()
    if module == "bench":
        first = ()
    key = (module, *first)
    if key not in _helps:
        made = subprocess.run(
            [sys.executable, "-m", f"tf_ssgn.{module}", *first, "--help"],
            capture_output=True, text=True, timeout=120, cwd=ROOT,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        _helps[key] = made.stdout
    return _helps[key]


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


def test_quoted_errors_are_those_of_the_code() -> None:
    """Messages in the code span lines and have values in them; here every run of words between values must be one."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tf_ssgn").rglob("*.py"))
    source += (ROOT / "Makefile").read_text(encoding="utf-8")
    joined = re.sub(r'"\s*\n\s*f?"', "", source)  # adjacent strings are one message
    table = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| message")]
    assert len(rows) >= 20
    for row in rows:
        quoted = re.findall(r"`((?:[^`]|`[^`|]*` extra)+?)`", row.split(" | ")[0])
        assert any(part in joined for part in quoted), f"no such message: {row.split(' | ')[0]}"


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
