"""Simple SVG drawings to strokes: groups, transforms, lines and paths, as TU-Berlin and drawing programs write them."""

from __future__ import annotations

import math
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from tf_ssgn.common.names import printable
from tf_ssgn.data.strokes.raster import MAX_POINTS, Drawing, check_points
from tf_ssgn.errors import UserError

MAX_FILE_BYTES = 16 * 2**20
CURVE_POINTS = 16  # straight pieces of one Bézier curve: below a tenth of a pixel off at the sizes that are drawn
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_TOKEN = re.compile(rf"[\s,]*(?:([MmZzLlHhVvCcSsQqTt])|({_NUMBER}))")
_TRANSFORM = re.compile(r"(matrix|translate|scale|rotate)\s*\(([^)]*)\)")
_ARGUMENTS = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "Z": 0}
_NOT_DRAWN = ("defs", "clipPath", "mask", "symbol", "pattern", "metadata", "title", "desc", "style")


def read_svg(path: str | os.PathLike[str]) -> Drawing:
    """The strokes of an SVG's `path`, `line`, `polyline` and `polygon` elements, in the units of its viewBox.

    Raises:
        UserError: no such file, not such an SVG, elliptic arcs, nothing drawn.
    """
    where = printable(os.fspath(path))
    try:
        with open(path, "rb") as handle:
            raw = handle.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES or b"<!entity" in raw.lower():
            raise ValueError("too large, or with entities of its own")
        root = ElementTree.fromstring(raw)
        strokes = _strokes(root)
        frame = _frame(root)
    except OSError as error:
        raise UserError(f"drawing {where}: {error.strerror or error}; expected a readable .svg file") from None
    except (ValueError, IndexError, LookupError, ElementTree.ParseError) as error:
        raise UserError(f"drawing {where}: {error}; expected an SVG of lines and paths without arcs") from None
    if not strokes:
        raise UserError(f"drawing {where}: nothing is drawn in it; expected an SVG of lines and paths")
    return Drawing(Path(path).stem, "", tuple(strokes), frame)


def _frame(root: ElementTree.Element) -> tuple[float, float, float, float] | None:
    numbers = [float(text) for text in re.findall(_NUMBER, root.get("viewBox", ""))]
    if len(numbers) != 4 or numbers[2] <= 0 or numbers[3] <= 0:
        return None
    return (numbers[0], numbers[1], numbers[2], numbers[3])


def _strokes(root: ElementTree.Element) -> list[np.ndarray]:
    strokes: list[np.ndarray] = []
    points = 0
    stack = [(root, np.eye(3))]
    while stack:
        element, outer = stack.pop()
        kind = str(element.tag).rsplit("}", 1)[-1]
        if kind in _NOT_DRAWN:
            continue
        matrix = outer @ _matrix(element.get("transform", ""))
        for stroke in _own_strokes(kind, element):
            check_points(stroke)
            points += len(stroke)
            if points > MAX_POINTS:
                raise ValueError(f"more than {MAX_POINTS:,} points")
            strokes.append(stroke @ matrix[:2, :2].T + matrix[:2, 2])
            check_points(strokes[-1])
        stack.extend((child, matrix) for child in reversed(element))
    return strokes


