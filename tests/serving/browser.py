"""A real headless Chromium for the tests of the page, and a real server that it looks at."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tf_ssgn.serving.core.access import Access
from tf_ssgn.serving.core.service import Service, served
from tf_ssgn.serving.http.gateway import Gateway
from tf_ssgn.serving.http.items import Uploads

WEB = Path(__file__).resolve().parents[2] / "tf_ssgn" / "serving" / "web"
NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 20  # a page that has not done something by then has failed


def executable() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's browser; only a root user, whom Chromium refuses otherwise, goes without its sandbox."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=executable(), args=flags)
        yield browser
        browser.close()


class Site:
    """A gallery behind a gateway, which sees changes of the gallery as a reloading server does."""

    def __init__(
        self, model: Any, folder: Path, access: Access | None = None, uploads: Path | None = None, root_path: str = ""
    ):
        from tf_ssgn.retrieval.folder.gallery import Gallery

        self.model, self.folder = model, folder
        self.service = Service()
        self.open = lambda: self.service.publish(served(model, Gallery.open(folder), 1))
        self.open()
        self._made = lambda port: Gateway(
            self.service, ("127.0.0.1", port), access or Access(), Uploads(folder, uploads), self.open,
            frozenset({"127.0.0.1"}), root_path=root_path,
        )  # fmt: skip
        self.root_path = root_path
        self.gateway = self._made(0)
        self.port = self.gateway.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.root_path}/"

    def stop(self) -> None:
        self.gateway.stop()

    def start_again(self) -> None:
        self.gateway = self._made(self.port)


def watched(browser: Any, **options: Any) -> tuple[Any, list[str]]:
    """A new page in a context of its own, and what it complains of: errors, refused requests, foreign addresses."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    page = context.new_page()
    page.set_default_timeout(1000 * SECONDS)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if _is_fault(said) else None)
    page.on("request", lambda asked: None if _ours(asked.url) else complaints.append(asked.url))
    return page, complaints


def until(page: Any, expression: str) -> None:
    """Waits until an expression is true on the page. Playwright's way is forbidden by its policy."""
    end = time.monotonic() + SECONDS
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"still not true: {expression}"
        page.wait_for_timeout(20)


def _is_fault(said: Any) -> bool:
    """Whether a line of the console is a fault of the page. A server that is down or refuses is none."""
    return said.type == "error" and not said.text.startswith("Failed to load resource")


def _ours(url: str) -> bool:
    return re.match(r"(http://127\.0\.0\.1:\d+/|blob:http://127\.0\.0\.1:\d+/|data:)", url) is not None


def examples() -> dict[str, list[list[tuple[int, int]]]]:
    """The page's own drawings as points: what a hand draws after them."""
    text = (WEB / "examples.js").read_text(encoding="utf-8")
    found = {}
    for name, rows in re.findall(r'^  \["(\w+)", \[(.+)\]\],$', text, re.MULTILINE):
        strokes = []
        for row in re.findall(r"\[([^\]]+)\]", rows):
            numbers = [int(number) for number in row.split(",")]
            points, x, y = [], 0, 0
            for right, down in zip(numbers[::2], numbers[1::2], strict=True):
                x, y = x + right, y + down
                points.append((x, y))
            strokes.append(points)
        found[name] = strokes
    return found


def draw(page: Any, strokes: list[list[tuple[int, int]]]) -> None:
    """Draws with the mouse; points are on paper of 1000 x 1000."""
    box = page.locator("#pad").bounding_box()
    for stroke in strokes:
        places = [(box["x"] + x / 1000 * box["width"], box["y"] + y / 1000 * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place)
        page.mouse.up()


def labels(page: Any) -> list[str]:
    """The classes of the photos on the page, best first."""
    return page.locator("#hits .label").all_text_contents()
