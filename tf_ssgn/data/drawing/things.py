"""Drawn buildings, furniture and things: each adds one object of its class, of random proportions, to a figure."""

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
    ribbon,
    smooth,
)
from tf_ssgn.data.drawing.parts import battlements, door, flag, handle, leg, pole, puffs, ring, slab, spout, window


def cup(f: Figure) -> None:
    paint = f.paint(*CHROMATIC, "white", "cream", "grey", "dark")
    top, low, high = f.u(0.46, 0.56), f.u(0.3, 0.46), f.u(0.45, 0.6)
    if f.chance(0.5):
        f.add("saucer", ellipse(0, high + 0.02, 0.8, 0.13), darker(paint, 0.9), minor=True)
    handle(f, top * 0.8, -high * 0.6, high * 0.65, f.u(0.4, 0.5), f.u(0.09, 0.13), paint)
    outline = joined(arc(0, -high, top, 0.13, 180, 0), arc(0, high, low, 0.1, 0, 180))
    f.add("body", outline, paint)
    f.add("rim", ellipse(0, -high, top, 0.13), darker(paint, 0.85))
    f.add("drink", ellipse(0, -high + 0.02, top * 0.86, 0.085), f.paint("brown", "tan", "dark"), minor=True)
    if f.chance(0.5):
        for x in (-0.2, 0.1):
            puffs(f, x, -high - 0.14, 0.22)


def teapot(f: Figure) -> None:
    paint = f.paint(*CHROMATIC, "white", "cream", "grey")
    rx, ry = f.u(0.56, 0.66), f.u(0.44, 0.54)
    handle(f, -0.78 * rx, -0.6 * ry, 0.6 * ry, -f.u(0.38, 0.48), f.u(0.09, 0.12), paint)
    spout(f, (0.7 * rx, 0.35 * ry), (rx + f.u(0.32, 0.42), -0.75 * ry), 0.3, 0.12, paint, 0.06)
    f.add("foot", box(-0.5 * rx, 0.85 * ry, 0.5 * rx, ry + 0.09), darker(paint))
    f.add("body", ellipse(0, 0, rx, ry), paint)
    lid = joined(arc(0, -0.84 * ry, 0.6 * rx, 0.24 * ry + 0.06, 180, 360), arc(0, -0.84 * ry, 0.6 * rx, 0.07, 0, 180))
    f.add("lid", lid, darker(paint, 0.88))
    f.add("knob", ellipse(0, -1.08 * ry - 0.12, 0.08, 0.08), darker(paint, 0.8))
    if f.chance(0.5):
        f.line("band", arc(0, -0.05, 0.97 * rx, 0.18, 12, 168), darker(paint, 0.55), 0.05, minor=True)


def watering_can(f: Figure) -> None:
    paint = f.paint("green", "sky", "grey", "red", "yellow", "teal", "blue")
    half, high = f.u(0.42, 0.5), f.u(0.42, 0.52)
    handle(f, -0.9 * half, -0.85 * high, 0.6 * high, -f.u(0.34, 0.44), 0.09, paint)
    end = (half + f.u(0.58, 0.7), -f.u(0.55, 0.7))
    spout(f, (0.8 * half, 0.6 * high), end, 0.18, 0.1, paint, 0.04)
    rose = ellipse(end[0] + 0.03, end[1] - 0.03, 0.07, 0.2, 40)
    f.add("rose", rose, darker(paint, 0.8))
    bow = curve((-0.75 * half, -high), (-0.3 * half, -high - 0.32), (0.45 * half, -high - 0.28), (0.8 * half, -high))
    f.add("handle", ribbon(bow, 0.08), paint)
    outline = joined(arc(0, -high, half * 0.95, 0.08, 180, 0), arc(0, high, half * 1.08, 0.1, 0, 180))
    f.add("body", outline, paint)
    f.add("rim", ellipse(0, -high, half * 0.95, 0.08), darker(paint, 0.6))
    f.line("band", arc(0, 0.35 * high, half * 1.02, 0.09, 5, 175), darker(paint), 0.035, minor=True)


