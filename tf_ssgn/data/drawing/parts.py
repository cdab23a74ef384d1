"""Wheels, legs, wings, handles, ...: the parts that several drawn classes share.

Seen and unseen classes call the same functions, which is what makes learning on one transfer to the other.
"""

import numpy as np

from tf_ssgn.data.drawing.figure import (
    BLACK,
    GLASS,
    PAINTS,
    Figure,
    Paint,
    Part,
    Point,
    arc,
    box,
    curve,
    darker,
    ellipse,
    joined,
    polygon,
    ribbon,
    smooth,
    turned,
)


def wheel(f: Figure, x: float, y: float, radius: float, spokes: int = 0) -> None:
    """A tyre with a hub; with spokes it is see-through, as a bicycle's."""
    tyre = BLACK if not spokes else PAINTS["dark"]
    if spokes:
        for angle in np.linspace(0, np.pi, spokes, endpoint=False) + f.u(0, 1):
            reach = 0.9 * radius * np.array([np.cos(angle), np.sin(angle)])
            f.line("spoke", np.array([(x, y) - reach, (x, y) + reach]), PAINTS["grey"], 0.012, minor=True)
        ring(f, "wheel", x, y, radius, radius * 0.84, tyre)
        return
    f.add("wheel", ellipse(x, y, radius, radius), tyre)
    inner = radius * f.u(0.42, 0.6)
    f.add("hub", ellipse(x, y, inner, inner), f.paint("white", "grey"))


def ring(f: Figure, name: str, x: float, y: float, outer: float, inner: float, paint: Paint, squash: float = 1) -> None:
    edge, hole = arc(x, y, outer, outer * squash), arc(x, y, inner, inner * squash)
    f.parts.append(Part(name, joined(edge, hole[::-1]), paint, strokes=(edge, hole)))


def leg(
    f: Figure, x: float, top: float, foot: float, width: float, paint: Paint, group: str = "", lean: float = 0
) -> None:
    """One leg of an animal or of furniture, narrowing downwards."""
    half, end = width / 2, width * 0.4
    shape = polygon((x - half, top), (x + half, top), (x + lean + end, foot), (x + lean - end, foot))
    f.add("leg", shape, paint, group=group)


def eye(f: Figure, x: float, y: float, radius: float = 0.03) -> None:
    f.add("eye", ellipse(x, y, radius, radius), BLACK)


def handle(f: Figure, x: float, top: float, bottom: float, reach: float, width: float, paint: Paint) -> None:
    """A bow from (x, top) to (x, bottom) standing out by `reach` (negative: to the left)."""
    sag = 0.15 * (bottom - top)
    path = curve(
        (x, top), (x + 0.8 * reach, top - 0.1 * sag), (x + reach, (top + bottom) / 2),
        (x + 0.6 * reach, bottom - 0.2 * sag), (x, bottom),
    )  # fmt: skip
    f.add("handle", ribbon(path, width), paint)


def spout(f: Figure, start: Point, end: Point, wide: float, narrow: float, paint: Paint, bend: float) -> None:
    middle = ((start[0] + end[0]) / 2 + bend, (start[1] + end[1]) / 2 + bend)
    f.add("spout", ribbon(curve(start, middle, end), wide, narrow), paint)


def window(f: Figure, left: float, top: float, right: float, bottom: float, bars: bool = False) -> None:
    f.add("window", box(left, top, right, bottom), darker(GLASS, f.u(0.5, 1.05)))
    if bars:
        x, y = (left + right) / 2, (top + bottom) / 2
        f.line("bar", polygon((x, top), (x, bottom)), PAINTS["white"], 0.025, minor=True)
        f.line("bar", polygon((left, y), (right, y)), PAINTS["white"], 0.025, minor=True)


def door(f: Figure, x: float, bottom: float, width: float, height: float, paint: Paint, arched: bool = False) -> None:
    left, right, top = x - width / 2, x + width / 2, bottom - height
    if arched:
        arch = arc(x, top + width / 2, width / 2, width / 2, 180, 360)
        f.add("door", joined(arch, polygon((right, bottom), (left, bottom))), paint)
    else:
        f.add("door", box(left, top, right, bottom), paint)
        f.add("knob", ellipse(x + width * 0.3, bottom - height * 0.45, 0.02, 0.02), PAINTS["yellow"], minor=True)


