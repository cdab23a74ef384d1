"""The page in a real headless Chromium: how soon it is there, how soon a drawing is answered, how much it weighs.

Needs Chromium and the extra `dev` (Playwright and axe).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tf_ssgn.errors import UserError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 30  # a page that does not answer by then has failed
VIEW = {"width": 1280, "height": 900}
THUMBNAILS = "[...document.querySelectorAll('#hits img')].slice(0, 6).every((img) => img.complete && img.naturalWidth)"
ANSWERED = "document.querySelector('#hits[aria-busy=false] li')"
# Where the clock starts: the pen leaves the paper. Where it ends: the first frame that shows the new answers.
WATCH = (
    """
window.waits = {answer: [], photos: []};
let lifted = 0, waiting = null;
addEventListener("pointerup", () => { lifted = performance.now(); waiting = {answer: 1, photos: 1}; }, true);
const look = () => {
  if (waiting && document.querySelector("#hits[aria-busy=false] li")) {
    const photos = """
    + THUMBNAILS
    + """;
    const waited = performance.now() - lifted;
    if (waiting.answer) { window.waits.answer.push(waited); waiting.answer = 0; }
    if (photos) { window.waits.photos.push(waited); waiting = null; }
  }
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
)


def run(full: bool, data: str | None = None) -> dict[str, Any]:
    """Seconds from the command to an answered drawing, ms from pen-up to answers and to their photos, ms to the first
    paint, bytes of the page, findings of axe.

    Args:
        data: a folder that the demo made; without one a small model with drawn weights serves the drawn dataset.
    """
    executable = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if executable is None:
        raise UserError(f"no browser found; expected one of {', '.join(BROWSERS)} (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if data is None else Path(data)
        model, gallery = folder / "saved_models", folder / "gallery"
        if data is None:
            _make(model, gallery, photos=40 if full else 4)
        start = time.perf_counter()
        with _serving(model, gallery) as url, _browser(executable) as browser:
            result = _measure(browser, url, start, strokes=30 if full else 6)
    print(f"command to an answered drawing    {result['start_seconds']:8.1f} s")
    print(f"pen-up to answers, p50 / p95      {result['answer_ms']['p50']:8.0f} / {result['answer_ms']['p95']:.0f} ms")
    print(f"pen-up to photos, p50 / p95       {result['photos_ms']['p50']:8.0f} / {result['photos_ms']['p95']:.0f} ms")
    print(f"first paint                       {result['first_paint_ms']:8.0f} ms")
    print(f"page                              {result['page_bytes']:8,} bytes in {result['page_files']} files")
    print(f"axe: serious or critical findings {result['axe_serious']:8} of {result['axe_rules']} rules")
    return result


def _measure(browser: Any, url: str, start: float, strokes: int) -> dict[str, Any]:
    page = browser.new_page(viewport=VIEW)
    files: list[Any] = []
    page.on("response", lambda reply: files.append(reply) if "/api/" not in reply.url else None)
    page.goto(url)
    page.get_by_role("button", name="Example: giraffe").click()
    _until(page, f"{ANSWERED} && {THUMBNAILS}")
    ready = time.perf_counter() - start
    weights = [len(reply.body()) for reply in files if not reply.url.startswith(("blob:", "data:"))]
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null")
    page.evaluate(WATCH)
    box = page.locator("#pad").bounding_box()
    for stroke in range(strokes):
        if stroke % 6 == 0:
            page.get_by_role("button", name="Clear").click()
        _draw(page, box, stroke)
        _until(page, f"waits.photos.length > {stroke}")
    waits = page.evaluate("waits")
    serious, rules = _axe(page)
    return {
        "start_seconds": ready,
        "answer_ms": _spread(waits["answer"]),
        "photos_ms": _spread(waits["photos"]),
        "first_paint_ms": paint,
        "page_bytes": sum(weights),
        "page_files": len(weights),
        "axe_serious": serious,
        "axe_rules": rules,
    }


def _draw(page: Any, box: dict[str, float], number: int) -> None:
    """One stroke with the mouse, another one for each number."""
    import numpy as np

    places = np.random.default_rng(number).uniform(0.15, 0.85, (4, 2)) * box["width"] + [box["x"], box["y"]]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def _until(page: Any, expression: str) -> None:
    """Waits until an expression is true. Playwright's own way evaluates text on the page, which its policy forbids."""
    end = time.monotonic() + SECONDS
    while not page.evaluate(expression):
        if time.monotonic() > end:
            raise UserError(f"the page did not get so far in {SECONDS} s: {expression}")
        page.wait_for_timeout(10)


def _axe(page: Any) -> tuple[int, int]:
    from axe_playwright_python.sync_playwright import Axe

    told = Axe().run(page).response
    serious = [one for one in told["violations"] if one["impact"] in ("serious", "critical")]
    return len(serious), len(told["violations"]) + len(told["passes"])


def _spread(waits: list[float]) -> dict[str, float]:
    ordered = sorted(waits)
    return {"p50": ordered[len(ordered) // 2], "p95": ordered[int(0.95 * (len(ordered) - 1))], "count": len(ordered)}


def _make(model: Path, gallery: Path, photos: int) -> None:
    """A small model with drawn weights, and the drawn dataset with so many photos of a class as its gallery."""
    import tf_ssgn
    from tf_ssgn.benchmarks import _served
    from tf_ssgn.data.drawing.dataset import write_dataset
    from tf_ssgn.retrieval.folder import builder

    scratch = model.parent
    _served.write(scratch, _served.DRAWINGS).model.rename(model)
    write_dataset(scratch / "data", photos_per_class=photos, sketches_per_class=1)
    shutil.rmtree(gallery)
    builder.build(gallery, [scratch / "data" / "photo"], tf_ssgn.load(model))


@contextmanager
def _serving(model: Path, gallery: Path) -> Iterator[str]:
    words = ["--model", str(model), "--gallery", str(gallery), "--port", "0", "--http-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tf_ssgn.serve", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "http=" not in line:
            raise UserError("the server did not start; `python -m tf_ssgn.serve " + " ".join(words) + "` says why")
        yield f"http://{line.split('http=')[1].strip()}/"
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _browser(executable: str) -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError("Playwright is not installed; expected the extra dev: pip install 'tf_ssgn[dev]'") from None
    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root with it
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        try:
            yield browser
        finally:
            browser.close()
