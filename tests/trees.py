"""Small datasets in every published layout, with real image files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cup", "hot-air_balloon", "car_(sedan)")


def picture(seed: int, kind: str = "PNG") -> bytes:
    """A tiny image whose content differs with `seed`."""
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def put(root: Path, paths: Iterable[str], start: int = 0) -> None:
    """Writes each path below `root`, every file with a content of its own."""
    for index, path in enumerate(paths):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(picture(start + index, "JPEG" if target.suffix.lower() != ".png" else "PNG"))


def sketchy(root: Path, suffix: str = "", extended: bool = True, classes: Iterable[str] = CLASSES) -> Path:
    """Sketchy: per class 2 originals, 3 sketches of them, and the extended folder with the originals and 3 more."""
    for number, name in enumerate(classes):
        base = f"256x256/{{}}/tx_000000000000{suffix}/{name}/"
        stems = [f"n0{number}_1", f"n0{number}_2"]
        originals = [base.format("photo") + f"{stem}.jpg" for stem in stems]
        put(root, originals, 100 * number)
        drawings = [f"{stems[0]}-1", f"{stems[0]}-2", f"{stems[1]}-1"]
        put(root, [base.format("sketch") + f"{drawing}.png" for drawing in drawings], 100 * number + 10)
        if extended:
            folder = f"EXTEND_image_sketchy{suffix}/{name}/"
            put(root, [folder + os.path.basename(path) for path in originals], 100 * number)
            put(root, [folder + f"ext_{n}.jpg" for n in range(3)], 100 * number + 20)
    return root


def tuberlin(root: Path, suffix: str = "", classes: Iterable[str] = ("hot air balloon", "mouse (animal)")) -> Path:
    for number, name in enumerate(classes):
        put(root, [f"png{suffix}/{name}/{80 * number + n}.png" for n in range(3)], 100 * number)
        put(root, [f"ImageResized{suffix}/{name}/n0775_{n}.JPEG" for n in range(2)], 100 * number + 50)
    put(root, [f"png{suffix}/stray.png"])  # beside the class folders, as in the published archive
    (root / f"png{suffix}" / "filelist.txt").write_text("hot air balloon/1.png\n")
    return root


def quickdraw(root: Path) -> Path:
    """QuickDraw-Extended, with the spelling of `palm tree` differing between sketches and photos, as it does."""
    for number, (drawn, shown) in enumerate((("bat", "bat"), ("palm_tree", "palm tree"))):
        put(root, [f"sketches/{drawn}/514{n}.png" for n in range(3)], 100 * number)
        put(root, [f"images/{shown}/image_0{n}.jpg" for n in range(2)], 100 * number + 50)
    return root


def plain(root: Path, classes: Iterable[str] = ("ant", "bee"), photos: int = 2, drawings: int = 2) -> Path:
    for number, name in enumerate(classes):
        stems = [f"p{number}{n}" for n in range(photos)]
        put(root, [f"photo/{name}/{stem}.jpg" for stem in stems], 100 * number)
        put(root, [f"sketch/{name}/{stem}-{n}.png" for stem in stems for n in range(drawings)], 100 * number + 50)
    return root
