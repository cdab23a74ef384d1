"""How the page should draw what it searches with: strokes in several widths, sizes and margins, straight and smoothed.

QuickDraw's drawings ask among the photos of the same classes. The shipped model was trained on these, drawn in one of
the ways: the figures compare ways to draw, and say nothing about unseen classes.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from tf_ssgn.benchmarks import material
from tf_ssgn.common import cli
from tf_ssgn.config import LEADING_FAMILY
from tf_ssgn.data.datasets.items import open_dataset
from tf_ssgn.data.strokes.raster import Drawing, read_ndjson, render
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation import score_features
from tf_ssgn.settings import QUERY_RASTER, RASTER, Raster

SHOWN = 8
CLASSES, DRAWINGS, PHOTOS = 30, 8, 25  # of each class, evenly over what is there
CUTS = 2  # of corners, where a line is smoothed

WAYS: dict[str, Raster] = {
    "as trained": RASTER,
    **{f"lines of {width:g}": RASTER._replace(line_width=width) for width in (1.0, 3.0, 4.0, 6.0, 9.0)},
    **{f"a margin of {padding}": RASTER._replace(padding=padding) for padding in (4, 32, 48)},
    "512 pixels": Raster(size=512, line_width=4.0, padding=32),
    "224 pixels": Raster(size=224, line_width=1.75, padding=14),
}


def run(full: bool, data: str | None = None) -> dict[str, Any]:
    """mAP@all and P@8 of each way, and of one with smoothed lines; `data` is the folder of `sketchy_mini`."""
    import tf_ssgn

    folder = material(data)
    strokes = folder / "quickdraw_for_sketchy" / "strokes"
    if not strokes.is_dir() or not (folder / "sketchy_mini").is_dir():
        raise UserError(f"received {folder}, expected sketchy_mini and {strokes}; name their folder with --data")
    theirs = json.loads((folder / "quickdraw_for_sketchy" / "sketchy_to_quickdraw.json").read_text(encoding="utf-8"))
    ours = {word: name for name, word in theirs.items()}
    files = [path for path in sorted(strokes.glob("*.ndjson")) if path.stem in ours]
    files = files[:: max(1, len(files) // CLASSES)][: CLASSES if full else 3]
    drawings, labels = [], []
    for path in files:
        some = list(read_ndjson(path, cli.log))[: DRAWINGS if full else 2]
        drawings += some
        labels += [ours[path.stem]] * len(some)
    photos = [item for item in open_dataset(str(folder / "sketchy_mini")).photos if item.label in set(labels)]
    model = tf_ssgn.load()
    gallery = model.embed_photo([item.path for item in photos])

    def score(draw: Callable[[Drawing], Image.Image]) -> dict[str, float]:
        codes = model.embed_sketch([draw(drawing) for drawing in drawings])
        found: dict[str, Any] = score_features(codes, labels, gallery, [item.label for item in photos], k=(SHOWN,))
        return {"map_all": found[LEADING_FAMILY]["map_all"], "p_8": found[LEADING_FAMILY][f"precision_at_{SHOWN}"]}

    rows = {}
    print(f"{len(drawings)} drawings, {len(photos)} photos, {len(files)} classes{'mAP@all':>19}{'P@8':>8}")
    ways: dict[str, Callable[[Drawing], Image.Image]] = {
        **{name: functools.partial(render, raster=raster) for name, raster in WAYS.items()},
        "as trained, smoothed": lambda drawing: render(smooth(drawing), RASTER),
        "the page": functools.partial(render, raster=QUERY_RASTER),
    }
    for name, draw in ways.items():
        rows[name] = score(draw)
        print(f"{name:<50}{rows[name]['map_all']:9.3f}{rows[name]['p_8']:8.3f}", flush=True)
    return {"rows": rows, "drawings": len(drawings), "photos": len(photos), "classes": len(files)}


def smooth(drawing: Drawing) -> Drawing:
    """Corners cut at a quarter and three quarters of each piece (Chaikin 1974), twice; ends stay."""
    strokes = []
    for points in drawing.strokes:
        for _ in range(CUTS if len(points) > 2 else 0):
            first, second = points[:-1], points[1:]
            cut = np.stack([0.75 * first + 0.25 * second, 0.25 * first + 0.75 * second], axis=1).reshape(-1, 2)
            points = np.concatenate([points[:1], cut, points[-1:]])
        strokes.append(points)
    return dataclasses.replace(drawing, strokes=tuple(strokes))
