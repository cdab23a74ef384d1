"""One photo file to bytes that a model's `embed_photo` reads: PNG or JPEG within the limits of a query."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from typing import NamedTuple

from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.retrieval.files import Found
from tf_ssgn.settings import GALLERY, PHOTO_LIMITS, QUERY_LIMITS, Limits

# What the model's own decoder takes as it is; all else goes through Pillow.
_PASSED_ON = ("PNG", "JPEG")
_READ_HERE = (*_PASSED_ON, "WEBP", "BMP", "GIF")
_SWAPS_SIDES = (5, 6, 7, 8)  # EXIF orientations that lie on their side
_ORIENTATION = 0x0112


class Skipped(Exception):
    """A photo that cannot be used. `lost` is False where the file could not be read now but may be fine."""

    def __init__(self, reason: str, lost: bool = True):
        super().__init__(reason)
        self.reason, self.lost = reason, lost


class Photo(NamedTuple):
    """A photo's bytes for the model, and what the gallery notes about the file (sizes in bytes and pixels)."""

    found: Found
    image: bytes
    sha256: str
    width: int
    height: int


def read(found: Found) -> Photo:
    """Reads, hashes and checks one file; raises Skipped, with the reason, and nothing else."""
    content, size, modified = _stable_bytes(found.path)
    width, height, image = as_query(content)
    found = found._replace(size=size, modified=modified)
    return Photo(found, image, hashlib.sha256(content).hexdigest(), width, height)


def _stable_bytes(path: str) -> tuple[bytes, int, int]:
    """The whole content, read while nobody wrote to it: (content, size, time of change)."""
    try:
        for _ in range(2):
            # Without O_NONBLOCK a pipe that took the file's place would wait for a writer for ever.
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as handle:
                before = os.fstat(handle.fileno())
                if not stat.S_ISREG(before.st_mode):
                    raise Skipped("not a regular file")
                if before.st_size > PHOTO_LIMITS.bytes:
                    raise Skipped(MEANING[Status.TOO_LARGE])
                content = handle.read(PHOTO_LIMITS.bytes + 1)
                after = os.fstat(handle.fileno())
            if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) and len(
                content
            ) == after.st_size:
                return content, after.st_size, after.st_mtime_ns
    except OSError as error:
        raise Skipped(error.strerror or str(error), lost=isinstance(error, FileNotFoundError)) from None
    raise Skipped("it changed while it was read", lost=False)


def as_query(content: bytes) -> tuple[int, int, bytes]:
    """(width, height, PNG or JPEG bytes within QUERY_LIMITS) of a photo, upright; raises Skipped.

    PNG and JPEG within the limits are passed on untouched. WebP, BMP and the first frame of GIF become PNG; what is
    larger than a query may be is scaled down first.
    """
    from PIL import Image

    if not content:
        raise Skipped(MEANING[Status.EMPTY])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limits are checked below, before anything is decoded
            with Image.open(io.BytesIO(content), formats=_READ_HERE) as image:
                width, height = image.size
                _check(width, height, PHOTO_LIMITS)
                turned = image.getexif().get(_ORIENTATION) in _SWAPS_SIDES
                # Encoding a PNG or JPEG anew never saves bytes, but a WebP or BMP may be a small PNG.
                as_it_is = image.format in _PASSED_ON
                fits = _fits(width, height, len(content) if as_it_is else 0, QUERY_LIMITS)
                encoded = content if fits and as_it_is else _encode(image, shrink=not fits)
                if len(encoded) > QUERY_LIMITS.bytes:
                    encoded = _encode(image, shrink=True)
    except Skipped:
        raise
    except Image.DecompressionBombError:  # Pillow's own limit, at twice ours or more
        raise Skipped(MEANING[Status.TOO_LARGE]) from None
    except Image.UnidentifiedImageError:
        raise Skipped(MEANING[Status.UNKNOWN_FORMAT]) from None
    except Exception:  # Pillow's decoders raise a dozen types on damaged files
        raise Skipped(MEANING[Status.CORRUPT]) from None
    return (height, width, encoded) if turned else (width, height, encoded)


def _fits(width: int, height: int, size: int, limits: Limits) -> bool:
    return width * height <= limits.pixels and max(width, height) <= limits.side and size <= limits.bytes


def _check(width: int, height: int, limits: Limits) -> None:
    if not _fits(width, height, 0, limits):
        raise Skipped(MEANING[Status.TOO_LARGE])
    if min(width, height) < limits.smallest_side:
        raise Skipped(MEANING[Status.TOO_SMALL])


def _encode(image, shrink: bool) -> bytes:
    """PNG bytes of the first frame, upright, transparency kept; `shrink` bounds the longer side."""
    from PIL import Image, ImageOps

    if shrink:
        side = GALLERY.photo_side
        image.draft("RGB", (2 * side, 2 * side))  # lets the JPEG decoder skip what scaling would throw away
    upright = ImageOps.exif_transpose(image)
    transparent = "transparency" in upright.info or upright.mode in ("RGBA", "LA", "PA", "La", "RGBa")
    upright = upright.convert("RGBA" if transparent else "RGB")
    if shrink:
        upright.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    upright.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
