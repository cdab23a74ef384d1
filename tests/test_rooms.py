"""The rule of docs/architecture.md, read from the source: a room imports only rooms above it, no files in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.conftest import REPOSITORY

ROOMS = ("common", "data", "models", "evaluation", "runtime", "training", "runs", "retrieval", "scale", "serving")
BELOW_ALL = {"tf_ssgn.errors", "tf_ssgn.config", "tf_ssgn.settings"}
PICTURES = "tf_ssgn.data.images.picture"  # one rule for which way up a picture is, in reports too; no TensorFlow
COMMANDS = "commands"  # whatever else stands at the top, with what `bench` measures
SOURCES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (REPOSITORY / "tf_ssgn").rglob("*.py")
}


def imported(module: str) -> Iterator[str]:
    """What a file imports, within functions too: modules of ours by their name, others by their package's."""
    for node in ast.walk(ast.parse(SOURCES[module].read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{module} has a relative import"
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in SOURCES else node.module for name in below]
        for name in names:
            yield name if name.partition(".")[0] == "tf_ssgn" else name.partition(".")[0]


IMPORTS = {module: set(imported(module)) for module in SOURCES}
ARROWS = [(one, other) for one, names in IMPORTS.items() for other in sorted(names & SOURCES.keys() - {one})]


def room(module: str) -> str:
    part = module.split(".")[1] if "." in module else ""
    return part if part in ROOMS else COMMANDS


def circle(arrows: Iterable[tuple[str, str]]) -> list[str]:
    """The names along one circle of a graph, if it has any."""
    graph: dict[str, set[str]] = {}
    for one, other in arrows:
        graph.setdefault(one, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_the_reading_sees_imports_and_circles():
    assert ("tf_ssgn.evaluate", "tf_ssgn.runs.evaluate") in ARROWS
    assert ("tf_ssgn.runs.load", "tf_ssgn.training.run_folder") in ARROWS  # within a function
    assert "tensorflow" in IMPORTS["tf_ssgn.runtime.signatures"]
    assert sorted(set(circle([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")]))) == ["a", "b", "c"]
    assert circle([("a", "b"), ("a", "c"), ("b", "c")]) == []


def test_a_room_imports_only_rooms_above_it():
    wrong = []
    for one, other in ARROWS:
        if one in BELOW_ALL:
            allowed = other in BELOW_ALL
        elif room(one) == COMMANDS:
            allowed = True
        else:
            allowed = other in BELOW_ALL or room(other) in ROOMS[: ROOMS.index(room(one)) + 1]
        if not allowed:
            wrong.append(f"{one} imports {other}")
    assert not wrong


def test_no_files_import_each_other_in_a_circle():
    assert circle(ARROWS) == []


@pytest.mark.parametrize("name", ROOMS)
def test_no_folders_of_a_room_import_each_other_in_a_circle(name):
    """A folder within a room is one thing, a file beside it another."""

    def thing(module: str) -> str:
        return ".".join(module.split(".")[:3])

    within = {
        (thing(one), thing(other)) for one, other in ARROWS
        if room(one) == room(other) == name and thing(one) != thing(other)
    }  # fmt: skip
    assert circle(within) == []


def test_models_and_losses_know_no_backend_and_metrics_no_model():
    for module, names in IMPORTS.items():
        if room(module) == "models" or module == "tf_ssgn.training.losses":
            assert not names & {"tensorflow", "jax", "torch"}, module
        if room(module) == "evaluation":
            assert not names & {"tensorflow", "keras", "jax"}, module
            assert {room(name) for name in names & SOURCES.keys() - BELOW_ALL - {PICTURES}} <= {
                "common",
                "evaluation",
            }, module


def test_a_type_name_has_one_meaning():
    """Classes at any depth, and what a file calls a type of its own, as `Outputs = dict[str, np.ndarray]`."""
    files: dict[str, set[str]] = {}
    for module, path in SOURCES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        classes = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        targets = [node.targets[0] for node in tree.body if isinstance(node, ast.Assign)]
        aliases = [one.id for one in targets if isinstance(one, ast.Name) and not one.id.isupper()]
        for name in classes + [name for name in aliases if name[0].isupper()]:
            files.setdefault(name, set()).add(module)
    assert {"Searcher", "Outputs"} <= files.keys()
    assert {name: sorted(where) for name, where in files.items() if len(where) > 1} == {}


def test_the_page_states_this_order():
    text = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip().strip("`/") for line in text.splitlines() if line.startswith("| `")]
    assert rows == list(ROOMS)
