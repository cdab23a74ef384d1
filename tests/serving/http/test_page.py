"""The page in a real headless Chromium: drawing, searching, filters, links, downloads, explanation, keyboard, looks."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serving import browser as tools
from tests.serving import serving_tiny as tiny

pytest.importorskip("starlette")
pytest.importorskip("playwright", reason="no Playwright (pip install 'tf_ssgn[dev]')")
if tools.executable() is None:
    pytest.skip("no Chromium on this machine", allow_module_level=True)

import tf_ssgn
from tf_ssgn.data.strokes.raster import Drawing, render
from tf_ssgn.serving.core.access import Access
from tf_ssgn.settings import QUERY_RASTER


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with tools.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def site(chain: Any) -> Iterator[tools.Site]:
    made = tools.Site(tf_ssgn.load(chain.models, runtime="tensorflow"), chain.gallery)
    yield made
    made.stop()


@pytest.fixture
def page(chrome: Any, site: tools.Site) -> Iterator[Any]:
    """The page as it is first seen; whatever a test did, it broke no rule of its own and asked no other server."""
    made, complaints = tools.watched(chrome, reduced_motion="reduce", accept_downloads=True)
    made.goto(site.url)
    tools.until(made, "document.querySelector('#about').textContent")
    yield made
    made.context.close()
    assert not complaints


def found(page: Any) -> list[str]:
    """The classes found for what is on the page now, once they are there."""
    tools.until(page, "document.querySelector('#hits[aria-busy=false] li')")
    return tools.labels(page)


def example(page: Any, name: str = "umbrella") -> list[str]:
    page.get_by_role("button", name=f"Example: {name}").click()
    return found(page)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tools.Site]:
    """A gallery of the page's eight examples, each drawn in three ways, under a model that compares pictures:
    what a test can train has learnt too little for photos."""
    from PIL import Image, ImageDraw

    from tf_ssgn.retrieval.folder import builder

    base = tmp_path_factory.mktemp("drawings")
    for name, strokes in tools.examples().items():
        (base / "photo" / name).mkdir(parents=True)
        for number, (wider, higher) in enumerate(((0.24, 0.22), (0.21, 0.24), (0.2, 0.2))):
            picture = Image.new("RGB", (256, 256), "white")
            pen = ImageDraw.Draw(picture)
            for stroke in strokes:
                pen.line([(x * wider + 8, y * higher + 8) for x, y in stroke], fill="black", width=3 + number)
            picture.save(base / "photo" / name / f"{number}.png")
    model = tiny.model(tmp_path_factory.getbasetemp())
    builder.build(base / "gallery", [base / "photo"], model)
    made = tools.Site(model, base / "gallery")
    yield made
    made.stop()


@pytest.mark.parametrize("name", ["umbrella", "giraffe"])
def test_a_drawing_made_with_the_mouse_finds_its_class(page, drawings: tools.Site, name: str) -> None:
    page.goto(drawings.url)
    tools.until(page, "document.querySelector('#about').textContent")
    assert page.locator("#empty").is_visible(), "it says what to do"
    tools.draw(page, tools.examples()[name])
    tools.until(page, f"document.querySelector('#hits .label')?.textContent === '{name}'")
    assert not page.locator("#empty").is_visible()
    assert set(tools.labels(page)) == set(tools.examples()), "all eight are there"
    first = page.locator("#hits li").first
    assert first.locator(".score").inner_text().startswith("0.")
    tools.until(page, "document.querySelector('#hits img').naturalWidth > 0")


def test_answers_come_while_the_pen_is_still_down(page) -> None:
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 220, steps=10)
    assert found(page)
    page.mouse.up()


def test_an_old_answer_never_replaces_a_newer_one(page) -> None:
    """The first search is held back until the second one has been answered."""
    held: list[Any] = []

    def hold(route: Any) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/api/search", hold)
    page.get_by_role("button", name="Example: cat").click()
    page.wait_for_timeout(200)
    page.get_by_role("button", name="Example: umbrella").click()
    newer = found(page)
    try:
        held[0].fulfill(json={"hits": [], "gallery_version": 1})
    except Exception:  # noqa: BLE001 (the browser has given it up, which is as good)
        pass
    page.wait_for_timeout(200)
    assert tools.labels(page) == newer


def test_pen_pressure_eraser_undo_redo_and_clear(page) -> None:
    ink = """(() => { const c = document.querySelector("#pad"); let n = 0;
        const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        for (let i = 0; i < d.length; i += 4) n += d[i] < 128; return n; })()"""
    stroke = """([pressure, y]) => {
        const pad = document.querySelector("#pad"), box = pad.getBoundingClientRect();
        pad.setPointerCapture = () => {};
        const send = (type, x) => pad.dispatchEvent(new PointerEvent(type, {pointerId: 7, pointerType: "pen", pressure,
            clientX: box.x + x, clientY: box.y + y, bubbles: true, button: type === "pointermove" ? -1 : 0}));
        send("pointerdown", 60); for (let x = 70; x < 260; x += 10) send("pointermove", x); send("pointerup", 260); }"""
    page.evaluate(stroke, [0.1, 100])
    light = page.evaluate(ink)
    page.evaluate(stroke, [1.0, 200])
    both = page.evaluate(ink)
    assert both - light > 1.8 * light > 0, "a pen pressed harder draws a thicker line"
    page.keyboard.press("Control+z")
    assert page.evaluate(ink) == light
    page.keyboard.press("Control+Shift+z")
    assert page.evaluate(ink) == both
    page.keyboard.press("e")
    assert page.locator("#eraser").get_attribute("aria-pressed") == "true"
    for _ in range(5):
        page.keyboard.press("]")
    assert int(page.locator("#width").input_value()) == 34
    page.evaluate(stroke, [1.0, 200])
    assert page.evaluate(ink) < both - light
    page.get_by_role("button", name="Clear").click()
    assert page.evaluate(ink) == 0 and page.locator("#empty").is_visible()
    page.get_by_role("button", name="Undo").click()
    assert page.evaluate(ink) > 0, "clearing can be undone"


def test_drawing_with_the_keyboard_alone(page) -> None:
    page.locator("#pad").focus()
    for key in ["Space", *["ArrowRight"] * 6, *["ArrowDown"] * 6, *["Shift+ArrowLeft"] * 4, "Space"]:
        page.keyboard.press(key)
    assert found(page)
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()


def test_filters_and_the_number_of_photos(page, chain) -> None:
    example(page)
    page.locator("[data-column=label]").select_option('"cat"')
    tools.until(page, "[...document.querySelectorAll('#hits .label')].every((one) => one.textContent === 'cat')")
    assert len(tools.labels(page)) == min(24, len(list((chain.data / "photo" / "cat").iterdir())))
    page.locator("[data-column=label]").select_option("")
    page.locator("#k").select_option("48")
    tools.until(page, "document.querySelectorAll('#hits li').length === 48")


def test_a_link_holds_the_drawing_and_nothing_of_it_reaches_the_server(page, chrome, site) -> None:
    labels = example(page)
    tools.until(page, "location.hash.startsWith('#s=')")
    assert 100 < len(page.url) < 4000
    other, complaints = tools.watched(chrome)
    asked: list[str] = []
    other.on("request", lambda request: asked.append(request.url))
    other.goto(page.url)
    assert found(other) == labels
    assert not any("s=" in url for url in asked if url != page.url) and not complaints
    for damaged in ("#s=AAAA", "#s=%%%", "#p=", "#s=" + "A" * 20_000, "#f=[1]&k=x"):
        other.goto(site.url + damaged)
        tools.until(other, "document.querySelector('#about').textContent")
    for refused in ('#k=-5&f={"no_column":1}', "#p=photo/cat/none.png"):  # ends where one can go on
        other.goto("about:blank")
        other.goto(site.url + refused)
        tools.until(other, "document.querySelector('#about').textContent")
        example(other)
        assert len(tools.labels(other)) == 24 and other.locator("#trouble").is_hidden()
    other.goto("about:blank")
    other.goto(f"{site.url}#p=photo/cat/none.png")
    tools.until(other, "location.hash.includes('%2F')")
    other.go_back()
    assert other.url == "about:blank", "an opened link is no step of its own"
    other.context.close()
    assert not complaints


def test_the_large_photo_and_more_like_it(page) -> None:
    example(page)
    page.locator("#hits button").nth(1).click()
    path = page.locator("#photo dd").first.inner_text()
    assert path == page.locator("#hits .label").nth(1).get_attribute("title")
    tools.until(page, "document.querySelector('#photo img').naturalWidth > 0")
    tools.until(page, "document.querySelector('#photo dl').textContent.includes('pixels')")
    page.keyboard.press("Escape")
    page.locator("#hits button").nth(1).click()
    tools.until(page, "document.querySelector('#photo img').naturalWidth > 0")  # the same one again
    page.keyboard.press("ArrowLeft")
    assert page.locator("#photo dd").first.inner_text() != path
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="More like this").click()
    tools.until(page, "location.hash.startsWith('#p=')")
    tools.until(page, f"document.querySelector('#like b').textContent === {json.dumps(path)}")
    page.wait_for_timeout(300)
    assert page.evaluate("document.activeElement.textContent") == "Back to the drawing"
    titles = [one.get_attribute("title") for one in page.locator("#hits .label").all()]
    assert path not in titles and len(titles) == 24
    page.go_back()
    tools.until(page, "document.querySelector('#like').hidden")
    assert path in [one.get_attribute("title") for one in page.locator("#hits .label").all()] or found(page)


def test_back_brings_the_number_of_photos_back_too(page) -> None:
    example(page)
    page.locator("#hits button").first.click()
    page.get_by_role("button", name="More like this").click()
    tools.until(page, "location.hash.startsWith('#p=')")
    page.locator("#k").select_option("12")
    tools.until(page, "location.hash.includes('k=12')")
    tools.until(page, "document.querySelectorAll('#hits li').length === 12")
    page.go_back()  # to a step that names no number: the usual one
    tools.until(page, "document.querySelector('#k').value === '24'")
    tools.until(page, "document.querySelectorAll('#hits[aria-busy=false] li').length === 24")
    page.go_forward()
    tools.until(page, "document.querySelector('#k').value === '12'")
    tools.until(page, "document.querySelectorAll('#hits[aria-busy=false] li').length === 12")


def test_photos_come_though_the_server_lets_few_of_them_through_at_once(chrome, chain, site) -> None:
    slow = tools.Site(site.model, chain.gallery, Access(rate=6))
    try:
        made, complaints = tools.watched(chrome, reduced_motion="reduce")
        made.goto(slow.url)
        tools.until(made, "document.querySelector('#about').textContent")
        example(made)
        pictures = "[...document.querySelectorAll('#hits img')]"
        made.locator("#hits li").last.scroll_into_view_if_needed()
        tools.until(made, f"{pictures}.filter((one) => one.naturalWidth > 0).length === 24")
        assert made.locator("#hits .missing").count() == 0
        made.context.close()
        assert not complaints
    finally:
        slow.stop()


def test_downloads(page) -> None:
    labels = example(page)

    def get(name: str) -> bytes:
        with page.expect_download() as waiting:
            page.get_by_role("button", name=name, exact=True).click()
        return Path(waiting.value.path()).read_bytes()

    from PIL import Image

    assert Image.open(io.BytesIO(get("PNG"))).size == (1024, 1024)
    svg = get("SVG").decode()
    assert svg.startswith("<svg ") and svg.count("<path") == len(tools.examples()["umbrella"])
    rows = list(csv.DictReader(io.StringIO(get("CSV").decode())))
    assert [row["label"] for row in rows] == labels and rows[0]["rank"] == "1"
    assert [hit["label"] for hit in json.loads(get("JSON"))["hits"]] == labels


def test_explain_shows_classes_and_both_stages(page, chain) -> None:
    example(page)
    page.get_by_role("button", name="Explain").click()
    tools.until(page, "document.querySelectorAll('#classes li').length === 8")
    tools.until(page, "document.querySelectorAll('#coarse img, #fine img').length === 12")
    names = {path.name for path in (chain.data / "photo").iterdir()}
    assert {text.split(" ")[0] for text in page.locator("#classes li > :first-child").all_text_contents()} <= names
    fine = page.locator("#fine li span").all_text_contents()
    assert fine == tools.labels(page)[: len(fine)], "the fine stage is what the search answers with"
    (place,) = [text for text in page.locator("#classes li").all_text_contents() if "first photo, place" in text]
    assert place.startswith(fine[0]), "the class of the first photo is listed wherever it stands"
    assert page.locator("#explain-filtered").is_hidden()
    page.locator("#coarse button").first.click()
    assert page.locator("#photo").is_visible()


def test_a_picture_from_outside_is_a_drawing_or_a_photo(page, chain) -> None:
    sketch = next((chain.data / "sketch" / "umbrella").iterdir())
    page.locator("#upload").set_input_files(sketch)
    assert "umbrella" in found(page)[:6]
    with page.expect_request("**/api/search") as asked:
        page.get_by_role("button", name="photo of the thing").click()
    assert json.loads(asked.value.post_data)["kind"] == "photo"
    for how in ("drop", "paste"):
        page.get_by_role("button", name="Clear").click()
        tools.until(page, "document.querySelectorAll('#hits li').length === 0")
        page.evaluate(
            """async ([how, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], "x.png", {type: "image/png"}));
                const event = how === "drop" ? new DragEvent("drop", {dataTransfer: data, bubbles: true})
                    : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
                document.querySelector("#pad").dispatchEvent(event); }""",
            [how, list(sketch.read_bytes())],
        )
        assert found(page), how


def test_a_picture_with_strong_colours_is_taken_for_a_photo(page, chain, tmp_path) -> None:
    from PIL import Image

    Image.new("RGB", (90, 60), (200, 40, 30)).save(tmp_path / "red.png")
    Image.new("RGB", (90, 60), (235, 215, 175)).save(tmp_path / "paper.png")  # in warm light
    for name, kind in (("red", "as-photo"), ("paper", "as-sketch")):
        page.locator("#upload").set_input_files(tmp_path / f"{name}.png")
        tools.until(page, f"document.querySelector('#{kind}').getAttribute('aria-pressed') === 'true'")
    assert (
        page.evaluate("[...document.querySelector('#pad').getContext('2d').getImageData(9, 200, 1, 1).data]")
        == [255] * 4
    )
    page.get_by_role("button", name="photo of the thing").click()
    shown = "[...document.querySelector('#pad').getContext('2d').getImageData(9, 200, 1, 1).data]"
    assert page.evaluate(shown) == [235, 215, 175, 255], "it is shown as it is"


def test_a_phone_opens_a_picture_and_has_photos_in_sight(chrome, site) -> None:
    made, complaints = tools.watched(chrome, has_touch=True, reduced_motion="reduce")
    made.set_viewport_size({"width": 360, "height": 740})
    made.goto(site.url)
    tools.until(made, "document.querySelector('#about').textContent")
    for width in (360, 390, 768):
        made.set_viewport_size({"width": width, "height": 740})
        with made.expect_file_chooser():
            made.get_by_text("Open a picture").tap()
    made.set_viewport_size({"width": 360, "height": 740})
    first = example(made)[0]
    made.evaluate("scrollTo(0, 0)")
    tools.until(made, "document.querySelector('#peek img').naturalWidth > 0")
    box = made.locator("#peek button").first.bounding_box()
    assert box["y"] + box["height"] < 740
    made.locator("#peek button").first.tap()
    assert made.locator("#photo-label").inner_text() == first
    made.context.close()
    assert not complaints


def test_trouble_is_said_and_ends_by_itself(page, site) -> None:
    site.stop()
    page.get_by_role("button", name="Example: cat").click()
    tools.until(page, "document.querySelector('#trouble').textContent.includes('does not answer')")
    site.start_again()
    found(page)
    tools.until(page, "document.querySelector('#trouble').hidden")


def test_a_gallery_that_grows_is_counted_and_asked_again(page: Any, site: tools.Site) -> None:
    site.service.expected = 5000
    page.reload()
    try:
        tools.until(page, "document.querySelector('#about').textContent.includes('of 5,000 photos so far')")
        site.service.expected = None
        tools.until(page, "!document.querySelector('#about').textContent.includes('so far')")
    finally:
        site.service.expected = None


@pytest.mark.parametrize("name", ["umbrella", "giraffe"])
def test_what_is_searched_with_is_drawn_as_the_models_drawings_are(page: Any, name: str) -> None:
    """Whatever the lines look like on the screen: what the page sends is what `raster.render` makes of the strokes."""
    with page.expect_request("**/api/search") as asked:
        example(page, name)
    image = json.loads(asked.value.post_data)["image"]
    sent = np.asarray(Image.open(io.BytesIO(base64.b64decode(image))).convert("L"), float)
    strokes = tuple(np.array(stroke, float) for stroke in tools.examples()[name])
    expected = np.asarray(render(Drawing(name, name, strokes), QUERY_RASTER), float)
    assert sent.shape == expected.shape
    assert np.abs(sent - expected).mean() < 4 and (np.abs(sent - expected) > 128).mean() < 0.002


def test_a_word_moves_the_answers_is_guessed_kept_in_the_link_and_explained(
    page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tf_ssgn.serving.http.api.GUESS_COSINE", -1.0)
    example(page, "giraffe")
    tools.until(page, "document.querySelectorAll('#word li button').length")
    guesses = page.eval_on_selector_all("#word li button", "all => all.map((one) => one.textContent)")
    assert 1 <= len(guesses) <= 5 and all(guess.endswith("?") for guess in guesses)
    scores = "[...document.querySelectorAll('#hits li')].map((hit) => hit.textContent).join()"
    before = page.evaluate(scores)
    page.fill("#word input", "apples")
    page.press("#word input", "Enter")
    tools.until(page, f"{scores} !== {json.dumps(before)}")
    assert page.is_hidden("#word ul") and "w=apples" in page.url
    page.click("#explain-open")
    tools.until(page, "document.querySelectorAll('#told img').length")
    page.reload()
    tools.until(page, "document.querySelectorAll('#hits li').length")
    assert page.input_value("#word input") == "apples"
    page.fill("#word input", "aple")
    page.press("#word input", "Enter")
    tools.until(page, "document.querySelector('#status').textContent.includes('apple')")
    page.click("#word > button")
    page.click("#clear")
    page.fill("#word input", "appl")
    tools.until(page, "[...document.querySelectorAll('#words option')].some((one) => one.value === 'apple')")
    page.fill("#word input", "apple")
    tools.until(page, "document.querySelectorAll('#hits li').length")
    page.click("#word > button")


def test_the_page_works_below_the_path_of_a_proxy(chrome: Any, chain: Any, site: tools.Site) -> None:
    below = tools.Site(site.model, chain.gallery, root_path="/my/photos")
    page, complaints = tools.watched(chrome)
    try:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(below.url)
        tools.until(page, "document.querySelector('#about').textContent")
        assert example(page)
        tools.until(page, "[...document.querySelectorAll('#hits img')].some((img) => img.naturalWidth)")
        assert all("/my/photos/" in url for url in asked if url.startswith("http")) and not complaints
    finally:
        page.context.close()
        below.stop()
