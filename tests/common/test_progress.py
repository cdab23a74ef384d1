"""Plain lines off a terminal, a bar on one."""

from __future__ import annotations

import io
import sys

from tf_ssgn.common.progress import Progress, clock, track


def test_off_a_terminal_it_is_plain_lines(capsys):
    assert list(track(range(5), 5, "photos")) == list(range(5))
    err = capsys.readouterr().err
    assert err.startswith("photos: 5/5 (100%)")
    assert "\r" not in err
    assert err.count("\n") == 1


def test_on_a_terminal_it_redraws_one_line(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Progress(2, "photos") as bar:
        bar._last = 0.0
        bar.advance()
        bar._last = 0.0
        bar.advance()
    assert screen.getvalue().count("\r") == 3
    assert screen.getvalue().count("\n") == 1
    assert "█" in screen.getvalue()


def test_nothing_to_do_is_fine(capsys):
    with Progress(0, "photos"):
        pass
    assert "0/0 (100%)" in capsys.readouterr().err


def test_clock():
    assert clock(75) == "1:15"
    assert clock(3_700) == "1:01:40"


def test_what_comes_before_the_first_is_not_counted_as_speed(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("tf_ssgn.common.progress.time.monotonic", lambda: now[0])
    with Progress(11, "steps") as bar:
        now[0] = 100.0  # a graph is built
        bar.advance()
        for _ in range(2):
            now[0] += 10.0
            bar.advance()
    first, second, third, last = capsys.readouterr().err.splitlines()
    assert first == "steps: 1/11 (9%)", "nothing is known yet"
    assert second == "steps: 2/11 (18%), 0.1/s, 1:30 left"
    assert third == "steps: 3/11 (27%), 0.1/s, 1:20 left"
    assert last.endswith("in 2:00")
