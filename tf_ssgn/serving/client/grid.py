"""The answers as a page of pictures: one HTML file that needs no other file, no script and no network."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from typing import NamedTuple

from tf_ssgn.common import atomic
from tf_ssgn.common.markup import escaped
from tf_ssgn.data.images.picture import thumbnail_jpeg

THUMBNAIL_SIDE = 256

STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #888; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem; max-width: 76rem; }
h1 { font-size: 1.3rem; margin: 0; } header { display: flex; gap: 1.5rem; align-items: center; margin-bottom: 1.5rem; }
header .picture { width: 11rem; flex: none; } p { margin: .3rem 0; color: var(--quiet); overflow-wrap: anywhere; }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 1rem;
     grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); }
li, header .picture { border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
.picture { aspect-ratio: 1; display: grid; place-items: center; background: #fff; }
.picture img { width: 100%; height: 100%; object-fit: contain; }
.picture span { color: #777; padding: .5rem; text-align: center; overflow-wrap: anywhere; font-size: .85rem; }
.text { padding: .5rem .7rem; } .text b { display: block; } .text p { font-size: .8rem; }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><div class="picture">{query}</div><div><h1>{title}</h1>{notes}</div></header>
<ol>
{tiles}
</ol>
</body>
</html>
"""


class Tile(NamedTuple):
    """One answer: its text, and the picture's path or bytes if there is one."""

    id: str
    label: str
    score: float
    picture: str | os.PathLike | bytes | None


def write(
    path: str | os.PathLike,
    title: str,
    query: str | os.PathLike | bytes,
    tiles: Sequence[Tile],
    notes: Sequence[str] = (),
) -> None:
    """Writes the page atomically. A picture that cannot be read is replaced by the answer's id; all text is escaped."""
    atomic.write_text(path, render(title, query, tiles, notes))


def render(title: str, query: str | os.PathLike | bytes, tiles: Sequence[Tile], notes: Sequence[str] = ()) -> str:
    """The page as text."""
    return PAGE.format(
        title=escaped(title),
        style=STYLE,
        query=_picture(query, "the query", "the query"),
        notes="".join(f"<p>{escaped(note)}</p>" for note in notes),
        tiles="\n".join(_tile(rank, tile) for rank, tile in enumerate(tiles, start=1)),
    )


def _tile(rank: int, tile: Tile) -> str:
    picture = _picture(tile.picture, f"answer {rank}: {tile.label}", tile.id)
    text = f"<b>{rank}. {escaped(tile.label)}</b>{tile.score:.4f}<p>{escaped(tile.id)}</p>"
    return f'<li><div class="picture">{picture}</div><div class="text">{text}</div></li>'


def _picture(source: str | os.PathLike | bytes | None, caption: str, instead: str) -> str:
    content = None if source is None else thumbnail_jpeg(source, THUMBNAIL_SIDE)
    if content is None:
        return f"<span>{escaped(instead)}</span>"
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{escaped(caption)}" src="data:image/jpeg;base64,{data}">'
