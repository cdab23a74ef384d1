"""Drawn vehicles: each function adds one object of its class, of random proportions, to a figure."""

from collections.abc import Callable

import numpy as np

from tf_ssgn.data.drawing.figure import (
    BLACK,
    CHROMATIC,
    GLASS,
    PAINTS,
    Figure,
    arc,
    box,
    curve,
    darker,
    ellipse,
    joined,
    polygon,
    smooth,
)
from tf_ssgn.data.drawing.parts import door, flag, hull, pole, puffs, ring, wheel, window


def car(f: Figure) -> None:
    paint = f.paint(*CHROMATIC, "white", "grey", "dark")
    half, roof, r = f.u(0.85, 1.0), f.u(0.34, 0.44), f.u(0.18, 0.22)
    front, back = f.u(0.42, 0.52) * half, f.u(-0.62, -0.5) * half
    body = smooth(
        (-half, 0.2), (-0.98 * half, -0.05), (back - 0.12, -0.1), (back + 0.08, -roof), (0.0, -roof - 0.05),
        (front - 0.25, -roof + 0.02), (front + 0.02, -0.1), (0.92 * half, 0.0), (half, 0.2),
        (0.95 * half, 0.28), (-0.95 * half, 0.28),
    )  # fmt: skip
    f.add("body", body, paint)
    glass = darker(GLASS, f.u(0.5, 1))
    middle = (front + back) / 2 - 0.04
    left, right = middle - 0.03, middle + 0.03
    rear = polygon((back + 0.04, -0.1), (back + 0.14, -roof + 0.05), (left, -roof + 0.02), (left, -0.1))
    f.add("window", rear, glass)
    pane = polygon((right, -0.1), (right, -roof + 0.02), (front - 0.27, -roof + 0.07), (front - 0.06, -0.1))
    f.add("window", pane, glass)
    f.line("gap", polygon((middle, -0.08), (middle, 0.24)), darker(paint, 0.5), 0.02, minor=True)
    f.line("knob", polygon((middle - 0.16, 0.0), (middle - 0.06, 0.0)), BLACK, 0.03, minor=True)
    f.add("light", ellipse(0.93 * half, 0.08, 0.06, 0.05), PAINTS["yellow"], minor=True)
    for x in (-0.58 * half, 0.58 * half):
        wheel(f, x, 0.3, r)


def bus(f: Figure) -> None:
    paint = f.paint(*CHROMATIC, "white")
    half, top, r = f.u(1.0, 1.15), -f.u(0.48, 0.58), f.u(0.15, 0.18)
    f.add("body", box(-half, top, half, 0.3), paint)
    f.line("stripe", polygon((-half, 0.08), (half, 0.08)), darker(paint, 0.6), 0.05, minor=True)
    count = f.count(4, 6)
    edges = np.linspace(-half + 0.08, half - 0.42, count + 1)
    for left, right in zip(edges, edges[1:], strict=False):
        window(f, left, top + 0.12, right - 0.06, top + 0.38)
    door(f, half - 0.22, 0.26, 0.24, f.u(0.55, 0.62), darker(GLASS, 0.8))
    for x in (-0.62 * half, 0.42 * half):
        wheel(f, x, 0.31, r)


def truck(f: Figure) -> None:
    paint, load = f.paint(*CHROMATIC, "white"), f.paint("white", "grey", "cream", "sky", "tan")
    r, top, cab = f.u(0.15, 0.19), -f.u(0.62, 0.78), f.u(0.42, 0.52)
    left, right, roof = -f.u(0.9, 1.1), 0.42, -f.u(0.36, 0.46)
    f.add("chassis", box(left + 0.03, 0.2, right + 0.2, 0.3), PAINTS["dark"])
    f.add("box", box(left, top, right, 0.22), load)
    nose = right + 0.05 + cab
    body = polygon(
        (right + 0.05, roof),
        (right + 0.5 * cab, roof),
        (nose - 0.08, -0.08),
        (nose, -0.02),
        (nose, 0.3),
        (right + 0.05, 0.3),
    )
    f.add("cab", body, paint)
    glass = polygon(
        (right + 0.14, roof + 0.07), (right + 0.48 * cab, roof + 0.07), (nose - 0.17, -0.06), (right + 0.14, -0.06)
    )
    f.add("window", glass, darker(GLASS, 0.7))
    f.add("light", ellipse(nose - 0.03, 0.12, 0.04, 0.05), PAINTS["yellow"], minor=True)
    for x in np.linspace(left, right, f.count(3, 5))[1:-1]:
        f.line("seam", polygon((x, top + 0.05), (x, 0.17)), darker(load), 0.02, minor=True)
    for x in (left + 0.22, left + 0.24 + 2 * r, nose - 0.26) if f.chance(0.5) else (left + 0.3, nose - 0.26):
        wheel(f, x, 0.33, r)


def bicycle(f: Figure) -> None:
    paint, r, reach = f.paint(*CHROMATIC, "dark"), f.u(0.36, 0.42), f.u(0.54, 0.62)
    for x in (-reach, reach):
        wheel(f, x, 0.3, r, spokes=f.count(3, 5))
    pedal, saddle, fork = np.array((-0.08, 0.32)), np.array((-0.2, -f.u(0.22, 0.3))), np.array((0.36, -f.u(0.22, 0.3)))
    for a, b in (
        ((-reach, 0.3), pedal), ((-reach, 0.3), saddle), (saddle, pedal), (saddle, fork), (pedal, fork),
        (fork, (reach, 0.3)),
    ):  # fmt: skip
        f.line("frame", np.array([a, b], float), paint, 0.06)
    f.line("frame", np.array([saddle, saddle + (-0.03, -0.12)]), paint, 0.05)
    f.add("saddle", ellipse(saddle[0] - 0.03, saddle[1] - 0.15, 0.17, 0.05), BLACK)
    bar = curve(tuple(fork), tuple(fork + (-0.04, -0.18)), tuple(fork + (0.1, -0.24)), tuple(fork + (0.16, -0.12)))
    f.line("bar", bar, PAINTS["dark"], 0.05)
    ring(f, "crank", pedal[0], pedal[1], 0.1, 0.06, PAINTS["dark"])