def table(f: Figure) -> None:
    wood = f.paint("brown", "tan", "cream", "dark", "grey")
    half, foot, depth, slant = f.u(0.8, 0.95), f.u(0.7, 0.88), f.u(0.28, 0.38), f.u(0.1, 0.3)
    inset = 0.09
    for x in (-half + slant + inset, half + slant - inset):
        leg(f, x, -depth, foot - depth, 0.1, darker(wood, 0.6))
    for x in (-half + inset, half - inset):
        leg(f, x, 0, foot, 0.12, wood)
    slab(f, "top", half, 0, depth, slant, f.u(0.08, 0.13), wood)


def chair(f: Figure) -> None:
    wood = f.paint("brown", "tan", "cream", "dark", "red", "teal")
    half, foot, depth, slant = f.u(0.4, 0.48), f.u(0.62, 0.75), f.u(0.2, 0.26), f.u(0.08, 0.2)
    top = -f.u(0.85, 1.0)
    for x in (-half + slant, half + slant - 0.1):
        leg(f, x + 0.05, -depth, foot - depth, 0.09, darker(wood, 0.6))
    left, right = -half + slant, half + slant
    if f.chance(0.5):
        for x in np.linspace(left + 0.05, right - 0.05, f.count(4, 6))[1:-1]:
            f.add("slat", box(x - 0.03, top + 0.1, x + 0.03, -depth), darker(wood, 0.85))
    else:
        for y in np.linspace(top + 0.22, -depth - 0.14, f.count(2, 3)):
            f.add("slat", box(left, y - 0.05, right, y + 0.05), darker(wood, 0.85))
    for x in (left + 0.05, right - 0.05):
        f.add("post", box(x - 0.05, top, x + 0.05, -depth + 0.02), wood)
    f.add("rail", box(left - 0.02, top - 0.02, right + 0.02, top + 0.14), wood)
    for x in (-half + 0.05, half - 0.05):
        leg(f, x, 0, foot, 0.1, wood)
    slab(f, "top", half, 0, depth, slant, 0.09, wood)


def lamp(f: Figure) -> None:
    shade, foot = (
        f.paint("yellow", "cream", "orange", "red", "white", "sky"),
        f.paint("brown", "grey", "dark", "blue", "white"),
    )
    top, low, high = f.u(0.24, 0.34), f.u(0.56, 0.68), f.u(0.5, 0.62)
    bottom = f.u(0.78, 0.95)
    pole(f, (0, bottom), (0, -0.3), f.u(0.07, 0.12), foot)
    if f.chance(0.6):
        f.add("vase", ellipse(0, bottom - 0.35, f.u(0.16, 0.24), 0.3), foot)
    base = joined(arc(0, bottom, 0.34, 0.12, 180, 360), polygon((0.34, bottom + 0.06), (-0.34, bottom + 0.06)))
    f.add("base", base, darker(foot))
    y = -0.2
    f.line("chain", polygon((0.3, y), (0.3, y + 0.24)), PAINTS["grey"], 0.02, minor=True)
    f.add("shade", joined(arc(0, y - high, top, 0.06, 180, 360), arc(0, y, low, 0.1, 0, 180)), shade)
    for share in (-0.4, 0.4):
        f.line("fold", polygon((share * top, y - high), (share * low, y + 0.07)), darker(shade), 0.02, minor=True)


def umbrella(f: Figure) -> None:
    first, second = f.paint(*CHROMATIC), f.paint(*CHROMATIC, "white", "dark")
    rx, ry, count, y = f.u(0.82, 0.96), f.u(0.58, 0.72), f.count(3, 5), 0.0
    low = f.u(0.75, 0.9)
    hook = curve((0, -ry), (0, 0.4), (0, low), (0.06, low + 0.13), (0.17, low + 0.13), (0.23, low))
    f.add("pole", ribbon(hook, 0.055), f.paint("brown", "dark", "grey"))
    edge = np.linspace(rx, -rx, count + 1)
    scallops = [arc((a + b) / 2, y, (a - b) / 2, 0.12, 0, -180) for a, b in zip(edge, edge[1:], strict=False)]
    f.add("dome", joined(arc(0, y, rx, ry, 180, 360), *scallops), first)
    striped = f.chance(0.5)
    for index, (a, b) in enumerate(zip(edge, edge[1:], strict=False)):
        if striped and index % 2:
            rib = [curve((x, y), (x * 0.72, y - 0.65 * ry), (0, y - ry)) for x in (a, b)]
            f.add("stripe", joined(rib[0], rib[1][::-1], scallops[index][::-1]), second)
        elif index:
            f.line("rib", curve((a, y), (a * 0.72, y - 0.65 * ry), (0, y - ry)), darker(first, 0.6), 0.022)
    f.line("tip", polygon((0, -ry), (0, -ry - 0.12)), BLACK, 0.05)


