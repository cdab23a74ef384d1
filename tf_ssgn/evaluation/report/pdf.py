"""Charts as PDF files for papers, by svglib and ReportLab (the extra `figures`)."""

from __future__ import annotations

import importlib.util
import io
import os

from tf_ssgn.common import atomic


def available() -> bool:
    return all(importlib.util.find_spec(name) for name in ("svglib", "reportlab"))


def write_pdf(path: str | os.PathLike[str], svg: str) -> None:
    """One page of the drawing's own size, vectors and text kept as such; `svg` as `charts.standalone` gives it.

    ReportLab's built-in fonts know the letters of western Europe; others in a class name show as boxes.
    """
    from reportlab.graphics import renderPDF
    from svglib.svglib import svg2rlg

    drawing = svg2rlg(io.BytesIO(svg.encode("utf-8")))
    with atomic.writing(path) as temporary:
        renderPDF.drawToFile(drawing, str(temporary), autoSize=1)
