"""Drawn animals: each function adds one object of its class, of random proportions, to a figure."""

from collections.abc import Callable

import numpy as np

from tf_ssgn.data.drawing.figure import (
    BLACK,
    PAINTS,
    Figure,
    arc,
    between,
    curve,
    darker,
    ellipse,
    joined,
    polygon,
    ribbon,
    smooth,
    turned,
)
from tf_ssgn.data.drawing.parts import antennae, ear, eye, leg, quadruped, spots, wing


def horse(f: Figure) -> None:
    coat = f.paint("brown", "tan", "grey", "dark", "white")
    hair = darker(coat, 0.45)
    rx, ry, tilt = f.u(0.56, 0.66), f.u(0.24, 0.29), f.u(35, 55)
    f.add("tail", ribbon(curve((-0.95 * rx, -0.5 * ry), (-1.3 * rx, 0), (-1.25 * rx, 0.55)), 0.14, 0.07), hair)
    neck = (f.u(0.5, 0.62), f.u(48, 62), 0.2)
    _, path, head = quadruped(
        f, coat, body=(rx, ry), legs=f.u(0.55, 0.68), thick=0.15, neck=neck, head=(0.25, 0.11), tilt=tilt
    )
    nape = path[-1]
    ear(f, nape[0] + 0.0, nape[1] - 0.06, 0.09, 0.16, 5, coat, group="animal")
    mane = joined(path + (-0.17, -0.02), (path + (-0.05, -0.04))[::-1])
    f.add("mane", mane, hair)
    eye(f, head[0] - 0.04, head[1] - 0.06, 0.025)


def cow(f: Figure) -> None:
    coat = f.paint("white", "cream", "tan", "brown")
    rx, ry = f.u(0.62, 0.72), f.u(0.32, 0.38)
    patch = f.paint("dark", "brown") if min(coat) > 0.45 else f.paint("white", "cream")
    tail = curve((-0.97 * rx, -0.6 * ry), (-1.12 * rx, -0.2 * ry), (-1.1 * rx, 0.9 * ry))
    f.add("tail", ribbon(tail, 0.05, 0.04), coat)
    f.add("tuft", ellipse(-1.1 * rx, 0.98 * ry, 0.05, 0.1), BLACK, minor=True)
    f.add("udder", ellipse(-0.25 * rx, 0.95 * ry, 0.17, 0.13), PAINTS["pink"])
    neck = (f.u(0.22, 0.3), f.u(20, 35), 0.34)
    flank, _, head = quadruped(
        f, coat, body=(rx, ry), legs=f.u(0.34, 0.42), thick=0.17, neck=neck, head=(0.26, 0.17), tilt=f.u(25, 40)
    )
    for side, reach in ((-1, 0.1), (1, 0.14)):
        start = (head[0] - 0.09 + 0.05 * side, head[1] - 0.16)
        path = curve(start, (start[0] + reach * side, start[1] - 0.05), (start[0] + reach * side, start[1] - 0.2))
        f.add("horn", ribbon(path, 0.07, 0.02), PAINTS["cream"])
    f.add("ear", ellipse(head[0] - 0.24, head[1] - 0.08, 0.12, 0.05, 20), coat)
    spots(f, flank, f.count(3, 4), f.u(0.12, 0.15), patch)
    f.add("muzzle", ellipse(head[0] + 0.18, head[1] + 0.12, 0.09, 0.11, 30), PAINTS["pink"])
    eye(f, head[0] - 0.01, head[1] - 0.06)


