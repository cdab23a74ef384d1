"""What all commands promise: one-line errors, exit codes, JSON without NaN, quick help."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

import tf_ssgn
from tf_ssgn.__main__ import main
from tf_ssgn.common import cli
from tf_ssgn.errors import UserError

COMMANDS = ("search", "prepare", "train", "evaluate", "export", "index", "serve", "query", "demo", "bench")


def outcome(main):
    with pytest.raises(SystemExit) as stopped:
        cli.run(main, [])
    return stopped.value.code


def test_exit_codes(capsys):
    def mistake(argv):
        raise UserError("received 1,\n expected 2")

    def interrupted(argv):
        raise KeyboardInterrupt

    assert outcome(lambda argv: None) == 0
    assert outcome(lambda argv: 1) == 1
    assert outcome(mistake) == 2
    assert outcome(interrupted) == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "error: received 1, expected 2",
        "interrupted; run the same command again to continue",
    ]


def test_a_full_disk_is_one_line_wherever_it_strikes(capsys):
    def full(argv):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x")

    assert outcome(full) == 2
    assert capsys.readouterr().err.startswith("error: runs/x: No space left on device")


def test_a_package_that_is_not_installed_is_one_line(capsys):
    def lacking(argv):
        import a_package_that_nobody_has  # noqa: F401

    assert outcome(lacking) == 2
    line = capsys.readouterr().err
    assert "a_package_that_nobody_has is not installed" in line and line.count("\n") == 1


def test_a_python_without_numpy_is_told_so_in_one_line():
    root = os.path.dirname(os.path.dirname(tf_ssgn.__file__))
    for command in ("train", "evaluate", "index"):
        bare = [sys.executable, "-S", "-m", f"tf_ssgn.{command}", "--help"]  # -S: without the installed packages
        found = subprocess.run(bare, cwd=root, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        assert found.returncode == 2 and found.stdout == ""
        assert "numpy is not installed" in found.stderr and found.stderr.count("\n") == 1


def test_the_package_lists_its_commands(capsys):
    main([])
    listed = capsys.readouterr().out
    assert all(f"tf-ssgn {name}" in listed for name in COMMANDS) and listed.count("\n") < 24
    assert {"load", "Gallery", "client"} <= set(dir(tf_ssgn))


def test_tensorflow_is_quiet_where_there_is_no_gpu(monkeypatch, tmp_path):
    for node, level in ((str(tmp_path), "2"), (str(tmp_path / "absent*"), "3")):
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
        monkeypatch.setattr(cli, "GPU_NODES", (node,))
        cli.prepare_tensorflow()
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == level


def test_a_bug_keeps_its_traceback():
    def bug(argv):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.run(bug, [])


def test_an_argument_with_nul_is_one_line():
    from tf_ssgn import evaluate, prepare

    for command, words in (
        (evaluate.main, ["--features", "a\0b"]),
        (prepare.main, ["check", "a\0", "--dataset", "folder"]),
    ):
        with pytest.raises(UserError, match="received the argument 'a.x00b?', expected text without NUL"):
            command(words)


def test_json_is_one_line_without_nan(capsys):
    cli.print_json({"a": float("nan"), "b": np.float32(0.5), "c": np.array([1, 2]), "d": (np.inf, "é\n")})
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line) == {"a": None, "b": 0.5, "c": [1, 2], "d": [None, "é\n"]}


PRINTS = r"""
import sys
from tf_ssgn.common import cli
def main(argv):
    cli.print_json({"label": "caf\u00e9 \u2713", "path": "a\udcff"})
    print("caf\u00e9 \u2713 \udcff")
    cli.log("caf\u00e9 \u2713")
cli.run(main)
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "ascii:strict"])
def test_an_output_that_is_not_utf8_shows_what_it_can_and_json_stays_json(encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    name = encoding.partition(":")[0]
    first, second = done.stdout.decode(name).splitlines()
    assert json.loads(first) == {"label": "caf\u00e9 \u2713", "path": "a\udcff"}
    assert second.endswith("\\udcff") and ("\\u2713" in second) == (name != "utf-8")
    assert done.stderr.decode(name).startswith("caf")


def test_closed_outputs_are_no_bug() -> None:
    code = "from tf_ssgn.common import cli; cli.run(lambda argv: cli.print_json({'a': 1}) or cli.log('told'))"
    for closed, left in ((">&-", ""), ("2>&-", '{"a": 1}\n')):
        line = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {closed}"
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, left), done.stderr
        assert done.stderr == ("" if closed[0] == "2" else "told\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_and_does_not_load_tensorflow(name):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['x', '--help']\n"
        "try:\n"
        f"    runpy.run_module('tf_ssgn.{name}', run_name='__main__')\n"
        "except SystemExit as stopped:\n"
        "    assert stopped.code in (0, None), stopped.code\n"
        "heavy = {'tensorflow', 'keras', 'scann', 'jax'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"python -m tf_ssgn.{name}" in done.stdout


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("demo", "serve")])
def test_no_arguments_is_one_line(name, command):
    done = command(name)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")


def test_importing_the_package_is_light():
    code = (
        "import sys, tf_ssgn\n"
        "assert not {'numpy', 'tensorflow', 'keras'} & set(sys.modules)\n"
        "assert tf_ssgn.client.Client and 'tensorflow' not in sys.modules\n"
        "try:\n    tf_ssgn.nothing\nexcept AttributeError:\n    pass\nelse:\n    raise SystemExit(1)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("module", ["index", "prepare", "query", "search", "serve"])
def test_examples_of_help_are_command_lines_that_parse(module: str) -> None:
    command = importlib.import_module(f"tf_ssgn.{module}")
    parser = command.parser()
    text = parser.format_help()
    examples = re.findall(r"^  python -m tf_ssgn\.(.*)$", text, re.MULTILINE)
    assert examples
    for example in examples:
        name, *words = shlex.split(example, comments=True)
        assert name == module
        parser.parse_args(words)
