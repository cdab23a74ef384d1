"""One object of a class, with the geometry that its photo and its sketches share."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from tf_ssgn.data.drawing.animals import ANIMALS
from tf_ssgn.data.drawing.figure import Figure, Part, Point, turned
from tf_ssgn.data.drawing.plants import PLANTS
from tf_ssgn.data.drawing.things import THINGS
from tf_ssgn.data.drawing.vehicles import VEHICLES
from tf_ssgn.errors import UserError

SHAPES = ANIMALS | PLANTS | THINGS | VEHICLES


@dataclass(frozen=True)
class Instance:
    """One object: its parts from back to front, with their proportions and colours, and how many degrees it leans."""

    label: str
    parts: tuple[Part, ...]
    tilt: float


def new_instance(label: str, rng: np.random.Generator) -> Instance:
    """A new object of a class; raises UserError on a class that cannot be drawn."""
    if label not in SHAPES:
        raise UserError(f"cannot draw {label!r}; expected one of {', '.join(sorted(SHAPES))}")
    figure = Figure(rng)
    SHAPES[label](figure)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    matrix = np.array([[flip * rng.uniform(0.88, 1.14), 0.0], [rng.uniform(-0.1, 0.1), 1.0]])
    parts = tuple(
        replace(part, outline=part.outline @ matrix, strokes=tuple(stroke @ matrix for stroke in part.strokes))
        for part in figure.parts
    )
    return Instance(label, parts, float(np.clip(rng.normal(0, 7), -16, 16)))


def placed(
    parts: tuple[Part, ...], side: int, tilt: float, fill: float, shift: Point, stretch: float = 1
) -> tuple[list[Part], float]:
    """Parts in pixels of a square of `side`: widened, turned, `fill` of it large, off the middle by `shift`, a share
    (-1..1 in x and y) of the room that is left; and the pixels that one unit of the figure's frame became."""
    matrix = turned(np.diag([stretch, 1.0]), tilt)
    points = np.concatenate([part.outline for part in parts]) @ matrix
    low, high = points.min(axis=0), points.max(axis=0)
    scale = fill * side / float((high - low).max())
    room = (side - (high - low) * scale) / 2
    offset = side / 2 - (low + high) / 2 * scale + room * np.asarray(shift)
    matrix *= scale
    moved = [
        replace(
            part,
            outline=part.outline @ matrix + offset,
            strokes=tuple(stroke @ matrix + offset for stroke in part.strokes),
            width=part.width * scale,
        )
        for part in parts
    ]
    return moved, scale


def surfaces(parts: list[Part]) -> Iterator[list[Part]]:
    """Runs of parts that are one surface: neighbours of one group, otherwise single parts."""
    for group, run in groupby(parts, key=lambda part: part.group):
        members = list(run)
        yield from [members] if group else [[part] for part in members]