def leaf(f: Figure, x: float, y: float, length: float, angle: float, paint: Paint) -> None:
    """A pointed leaf growing from (x, y); 0 degrees is to the right, negative upwards."""
    half = 0.26 * length
    shape = joined(
        curve((0, 0), (0.3 * length, -half), (0.7 * length, -0.7 * half), (length, 0)),
        curve((length, 0), (0.65 * length, 0.8 * half), (0.3 * length, half), (0, 0))[1:-1],
    )
    f.add("leaf", turned(shape, angle) + (x, y), paint)
    vein = turned(polygon((0.05 * length, 0), (0.8 * length, 0)), angle) + (x, y)
    f.line("vein", vein, darker(paint), 0.015, minor=True)


def wing(f: Figure, root: Point, length: float, breadth: float, angle: float, paint: Paint) -> None:
    """A rounded wing from `root`, broadest near its end."""
    shape = smooth(
        (0, 0), (0.35 * length, -0.38 * breadth), (0.8 * length, -0.55 * breadth), (length, -0.1 * breadth),
        (0.85 * length, 0.38 * breadth), (0.4 * length, 0.3 * breadth),
    )  # fmt: skip
    f.add("wing", turned(shape, angle) + root, paint)


def antennae(f: Figure, x: float, y: float, length: float, spread: float, paint: Paint) -> None:
    """Two feelers with knobs, upwards from (x, y)."""
    for side in (-1, 1):
        tip = (x + side * spread, y - length)
        bend = (x + side * spread * 0.35, y - 0.6 * length)
        f.line("antenna", curve((x + side * 0.02, y), bend, tip), paint, 0.025)
        f.add("tip", ellipse(*tip, 0.03, 0.03), paint, minor=True)


def ear(f: Figure, x: float, y: float, width: float, height: float, tilt: float, paint: Paint, group: str = "") -> None:
    """A pointed ear, upwards from (x, y)."""
    shape = polygon((-width / 2, 0.03), (-0.05 * width, -height), (0.1 * width, -height), (width / 2, 0.03))
    f.add("ear", turned(shape, tilt) + (x, y), paint, group=group)


def hull(f: Figure, left: float, right: float, top: float, depth: float, paint: Paint) -> None:
    """The boat's body; the bow, at the right, stands up a little."""
    rise, width = f.u(0.02, 0.1), right - left
    shape = polygon(
        (left, top), (right, top - rise), (right - 0.14 * width, top + depth), (left + 0.13 * width, top + depth)
    )
    f.add("hull", shape, paint)


def pole(f: Figure, bottom: Point, top: Point, width: float, paint: Paint) -> None:
    """A straight rod: mast, shaft, post."""
    f.add("pole", ribbon(np.linspace(bottom, top, 5), width), paint)


def flag(f: Figure, x: float, y: float, length: float, height: float, paint: Paint) -> None:
    wave = 0.2 * height
    shape = polygon(
        (x, y),
        (x + 0.5 * length, y + wave),
        (x + length, y + height / 2),
        (x + 0.5 * length, y + height * 0.9),
        (x, y + height),
    )
    f.add("flag", shape, paint, minor=True)


def puffs(f: Figure, x: float, y: float, size: float) -> None:
    """Smoke or steam: a curl going up."""
    curl = curve((0, 0), (0.5, -0.6), (0.05, -1.2), (0.5, -1.9)) * size + (x, y)
    f.line("smoke", curl, PAINTS["white"], 0.045, minor=True)


def slab(f: Figure, name: str, half: float, y: float, depth: float, slant: float, thick: float, paint: Paint) -> None:
    """A horizontal board seen slightly from above: table top, seat."""
    top = polygon((-half, y), (half, y), (half + slant, y - depth), (-half + slant, y - depth))
    f.add(name, box(-half, y, half, y + thick), darker(paint, 0.8))
    f.add(name, top, paint)


