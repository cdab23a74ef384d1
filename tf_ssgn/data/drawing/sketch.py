"""A line drawing of an object as a person makes it: an unsure hand, gaps, repeated strokes, things left out.

A sketch of an instance shows the geometry of its photo, as far as such a hand allows.
"""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from tf_ssgn.data.drawing.figure import Part, turned
from tf_ssgn.data.drawing.instance import Instance, new_instance, placed, surfaces
from tf_ssgn.data.drawing.noise import FLOAT, noise_field


@dataclass(frozen=True)
class Hand:
    """How somebody draws. Lengths are shares of the picture's side."""

    width: tuple[float, float]
    ink: tuple[int, int]  # grey level, 0 is black
    passes: tuple[int, int] = (1, 1)
    spread: float = 0.0  # how far repeated passes lie apart
    wobble: float = 0.006
    grain: float = 0.0  # how much the paper's grain eats of the line


HANDS = {
    "pen": Hand(width=(0.011, 0.016), ink=(0, 40)),
    "marker": Hand(width=(0.019, 0.026), ink=(0, 15), wobble=0.005),
    "pencil": Hand(width=(0.012, 0.02), ink=(40, 95), passes=(1, 2), spread=0.006, grain=0.55),
    "searching": Hand(width=(0.008, 0.012), ink=(10, 60), passes=(2, 3), spread=0.009),
    "child": Hand(width=(0.013, 0.021), ink=(0, 50), wobble=0.009),
}