def _own_strokes(kind: str, element: ElementTree.Element) -> list[np.ndarray]:
    if kind == "path":
        return parse_path(element.get("d", ""))
    if kind == "line":
        ends = [float(element.get(name, "0")) for name in ("x1", "y1", "x2", "y2")]
        return [np.array(ends).reshape(2, 2)]
    if kind in ("polyline", "polygon"):
        numbers = [float(text) for text in re.findall(_NUMBER, element.get("points", ""))]
        corners = np.array(numbers[: len(numbers) // 2 * 2]).reshape(-1, 2)
        if not len(corners):
            return []
        return [np.concatenate([corners, corners[:1]]) if kind == "polygon" else corners]
    return []


def _matrix(text: str) -> np.ndarray:
    """The 3x3 matrix of a `transform` attribute; transforms apply from right to left."""
    whole = np.eye(3)
    for name, arguments in _TRANSFORM.findall(text):
        numbers = [float(number) for number in re.findall(_NUMBER, arguments)]
        one = np.eye(3)
        if name == "matrix":
            one[:2] = np.array(numbers).reshape(3, 2).T
        elif name == "translate":
            one[:2, 2] = numbers[0], numbers[1] if len(numbers) > 1 else 0.0
        elif name == "scale":
            one[0, 0], one[1, 1] = numbers[0], numbers[-1]
        else:
            angle = math.radians(numbers[0])
            centre = np.array(numbers[1:3]) if len(numbers) == 3 else np.zeros(2)
            one[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
            one[:2, 2] = centre - one[:2, :2] @ centre
        whole = whole @ one
    return whole


def parse_path(data: str) -> list[np.ndarray]:
    """Strokes float64 `[N, 2]` of a path's `d`: all commands of SVG 1.1 but the elliptic arc; curves as short lines.

    Raises:
        ValueError: an unknown command, or numbers missing.
    """
    strokes: list[list[np.ndarray]] = []
    here = start = control = np.zeros(2)
    previous = command = ""
    tokens = _tokens(data)
    at = 0
    while at < len(tokens):
        if isinstance(tokens[at], str):
            command, at = str(tokens[at]), at + 1
        elif not command or command in "Zz":
            raise ValueError(f"a number where a path command should be, after {previous or 'nothing'!r}")
        kind, relative = command.upper(), command.islower()
        numbers = tokens[at : at + _ARGUMENTS[kind]]
        at += _ARGUMENTS[kind]
        if len(numbers) < _ARGUMENTS[kind] or any(isinstance(number, str) for number in numbers):
            raise ValueError(f"path command {command!r} lacks numbers")
        if not strokes and kind != "M":
            raise ValueError(f"a path starts with {command!r} instead of M")
        if kind in "HV":
            axis = "HV".index(kind)
            end = here.copy()
            end[axis] = float(numbers[0]) + (here[axis] if relative else 0.0)
            points = end[None]
        else:
            points = np.array(numbers, np.float64).reshape(-1, 2) + (here if relative else 0.0)
        if kind == "Z":
            strokes[-1].append(start[None])
            here = start
        elif kind == "M":
            here = start = points[0]
            strokes.append([points])
            command = "l" if relative else "L"  # further pairs of numbers are lines
        else:
            if previous == "Z":  # drawing goes on from the closed path's start
                strokes.append([start[None]])
            if kind in "ST":  # the first control point mirrors the last curve's
                smooth = previous in ("CS" if kind == "S" else "QT") and previous
                points = np.concatenate([(2 * here - control if smooth else here)[None], points])
            strokes[-1].append(_bezier(np.concatenate([here[None], points])) if kind in "CSQT" else points)
            control = points[-2] if kind in "CSQT" else points[-1]
            here = points[-1]
        previous = kind
    return [np.concatenate(parts) for parts in strokes]


def _tokens(data: str) -> list[str | float]:
    tokens: list[str | float] = []
    at = 0
    data = data.rstrip()
    while at < len(data):
        found = _TOKEN.match(data, at)
        if not found:
            raise ValueError(f"path data {data[at : at + 20]!r} is not understood")
        tokens.append(found[1] or float(found[2]))
        at = found.end()
    return tokens


def _bezier(points: np.ndarray) -> np.ndarray:
    """A quadratic or cubic Bézier curve `[3 or 4, 2]` as CURVE_POINTS points after its start (de Casteljau)."""
    t = np.linspace(0, 1, CURVE_POINTS + 1)[1:, None]
    layer = [np.broadcast_to(point, (CURVE_POINTS, 2)) for point in points]
    while len(layer) > 1:
        layer = [(1 - t) * left + t * right for left, right in zip(layer, layer[1:], strict=False)]
    return np.asarray(layer[0])
