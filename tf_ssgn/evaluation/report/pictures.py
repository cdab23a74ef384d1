"""Thumbnails for reports: any readable image as a small data URI, anything else as a grey box that says so."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from tf_ssgn.common.markup import escaped
from tf_ssgn.data.images.picture import thumbnail_jpeg

SIDE = 112  # pixels; twenty rows of ten stay well below 2 MB
UNREADABLE = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 112 112'%3E%3Crect width='112' "
    "height='112' fill='%23999'/%3E%3Cpath d='M30 30 82 82M82 30 30 82' stroke='%23fff' stroke-width='6'/%3E%3C/svg%3E"
)


@dataclass(frozen=True)
class Picture:
    """One image of a grid: `image` is a path or the file's bytes; `hit` marks an answer right or wrong, None
    neither.
    """

    image: bytes | str | Path
    caption: str = ""
    hit: bool | None = None


@dataclass(frozen=True)
class Grid:
    """A titled block of rows, each a query and its answers in order."""

    title: str
    rows: list[tuple[Picture, list[Picture]]]


def thumbnail(image: bytes | str | Path) -> str:
    """The picture at most `SIDE` pixels a side as a data URI."""
    content = thumbnail_jpeg(image, SIDE)
    return UNREADABLE if content is None else "data:image/jpeg;base64," + base64.b64encode(content).decode()


def grid_html(grid: Grid) -> str:
    """A query and its answers per row; marks are signs as well as colours."""
    rows = []
    for query, answers in grid.rows:
        cells = "".join(_figure(answer) for answer in answers)
        rows.append(f'<div class="row">{_figure(query)}<span class="arrow">→</span>{cells}</div>')
    return f'<section class="grid-block"><h3>{escaped(grid.title)}</h3>{"".join(rows)}</section>'


def _figure(picture: Picture) -> str:
    kind, mark = {None: ("query", ""), True: ("hit", "✓"), False: ("miss", "✗")}[picture.hit]
    caption = escaped(picture.caption)
    image = f'<img src="{thumbnail(picture.image)}" alt="{caption}" loading="lazy">'
    sign = f'<b class="mark">{mark}</b>' if mark else ""
    return f'<figure class="{kind}" title="{caption}">{image}{sign}<figcaption>{caption}</figcaption></figure>'