def key(f: Figure) -> None:
    metal = f.paint("yellow", "grey", "orange", "tan", "dark")
    r, length, thick = f.u(0.28, 0.36), f.u(0.95, 1.2), f.u(0.1, 0.14)
    start = -0.75
    count, deep = f.count(2, 3), f.u(0.16, 0.24)
    shaft = [(start + r * 0.85, -thick / 2), (start + r + length, -thick / 2), (start + r + length, thick / 2)]
    x = start + r + length
    for _ in range(count):
        drop = deep * f.u(0.75, 1.2)
        shaft += [(x - 0.02, thick / 2 + drop), (x - 0.11, thick / 2 + drop), (x - 0.11, thick / 2)]
        x -= 0.18
        shaft += [(x, thick / 2)]
    f.add("shaft", polygon(*shaft, (start + r * 0.85, thick / 2)), metal)
    f.add("collar", box(start + r * 0.95, -thick * 0.9, start + r * 0.95 + 0.07, thick * 0.9), metal, minor=True)
    ring(f, "ring", start, 0, r, r * f.u(0.45, 0.6), metal, f.u(0.85, 1.15))


def guitar(f: Figure) -> None:
    wood = f.paint("orange", "brown", "tan", "red", "dark", "yellow")
    low, high, waist = f.u(0.46, 0.54), f.u(0.34, 0.4), f.u(0.22, 0.28)
    top, dark = -f.u(0.95, 1.1), f.paint("brown", "dark")
    half = [
        (0.0, -0.18),
        (high * 0.75, -0.15),
        (high, 0.06),
        (waist, 0.3),
        (low * 0.95, 0.5),
        (low, 0.75),
        (low * 0.6, 1.0),
        (0.0, 1.05),
    ]
    f.add("body", smooth(*half, *[(-x, y) for x, y in half[-2:0:-1]]), wood)
    f.add("hole", ellipse(0, 0.3, 0.14, 0.14), BLACK)
    f.add("fretboard", box(-0.065, top, 0.065, 0.2), dark)
    f.add("bridge", box(-0.2, 0.7, 0.2, 0.77), dark)
    for side in (-1, 1):
        for y in (0.06, 0.16, 0.26):
            f.add("peg", ellipse(side * 0.15, top - y, 0.05, 0.03), PAINTS["grey"], minor=y == 0.16)
    f.add("headstock", polygon((-0.07, top + 0.02), (-0.12, top - 0.32), (0.12, top - 0.32), (0.07, top + 0.02)), wood)
    for x in (-0.03, 0.03):
        f.line("string", polygon((x, top), (x, 0.72)), PAINTS["white"], 0.013, minor=x > 0)
    for y in np.linspace(top + 0.1, -0.25, 5):
        f.line("fret", polygon((-0.065, y), (0.065, y)), PAINTS["grey"], 0.015, minor=True)


def house(f: Figure) -> None:
    wall = f.paint("cream", "white", "yellow", "pink", "tan", "sky", "orange")
    half, top, high = f.u(0.62, 0.78), -f.u(0.1, 0.2), f.u(0.45, 0.6)
    x = 0.5 * half
    if f.chance(0.8):
        puffs(f, x, top - high - 0.06, 0.2)
        f.add("chimney", box(x - 0.08, top - high, x + 0.08, top - 0.2), f.paint("red", "brown", "grey"))
    f.add("wall", box(-half, top, half, 0.75), wall)
    eave, overhang = top + 0.02, f.u(0.06, 0.16)
    roof = polygon((-half - overhang, eave), (0, eave - high), (half + overhang, eave))
    f.add("roof", roof, f.paint("red", "brown", "dark", "grey", "orange", "blue"))
    place = f.u(-0.12, 0.12)
    door(f, place, 0.75, 0.26, f.u(0.44, 0.52), f.paint("brown", "red", "green", "blue", "dark"))
    y = f.u(0.08, 0.16)
    window(f, -half + 0.1, y, -half + 0.36, y + 0.26, bars=True)
    window(f, half - 0.36, y, half - 0.1, y + 0.26, bars=True)


