"""Any picture file through Pillow: opened within bounds, upright, in 8 bits, on white; no TensorFlow.

What galleries, training, reports, the service and its client see of a file is decided here, or for PNG and JPEG in the
graph by the same rules (`exif`, `decode`). Names of files do not count: the content says what it is.
"""

from __future__ import annotations

import functools
import io
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.data.folders import suffix_of
from tf_ssgn.settings import GALLERY, PHOTO_LIMITS, QUERY_LIMITS, Limits

if TYPE_CHECKING:
    from PIL import Image

QUERY_FORMATS = ("PNG", "JPEG", "MPO")  # MPO: a JPEG that is followed by further ones
FORMATS = (*QUERY_FORMATS, "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF")
_ORIENTATION = 0x0112
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
# What undoes the orientations from 2 on.
_TURNED = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
_XMP = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([0-9])")
PNG_METADATA = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type")
_HEIC = "a HEIC photo, which the extra `heic` reads: pip install 'tf_ssgn[heic]'"


class Unusable(Exception):
    """A picture that cannot be used; `status` and the text say why."""

    def __init__(self, status: Status, text: str = ""):
        super().__init__(text or MEANING[status])
        self.status = status


@functools.cache
def formats() -> tuple[str, ...]:
    """The formats that this installation reads: HEIF with the extra `heic`, AVIF where Pillow was built with it."""
    from PIL import Image, features

    try:
        import pi_heif

        pi_heif.register_heif_opener(thumbnails=False)
    except ImportError:
        pass
    Image.init()
    known = set(Image.OPEN) - (set() if features.check("avif") else {"AVIF"})
    return tuple(name for name in FORMATS if name in known)


@contextmanager
def opened(source: bytes | str | os.PathLike, limits: Limits) -> Iterator[Image.Image]:
    """The picture, its pixels not yet decoded. All that Pillow raises inside becomes `Unusable`."""
    from PIL import Image

    if isinstance(source, bytes) and not source:
        raise Unusable(Status.EMPTY)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limits are checked below, before anything is decoded
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            with Image.open(file, formats=formats()) as image:
                width, height = image.size
                if width * height > limits.pixels or max(width, height) > limits.side:
                    raise Unusable(Status.TOO_LARGE)
                if min(width, height) < limits.smallest_side:
                    raise Unusable(Status.TOO_SMALL)
                yield image
    except Unusable:
        raise
    except Image.DecompressionBombError:  # Pillow's own limit, at twice ours or more
        raise Unusable(Status.TOO_LARGE) from None
    except Image.UnidentifiedImageError:
        head = source[:16] if isinstance(source, bytes) else b""
        if suffix_of(head) and (head[4:8] != b"ftyp" or "HEIF" in formats()):
            raise Unusable(Status.CORRUPT) from None
        raise Unusable(Status.UNKNOWN_FORMAT, _HEIC if suffix_of(head) else "") from None
    except Exception:  # Pillow's decoders raise a dozen types on damaged files
        raise Unusable(Status.CORRUPT) from None


