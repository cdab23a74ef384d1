"""Drawn plants and fruit: each function adds one object of its class, of random proportions, to a figure."""

from collections.abc import Callable

from tf_ssgn.data.drawing.figure import (
    PAINTS,
    Figure,
    Paint,
    arc,
    between,
    curve,
    darker,
    ellipse,
    polygon,
    ribbon,
    smooth,
    turned,
)
from tf_ssgn.data.drawing.parts import bumps, leaf


def tree(f: Figure) -> None:
    bark, green = f.paint("brown"), f.paint("green", "lime", "green", "orange")
    width, high = f.u(0.16, 0.24), f.u(0.55, 0.75)
    rx, ry, y = f.u(0.6, 0.75), f.u(0.5, 0.62), -0.45
    trunk = polygon(
        (-0.38 * width, y),
        (0.38 * width, y),
        (0.42 * width, 0.7 * high),
        (0.9 * width, high),
        (-0.9 * width, high),
        (-0.42 * width, 0.7 * high),
    )
    f.add("trunk", trunk, bark)
    for side in (-1, 1):
        f.line("branch", polygon((0, 0.3), (side * 0.3, -0.1)), bark, 0.06)
    f.add("crown", bumps((0, y), rx, ry, f.count(7, 10), f.u(0.14, 0.2), f.u(0, 3)), green)
    for _ in range(f.count(2, 4)):
        x, low = f.u(-0.4, 0.4) * rx, y + f.u(-0.5, 0.5) * ry
        f.line("curl", arc(x, low, 0.12, 0.1, 180, 350), darker(green), 0.03, minor=True)


def flower(f: Figure) -> None:
    petal, green = f.paint("red", "yellow", "pink", "violet", "white", "orange", "sky"), f.paint("green", "lime")
    count, reach, r = f.count(6, 9), f.u(0.36, 0.46), f.u(0.13, 0.18)
    bend, foot = f.u(-0.12, 0.12), f.u(0.95, 1.15)
    stem = curve((0, -0.4), (bend, 0.3), (0, foot))
    f.add("stem", ribbon(stem, 0.06, 0.07), green)
    low = between(stem, 0.72)
    leaf(f, low[0], low[1], f.u(0.42, 0.55), f.u(-45, -25), green)
    leaf(f, low[0], low[1] + 0.06, f.u(0.42, 0.55), f.u(205, 225), green)
    start = f.u(0, 360)
    for index in range(count):
        shape = ellipse(r * 0.5 + reach * 0.55, 0, reach * 0.55, reach * 3.3 / count * 0.52)
        f.add("petal", turned(shape, start + index * 360 / count) + (0, -0.45), petal)
    yellowish = petal[1] > 0.45 and petal[2] < 0.35
    f.add("centre", ellipse(0, -0.45, r, r), f.paint("brown") if yellowish else f.paint("yellow", "brown", "orange"))


def _stalk(f: Figure, y: float, green: Paint) -> None:
    lean = f.u(0.03, 0.14)
    f.add("stem", ribbon(curve((0, y + 0.06), (0.02, y - 0.1), (lean, y - f.u(0.2, 0.3))), 0.05, 0.06), PAINTS["brown"])
    leaf(f, 0.03, y - 0.08, f.u(0.36, 0.48), f.u(-35, -10), green)


def apple(f: Figure) -> None:
    skin, w = f.paint("red", "red", "lime", "yellow", "green"), f.u(0.68, 0.78)
    half = [
        (0, -0.48),
        (0.3 * w, -0.62),
        (0.8 * w, -0.52),
        (w, -0.08),
        (0.85 * w, 0.38),
        (0.45 * w, 0.66),
        (0.15 * w, 0.66),
    ]
    outline = smooth(*half, (0, 0.6), *[(-x, y) for x, y in half[:0:-1]])
    f.add("body", outline, skin)
    _stalk(f, -0.52, f.paint("green", "lime"))
    f.line("dimple", arc(0, -0.6, 0.2, 0.13, 20, 160), darker(skin, 0.55), 0.025, minor=True)


def pear(f: Figure) -> None:
    skin, w = f.paint("lime", "yellow", "green", "tan", "orange"), f.u(0.52, 0.62)
    half = [(0.13, -0.78), (0.22, -0.6), (0.27, -0.25), (0.75 * w, 0.08), (w, 0.42), (0.72 * w, 0.75), (0.2, 0.84)]
    outline = smooth((0, -0.82), *half, (0, 0.82), *[(-x, y) for x, y in half[::-1]])
    f.add("body", outline, skin)
    _stalk(f, -0.8, f.paint("green", "lime"))
    for _ in range(f.count(2, 5)):
        f.add("speck", ellipse(f.u(-0.3, 0.3), f.u(0.15, 0.6), 0.015, 0.015), darker(skin, 0.6), minor=True)


PLANTS: dict[str, Callable[[Figure], None]] = {shape.__name__: shape for shape in (apple, flower, pear, tree)}
