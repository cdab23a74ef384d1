"""How often a guess at what a drawing shows is right: QuickDraw's drawings that no training saw, the shipped model.

Three rows: kinds that training drawings showed, guessed among those; other kinds, whose photos are in the gallery, so
that they are guessed among the taught kinds and the gallery's labels; and both together, as a person draws. The bound
below which no guess is shown (`settings.GUESS_COSINE`) is chosen on the last row, by the drawings with an even number;
the figures are of the odd ones.
"""

import itertools
from collections import defaultdict
from typing import Any

import numpy as np

import tf_ssgn
from tf_ssgn.benchmarks import material, noting
from tf_ssgn.common.progress import Progress
from tf_ssgn.data.semantics.vocabulary import fold
from tf_ssgn.data.strokes.folder import Written, find_drawings
from tf_ssgn.errors import UserError
from tf_ssgn.settings import GUESS_COSINE, GUESSES, QUERY_RASTER

DRAWINGS, SMALL_DRAWINGS = 8, 2  # of each kind
FOLDER = "quickdraw_strokes"


def run(full: bool, data: str | None = None) -> dict[str, Any]:
    """Measures and prints; `data` is the folder that holds `quickdraw_strokes`."""
    folder = material(data) / FOLDER
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; expected QuickDraw's .ndjson files, named by --data")
    model = tf_ssgn.load()
    rows = model.words.vocabulary.rows
    taught = {rows[key] for name in model.card["seen"] if (key := fold(name)) in rows}
    kinds: dict[int, list[Any]] = defaultdict(list)
    most = DRAWINGS if full else SMALL_DRAWINGS
    for _, drawings in itertools.groupby(find_drawings(folder, Written()), key=lambda drawing: drawing.label):
        for drawing in itertools.islice(drawings, most):
            if (row := rows.get(fold(drawing.label))) is not None:
                kinds[row].append(drawing.draw(QUERY_RASTER))
    codes = {}
    with Progress(len(kinds), "kinds") as bar:
        for row, images in kinds.items():
            codes[row] = model.embed_sketch(images)
            bar.advance(1)
    others = sorted(set(kinds) - taught)
    parts = {
        "kinds that drawings taught": ([row for row in kinds if row in taught], sorted(taught)),
        "other kinds, in the gallery": (others, sorted(taught | set(others))),
        "all of these together": (list(kinds), sorted(taught | set(others))),
    }
    figures: dict[str, Any] = {}
    note = noting(figures)
    for name, (asked, among) in parts.items():
        right, best = [], []
        for row in asked:
            for code in codes[row]:
                ranked = model.words.guess(code, among, GUESSES)
                right.append(model.words.names[row] in [guess for guess, _ in ranked])
                best.append(ranked[0][1])
        hit, cosine = np.array(right), np.array(best)
        odd = np.arange(len(hit)) % 2 == 1
        shown = odd & (cosine >= GUESS_COSINE)
        bounds = np.quantile(cosine[~odd], np.linspace(0, 0.95, 20))
        lowest = next((bound for bound in bounds if hit[~odd & (cosine >= bound)].mean() > 0.5), np.nan)
        note(name, {
            "kinds": len(asked), "among": len(among), f"one of {GUESSES} right": float(hit[odd].mean()),
            "lowest_bound": float(lowest), f"shown from {GUESS_COSINE:g}": float(shown.sum() / odd.sum()),
            "right_where_shown": float(hit[shown].mean()) if shown.any() else 0.0,
        })  # fmt: skip
    return figures
