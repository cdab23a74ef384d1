"""Images that an image service must survive, made in memory: every class of bad payload, with the status it gets.

The statuses are those of a request (PNG and JPEG, `QUERY_LIMITS`). Where a decoder may reasonably see an image or
damage, both are listed.
"""

from __future__ import annotations

import base64
import functools
import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

from tf_ssgn.common.status import Status

OK, EMPTY, UNKNOWN, CORRUPT = Status.OK, Status.EMPTY, Status.UNKNOWN_FORMAT, Status.CORRUPT
TOO_LARGE, TOO_SMALL, BLANK = Status.TOO_LARGE, Status.TOO_SMALL, Status.BLANK


class Payload(NamedTuple):
    """`data` is sent as an image; the row's status must be one of `statuses`."""

    name: str
    data: bytes
    statuses: tuple[Status, ...]


def drawing(size: tuple[int, int] = (96, 80), mode: str = "RGB") -> Image.Image:
    """A few black strokes on white."""
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    width, height = size
    pen.ellipse((width * 0.2, height * 0.2, width * 0.7, height * 0.8), outline="black", width=2)
    pen.line((width * 0.1, height * 0.9, width * 0.8, height * 0.1), fill="black", width=2)
    return image.convert(mode)


def photo(size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Smooth colours, different in every corner, so that each orientation looks different."""
    corners = Image.new("RGB", (2, 2))
    corners.putdata([(250, 40, 30), (20, 200, 60), (30, 60, 220), (240, 230, 120)])
    image = corners.resize(size, Image.Resampling.BILINEAR)
    ImageDraw.Draw(image).rectangle((size[0] // 8, size[1] // 6, size[0] // 3, size[1] // 4), fill=(10, 10, 10))
    return image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(
    width: int, height: int, pixels: bytes, *, bits: int = 8, colour: int = 0, interlaced: int = 0, extra: bytes = b""
) -> bytes:
    """A PNG from raw scan lines (each with its filter byte); `extra` chunks stand before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    data = png_chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra + data + png_chunk(b"IEND", b"")


def png_with(data: bytes, chunks: bytes) -> bytes:
    """A PNG file with further chunks behind its header."""
    return data[:33] + chunks + data[33:]


def jpeg_with(data: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG file with further (marker, content) segments at its start."""
    return data[:2] + b"".join(struct.pack(">BBH", 255, m, 2 + len(c)) + c for m, c in segments) + data[2:]


def exif_segment(orientation: int, motorola: bool, padding: int = 0) -> tuple[int, bytes]:
    """APP1 with one or more directory entries, the orientation last; both byte orders exist in the wild."""
    order = ">" if motorola else "<"
    entries = [struct.pack(order + "HHII", 0x0100 + at, 4, 1, 77) for at in range(padding)]
    entries.append(struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0))
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + struct.pack(order + "I", 0)
    head = (b"MM\0\x2a" if motorola else b"II\x2a\0") + struct.pack(order + "I", 8)
    return 0xE1, b"Exif\0\0" + head + directory


def jpeg_with_scans(count: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """A progressive JPEG whose last refinement scan is repeated: each one makes a decoder visit all pixels again."""
    data = encoded(photo(size), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + b"\xff\xd9"


def text_bomb(count: int, each: int = 1_000_000) -> bytes:
    """A small PNG with compressed texts that inflate to `each` bytes."""
    text = png_chunk(b"zTXt", b"key\0\0" + zlib.compress(b"a" * each, 9))
    return png_with(encoded(drawing(), "PNG"), text * count)


def webp_header(width: int, height: int) -> bytes:
    """A lossless WebP of which only the header is there."""
    packed = struct.pack("<I", (width - 1) | (height - 1) << 14)
    return b"RIFF\x20\0\0\0WEBPVP8L\x14\0\0\0\x2f" + packed + bytes(15)


def nothing_and_magic() -> Iterator[Payload]:
    """Class 1."""
    yield Payload("empty", b"", (EMPTY,))
    yield Payload("one byte", b"\x89", (UNKNOWN,))
    yield Payload("zero byte", b"\0", (UNKNOWN,))
    yield Payload("only PNG magic", b"\x89PNG", (CORRUPT,))
    yield Payload("only PNG signature", b"\x89PNG\r\n\x1a\n", (CORRUPT,))
    yield Payload("only GIF magic", b"GIF89a", (UNKNOWN,))
    yield Payload("only JPEG magic", b"\xff\xd8\xff", (CORRUPT,))
    yield Payload("JPEG start and end", b"\xff\xd8\xff\xd9", (CORRUPT,))


def other_content() -> Iterator[Payload]:
    """Class 2."""
    file = encoded(drawing(), "PNG")
    yield Payload("text", b"a drawing of a giraffe", (UNKNOWN,))
    yield Payload("text that is not UTF-8", b"\xe9l\xe9phant \xff\xfe", (UNKNOWN,))
    yield Payload("HTML", b"<!doctype html><html><body>404</body></html>", (UNKNOWN,))
    yield Payload("JSON", b'{"image": "giraffe.png"}', (UNKNOWN,))
    yield Payload("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0L9 9"/></svg>', (UNKNOWN,))
    yield Payload("PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", (UNKNOWN,))
    yield Payload("base64", base64.b64encode(file), (UNKNOWN,))
    yield Payload("data URL", b"data:image/png;base64," + base64.b64encode(file), (UNKNOWN,))
    yield Payload("path", b"/etc/passwd", (UNKNOWN,))
    yield Payload("random bytes", random.Random(1).randbytes(2000), (UNKNOWN,))


def damaged() -> Iterator[Payload]:
    """Class 3."""
    files = {
        "PNG": encoded(drawing(), "PNG"),
        "JPEG": encoded(photo(), "JPEG"),
        "progressive JPEG": encoded(photo(), "JPEG", progressive=True),
    }
    for name, data in files.items():
        for percent in range(10, 100, 10):
            yield Payload(f"{name} cut at {percent} %", data[: len(data) * percent // 100], (CORRUPT,))
        yield Payload(f"{name} without its last byte", data[:-1], (CORRUPT,))
        yield Payload(f"{name} with trailing garbage", data + b"garbage" * 50, (OK,))
        yield Payload(f"{name} twice", data + data, (OK,))
    file = files["PNG"]
    for name, at in {"header": 30, "pixel": file.index(b"IDAT") + 20, "end": len(file) - 1}.items():
        broken = bytearray(file)
        broken[at] ^= 1
        yield Payload(f"PNG with a wrong {name} checksum", bytes(broken), (CORRUPT,))
    yield Payload("PNG sent as text", file.replace(b"\r\n", b"\n"), (CORRUPT,))
    yield Payload("PNG without pixels", file[:33] + png_chunk(b"IEND", b""), (CORRUPT,))
    yield Payload("JPEG filled with zeros", files["JPEG"][:300] + bytes(3000), (OK, CORRUPT))


def bombs() -> Iterator[Payload]:
    """Class 4: little data that asks for much memory or time."""
    line = b"\0" + bytes(1250)
    yield Payload("12 KB of 100 Mpx", png(10_000, 10_000, line * 10_000, bits=1), (TOO_LARGE,))
    yield Payload("interlaced 100 Mpx", png(10_000, 10_000, line * 10_000, bits=1, interlaced=1), (TOO_LARGE,))
    yield Payload("huge IHDR", png(2**31 - 1, 2**31 - 1, b"\0" * 100), (TOO_LARGE,))
    yield Payload("IHDR beyond the standard", png(2**32 - 1, 2**32 - 1, b"\0" * 100), (TOO_LARGE,))
    yield Payload("9 MiB", encoded(drawing(), "PNG") + bytes(9 * 2**20), (TOO_LARGE,))
    yield Payload("long and thin", png(8193, 8, bytes(8194 * 8)), (TOO_LARGE,))
    yield Payload("interlaced", encoded(drawing(), "PNG", interlace=1), (OK,))
    yield Payload("PNG texts that inflate", text_bomb(20), (OK,))
    claims = b"".join(struct.pack(">I", 2**31 - 1) + name for name in (b"zTXt", b"iTXt", b"sPLT"))
    yield Payload("PNG chunks that claim 2 GB", png_with(encoded(drawing(), "PNG"), claims), (CORRUPT,))
    one = png_chunk(b"IDAT", b"")
    yield Payload("PNG of 100,000 empty chunks", png_with(encoded(drawing(), "PNG"), one * 100_000), (CORRUPT,))
    yield Payload("one long PNG text", text_bomb(1), (OK,))
    yield Payload("JPEG with 1000 scans", jpeg_with_scans(1000), (TOO_LARGE,))
    frames = [drawing().rotate(angle, fillcolor="white") for angle in range(0, 360, 30)]
    yield Payload("APNG", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]), (OK,))
    yield Payload("GIF of many frames", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), (UNKNOWN,))
    yield Payload("giant GIF", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";", (UNKNOWN,))
    jpeg = encoded(photo(), "JPEG")
    profile = b"ICC_PROFILE\0" + random.Random(2).randbytes(65_000)
    yield Payload("2 MB of ICC profile", jpeg_with(jpeg, *[(0xE2, profile)] * 32), (OK,))
    yield Payload("huge EXIF", jpeg_with(jpeg, (0xE1, b"Exif\0\0" + random.Random(3).randbytes(65_000))), (OK,))
    yield Payload(
        "2 MB of PNG text", png_with(encoded(drawing(), "PNG"), png_chunk(b"tEXt", b"k\0" + b"a" * 2**21)), (OK,)
    )
    colours = zlib.compress(bytes(2_000_000), 9)
    yield Payload(
        "PNG profile that inflates",
        png_with(encoded(drawing(), "PNG"), png_chunk(b"iCCP", b"p\0\0" + colours)),
        (OK, CORRUPT),
    )


def extreme_sides() -> Iterator[Payload]:
    """Class 5."""
    for width, height in ((1, 1), (1, 100), (100, 1), (7, 100), (100, 7)):
        yield Payload(f"{width}x{height} PNG", encoded(drawing((width, height)), "PNG"), (TOO_SMALL,))
        yield Payload(f"{width}x{height} JPEG", encoded(drawing((width, height)), "JPEG"), (TOO_SMALL,))
    yield Payload("8x8", encoded(photo((8, 8)), "PNG"), (OK,))
    yield Payload("8192x8", encoded(photo((8192, 8)), "PNG"), (OK,))
    yield Payload("8x8192", encoded(photo((8, 8192)), "PNG"), (OK,))
    yield Payload("width 0", png(0, 10, b"\0" * 10), (CORRUPT,))
    yield Payload("height 0", png(10, 0, b""), (CORRUPT,))
    wide = bytearray(encoded(photo(), "JPEG"))
    frame = wide.index(b"\xff\xc0") + 5
    wide[frame : frame + 4] = struct.pack(">HH", 65500, 65500)
    yield Payload("65500x65500 JPEG", bytes(wide), (TOO_LARGE,))
    wide[frame : frame + 4] = bytes(4)
    yield Payload("0x0 JPEG", bytes(wide), (CORRUPT,))


def colour_kinds() -> Iterator[Payload]:
    """Class 6."""
    for mode in ("1", "L", "P", "LA", "RGB", "RGBA"):
        yield Payload(f"PNG in mode {mode}", encoded(drawing(mode=mode), "PNG"), (OK,))
    for bits in (1, 2, 4):
        yield Payload(f"{bits}-bit palette", encoded(drawing(mode="L").quantize(2**bits), "PNG", bits=bits), (OK,))
    deep = b"".join(b"\0" + struct.pack(">64H", *range(0, 65536, 1024)) for _ in range(16))
    yield Payload("16-bit grey PNG", png(64, 16, deep, bits=16), (OK,))
    yield Payload("16-bit colour and alpha PNG", png(16, 16, deep, bits=16, colour=6), (OK,))
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    yield Payload("fully transparent PNG", encoded(clear, "PNG"), (BLANK,))
    inked = drawing((64, 64), "L")
    clear.putalpha(inked.point(lambda value: 255 - value))
    yield Payload("black ink on transparent", encoded(clear, "PNG"), (OK,))
    yield Payload("transparent colour", encoded(photo(), "PNG", transparency=(10, 10, 10)), (OK,))
    for mode in ("L", "CMYK"):
        yield Payload(f"JPEG in mode {mode}", encoded(photo().convert(mode), "JPEG"), (OK,))
    yield Payload("progressive JPEG", encoded(photo(), "JPEG", progressive=True), (OK,))
    yield Payload("JPEG without chroma subsampling", encoded(photo(), "JPEG", subsampling=0), (OK,))
    jpeg = encoded(photo(), "JPEG")
    for value in (0, 6, 9, 65535):
        yield Payload(f"EXIF orientation {value}", jpeg_with(jpeg, exif_segment(value, motorola=True)), (OK,))
    yield Payload("EXIF that is cut", jpeg_with(jpeg, (0xE1, b"Exif\0\0MM")), (OK,))
    yield Payload("EXIF that points outside", jpeg_with(jpeg, (0xE1, b"Exif\0\0II\x2a\0\xff\xff\xff\xff")), (OK,))
    yield Payload("wide-gamut profile", jpeg_with(jpeg, (0xE2, b"ICC_PROFILE\0\1\1" + bytes(500))), (OK,))


def other_formats() -> Iterator[Payload]:
    """Class 7: the name of a file is not sent, so a JPEG named .png is a JPEG."""
    yield Payload("TIFF", encoded(drawing(), "TIFF"), (UNKNOWN,))
    yield Payload("AVIF", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(500), (UNKNOWN,))
    yield Payload("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500), (UNKNOWN,))
    yield Payload("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), (UNKNOWN,))
    yield Payload("ICO", encoded(drawing((32, 32)), "ICO"), (UNKNOWN,))
    for kind in ("GIF", "BMP", "WEBP"):
        yield Payload(kind, encoded(drawing(), kind), (UNKNOWN,))
    yield Payload("GIF behind a PNG signature", b"\x89PNG\r\n\x1a\n" + encoded(drawing(), "GIF"), (CORRUPT,))


def drawings() -> Iterator[Payload]:
    """Class 8."""
    for colour in ("white", "black", "red"):
        blank = Image.new("RGB", (256, 256), colour)
        yield Payload(f"{colour} canvas", encoded(blank, "PNG"), (BLANK,))
        yield Payload(f"{colour} canvas as JPEG", encoded(blank, "JPEG"), (BLANK,))
    dot = Image.new("RGB", (256, 256), "white")
    dot.putpixel((100, 37), (0, 0, 0))
    yield Payload("single dot", encoded(dot, "PNG"), (OK,))
    faint = Image.new("RGB", (256, 256), "white")
    faint.paste((250, 250, 250), (10, 10, 200, 200))
    yield Payload("invisible ink", encoded(faint, "PNG"), (BLANK,))
    yield Payload("inverted", encoded(drawing().point(lambda value: 255 - value), "PNG"), (OK,))
    yield Payload("photo", encoded(photo(), "JPEG"), (OK,))
    thick = Image.new("RGB", (256, 256), "white")
    ImageDraw.Draw(thick).line((0, 0, 255, 255), fill="black", width=150)
    yield Payload("very thick strokes", encoded(thick, "PNG"), (OK,))
    thin = Image.new("L", (2000, 2000), 255)
    ImageDraw.Draw(thin).line((0, 700, 1999, 900), fill=200)
    yield Payload("hair-thin grey stroke", encoded(thin, "PNG"), (OK,))


CLASSES: tuple[Callable[[], Iterator[Payload]], ...] = (
    nothing_and_magic,
    other_content,
    damaged,
    bombs,
    extreme_sides,
    colour_kinds,
    other_formats,
    drawings,
)


@functools.cache
def payloads() -> tuple[Payload, ...]:
    """All of them, about 140; names are unique."""
    return tuple(payload for payload_class in CLASSES for payload in payload_class())
