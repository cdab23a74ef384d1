"""Photo files become bytes that `embed_photo` reads, or are skipped with a reason."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.data.images.picture import as_query
from tf_ssgn.retrieval import photos
from tf_ssgn.retrieval.files import PhotoFile
from tf_ssgn.retrieval.photos import Skipped, read
from tf_ssgn.settings import GALLERY, PHOTO_LIMITS, QUERY_LIMITS


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, channels), np.uint8)
    return Image.fromarray(pixels.squeeze(), mode)


def encoded(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_png_and_jpeg_are_passed_on_untouched(format: str) -> None:
    content = encoded(noise(20, 12), format)
    assert as_query(content) == (20, 12, content)


@pytest.mark.parametrize(
    ("format", "options"),
    [("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
def test_other_formats_become_png_without_loss(format: str, options: dict) -> None:
    image = noise(20, 12)
    width, height, content = as_query(encoded(image, format, **options))
    assert (width, height) == (20, 12) and content.startswith(b"\x89PNG")
    np.testing.assert_array_equal(opened(content), np.asarray(image))


def test_first_frame_of_a_gif_with_transparency() -> None:
    frames = [noise(16, 16, "RGBA"), Image.new("RGBA", (16, 16), "red")]
    frames[0].putpixel((0, 0), (0, 0, 0, 0))
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    first = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))
    np.testing.assert_array_equal(opened(as_query(content)[2]), first)


def test_exif_orientation_is_applied_when_encoding_anew() -> None:
    image = noise(20, 12)
    exif = Image.Exif()
    exif[0x0112] = 6
    width, height, content = as_query(encoded(image, "WEBP", lossless=True, exif=exif))
    assert (width, height) == (12, 20)
    np.testing.assert_array_equal(opened(content), np.rot90(np.asarray(image), -1))
    width, height, content = as_query(encoded(image, "JPEG", exif=exif))
    assert (width, height) == (12, 20), "the noted size is upright where the model turns the image itself, too"


@pytest.mark.parametrize(("size", "format"), [((3000, 2800), "JPEG"), ((9000, 100), "PNG"), ((3000, 2800), "BMP")])
def test_photos_beyond_the_limits_of_a_query_are_scaled(size: tuple[int, int], format: str) -> None:
    width, height, content = as_query(encoded(Image.new("RGB", size, "teal"), format))
    assert (width, height) == size
    scaled = Image.open(io.BytesIO(content))
    assert max(scaled.size) == GALLERY.photo_side and len(content) <= QUERY_LIMITS.bytes
    assert abs(scaled.size[0] / scaled.size[1] - size[0] / size[1]) < 0.1 * size[0] / size[1]


def test_a_lossless_photo_with_too_many_bytes_is_scaled() -> None:
    content = encoded(noise(1800, 1800), "PNG", compress_level=0)
    assert len(content) > QUERY_LIMITS.bytes
    assert len(as_query(content)[2]) <= QUERY_LIMITS.bytes


def huge_png(width: int, height: int) -> bytes:
    """A header that claims any size; nothing may be allocated for it."""
    content = bytearray(encoded(Image.new("RGB", (8, 8)), "PNG"))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", Status.EMPTY),
        (b"hello, I am text", Status.UNKNOWN_FORMAT),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Status.UNKNOWN_FORMAT),
        (huge_png(50_000, 50_000), Status.TOO_LARGE),
        (huge_png(2**31 - 1, 2**31 - 1), Status.TOO_LARGE),
        (encoded(Image.new("RGB", (4, 100)), "PNG"), Status.TOO_SMALL),
        (encoded(noise(64, 64), "WEBP")[:600], Status.CORRUPT),
        (encoded(noise(64, 64), "BMP")[:600], Status.CORRUPT),
    ],
)
def test_bad_content_is_skipped_with_its_reason(content: bytes, status: Status, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(content)
    with pytest.raises(Skipped) as caught:
        read(PhotoFile("photo", str(tmp_path / "photo"), "", 0, 0))
    assert caught.value.reason == MEANING[status] and caught.value.lost


def found(path: Path) -> PhotoFile:
    return PhotoFile("photo/1.png", str(path), "photo", 0, 0)


def test_read_notes_hash_and_size(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    path.write_bytes(encoded(noise(20, 12), "PNG"))
    photo = read(found(path))
    assert (photo.width, photo.height, photo.file.size) == (20, 12, path.stat().st_size)
    assert photo.file.modified == path.stat().st_mtime_ns and len(photo.sha256) == 64


def test_vanished_pipe_and_huge_files_are_skipped(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match="No such file") as gone:
        read(found(tmp_path / "gone.png"))
    assert gone.value.lost
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(Skipped, match="not a regular file"):
        read(found(tmp_path / "pipe.png"))
    with open(tmp_path / "sparse.png", "wb") as handle:
        handle.truncate(PHOTO_LIMITS.bytes + 1)
    with pytest.raises(Skipped, match="more bytes"):
        read(found(tmp_path / "sparse.png"))


def test_a_file_that_keeps_changing_is_skipped_but_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "1.png"
    path.write_bytes(encoded(noise(20, 12), "PNG"))
    fstat, grown = os.fstat, []

    def growing(handle):
        grown.append(path.write_bytes(path.read_bytes() + b"x"))
        return fstat(handle)

    monkeypatch.setattr(photos.os, "fstat", growing)
    with pytest.raises(Skipped, match="changed while") as caught:
        read(found(path))
    assert not caught.value.lost and len(grown) >= 4