def lighthouse(f: Figure) -> None:
    wall, band = f.paint("white", "cream"), f.paint("red", "blue", "dark", "orange")
    low, top, y = f.u(0.32, 0.4), f.u(0.19, 0.24), -0.45
    rock = smooth((-0.75, 1.1), (-0.6, 0.9), (-0.2, 0.92), (0.25, 0.86), (0.65, 0.92), (0.8, 1.1), (0, 1.14))
    f.add("rock", rock, f.paint("grey", "brown"))

    def half(at: float) -> float:
        return top + (low - top) * (at - y) / (0.95 - y)

    f.add("wall", polygon((-top, y), (top, y), (low, 0.95), (-low, 0.95)), wall)
    edges = np.linspace(y, 0.95, 2 * f.count(2, 3) + 2)
    for a, b in zip(edges[1::2], edges[2::2], strict=False):
        f.add("stripe", polygon((-half(a), a), (half(a), a), (half(b), b), (-half(b), b)), band)
    door(f, 0, 0.95, 0.2, 0.3, PAINTS["brown"], arched=True)
    f.add("window", box(-0.06, 0.0, 0.06, 0.14), darker(GLASS, 0.5))
    f.add("lantern", box(-top * 0.75, y - 0.3, top * 0.75, y), PAINTS["yellow"])
    f.line("bar", polygon((0, y - 0.3), (0, y)), BLACK, 0.025, minor=True)
    f.add("gallery", box(-top * 1.35, y - 0.05, top * 1.35, y + 0.04), PAINTS["dark"])
    dome = joined(
        arc(0, y - 0.3, top * 0.95, f.u(0.2, 0.28), 180, 360), polygon((top * 0.95, y - 0.28), (-top * 0.95, y - 0.28))
    )
    f.add("roof", dome, band)


def castle(f: Figure) -> None:
    wall = f.paint("grey", "tan", "cream", "pink", "brown")
    half, side, high = f.u(0.5, 0.6), f.u(0.2, 0.26), f.u(0.62, 0.8)
    f.add("wall", battlements(-half, half, -0.15, 0.75, f.count(3, 5), 0.13), wall)
    pointed = f.chance(0.5)
    for sign in (-1, 1):
        x = sign * (half + side * 0.4)
        if not pointed:
            f.line("staff", polygon((x, -high - 0.1), (x, -high - 0.45)), PAINTS["brown"], 0.03)
            flag(f, x, -high - 0.45, 0.26, 0.17, f.paint("red", "blue", "yellow", "green"))
        tower = (
            box(x - side, -high, x + side, 0.75) if pointed else battlements(x - side, x + side, -high, 0.75, 3, 0.12)
        )
        f.add("wall", tower, darker(wall, 0.92))
        if pointed:
            roof = polygon((x - side * 1.25, -high), (x, -high - 0.5), (x + side * 1.25, -high))
            f.add("roof", roof, f.paint("red", "blue", "violet", "dark"))
        window(f, x - 0.06, -high + 0.2, x + 0.06, -high + 0.42)
    door(f, 0, 0.75, f.u(0.32, 0.4), f.u(0.45, 0.55), PAINTS["brown"], arched=True)
    for x, y in ((-0.25, 0.05), (0.28, 0.12), (-0.3, 0.5), (0.33, 0.55)):
        f.line("brick", polygon((x - 0.08, y), (x + 0.08, y)), darker(wall, 0.65), 0.02, minor=True)


THINGS: dict[str, Callable[[Figure], None]] = {
    shape.__name__: shape
    for shape in (castle, chair, cup, guitar, house, key, lamp, lighthouse, table, teapot, umbrella, watering_can)
}