def spots(f: Figure, outline: np.ndarray, count: int, size: float, paint: Paint) -> None:
    """Irregular patches within an outline, kept clear of its edge."""
    centre, shrink = outline.mean(axis=0), 0.72
    taken: list[np.ndarray] = []
    for _ in range(count * 4):
        a, b = outline[f.rng.integers(len(outline), size=2)]
        spot = centre + shrink * (a + (b - a) * f.u(0, 1) - centre)
        if all(np.linalg.norm(spot - other) > 2.1 * size for other in taken):
            taken.append(spot)
            radius = size * f.rng.uniform(0.7, 1.15, 6)
            angle = np.linspace(0, 2 * np.pi, 6, endpoint=False) + f.u(0, 1)
            shape = np.stack([spot[0] + radius * np.cos(angle), spot[1] + radius * np.sin(angle)], axis=1)
            f.add("spot", smooth(*shape), paint, minor=len(taken) % 2 == 0)
        if len(taken) == count:
            return


def bumps(centre: Point, rx: float, ry: float, count: int, depth: float, phase: float) -> np.ndarray:
    """A cloud-like outline: an ellipse whose edge is `count` bulges."""
    angle = np.linspace(0, 2 * np.pi, count * 8, endpoint=False)
    swell = 1 - depth + depth * np.abs(np.sin(count * angle / 2 + phase))
    return np.stack([centre[0] + rx * swell * np.cos(angle), centre[1] + ry * swell * np.sin(angle)], axis=1)


def battlements(left: float, right: float, top: float, bottom: float, teeth: int, height: float) -> np.ndarray:
    """A wall whose upper edge has `teeth` merlons."""
    edges = np.linspace(left, right, 2 * teeth)
    upper: list[Point] = []
    for index, (a, b) in enumerate(zip(edges, edges[1:], strict=False)):
        level = top - height if index % 2 == 0 else top
        upper += [(float(a), level), (float(b), level)]
    return polygon(*upper, (right, bottom), (left, bottom))


def quadruped(
    f: Figure,
    paint: Paint,
    *,
    body: Point,
    legs: float,
    thick: float,
    neck: tuple[float, float, float],
    head: Point,
    tilt: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body, four legs, neck and head of an animal looking to the right.

    `body` and `head` are half axes, `neck` (length, angle above the horizontal, width), angles and `tilt` in degrees.
    Returns the body's outline [N, 2], the neck's path [M, 2] from the shoulder up, the head's centre [2].
    """
    rx, ry = body
    foot, stride = ry + legs, f.u(-0.07, 0.07)
    for x in (-0.5 * rx, 0.78 * rx):
        leg(f, x, 0, foot * f.u(0.93, 0.97), thick, darker(paint), lean=-stride)
    flank = smooth(
        (-rx, -0.1 * ry), (-0.75 * rx, -0.9 * ry), (0, -0.88 * ry), (0.75 * rx, -ry), (rx, -0.1 * ry),
        (0.8 * rx, 0.85 * ry), (0, ry), (-0.8 * rx, 0.85 * ry),
    )  # fmt: skip
    shoulder = np.array([0.72 * rx, -0.45 * ry])
    angle = np.radians(neck[1])
    nape = shoulder + neck[0] * np.array([np.cos(angle), -np.sin(angle)])
    bend = (shoulder + nape) / 2 + (0.04 * neck[0], 0.03 * neck[0])
    path = curve(tuple(shoulder), tuple(bend), tuple(nape))
    f.add("neck", ribbon(path, neck[2] * 1.5, neck[2]), paint, group="animal")
    f.add("body", flank, paint, group="animal")
    for x in (-0.8 * rx, 0.52 * rx):
        leg(f, x, 0, foot, thick, paint, group="animal", lean=stride)
    centre = nape + 0.6 * head[0] * np.array([np.cos(np.radians(tilt)), np.sin(np.radians(tilt))])
    f.add("head", ellipse(centre[0], centre[1], head[0], head[1], tilt), paint, group="animal")
    return flank, path, centre
