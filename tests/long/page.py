"""The page in a real headless Chromium: how soon it is there, how soon a drawing is answered, how much it weighs.

`python -m tests.long.page demo` measures it on what `make demo` has left in the folder `demo`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import tf_ssgn
from tests.long import served
from tests.serving.browser import chromium, until
from tf_ssgn.benchmarks import runtime
from tf_ssgn.data.drawing.dataset import write_dataset
from tf_ssgn.retrieval.folder import builder

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


def measure(folders: served.Folders, log: Path, strokes: int) -> dict[str, Any]:
    """Seconds from the command to an answered drawing, ms from pen-up to answers and to their photos, ms to the first
    paint, bytes of the page, findings of axe."""
    start = time.perf_counter()
    with served.running(folders, log) as server, chromium() as browser:
        return _measure(browser, f"http://{server.http}/", start, strokes)


def folders(folder: Path, photos: int) -> served.Folders:
    """A small model with drawn weights, and the drawn dataset with so many photos of a class as its gallery."""
    runtime.write_model(folder / "model", "tiny")
    write_dataset(folder / "data", photos_per_class=photos, sketches_per_class=1)
    builder.build(folder / "gallery", [folder / "data" / "photo"], tf_ssgn.load(folder / "model"))
    return served.Folders(folder / "model", folder / "gallery")


def _measure(browser: Any, url: str, start: float, strokes: int) -> dict[str, Any]:
    page = browser.new_page(viewport=VIEW)
    files: list[Any] = []
    page.on("response", lambda reply: files.append(reply) if "/api/" not in reply.url else None)
    page.goto(url)
    page.get_by_role("button", name="Example: giraffe").click()
    until(page, f"{ANSWERED} && {THUMBNAILS}")
    ready = time.perf_counter() - start
    weights = [len(reply.body()) for reply in files if not reply.url.startswith(("blob:", "data:"))]
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null")
    page.evaluate(WATCH)
    box = page.locator("#pad").bounding_box()
    for stroke in range(strokes):
        if stroke % 6 == 0:
            page.get_by_role("button", name="Clear").click()
        _draw(page, box, stroke)
        until(page, f"waits.photos.length > {stroke}")
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
    places = np.random.default_rng(number).uniform(0.15, 0.85, (4, 2)) * box["width"] + [box["x"], box["y"]]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def _axe(page: Any) -> tuple[int, int]:
    from axe_playwright_python.sync_playwright import Axe

    told = Axe().run(page).response
    serious = [one for one in told["violations"] if one["impact"] in ("serious", "critical")]
    return len(serious), len(told["violations"]) + len(told["passes"])


def _spread(waits: list[float]) -> dict[str, float]:
    ordered = sorted(waits)
    return {"p50": ordered[len(ordered) // 2], "p95": ordered[int(0.95 * (len(ordered) - 1))], "count": len(ordered)}


if __name__ == "__main__":
    demo = Path(sys.argv[1])
    measured = measure(served.Folders(demo / "saved_models", demo / "gallery"), demo / "serve.log", 30)
    print(json.dumps(measured, indent=1))
