"""Queries and the photos that answer them: as HTML that holds its pictures, and as one picture.

A picture that cannot be read is a grey box. All text is escaped: it may come from a server.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from tf_ssgn.common.markup import escaped
from tf_ssgn.data.images import picture

SIDE = 112  # pixels; twenty rows of ten stay well below 2 MB
BORDER = 4  # pixels around an answer of a sheet
RIGHT, WRONG = "#1a7f37", "#cf222e"
UNREADABLE = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 112 112'%3E%3Crect width='112' "
    "height='112' fill='%23999'/%3E%3Cpath d='M30 30 82 82M82 30 30 82' stroke='%23fff' stroke-width='6'/%3E%3C/svg%3E"
)


@dataclass(frozen=True)
class Picture:
    """One image of a grid: `image` is a path or the file's bytes, None where it is not at hand; `hit` marks an answer
    right or wrong, None neither.
    """

    image: bytes | str | Path | None
    caption: str = ""
    hit: bool | None = None


@dataclass(frozen=True)
class Grid:
    """A titled block of rows, each a query (None: it has no picture) and its answers in order."""

    title: str
    rows: list[tuple[Picture | None, list[Picture]]]


def thumbnail(image: bytes | str | Path | None, side: int = SIDE) -> str:
    """The picture at most `side` pixels a side as a data URI."""
    content = None if image is None else picture.thumbnail_jpeg(image, side)
    return UNREADABLE if content is None else "data:image/jpeg;base64," + base64.b64encode(content).decode()


def grid_html(grid: Grid, side: int = SIDE) -> str:
    """A query and its answers per row; marks are signs as well as colours."""
    rows = []
    for query, answers in grid.rows:
        asked = "" if query is None else f'{_figure(query, side)}<span class="arrow">→</span>'
        rows.append(f'<div class="row">{asked}{"".join(_figure(answer, side) for answer in answers)}</div>')
    return f'<section class="grid-block"><h3>{escaped(grid.title)}</h3>{"".join(rows)}</section>'


def _figure(shown: Picture, side: int) -> str:
    kind, mark = {None: ("query", ""), True: ("hit", "✓"), False: ("miss", "✗")}[shown.hit]
    caption = escaped(shown.caption)
    image = f'<img src="{thumbnail(shown.image, side)}" alt="{caption}" loading="lazy">'
    sign = f'<b class="mark">{mark}</b>' if mark else ""
    return f'<figure class="{kind}" title="{caption}">{image}{sign}<figcaption>{caption}</figcaption></figure>'


def sheet(grid: Grid, side: int = SIDE) -> Image.Image:
    """The rows as one picture, answers framed by right and wrong."""
    cell = side + 2 * BORDER
    page = Image.new(
        "RGB", ((1 + max(len(answers) for _, answers in grid.rows)) * cell, len(grid.rows) * cell), "white"
    )
    for y, (query, answers) in enumerate(grid.rows):
        for x, shown in enumerate((query, *answers)):
            if shown is not None:
                page.paste(_framed(shown, side), (x * cell, y * cell))
    return page


def _framed(shown: Picture, side: int) -> Image.Image:
    image = None if shown.image is None else picture.thumbnail(shown.image, side)
    padded = ImageOps.pad(image or Image.new("RGB", (side, side), "grey"), (side, side), color="white")
    return ImageOps.expand(padded, BORDER, {None: "white", True: RIGHT, False: WRONG}[shown.hit])