def orientation(image: Image.Image) -> int:
    """1 to 8; 1 where the metadata is silent or malformed. The pixels should be loaded: a PNG's may come before it."""
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # as many types as there are ways to damage a directory
        value = None
    if value is None:  # Pillow knows two of the ways in which XMP says it
        packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
        match = _XMP.search(packet if isinstance(packet, bytes) else str(packet).encode())
        value = int(match[1]) if match else 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def flattened(image: Image.Image, side: int | None = None, paper: bool = True) -> Image.Image:
    """RGB, 8 bits, upright, at most `side` pixels a side; transparency on white, or kept (RGBA) without `paper`."""
    from PIL import Image

    if side:
        image.draft("RGB", (2 * side, 2 * side))  # lets the JPEG decoder skip what scaling would throw away
    image.load()
    turn = orientation(image)
    image = eight_bits(image)
    image = image.convert("LA") if image.mode == "La" else image  # the one mode that Pillow turns into no other
    clear = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa")
    image = image.convert("RGBA" if clear else "RGB")
    if side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    if turn > 1:
        image = image.transpose(Image.Transpose[_TURNED[turn - 2]])
    if not (clear and paper):
        return image
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def eight_bits(image: Image.Image) -> Image.Image:
    """Modes `I;16`, `I` and `F` as `L`, scaled, where Pillow would clip; others as they are.

    16 bits keep their upper half, as libpng has it. Whole numbers span 0 to 255 or to 65,535, fractions 0 to 1, 255 or
    65,535, whatever holds all values; where none does, the darkest value is black and the lightest white. A TIFF may
    have 12 bits in 16, whole numbers beyond Pillow's, and 0 for white.
    """
    import numpy as np
    from PIL import Image

    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    tags = getattr(image, "tag_v2", {})
    depth, unsigned = tags.get(_BITS, (16,))[0], tags.get(_SAMPLE_FORMAT, (1,))[0] == 1
    values = np.asarray(image).astype(np.float64)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    if image.mode.startswith("I;16"):
        grey = values // 2 ** (depth - 8)
    else:
        values += 2**32 * (values < 0) * (image.mode == "I" and depth == 32 and unsigned)
        low, high = float(values.min()), float(values.max())
        white = next((full for full in ((1.0,) if image.mode == "F" else ()) + (255.0, 65535.0) if high <= full), None)
        low, high = (0.0, white) if low >= 0 and white else (low, high)
        grey = (values - low) * (255 / max(high - low, 1e-12))
    grey = np.clip(np.round(grey), 0, 255).astype(np.uint8)
    scaled = Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey)
    key = image.info.get("transparency")
    if isinstance(key, int):  # a grey of 16 bits that stands for nothing
        scaled.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return scaled


def thumbnail(source: bytes | str | os.PathLike, side: int) -> Image.Image | None:
    """The picture in a square of that side, upright, on white; None where it cannot be shown."""
    limits = Limits(PHOTO_LIMITS.bytes, PHOTO_LIMITS.pixels, PHOTO_LIMITS.side, smallest_side=1)
    try:
        with opened(source, limits) as image:
            return flattened(image, side)
    except Unusable:
        return None


def thumbnail_jpeg(source: bytes | str | os.PathLike, side: int) -> bytes | None:
    """`thumbnail` as the bytes of a JPEG."""
    image = thumbnail(source, side)
    return None if image is None else encoded(image, "JPEG", quality=85)


def encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    """The image as the bytes of a file of that format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_query(content: bytes) -> tuple[int, int, bytes]:
    """(width, height, PNG or JPEG bytes within QUERY_LIMITS) of a photo, upright; raises Unusable.

    PNG and JPEG within the limits are passed on untouched: the model turns them upright itself. Other formats (first
    frame) become PNG, and a PNG that lies on its side an upright one. What is larger than a query may be is scaled
    down.
    """
    with opened(content, PHOTO_LIMITS) as image:
        passed = image.format in QUERY_FORMATS
        fits = image.width * image.height <= QUERY_LIMITS.pixels and max(image.size) <= QUERY_LIMITS.side
        if passed:  # encoding it anew never saves bytes, but a WebP or BMP may be a small PNG
            fits = fits and len(content) <= QUERY_LIMITS.bytes
        else:
            image.load()  # Pillow turns a TIFF itself when it loads it
        if image.format == "PNG" and fits and any(mark in content for mark in PNG_METADATA):
            image.load()  # metadata may stand behind the pixels
            passed = orientation(image) == 1
        width, height = image.size
        swapped = orientation(image) >= 5
        file = content if fits and passed else _png(image, shrink=not fits)
        if len(file) > QUERY_LIMITS.bytes:
            file = _png(image, shrink=True)
    return (height, width, file) if swapped else (width, height, file)


def _png(image: Image.Image, shrink: bool) -> bytes:
    return encoded(flattened(image, GALLERY.photo_side if shrink else None, paper=False), "PNG", compress_level=1)
