"""Nothing that is imported calls home: a real conversion by OpenVINO, in a process with a home of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import tf_ssgn

pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino")
needs_telemetry = pytest.mark.skipif(find_spec("openvino_telemetry") is None, reason="it is not installed")

CONVERT = """
import tensorflow as tf
from tf_ssgn.runtime import network

@tf.function(input_signature=[tf.TensorSpec([1, 4], tf.float32)])
def doubled(x):
    return 2 * x

network.keep(network.convert(doubled.get_concrete_function()), network.folder_of("doubled", "1"))
"""


def run(code: str, home: Path) -> tuple[str, list[str]]:
    """What the code prints, and the hosts that it reached for."""
    calls = home.parent / "calls"
    outside = {"HOME": str(home), "TF_SSGN_CALLS": str(calls), "TF_SSGN_CACHE": str(home.parent / "cache")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "JENKINS", "TF_BUILD"))}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=kept | outside, check=True, timeout=120, stdout=subprocess.PIPE, text=True)
    return done.stdout, calls.read_text().split() if calls.exists() else []


def test_a_conversion_reaches_for_nobody_and_leaves_nothing_at_home(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    assert run(CONVERT, tmp_path / "home") == ("", [])
    assert list((tmp_path / "cache" / "openvino").glob("*/model.xml")), "nothing was converted"
    assert not (tmp_path / "home" / "intel").exists()


@needs_telemetry
def test_a_program_that_imported_openvino_before_us_reports_nothing_of_ours(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    sent = (
        "import openvino_telemetry.utils.sender as sender\n"
        "sender.TelemetrySender.send = lambda self, backend, message: print('sent')\n"
        "import openvino\n"
        "print('ours')\n"
    )
    assert run(sent + CONVERT, tmp_path / "home")[0].split() == ["sent", "ours"]


@needs_telemetry
def test_what_openvino_does_by_itself_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    assert run("import openvino", tmp_path / "home")[1]
    assert (tmp_path / "home" / "intel").exists()


def test_openvino_is_imported_in_one_place() -> None:
    package = Path(tf_ssgn.__file__).parent
    found = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in sorted(package.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*(import|from) openvino\b", line)
    ]
    assert found == [
        "runtime/network.py: import openvino",
        "runtime/network.py: from openvino.tools.ovc import telemetry_stub",
        "runtime/network.py: from openvino.frontend import OpConversionFailure",
        "runtime/network.py: from openvino.frontend.tensorflow.node_decoder import TFGraphNodeDecoder",
    ]


def test_a_connection_elsewhere_is_refused_and_noted(tmp_path: Path) -> None:
    code = (
        "import socket, urllib.request\n"
        "for call in (lambda: socket.create_connection(('203.0.113.1', 9), 1),\n"
        "             lambda: urllib.request.urlopen('http://example.com/', timeout=1),\n"
        "             lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('203.0.113.2', 9))):\n"
        "    try:\n"
        "        call()\n"
        "        raise SystemExit('a connection was made')\n"
        "    except OSError:\n"
        "        pass\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(('localhost', server.getsockname()[1]), 5)\n"
    )
    (tmp_path / "home").mkdir()
    assert run(code, tmp_path / "home")[1] == ["203.0.113.1", "example.com", "203.0.113.2"]
