"""A figure, the parts it lists, and the outlines that parts are made of.

All coordinates are float [N, 2] with x to the right and y down, in a frame of about -1..1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

Paint = tuple[float, float, float]
Point = tuple[float, float]

PAINTS: dict[str, Paint] = {
    "red": (0.80, 0.17, 0.15),
    "orange": (0.90, 0.52, 0.16),
    "yellow": (0.93, 0.80, 0.25),
    "lime": (0.62, 0.75, 0.22),
    "green": (0.22, 0.55, 0.24),
    "teal": (0.15, 0.55, 0.55),
    "sky": (0.45, 0.70, 0.88),
    "blue": (0.18, 0.35, 0.72),
    "violet": (0.48, 0.30, 0.65),
    "pink": (0.90, 0.55, 0.65),
    "brown": (0.48, 0.30, 0.17),
    "tan": (0.80, 0.64, 0.42),
    "cream": (0.94, 0.89, 0.76),
    "white": (0.93, 0.93, 0.92),
    "grey": (0.55, 0.56, 0.58),
    "dark": (0.22, 0.21, 0.23),
}
CHROMATIC = ("red", "orange", "yellow", "lime", "green", "teal", "sky", "blue", "violet", "pink")
GLASS: Paint = (0.62, 0.78, 0.86)
BLACK: Paint = (0.08, 0.08, 0.09)


@dataclass(frozen=True)
class Part:
    """One piece of a figure.

    The class attributes are stated in its `name`s. The outline float [N, 2] is filled if `closed`, else a line of
    thickness `width`; neighbours of one `group` are one surface, without a line between them. A hurried sketcher may
    leave out a `minor` one, and draws `strokes` where these are not simply the outline (a ring has two).
    """

    name: str
    outline: np.ndarray
    paint: Paint
    closed: bool = True
    group: str = ""
    minor: bool = False
    width: float = 0.03
    strokes: tuple[np.ndarray, ...] = ()


@dataclass
class Figure:
    """Parts from back to front, and the dice that chose their proportions."""

    rng: np.random.Generator
    parts: list[Part] = field(default_factory=list)

    def u(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def count(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def paint(self, *names: str) -> Paint:
        """One of the named colours, a little lighter, darker or tinted."""
        red, green, blue = PAINTS[names[int(self.rng.integers(len(names)))]]
        light = self.u(0.82, 1.15)
        tint = self.rng.uniform(-0.05, 0.05, 3)
        return clip(red * light + tint[0]), clip(green * light + tint[1]), clip(blue * light + tint[2])

    def add(self, name: str, outline: np.ndarray, paint: Paint, group: str = "", minor: bool = False) -> None:
        self.parts.append(Part(name, outline, paint, group=group, minor=minor))

    def mirror(self, since: int) -> None:
        """Adds the mirror images, across x = 0, of all parts but the first `since`."""
        for part in self.parts[since:]:
            strokes = tuple(mirrored(stroke) for stroke in part.strokes)
            self.parts.append(replace(part, outline=mirrored(part.outline), strokes=strokes))

    def line(self, name: str, path: np.ndarray, paint: Paint, width: float = 0.03, minor: bool = False) -> None:
        self.parts.append(Part(name, path, paint, closed=False, minor=minor, width=width))


def clip(value: float) -> float:
    return min(max(float(value), 0.02), 0.98)


def darker(paint: Paint, factor: float = 0.72) -> Paint:
    return clip(paint[0] * factor), clip(paint[1] * factor), clip(paint[2] * factor)


# Outlines.


def polygon(*points: Point) -> np.ndarray:
    return np.array(points, float)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def arc(x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 360, tilt: float = 0) -> np.ndarray:
    """Part of an ellipse; degrees, clockwise on the screen from the right."""
    angle = np.radians(np.linspace(start, stop, 33))
    return turned(np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1), tilt, (x, y))


def ellipse(x: float, y: float, rx: float, ry: float, tilt: float = 0) -> np.ndarray:
    return arc(x, y, rx, ry, 0, 360, tilt)[:-1]


def turned(points: np.ndarray, degrees: float, centre: Point = (0, 0)) -> np.ndarray:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (points - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre


def mirrored(points: np.ndarray) -> np.ndarray:
    return points * (-1.0, 1.0)


def smooth(*points: Point, closed: bool = True) -> np.ndarray:
    """A Catmull-Rom curve through the points."""
    knots = np.array(points, float)
    if closed:
        knots = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        knots = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0, 1, 8, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False):
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    curve = np.concatenate(pieces)
    return curve if closed else np.concatenate([curve, knots[-2:-1]])


def curve(*points: Point) -> np.ndarray:
    """`smooth`, with two ends."""
    return smooth(*points, closed=False)


def joined(*paths: np.ndarray) -> np.ndarray:
    return np.concatenate(paths)


def ribbon(path: np.ndarray, start: float, stop: float | None = None) -> np.ndarray:
    """The outline of a band along `path` whose width goes from `start` to `stop`."""
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    normal = along[:, ::-1] * (-1, 1)
    half = np.linspace(start, start if stop is None else stop, len(path))[:, None] / 2
    return np.concatenate([path + normal * half, (path - normal * half)[::-1]])


def between(points: Sequence[Point] | np.ndarray, share: float) -> np.ndarray:
    """The point at `share` 0..1 of a path."""
    path = np.asarray(points, float)
    return path[int(round(share * (len(path) - 1)))]
