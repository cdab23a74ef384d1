"""Whatever a caller holds as a picture, as the bytes of a PNG or JPEG file."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.data.images.picture import encoded, flattened
from tf_ssgn.errors import UserError
from tf_ssgn.settings import QUERY_LIMITS


class ImageError(UserError):
    """A picture that the service cannot answer; `status` says why."""

    def __init__(self, name: str, status: int):
        self.status = Status(status)
        super().__init__(f"{name}: {MEANING[self.status]} (status {int(self.status)})")


def image_bytes(picture: Any) -> bytes:
    """The bytes of a file (a path, or one that is open for reading bytes), of its content, of a PIL image or a uint8
    array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (RGBA), losslessly as PNG.

    ImageError: more bytes than a picture of a request may have, or a PIL image that does not decode; UserError: no such
    file, or not a picture at all.
    """
    content = _content(picture)
    if len(content) > QUERY_LIMITS.bytes:
        raise ImageError(describe(picture), Status.TOO_LARGE)
    return content


def _content(picture: Any) -> bytes:
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if isinstance(picture, (str, os.PathLike)):
        return _file_bytes(Path(picture))
    if isinstance(picture, np.ndarray):
        return _png(_from_array(picture))
    if hasattr(picture, "save") and hasattr(picture, "mode"):
        try:
            return _png(picture)
        except Exception:  # one that was opened lazily shows its damage only now
            raise ImageError(describe(picture), Status.CORRUPT) from None
    content = picture.read(QUERY_LIMITS.bytes + 1) if hasattr(picture, "read") else None
    if isinstance(content, bytes):
        return content
    raise UserError(
        f"received {type(picture).__name__} as a picture, expected a path, bytes, a file open for reading bytes, a PIL "
        "image or a uint8 array"
    )


def is_picture(value: Any) -> bool:
    """Whether it is one picture, and no list or generator of them."""
    kinds = (bytes, bytearray, memoryview, str, os.PathLike, np.ndarray)
    return isinstance(value, kinds) or hasattr(value, "save") or hasattr(value, "read")


def describe(picture: Any) -> str:
    """How error messages call a picture."""
    return str(picture) if isinstance(picture, (str, os.PathLike)) else f"the picture ({type(picture).__name__})"


def _file_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as handle:
            return handle.read(QUERY_LIMITS.bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot read {path}: {reason}; expected a PNG or JPEG file") from None


def _from_array(array: np.ndarray) -> Any:
    from PIL import Image

    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    flat = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not flat or not array.size:
        raise UserError(
            f"received an array of {array.dtype} {list(array.shape)}, expected uint8 [H, W], [H, W, 3] or [H, W, 4]"
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _png(image: Any) -> bytes:
    return encoded(flattened(image, paper=False), "PNG")
