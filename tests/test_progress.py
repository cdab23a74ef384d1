"""Plain lines off a terminal, a bar on one."""

from __future__ import annotations

import io
import sys

from tf_ssgn.progress import Progress, clock, track


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