def giraffe(f: Figure) -> None:
    coat, patch = f.paint("yellow", "tan"), f.paint("brown", "orange")
    patch = darker(patch, 0.8)
    rx, ry = f.u(0.42, 0.5), f.u(0.22, 0.27)
    tail = curve((-0.97 * rx, -0.5 * ry), (-1.25 * rx, 0), (-1.2 * rx, 0.35))
    f.add("tail", ribbon(tail, 0.045, 0.03), coat)
    f.add("tuft", ellipse(-1.2 * rx, 0.38, 0.04, 0.09), BLACK, minor=True)
    neck = (f.u(0.95, 1.2), f.u(60, 76), 0.15)
    flank, path, head = quadruped(
        f, coat, body=(rx, ry), legs=f.u(0.75, 0.95), thick=0.15, neck=neck, head=(0.19, 0.095), tilt=f.u(15, 35)
    )
    nape = path[-1]
    f.add("ear", ellipse(nape[0] - 0.09, nape[1] - 0.04, 0.1, 0.04, 20), coat)
    for x in (-0.02, 0.07):
        f.line("horn", polygon((nape[0] + x, nape[1] - 0.06), (nape[0] + x + 0.01, nape[1] - 0.2)), coat, 0.04)
        f.add("tip", ellipse(nape[0] + x + 0.01, nape[1] - 0.21, 0.03, 0.03), BLACK, minor=True)
    spots(f, flank, f.count(6, 8), f.u(0.07, 0.09), patch)
    for share in (0.25, 0.45, 0.63, 0.8):
        x, y = between(path, share) + f.rng.uniform(-0.02, 0.02, 2)
        f.add("spot", ellipse(x, y, 0.055, 0.065), patch, minor=share == 0.63)
    eye(f, head[0] - 0.03, head[1] - 0.04, 0.022)


def cat(f: Figure) -> None:
    """Sitting, seen from the front."""
    coat = f.paint("orange", "grey", "dark", "cream", "tan")
    wide, tall, r = f.u(0.36, 0.44), f.u(0.75, 0.9), f.u(0.33, 0.39)
    end = (wide + f.u(0.35, 0.5), f.u(-0.1, 0.25))
    f.add("tail", ribbon(curve((0.3 * wide, 0.65), (wide + 0.25, 0.62), (end[0], 0.35), end), 0.14, 0.09), coat)
    body = smooth((0, 0.72 - tall), (0.55 * wide, 0.9 - tall), (wide, 0.4), (0.8 * wide, 0.75), (-0.8 * wide, 0.75),
                  (-wide, 0.4), (-0.55 * wide, 0.9 - tall))  # fmt: skip
    f.add("body", body, coat)
    for side in (-1, 1):
        leg(f, side * 0.13, 0.2, 0.74, 0.19, coat)
        f.add("paw", ellipse(side * 0.14, 0.74, 0.12, 0.07), coat)
    y = 0.62 - tall
    for side in (-1, 1):
        triangle = polygon((0.25 * r, -0.88 * r), (0.98 * r, -1.5 * r), (0.98 * r, -0.3 * r)) * (side, 1) + (0, y)
        f.add("ear", triangle, coat, group="head")
    f.add("head", ellipse(0, y, 1.12 * r, r), coat, group="head")
    for side in (-1, 1):
        f.add("eye", ellipse(side * 0.42 * r, y - 0.12 * r, 0.14 * r, 0.18 * r), f.paint("lime", "yellow"))
        f.add("pupil", ellipse(side * 0.42 * r, y - 0.12 * r, 0.05 * r, 0.15 * r), BLACK, minor=True)
        for slope in (-0.12, 0.06, 0.24):
            hair = polygon((side * 0.4 * r, y + 0.35 * r), (side * 1.6 * r, y + (0.3 + slope * 1.5) * r))
            f.line("whisker", hair, PAINTS["white"] if max(coat) < 0.6 else BLACK, 0.014, minor=slope == 0.06)
    f.add("nose", polygon((-0.12 * r, y + 0.2 * r), (0.12 * r, y + 0.2 * r), (0, y + 0.35 * r)), PAINTS["pink"])
    mouth = curve((-0.3 * r, y + 0.5 * r), (-0.12 * r, y + 0.58 * r), (0, y + 0.38 * r), (0.12 * r, y + 0.58 * r),
                   (0.3 * r, y + 0.5 * r))  # fmt: skip
    f.line("mouth", mouth, BLACK, 0.02, minor=True)


