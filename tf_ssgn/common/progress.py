"""One progress bar for everything long: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator


class Progress:
    """Counts work on stderr: `with Progress(1000, "photos") as bar: bar.advance(32)`. On a terminal it redraws one
    line; elsewhere it prints a plain line at most every ten seconds."""

    def __init__(self, total: int, what: str):
        self.total, self.what, self.done = total, what, 0
        self._terminal = sys.stderr.isatty()
        self._every = 0.1 if self._terminal else 10.0
        self._start = self._last = time.monotonic()
        self._begun: tuple[float, int] | None = None  # when how many were done: the first take longer than all others

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._print(final=True)

    def advance(self, count: int = 1) -> None:
        self.done += count
        self._begun = self._begun or (time.monotonic(), self.done)
        if time.monotonic() - self._last >= self._every:
            self._print(final=False)

    def _print(self, final: bool) -> None:
        now = self._last = time.monotonic()
        seconds = max(now - self._start, 1e-9)
        share = self.done / self.total if self.total else 1.0
        text = f"{self.what}: {self.done:,}/{self.total:,} ({share:.0%})"
        then, before = self._begun or (now, self.done)
        rate = self.done / seconds if final else (self.done - before) / max(now - then, 1e-9)
        if final:
            text += f", {rate:,.1f}/s, in {clock(seconds)}"
        elif rate:
            text += f", {rate:,.1f}/s, {clock((self.total - self.done) / rate)} left"
        if self._terminal:
            bar = "█" * int(24 * share) + "·" * (24 - int(24 * share))
            sys.stderr.write(f"\r\x1b[K{bar} {text}" + ("\n" if final else ""))
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()


def clock(seconds: float) -> str:
    """`75` -> `1:15`; hours appear when needed."""
    minutes, second = divmod(int(seconds + 0.5), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def track(items: Iterable, total: int, what: str) -> Iterator:
    """Yields `items` one by one and counts them."""
    with Progress(total, what) as bar:
        for item in items:
            yield item
            bar.advance()
