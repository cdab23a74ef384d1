"""The page where it has to be careful: hostile names, tokens, writing, accessibility, small and large screens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.serving import browser as tools
from tests.serving import serving_tiny as tiny

pytest.importorskip("starlette")
pytest.importorskip("playwright", reason="no Playwright (pip install 'tf_ssgn[dev]')")
if tools.executable() is None:
    pytest.skip("no Chromium on this machine", allow_module_level=True)

from tf_ssgn.retrieval.folder import builder
from tf_ssgn.serving.core.access import Access

WRITER, READER = "w" * 32, "r" * 32
HOSTILE = "<img src=x onerror=window.ran=1>"
FORMULA = "=1+1"


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with tools.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def site(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tools.Site]:
    """A gallery whose labels and file names are HTML and formulas, with a column of its own, behind tokens."""
    base = tmp_path_factory.mktemp("hostile")
    rows = ["id,place"]
    for seed in range(9):
        label = (HOSTILE, FORMULA, "plain")[seed % 3]
        path = base / "photo" / label / f"{seed}<b>.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiny.drawing(seed))
        rows.append(f"photo/{label}/{seed}<b>.png,{('shelf', 'wall')[seed % 2]}")
    (base / "table.csv").write_text("\n".join(rows) + "\n")
    builder.build(base / "gallery", [base / "photo"], model, base / "table.csv")
    access = Access({WRITER: frozenset({"write"}), READER: frozenset({"search"})})
    made = tools.Site(model, base / "gallery", access, base / "uploads")
    yield made
    made.stop()


@pytest.fixture
def page(chrome: Any, site: tools.Site) -> Iterator[Any]:
    """The page after it asked for the token that reading takes."""
    made, complaints = tools.watched(chrome, reduced_motion="reduce", accept_downloads=True)
    made.goto(site.url)
    tools.until(made, "document.querySelector('#token').open")
    made.locator("#token input").fill("not the one, surely")
    made.get_by_role("button", name="Use it").click()
    tools.until(made, "document.querySelector('#token-why').textContent.includes('not known')")
    for token in (WRITER, READER):
        made.locator("#token input").fill(token)
        made.get_by_role("button", name="Use it").click()
        if token == WRITER:
            tools.until(made, "document.querySelector('#token-why').textContent.includes('may not search')")
    tools.until(made, "document.querySelector('#about').textContent.includes('9 photos')")
    yield made
    made.context.close()
    assert not complaints


def example(page: Any) -> None:
    page.get_by_role("button", name="Example: umbrella").click()
    tools.until(page, "document.querySelector('#hits[aria-busy=false] li')")


def test_names_with_html_are_shown_and_not_run(page) -> None:
    example(page)
    assert HOSTILE in tools.labels(page) and FORMULA in tools.labels(page)
    tools.until(page, "document.querySelector('#hits img').naturalWidth > 0")
    page.locator("[data-column=label]").select_option(label=f"{HOSTILE} (3)")
    tools.until(page, "document.querySelectorAll('#hits li').length === 3")
    page.locator("#hits button").first.click()
    assert page.locator("#photo h2").inner_text() == HOSTILE
    assert page.locator("#photo dd").first.inner_text().startswith(f"photo/{HOSTILE}/")
    tools.until(page, "document.querySelector('#photo dl').textContent.includes('place')")
    page.keyboard.press("Escape")
    page.locator("[data-column=label]").select_option(label="all")
    page.locator("[data-column=place]").select_option(label="wall (4)")
    tools.until(page, "document.querySelectorAll('#hits li').length === 4")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV").click()
    text = Path(waiting.value.path()).read_text()
    assert f"'{FORMULA}" in text and f",{FORMULA}" not in text
    assert page.evaluate("window.ran") is None


def test_photos_fetched_with_a_token_leave_no_addresses(page) -> None:
    page.evaluate("""() => {
      const [make, revoke] = [URL.createObjectURL, URL.revokeObjectURL];
      Object.assign(window, { living: new Set(), born: 0 });
      URL.createObjectURL = (blob) => { const url = make.call(URL, blob); living.add(url); born += 1; return url; };
      URL.revokeObjectURL = (url) => { living.delete(url); revoke.call(URL, url); };
    }""")
    example(page)
    tools.until(page, "[...document.querySelectorAll('#hits img')].filter((one) => one.naturalWidth).length === 9")
    tools.until(page, "born >= 9 && !living.size")
    for name in ("giraffe", "cat", "umbrella"):  # tiles that are taken away before or after their photo came
        page.get_by_role("button", name=f"Example: {name}").click()
        page.locator("[data-column=place]").select_option(index=1)
        page.locator("[data-column=place]").select_option(index=0)
    page.locator("#hits button").first.click()
    tools.until(page, "document.querySelector('#photo img').naturalWidth > 0")
    page.keyboard.press("Escape")
    tools.until(page, "document.querySelector('#hits[aria-busy=false] li') && !living.size")


def test_photos_are_added_and_deleted_with_a_token_that_may_write(page, site, tmp_path) -> None:
    new = tmp_path / "<i>new.png"
    new.write_bytes(tiny.drawing(500))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (tmp_path / "notes.txt").write_text("no photo")
    Image.open(new).save(tmp_path / "scan.tif")  # a format that browsers do not know
    page.get_by_role("button", name="Manage photos").click()
    page.locator("#manage-files").set_input_files(new)
    assert "which class" in page.locator("#manage-status").inner_text()
    page.get_by_label("Class of the new photos").fill("fresh")
    page.locator("#manage-files").set_input_files(
        [new, *(tmp_path / name for name in ("broken.png", "notes.txt", "scan.tif"))]
    )
    tools.until(page, "document.querySelector('#token').open")
    page.locator("#token input").fill(WRITER)
    page.get_by_role("button", name="Use it").click()
    tools.until(page, "document.querySelector('#manage-status').textContent === '2 of 4 added.'")
    assert page.locator("#manage-progress").evaluate("(bar) => bar.value === bar.max")
    said = page.locator("#manage-list").inner_text()
    assert "<i>new.png: added as uploads/fresh/" in said and "broken.png: the photo cannot be used" in said
    assert "notes.txt: the photo cannot be used: not a format" in said
    assert re.search(r"scan\.tif: added as uploads/fresh/\w+\.tif", said)
    tools.until(page, "document.querySelector('#about').textContent.includes('11 photos')")
    page.keyboard.press("Escape")
    page.locator("#upload").set_input_files(new)
    tools.until(page, "document.querySelector('#hits .label')?.textContent === 'fresh'")
    for left in (10, 9):  # both files hold the same picture
        tools.until(page, f"document.querySelectorAll('#hits .label[title*=fresh]').length === {left - 8}")
        page.locator("#hits button").first.click()
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete for good").click()
        tools.until(page, f"document.querySelector('#about').textContent.includes('{left} photos')")
    tools.until(page, "document.querySelector('#hits[aria-busy=false] li')")
    assert "fresh" not in tools.labels(page)
    kept = page.evaluate("[JSON.stringify(localStorage), document.cookie].join()")
    assert WRITER not in kept and READER not in kept, "tokens are forgotten with the tab"


def test_accessible_in_every_state_and_at_every_size(page) -> None:
    """axe finds nothing, and nothing is wider than the screen."""
    from axe_playwright_python.sync_playwright import Axe

    found = []

    def look(where: str) -> None:
        for problem in Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]:
            nodes = [node["html"][:120] for node in problem["nodes"][:3]]
            found.append((where, problem["impact"], problem["id"], nodes))

    look("empty")
    example(page)
    page.get_by_role("button", name="Explain").click()
    tools.until(page, "document.querySelectorAll('#fine img').length")
    look("explained")
    page.get_by_role("button", name="Dark").click()
    look("dark")
    page.locator("#hits button").first.click()
    look("photo")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Help").click()
    look("help")
    page.keyboard.press("Escape")
    for width, height in ((360, 740), (3840, 2160)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(50)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    look("4K")
    assert found == [], json.dumps(found, indent=1)


def test_every_button_is_reached_with_the_keyboard(page) -> None:
    example(page)
    reached = set()
    page.evaluate("document.activeElement.blur()")
    for _ in range(70):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.parentElement?.parentElement?.id")
        )
    wanted = {"pad", "pen", "eraser", "width", "undo", "clear", "upload", "link", "save-png", "examples", "k", "hits"}
    assert wanted | {"explain-open", "save-csv", "theme", "help-open", "manage-open"} <= reached


def test_the_page_says_that_there_is_no_gallery(chrome, model) -> None:
    from tf_ssgn.serving.core.service import Service, served
    from tf_ssgn.serving.http.gateway import Gateway

    service = Service()
    gateway = Gateway(service, ("127.0.0.1", 0), Access())
    page, complaints = tools.watched(chrome)
    page.goto(f"http://127.0.0.1:{gateway.port}/")
    tools.until(page, "document.querySelector('#trouble').textContent.includes('not ready')")
    service.publish(served(model, None, 1))
    tools.until(page, "document.querySelector('#trouble').textContent.includes('no gallery')")
    page.context.close()
    gateway.stop()
    assert not complaints