def fish(f: Figure) -> None:
    scales = f.paint("orange", "sky", "blue", "red", "grey", "yellow", "teal")
    fins = darker(scales, f.u(0.65, 0.9))
    rx, ry, spread = f.u(0.6, 0.72), f.u(0.28, 0.4), f.u(0.26, 0.38)
    f.add("tail", polygon((-0.8 * rx, 0), (-rx - 0.35, -spread), (-rx - 0.22, 0), (-rx - 0.35, spread)), fins)
    high = ry + f.u(0.12, 0.24)
    back = smooth((-0.45 * rx, -0.7 * ry), (-0.3 * rx, -high), (0.15 * rx, -high * 0.95), (0.45 * rx, -0.75 * ry))
    f.add("fin", back, fins)
    f.add("fin", polygon((-0.3 * rx, 0.7 * ry), (-0.45 * rx, high), (0.15 * rx, 0.85 * ry)), fins, minor=True)
    body = smooth((-rx, 0), (-0.55 * rx, -0.62 * ry), (0.2 * rx, -ry), (0.8 * rx, -0.55 * ry), (1.03 * rx, 0.03),
                  (0.75 * rx, 0.6 * ry), (0.15 * rx, ry), (-0.55 * rx, 0.62 * ry))  # fmt: skip
    f.add("body", body, scales)
    f.line("gill", arc(0.35 * rx, 0, 0.12, 0.72 * ry, -75, 75), fins, 0.03)
    for row in range(f.count(2, 3)):
        for column in (-0.5, -0.2, 0.1):
            x, y = (column - 0.08 * (row % 2)) * rx, (row - 0.8) * 0.42 * ry
            f.line("scale", arc(x, y, 0.07, 0.09, -80, 80), fins, 0.02, minor=row > 0)
    f.add("fin", polygon((0.25 * rx, 0.1 * ry), (-0.08 * rx, 0.5 * ry), (0.12 * rx, 0.55 * ry)), fins, minor=True)
    f.add("white", ellipse(0.66 * rx, -0.2 * ry, 0.08, 0.08), PAINTS["white"], minor=True)
    eye(f, 0.67 * rx, -0.2 * ry, 0.04)
    f.line("mouth", curve((1.02 * rx, 0.12 * ry), (0.9 * rx, 0.2 * ry), (0.82 * rx, 0.2 * ry)), BLACK, 0.02)


def duck(f: Figure) -> None:
    plumage = f.paint("yellow", "white", "brown", "grey", "tan")
    rx, ry, r = f.u(0.55, 0.65), f.u(0.3, 0.36), f.u(0.19, 0.24)
    x, y = f.u(0.5, 0.58), -ry - f.u(0.26, 0.4)
    for side in (-0.12, 0.14):
        leg(f, side, 0.7 * ry, ry + 0.26, 0.09, PAINTS["orange"])
        foot = polygon((side - 0.05, ry + 0.3), (side + 0.02, ry + 0.22), (side + 0.19, ry + 0.3))
        f.add("foot", foot, PAINTS["orange"])
    beak = smooth((x + 0.6 * r, y - 0.1), (x + r + 0.22, y + 0.02), (x + r + 0.2, y + 0.1), (x + 0.6 * r, y + 0.11))
    f.add("beak", beak, PAINTS["orange"])
    neck = curve((0.5 * rx, -0.2 * ry), (x - 0.02, -0.9 * ry), (x, y))
    f.add("neck", ribbon(neck, 0.36, 0.24), plumage, group="bird")
    body = smooth((-1.3 * rx, -0.75 * ry), (-0.75 * rx, -0.45 * ry), (0.1 * rx, -0.72 * ry), (0.85 * rx, -0.5 * ry),
                  (1.05 * rx, 0.1 * ry), (0.6 * rx, 0.85 * ry), (-0.2 * rx, ry), (-0.9 * rx, 0.5 * ry))  # fmt: skip
    f.add("body", body, plumage, group="bird")
    f.add("head", ellipse(x, y, r * 1.05, r), plumage, group="bird")
    wing(f, (0.35 * rx, -0.1 * ry), f.u(0.65, 0.75), f.u(0.42, 0.52), 170, darker(plumage, f.u(0.7, 0.9)))
    f.line("feather", curve((-0.35, 0.02), (-0.1, 0.1), (0.05, 0.08)), darker(plumage, 0.5), 0.02, minor=True)
    eye(f, x + 0.25 * r, y - 0.2 * r, 0.035)


