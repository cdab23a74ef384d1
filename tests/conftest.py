"""Fixtures that more than one room uses."""

from __future__ import annotations

import fcntl
import gc
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# A busy machine is not a failure; the same examples every time are.
hypothesis.settings.register_profile("tf_ssgn", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tf_ssgn")

# The longest first: begun last, one of them would run alone at the end, beside an idle core. `test_train.py` makes the
# `chain` that others wait for, while the notebooks need none. On JAX the two longest are a trainer's and a library's.
LONG = (
    "test_train.py", "notebooks", "scale", "training/test_trainer.py", "models/test_hub_backbones.py", "training",
    "end_to_end", "serving", "test_search.py", "hostile", "runtime", "test_quality.py", "test_serve.py",
    "models/test_backbones.py", "models/test_encoders.py", "models", "retrieval",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(REPOSITORY / "tests").as_posix()
        return next((number for number, start in enumerate(LONG) if name.startswith(start)), len(LONG))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What the imports made stays: looking through it again and again for garbage takes a tenth of a run."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """A failure is named when it happens: of a run that is cut off, one knows what had failed until then."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):

        class Named:
            def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
                if report.failed:
                    terminal.write_line(f" {report.when} of {report.nodeid} failed after {report.duration:.0f} s")

        config.pluginmanager.register(Named())


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all workers of a test run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def once(common: Path) -> Callable[[str, Callable[[Path], object]], Path]:
    """Calls what makes a folder, by name, in one of the workers; gives all of them the folder."""

    def of(name: str, make: Callable[[Path], object]) -> Path:
        with open(common / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (common / f"{name}.made").exists():
                (common / name).mkdir(exist_ok=True)
                make(common / name)
                (common / f"{name}.made").touch()
        return common / name

    return of


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(common: Path) -> Iterator[None]:
    """Nothing of a test run, or of the commands it starts, is left in the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(common / "user-cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def only_loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file that names every host, other than this machine, that a test or a process that it started reached for."""
    importlib.import_module("tests.loopback.sitecustomize")
    calls = tmp_path_factory.mktemp("calls") / "hosts"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_SSGN_CALLS", str(calls))
        patch.setenv("PYTHONPATH", str(REPOSITORY / "tests" / "loopback"), prepend=os.pathsep)
        yield calls


@pytest.fixture(autouse=True)
def nobody_calls_elsewhere(only_loopback: Path) -> Iterator[None]:
    """Fails a test that reached for another machine, also where the refusal was swallowed."""
    yield
    if only_loopback.exists():
        hosts = only_loopback.read_text(encoding="utf-8").split()
        only_loopback.unlink()
        pytest.fail(f"reached for {', '.join(sorted(set(hosts)))}; only loopback is allowed")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real material beside the checkout; tests that need it are skipped where it is not there."""
    folder = Path(os.environ.get("TF_SSGN_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data" / "sketchy_mini").is_dir():
        pytest.skip(f"no real material at {folder} (set TF_SSGN_SHARED)")
    return folder


@pytest.fixture(scope="session")
def drawn(once) -> Path:
    """A small drawn dataset: 32 classes, 6 photos and 6 sketches each."""
    from tf_ssgn.data.drawing.dataset import write_dataset

    def draw(folder: Path) -> None:
        write_dataset(folder / "data", photos_per_class=6, sketches_per_class=6, size=48)

    return once("drawn", draw) / "data"


@pytest.fixture(scope="session")
def tiny_config():
    """A config that trains in seconds: the demo's, smaller, with the tiny backbone and validation classes."""
    from tests.long.resume import small_config

    return small_config(epochs=3)


@pytest.fixture(scope="session")
def cache(common: Path) -> str:
    """One feature cache for the whole test run."""
    return str(common / "cache")


@dataclass(frozen=True)
class Chain:
    """What the whole chain made of the drawn dataset."""

    data: Path
    run: Path
    models: Path
    gallery: Path


@pytest.fixture(scope="session")
def chain(drawn: Path, tiny_config, cache: str, once, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A run, its SavedModels and its gallery, by the same functions that the commands call; a copy for each worker."""

    def make(folder: Path) -> None:
        import tf_ssgn
        from tf_ssgn.export import export
        from tf_ssgn.retrieval.folder import builder
        from tf_ssgn.train import train

        run, models, gallery = folder / "run", folder / "models", folder / "gallery"
        train(tiny_config, str(drawn), None, str(run), cache)
        export(run, models)
        builder.build(gallery, [drawn / "photo"], tf_ssgn.load(models))
        export(run, models, gallery)

    folder = Path(shutil.copytree(once("chain", make), tmp_path_factory.mktemp("chain") / "own"))
    return Chain(drawn, folder / "run", folder / "models", folder / "gallery")


def run_command(*words: object, **options) -> subprocess.CompletedProcess[str]:
    """`python -m tf_ssgn.<words>` in a process of its own, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", f"tf_ssgn.{words[0]}", *map(str, words[1:])],
        capture_output=True, text=True, timeout=300, **options,
    )  # fmt: skip


@pytest.fixture(scope="session")
def command():
    return run_command
