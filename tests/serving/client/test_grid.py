"""The page of answers: pictures inside, nothing from outside, and no text that becomes markup."""

from __future__ import annotations

import base64
import html.parser
import io
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.serving import serving_tiny as tiny
from tf_ssgn.data.images.picture import thumbnail_jpeg
from tf_ssgn.serving.client import grid


class Page(html.parser.HTMLParser):
    """Tags and their attributes, and all text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def pictures(page: str) -> list[Image.Image]:
    found = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    return [Image.open(io.BytesIO(base64.b64decode(item))) for item in found]


def test_pictures_are_inside_and_small(tmp_path) -> None:
    photo = tmp_path / "large.jpg"
    photo.write_bytes(tiny.drawing(1, side=1000, kind="JPEG"))
    tiles = [grid.Tile("photo/a/large.jpg", "a", 0.5, photo), grid.Tile("photo/b/2.png", "b", 0.25, tiny.drawing(2))]
    grid.write(tmp_path / "out" / "page.html", "Photos", tiny.drawing(0), tiles, ["a note"])
    page = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert [max(picture.size) for picture in pictures(page)] == [48, grid.THUMBNAIL_SIDE, 48]
    assert "0.5000" in page and "photo/a/large.jpg" in page and "a note" in page
    assert "http:" not in page.replace("http-equiv", "") and "https:" not in page
    assert os.listdir(tmp_path / "out") == ["page.html"]


def test_transparency_lies_on_white() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(buffer, "PNG")
    content = thumbnail_jpeg(buffer.getvalue(), 256)
    assert content is not None
    assert Image.open(io.BytesIO(content)).getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize(
    "source", [None, b"", b"<svg onload=alert(1)>", "nowhere.png", tiny.drawing(1)[:70], os.devnull]
)
def test_what_cannot_be_shown_is_named(source) -> None:
    page = grid.render("Photos", b"", [grid.Tile("photo/cat/1.jpg", "cat", 0.1, source)])
    assert pictures(page) == []
    assert Page(page).text.count("photo/cat/1.jpg") == 2


def test_a_picture_of_too_many_pixels_is_not_decoded() -> None:
    bomb = tiny.drawing(1)
    bomb = bomb[:16] + (20_000).to_bytes(4, "big") * 2 + bomb[24:]
    assert thumbnail_jpeg(bomb, 256) is None


PLAIN = {"html", "head", "meta", "title", "style", "body", "header", "div", "h1", "p", "ol", "li", "span", "b", "img"}


@settings(max_examples=60, deadline=None)
@given(st.text(), st.text(st.characters(exclude_categories=())))
def test_no_text_becomes_markup(title: str, item: str) -> None:
    hostile = f"<script>{item}</script>\"'><img src=x onerror=alert(1)>"
    page = grid.render(title + hostile, b"", [grid.Tile(hostile, hostile, 0.0, tiny.drawing(1))], [hostile])
    page.encode("utf-8")
    parsed = Page(page)
    assert {tag for tag, _ in parsed.tags} <= PLAIN
    assert all(
        set(attributes) <= {"class", "lang", "charset", "http-equiv", "content", "name", "alt", "src"}
        for _, attributes in parsed.tags
    )
    assert [tag for tag, _ in parsed.tags].count("img") == 1