def dragonfly(f: Figure) -> None:
    paint = f.paint("teal", "green", "blue", "red", "violet")
    veil = f.paint("sky", "white", "cream")
    length, breadth = f.u(0.72, 0.85), f.u(0.2, 0.26)
    for angle, y in ((f.u(8, 16), -0.28), (f.u(-20, -10), -0.42)):
        wing(f, (0, y), length, breadth, angle, veil)
        vein = turned(polygon((0.1, 0), (0.85 * length, -0.02)), angle) + (0, y)
        f.line("vein", vein, darker(veil), 0.015, minor=True)
    f.mirror(0)
    path = curve((0, -0.3), (f.u(-0.03, 0.03), 0.3), (f.u(-0.1, 0.1), f.u(0.85, 1)))
    f.add("tail", ribbon(path, 0.13, 0.07), paint)
    for share in (0.35, 0.5, 0.65, 0.8):
        x, y = between(path, share)
        f.line("segment", polygon((x - 0.05, y), (x + 0.05, y)), darker(paint, 0.5), 0.02, minor=True)
    f.add("thorax", ellipse(0, -0.36, 0.11, 0.19), paint)
    antennae(f, 0, -0.62, f.u(0.16, 0.24), f.u(0.08, 0.14), BLACK)
    f.add("head", ellipse(0, -0.6, 0.1, 0.09), paint)
    for side in (-1, 1):
        f.add("eye", ellipse(side * 0.09, -0.63, 0.065, 0.075), darker(paint, 0.5))


def butterfly(f: Figure) -> None:
    paint = f.paint("orange", "yellow", "sky", "blue", "violet", "pink", "red")
    accent = f.paint("dark", "white", "yellow", "violet")
    upper, lower, broad, dot = f.u(0.82, 0.98), f.u(0.58, 0.72), f.u(0.66, 0.84), f.u(0.08, 0.12)
    for length, breadth, angle, y in ((lower, broad * 0.85, f.u(32, 44), 0.08), (upper, broad, f.u(-44, -34), -0.12)):
        wing(f, (0.03, y), length, breadth, angle, paint)
        f.add("spot", turned(ellipse(0.72 * length, -0.03, dot * length, dot * length), angle) + (0.03, y), accent)
        f.add("spot", turned(ellipse(0.4 * length, -0.02, 0.6 * dot, 0.4 * dot), angle) + (0.03, y), accent, minor=True)
    f.mirror(0)
    antennae(f, 0, -0.45, f.u(0.28, 0.42), f.u(0.16, 0.28), BLACK)
    half, dark = f.u(0.44, 0.54), f.paint("dark")
    f.add("body", ellipse(0, 0.3 * half, 0.06, 0.75 * half), dark)
    f.add("thorax", ellipse(0, -0.45 * half, 0.075, 0.3 * half), dark)
    f.add("head", ellipse(0, -0.85 * half, 0.08, 0.08), dark)


def snail(f: Figure) -> None:
    skin, shell = f.paint("tan", "cream", "grey", "lime"), f.paint("brown", "orange", "tan", "pink", "violet")
    r, x = f.u(0.46, 0.56), f.u(-0.2, -0.1)
    head = (f.u(0.68, 0.78), f.u(-0.05, 0.08))
    for side in (-1, 1):
        tip = (head[0] + 0.08 + side * f.u(0.08, 0.14), head[1] - f.u(0.34, 0.44))
        f.add("antenna", ribbon(curve((head[0] + side * 0.04, head[1]), tip), 0.06, 0.045), skin)
        f.add("eye", ellipse(*tip, 0.05, 0.05), BLACK)
    foot = smooth((-1.0, 0.57), (-0.55, 0.42), (0.2, 0.36), (0.46, 0.12), (head[0] - 0.1, head[1] - 0.14),
                  (head[0] + 0.14, head[1] - 0.06), (head[0] + 0.1, 0.26), (0.6, 0.55), (-0.2, 0.6))  # fmt: skip
    f.add("body", foot, skin)
    mouth = curve((head[0] + 0.12, head[1] + 0.09), (head[0] + 0.05, head[1] + 0.12))
    f.line("mouth", mouth, darker(skin, 0.4), 0.02, minor=True)
    y = 0.46 - r
    f.add("shell", ellipse(x, y, r * 1.05, r), shell)
    turn = np.linspace(0, f.u(2.1, 2.7) * 2 * np.pi, 70) + 0.5
    radius = 0.92 * r * (1 - np.linspace(0, 0.93, 70))
    spiral = np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1)
    f.line("spiral", spiral, darker(shell, 0.5), 0.045)


ANIMALS: dict[str, Callable[[Figure], None]] = {
    shape.__name__: shape for shape in (butterfly, cat, cow, dragonfly, duck, fish, giraffe, horse, snail)
}
