"""An SVG drawing to a raster, as a browser shows it: by resvg, after what could reach out of the file is taken away."""

import io
import os
import re
import xml.etree.ElementTree as ElementTree

from PIL import Image, ImageOps

from tf_ssgn.common.names import printable
from tf_ssgn.data.strokes.raster import SUPERSAMPLING, check_raster
from tf_ssgn.errors import UserError
from tf_ssgn.settings import SVG, Raster

# Files and pages from elsewhere, programs, and what takes any time to compute but is no part of a line drawing.
_TAKEN_AWAY = frozenset({"image", "feImage", "foreignObject", "script", "filter"})
_POINTS_AT = re.compile(r"url\(\s*['\"]?#([^'\")]*)")


def render_svg(path: str | os.PathLike[str], raster: Raster) -> Image.Image:
    """The drawing on white, mode L, `[size, size]`, with lines as wide as the file says. Its canvas fills the raster,
    the shorter side centred; where a file names none, its ink fills the raster less its padding. UserError: no such
    file, no SVG, nothing drawn in it, or one that takes too much to draw."""
    check_raster(raster)
    where = printable(os.fspath(path))
    try:
        with open(path, "rb") as handle:
            raw = handle.read(SVG.bytes + 1)
        if len(raw) > SVG.bytes or b"<!entity" in raw.lower():
            raise ValueError("too large, or with entities of its own")
        root = ElementTree.fromstring(raw)
        _take_away(root)
        picture = _drawn(root, raster.size * SUPERSAMPLING)
    except OSError as error:
        raise UserError(f"drawing {where}: {error.strerror or error}; expected a readable .svg file") from None
    except (ValueError, LookupError, ElementTree.ParseError, RecursionError) as error:
        raise UserError(f"drawing {where}: {error}; expected an SVG drawing") from None
    box = ImageOps.invert(picture).getbbox()
    if not box:
        raise UserError(f"drawing {where}: nothing is drawn in it; expected an SVG drawing")
    inner = raster.size
    if not any(root.get(name) for name in ("viewBox", "width", "height")):
        picture, inner = picture.crop(box), raster.size - 2 * raster.padding
    fitted = ImageOps.pad(picture, (inner, inner), Image.Resampling.BOX, 255)
    return ImageOps.expand(fitted, (raster.size - inner) // 2, 255)


def _take_away(root: ElementTree.Element) -> None:
    """Removes what is not to be drawn; ValueError where references would multiply beyond `SVG.elements`."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _kind(child) in _TAKEN_AWAY:
                parent.remove(child)
        if _kind(parent) == "style":
            parent.text = _POINTS_AT.sub("none(", parent.text or "")
    _refuse_multiplied(root)


def _refuse_multiplied(root: ElementTree.Element) -> None:
    """Ten groups of ten `use` of the next are ten thousand million elements, or an endless loop, in a small file."""
    named = {id: element for element in root.iter() if (id := element.get("id"))}
    sizes: dict[ElementTree.Element, int] = {}
    stack, within = [root], set()
    while stack:
        element = stack[-1]
        targets = [named[name] for name in _references(element) if name in named]
        missing = [part for part in [*element, *targets] if part not in sizes]
        within.add(element)
        if any(part in within for part in missing):
            raise ValueError("an element that refers to itself")
        if missing:
            stack.append(missing[0])
            continue
        sizes[element] = 1 + sum(sizes[part] for part in [*element, *targets])
        if sizes[element] > SVG.elements:
            raise ValueError(f"more than {SVG.elements:,} elements, those used several times counted each time")
        within.discard(stack.pop())


def _references(element: ElementTree.Element) -> list[str]:
    names = []
    for attribute, value in element.items():
        if attribute.rsplit("}", 1)[-1] == "href" and value.startswith("#"):
            names.append(value[1:])
        names += _POINTS_AT.findall(value)
    return names


def _kind(element: ElementTree.Element) -> str:
    return str(element.tag).rsplit("}", 1)[-1]


def _drawn(root: ElementTree.Element, side: int) -> Image.Image:
    """Grey picture of the canvas, at most `side` a side."""
    import resvg_py

    try:
        content = resvg_py.svg_to_bytes(
            svg_string=ElementTree.tostring(root, encoding="unicode"),
            background="white",
            skip_system_fonts=True,
            width=side,
            height=side,
            dpi=96,  # of CSS; without it a millimetre is nothing
        )
    except BaseException as error:  # a fault in Rust is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise ValueError(" ".join(str(error).split())) from None
    with Image.open(io.BytesIO(bytes(content))) as picture:
        return picture.convert("L")