def draw_sketch(label: str, rng: np.random.Generator, size: int, instance: Instance | None = None) -> Image.Image:
    """A grey picture [size, size], black lines on white, of a class or of one `instance` of it."""
    instance = instance or new_instance(label, rng)
    hand = list(HANDS.values())[rng.integers(len(HANDS))]
    zoom = 3 if size <= 128 else 2
    side = zoom * size
    missing = rng.uniform(0, 0.45)
    parts = tuple(part for part in instance.parts if not (part.minor and rng.random() < missing))
    tilt = 0.7 * instance.tilt + rng.normal(0, 3)
    shift = (rng.uniform(-0.4, 0.4), rng.uniform(-0.4, 0.4))
    moved, scale = placed(parts, side, tilt, rng.uniform(0.7, 0.88), shift, stretch=rng.uniform(0.92, 1.09))
    proportions = _warp(rng, side, amplitude=0.018 * side, wavelengths=(0.7, 1.5))
    wobble = _warp(rng, side, amplitude=hand.wobble * side, wavelengths=(0.1, 0.35))
    pen = _Pen(Image.new("L", (side, side), 255), rng, hand, side)
    outlined = rng.random() < 0.75  # draws a surface's contour, not each of its parts
    through = rng.random() < 0.06  # does not hide what is behind
    for surface in surfaces(moved):
        members = [_misplaced(part, rng, scale, proportions, wobble, len(surface) == 1) for part in surface]
        if len(members) > 1 and outlined:
            for part in members:
                pen.strokes(part)
            for part in members:
                pen.erase(part)
        else:
            for part in members:
                if not through or part.name in ("wheel", "hub"):
                    pen.erase(part)
                pen.strokes(part)
    picture = pen.image.reduce(zoom)
    if hand.grain:
        grain = np.clip(noise_field(rng, size, (size // 2, size), (0.7, 0.7)), 0, 1) * hand.grain
        picture = Image.fromarray((255 - (255 - np.asarray(picture, FLOAT)) * (1 - grain)).astype(np.uint8))
    return picture


class _Warp:
    """A smooth displacement of the plane: a few sine waves."""

    def __init__(self, wave: np.ndarray, phase: np.ndarray, push: np.ndarray):
        self.wave, self.phase, self.push = wave, phase, push

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return points + np.sin(points @ self.wave + self.phase) @ self.push


def _warp(rng: np.random.Generator, side: int, amplitude: float, wavelengths: tuple[float, float]) -> _Warp:
    count = 6
    angle = rng.uniform(0, 2 * np.pi, count)
    frequency = 2 * np.pi / (rng.uniform(*wavelengths, count) * side)
    wave = np.stack([np.cos(angle), np.sin(angle)]) * frequency
    return _Warp(wave, rng.uniform(0, 2 * np.pi, count), rng.normal(0, amplitude / np.sqrt(count / 2), (count, 2)))


def _misplaced(
    part: Part, rng: np.random.Generator, scale: float, proportions: _Warp, wobble: _Warp, alone: bool
) -> Part:
    """The part as the hand puts it: a bit off its place, size and angle, along a line that wobbles."""
    loose = 1.0 if alone else 0.3
    middle = (part.outline.min(axis=0) + part.outline.max(axis=0)) / 2
    angle, factor = rng.normal(0, 1.5) * loose, 1 + rng.normal(0, 0.025) * loose
    offset = middle + rng.normal(0, 0.008, 2) * scale * loose
    step = 0.04 * scale

    def move(points: np.ndarray, closed: bool) -> np.ndarray:
        fine = _resampled(np.concatenate([points, points[:1]]) if closed else points, step)
        return wobble(proportions(turned((fine - middle) * factor, angle) + offset))

    strokes = tuple(move(stroke, closed=False) for stroke in part.strokes)
    return replace(part, outline=move(part.outline, closed=part.closed), strokes=strokes)


def _resampled(path: np.ndarray, step: float) -> np.ndarray:
    """The same path with points at most `step` apart; corners stay."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.union1d(length, np.arange(0, length[-1], step))
    return np.stack([np.interp(at, length, path[:, 0]), np.interp(at, length, path[:, 1])], axis=1)


class _Pen:
    """Puts the strokes of one hand on paper."""

    def __init__(self, image: Image.Image, rng: np.random.Generator, hand: Hand, side: int):
        self.image, self.rng, self.hand, self.side = image, rng, hand, side
        self.draw = ImageDraw.Draw(image)
        self.width = max(1, round(rng.uniform(*hand.width) * side))
        self.ink = int(rng.integers(hand.ink[0], hand.ink[1] + 1))
        self.passes = int(rng.integers(hand.passes[0], hand.passes[1] + 1))
        self.careless = float(rng.uniform(0, 1))

    def erase(self, part: Part) -> None:
        """Paper white inside the part: what lies behind it is not drawn."""
        if part.closed:
            self.draw.polygon([tuple(point) for point in part.outline.tolist()], fill=255)

    def strokes(self, part: Part) -> None:
        closed = part.closed and not part.strokes
        for path in part.strokes or (part.outline,):
            small = np.ptp(path, axis=0).max() < 0.06 * self.side
            for index in range(1 if small else self.passes):
                drift = self.rng.normal(0, self.hand.spread * self.side * (index > 0), (2, 2))
                line = path + drift[0] + np.linspace(0, 1, len(path))[:, None] * drift[1]
                for piece in [line] if small else self._ends(line, closed):
                    self._line(piece)

    def _ends(self, line: np.ndarray, closed: bool) -> list[np.ndarray]:
        """Where the hand sets on and off: beyond or short of the end, with gaps now and then."""
        rng, count = self.rng, len(line)
        if closed:
            line = np.roll(line[:-1], -int(rng.integers(count - 1)), axis=0)
            extra = int(rng.normal(1.0, 1.0 + 2.0 * self.careless))
            line = np.concatenate([line, line[: max(extra, 0) + 1]]) if extra > -1 else line[:extra]
            pull = rng.normal(0, 0.005 * self.side * self.careless, 2)
            line = line + np.linspace(0, 1, len(line))[:, None] ** 4 * pull
        if len(line) > 24 and rng.random() < 0.3 * self.careless:
            start = int(rng.integers(4, len(line) - 8))
            return [line[:start], line[start + int(rng.integers(2, 5)) :]]
        return [line]

    def _line(self, line: np.ndarray) -> None:
        if len(line) > 1:
            points = [tuple(point) for point in line.tolist()]
            self.draw.line(points, fill=self.ink, width=self.width)
            if self.width > 2:  # round ends and corners
                step = np.diff(line, axis=0)
                cosine = (step[1:] * step[:-1]).sum(axis=1)
                sharp = cosine < 0.85 * np.sqrt((step[1:] ** 2).sum(axis=1) * (step[:-1] ** 2).sum(axis=1))
                half = self.width / 2 - 0.5
                for index in [0, len(points) - 1, *(np.flatnonzero(sharp) + 1)]:
                    x, y = points[index]
                    self.draw.ellipse((x - half, y - half, x + half, y + half), fill=self.ink)