def steamship(f: Figure) -> None:
    paint, white = f.paint("red", "blue", "dark", "green", "teal"), f.paint("white", "cream")
    half, depth = f.u(0.9, 1.05), f.u(0.3, 0.38)
    funnel = f.paint("red", "orange", "yellow", "dark")
    count = f.count(1, 3)
    for x in np.linspace(-0.3, 0.22, count) if count > 1 else (-0.1,):
        high = -f.u(0.72, 0.82)
        puffs(f, x + 0.02, high - 0.04, 0.2)
        f.add("funnel", polygon((x - 0.08, high), (x + 0.08, high), (x + 0.1, -0.2), (x - 0.1, -0.2)), funnel)
        upper, lower = high + 0.08, high + 0.18
        band = polygon((x - 0.083, upper), (x + 0.083, upper), (x + 0.088, lower), (x - 0.088, lower))
        f.add("band", band, white, minor=True)
    pole(f, (0.62 * half, 0.1), (0.62 * half, -0.62), 0.04, PAINTS["brown"])
    flag(f, 0.63 * half, -0.62, 0.22, 0.14, f.paint(*CHROMATIC))
    f.add("cabin", box(-0.48 * half, -0.34, 0.42 * half, -0.02), white)
    f.add("cabin", box(-0.68 * half, -0.1, 0.52 * half, 0.12), white)
    for x in np.linspace(-0.36, 0.3, f.count(3, 5)) * half:
        window(f, x - 0.05, -0.27, x + 0.05, -0.16)
    hull(f, -half, half, 0.1, depth, paint)
    for x in np.linspace(-0.55, 0.55, f.count(4, 6)) * half:
        f.add("window", ellipse(x, 0.1 + 0.4 * depth, 0.05, 0.05), darker(GLASS, 0.6))


def sailboat(f: Figure) -> None:
    paint, cloth = f.paint(*CHROMATIC, "brown", "dark"), f.paint("white", "cream", "red", "yellow", "sky", "orange")
    half, depth, top = f.u(0.66, 0.8), f.u(0.22, 0.3), -f.u(0.95, 1.15)
    x = f.u(-0.08, 0.1)
    pole(f, (x, 0.4), (x, top), 0.05, PAINTS["brown"])
    flag(f, x, top - 0.02, -0.2, 0.13, f.paint("red", "blue"))
    low = f.u(0.12, 0.2)
    main = joined(curve((x - 0.05, top + 0.15), (x - 0.25, -0.3), (-half * 0.9, low)), polygon((x - 0.05, low)))
    jib = joined(curve((x + 0.05, top + 0.25), (x + 0.2, -0.2), (half * 0.9, low)), polygon((x + 0.05, low)))
    f.add("sail", main, cloth)
    f.add("sail", jib, cloth if f.chance(0.6) else f.paint("white", "cream", "red", "orange"))
    for share in (0.4, 0.7):
        y = top + 0.15 + share * (low - top - 0.15)
        f.line("seam", polygon((x - 0.06, y), (x - 0.06 - share * 0.5 * half, y)), darker(cloth), 0.02, minor=True)
    hull(f, -half, half, 0.36, depth, paint)
    count = f.count(4, 6)
    swell = np.abs(np.sin(np.linspace(0, count * np.pi, 12 * count)))
    waves = np.stack([np.linspace(-half - 0.25, half + 0.25, 12 * count), 0.36 + depth - 0.05 * swell], axis=1)
    f.line("wave", waves, PAINTS["sky"], 0.04, minor=True)


def balloon(f: Figure) -> None:
    first, second = f.paint("red", "blue", "violet", "orange", "green"), f.paint("yellow", "white", "sky", "cream")
    rx, ry = f.u(0.62, 0.74), f.u(0.62, 0.74)
    y, mouth, drop = -0.3, 0.2, f.u(0.86, 0.96)
    outline = joined(arc(0, y, rx, ry, 155, 385), polygon((mouth, 0.52), (-mouth, 0.52)))
    for side in (-1, 1):
        f.line("rope", polygon((side * mouth * 0.95, 0.52), (side * 0.14, drop)), PAINTS["brown"], 0.025)
    f.add("body", outline, first)
    for wide in (0.66, 0.26):
        strip = joined(arc(0, y, rx * wide, ry, 160, 380), polygon((mouth * wide, 0.52), (-mouth * wide, 0.52)))
        f.add("stripe", strip, second if wide > 0.5 else first)
    basket = polygon((-0.17, drop), (0.17, drop), (0.14, drop + 0.24), (-0.14, drop + 0.24))
    f.add("basket", basket, f.paint("brown", "tan"))
    f.line("weave", polygon((-0.15, drop + 0.1), (0.15, drop + 0.1)), PAINTS["dark"], 0.02, minor=True)


VEHICLES: dict[str, Callable[[Figure], None]] = {
    shape.__name__: shape for shape in (balloon, bicycle, bus, car, sailboat, steamship, truck)
}
