"""One rule says which way up a picture is, whoever reads it; deep greys are scaled; all formats are read."""

from __future__ import annotations

import base64
import functools
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tests.hostile import corpus
from tf_ssgn.common.status import MEANING, Status
from tf_ssgn.data.folders import EXTENSIONS, READ, suffix_of
from tf_ssgn.data.images import decode as images
from tf_ssgn.data.images import direct, exif
from tf_ssgn.data.images.picture import FORMATS, Unusable, as_query, eight_bits, formats, orientation, thumbnail
from tf_ssgn.settings import QUERY_LIMITS

PHOTO = corpus.photo()
JPEG = corpus.encoded(PHOTO, "JPEG")
PNG = corpus.encoded(PHOTO, "PNG")
SPACE = b"http://ns.adobe.com/xap/1.0/\0"


def tiff(entries: list[tuple[int, int, int, int]], motorola: bool, gap: int = 0) -> bytes:
    """A TIFF header with one directory of (tag, type, count, value) `gap` bytes behind it."""
    order = ">" if motorola else "<"
    body = struct.pack(order + "HI", 42, 8 + gap) + bytes(gap) + struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        packed = struct.pack(order + "HH", value, 0) if kind in (3, 8) else struct.pack(order + "I", value)
        body += struct.pack(order + "HHI", tag, kind, count) + packed
    return (b"MM" if motorola else b"II") + body + bytes(4)


def xmp(value: int, element: bool) -> bytes:
    said = f"<tiff:Orientation>{value}</tiff:Orientation>" if element else f'<x tiff:Orientation="{value}"/>'
    return f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{said}</x:xmpmeta>".encode()


def itxt(packet: bytes, compressed: bool = False) -> bytes:
    content = zlib.compress(packet) if compressed else packet
    return corpus.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0" + bytes([compressed, 0, 0, 0]) + content)


def tagged(block: bytes | None, packet: bytes | None) -> dict[str, bytes]:
    """The same metadata in a JPEG, and in a PNG before and behind its pixels."""
    segments = [(0xE1, b"Exif\0\0" + block)] if block is not None else []
    segments += [(0xE1, SPACE + packet)] if packet is not None else []
    chunks = [corpus.png_chunk(b"eXIf", block)] if block is not None else []
    chunks += [itxt(packet)] if packet is not None else []
    tail = PNG.index(b"IEND") - 4
    return {
        "JPEG": corpus.jpeg_with(JPEG, *segments),
        "PNG": PNG[:33] + b"".join(chunks) + PNG[33:],
        "PNG, behind": PNG[:tail] + b"".join(chunks) + PNG[tail:],
    }


def of_pillow(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))


def of_graph(data: bytes) -> np.ndarray:
    image, status = images.decode(tf.constant(data), QUERY_LIMITS)
    assert status == Status.OK
    return image.numpy()


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("where", ["SHORT", "LONG", "big-endian LONG", "XMP", "XMP element", "Exif before XMP"])
def test_every_way_to_say_it_turns_every_door(where: str, value: int) -> None:
    block = tiff([(0x010F, 3, 1, 7), (0x0112, 4 if "LONG" in where else 3, 1, value)], "big" in where, gap=5)
    packet = xmp(9 - value if where == "Exif before XMP" else value, "element" in where)
    cases = tagged(None if where.startswith("XMP") else block, packet if "XMP" in where else None)
    for name, data in cases.items():
        expected = of_pillow(data)
        assert (expected.shape[0] > expected.shape[1]) == (value >= 5), name
        np.testing.assert_array_equal(of_graph(data), expected, err_msg=name)
        width, height, query = as_query(data)
        assert (height, width) == expected.shape[:2]
        np.testing.assert_array_equal(of_graph(query), expected, err_msg=name)
        shown = thumbnail(data, 200)
        assert shown is not None
        np.testing.assert_array_equal(np.asarray(shown), expected, err_msg=name)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "PNG", "AVIF"])
def test_other_formats_as_pillow_writes_them(kind: str, value: int) -> None:
    about = Image.Exif()
    about[0x0112] = value
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = corpus.encoded(PHOTO, kind, exif=about, **lossless)
    width, height, query = as_query(data)
    expected = of_pillow(data)
    assert (height, width) == expected.shape[:2]
    np.testing.assert_array_equal(of_graph(query), expected)


@pytest.mark.parametrize("said", ["tiff:Orientation='6'", 'tiff:Orientation = "6"', "tiff:Orientation> 6 <"])
def test_xmp_as_other_programs_write_it(said: str) -> None:
    expected = np.rot90(np.asarray(PHOTO), -1)
    cases = tagged(None, f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><x {said}/></x:xmpmeta>".encode())
    cases["WebP"] = corpus.encoded(PHOTO, "WEBP", lossless=True, xmp=f"<x {said}/>".encode())
    for name, data in cases.items():
        query = as_query(data)[2]
        assert of_graph(query).shape == expected.shape and np.asarray(thumbnail(data, 200)).shape == expected.shape, (
            name
        )
    np.testing.assert_array_equal(of_graph(cases["PNG"]), expected)


def test_metadata_behind_padding_and_with_the_head_of_the_other_format() -> None:
    block = b"Exif\0\0" + tiff([(0x0112, 3, 1, 6)], True)
    padded = corpus.jpeg_with(JPEG, (0xE1, block)).replace(b"\xff\xe1", b"\xff\xff\xff\xe1", 1)
    twice = tagged(tiff([(0x0112, 3, 2, 6)], False), None)["JPEG"]  # two values where one belongs
    for data in (padded, twice, tagged(block, None)["PNG"]):
        np.testing.assert_array_equal(of_graph(data), of_pillow(data))
        assert of_graph(data).shape[:2] == PHOTO.size


def test_what_only_pillow_reads_in_a_png_is_undone_on_the_way() -> None:
    block = b"Exif\0\0" + tiff([(0x0112, 3, 1, 6)], True)
    profile = b"\nexif\n" + b"%8d" % len(block) + b"\n" + block.hex().encode() + b"\n"
    old = corpus.png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile))
    for chunk in (old, itxt(xmp(6, True), compressed=True)):
        data = PNG[:33] + chunk + PNG[33:]
        np.testing.assert_array_equal(of_graph(as_query(data)[2]), np.rot90(np.asarray(PHOTO), -1))


@functools.partial(tf.function, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def metadata(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Exif, XMP and the orientation that they give; as a graph, as in the product, and much faster than op by op."""
    about, packet = exif.jpeg_metadata(data)
    return about, packet, exif.orientation(about, packet)


entries = st.tuples(
    st.sampled_from([0x0112, 0x010F, 0x0131]), st.sampled_from([3, 4, 8, 9]), st.integers(1, 1), st.integers(0, 10)
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(entries, max_size=4, unique_by=lambda entry: entry[0]),
    st.booleans(),
    st.integers(0, 20),
    st.none() | st.tuples(st.integers(0, 9), st.booleans()),
)
def test_graph_and_pillow_find_the_same(directory: list, motorola: bool, gap: int, packet: tuple | None) -> None:
    about, text = tiff(directory, motorola, gap), xmp(*packet) if packet else b""
    data = corpus.jpeg_with(JPEG, (0xE1, b"Exif\0\0" + about), *([(0xE1, SPACE + text)] if packet else []))
    expected = orientation(Image.open(io.BytesIO(data)))
    *found, turned = metadata(tf.constant(data))
    assert found[0].numpy() == about and found[1].numpy() == text
    assert int(turned) == expected


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80))
def test_damaged_metadata_never_refuses_a_photo(block: bytes) -> None:
    for name, data in tagged(block, None).items():
        image, status = images.decode(tf.constant(data), QUERY_LIMITS)
        assert status == Status.OK, name
        assert sorted(image.shape[:2]) == sorted(PHOTO.size)
        assert thumbnail(data, 64) is not None


def test_what_may_be_turned_does_not_go_the_short_way() -> None:
    plain = corpus.png_chunk(b"tEXt", b"XML:com.adobe.xmp\0" + xmp(6, True))  # which Pillow reads too
    for name, data in {**tagged(None, xmp(6, True)), "plain text": corpus.png_with(PNG, plain)}.items():
        assert direct.plain_image(data, QUERY_LIMITS) is None, name
        assert of_pillow(data).shape[:2] == PHOTO.size, name


RAMP = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)


@pytest.mark.parametrize(
    ("name", "image", "kind"),
    [
        ("16 bits", Image.fromarray(RAMP), "PNG"),
        ("16 bits", Image.fromarray(RAMP), "TIFF"),
        ("whole numbers", Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
        ("below 256", Image.fromarray((RAMP >> 8).astype(np.int32)), "TIFF"),
        ("fractions", Image.fromarray((RAMP / 65535).astype(np.float32)), "TIFF"),
        ("floats below 256", Image.fromarray((RAMP / 257).astype(np.float32)), "TIFF"),
        ("beyond all", Image.fromarray((RAMP.astype(np.float32) - 30000) * 7), "TIFF"),
    ],
)
def test_deep_greys_are_scaled_and_not_clipped(name: str, image: Image.Image, kind: str) -> None:
    shown = thumbnail(corpus.encoded(image, kind), 64)
    assert shown is not None
    np.testing.assert_allclose(np.asarray(shown)[..., 0].astype(int), RAMP // 257, atol=1)


def test_a_deep_grey_that_is_scaled_down_keeps_its_greys() -> None:
    """As a large photo, it is scaled before it is embedded."""
    tall = np.repeat(np.repeat(RAMP, 50, 0), 50, 1)
    _, _, query = as_query(corpus.encoded(Image.fromarray(tall), "PNG"))
    scaled = of_graph(query)[..., 0].astype(int)
    small = np.asarray(Image.fromarray((tall >> 8).astype(np.uint8)).resize(scaled.shape, Image.Resampling.LANCZOS))
    assert np.abs(scaled - small).max() <= 2


def test_other_modes_are_left_alone() -> None:
    assert all(eight_bits(one) is one for one in (PHOTO, PHOTO.convert("L"), PHOTO.convert("P"), PHOTO.convert("CMYK")))


@pytest.mark.parametrize(
    ("bits", "white_is_zero", "dtype"), [(16, True, "<u2"), (16, False, ">u2"), (12, False, "<u2"), (32, False, "<u4")]
)
def test_greys_of_a_tiff_that_pillow_hands_on_as_they_are(bits: int, white_is_zero: bool, dtype: str) -> None:
    """A grey ramp, its darkest value left; of 12 bits two values are packed into three bytes."""
    ramp = np.tile(np.linspace(0, 2**bits - 1, 64), (48, 1)).astype(np.uint64)
    values = (2**bits - 1 - ramp if white_is_zero else ramp).astype(dtype)
    pairs = values.reshape(-1, 2).astype(int)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
    content = packed.astype(np.uint8).tobytes() if bits == 12 else values.tobytes()
    tags = [(256, 64), (257, 48), (258, bits), (259, 1), (262, int(not white_is_zero)), (273, 256), (277, 1), (278, 48)]
    entries = [(tag, 4, 1, value) for tag, value in [*tags, (279, len(content)), (339, 1)]]
    data = tiff(entries, motorola=dtype[0] == ">").ljust(256, b"\0") + content
    shown = thumbnail(data, 64)
    assert shown is not None
    np.testing.assert_allclose(np.asarray(shown)[..., 0].astype(int), np.tile(np.linspace(0, 255, 64), (48, 1)), atol=1)
    np.testing.assert_array_equal(of_graph(as_query(data)[2]), np.asarray(shown))


def test_not_a_number_is_black() -> None:
    values = np.full((8, 8), np.nan, np.float32)
    values[0] = 1
    assert np.asarray(eight_bits(Image.fromarray(values))).tolist() == [[255] * 8] + [[0] * 8] * 7


@pytest.mark.shared
def test_cases_that_once_failed(shared: Path) -> None:
    folder = shared / "cases"
    upright = np.asarray(thumbnail(folder / "orientation/a_upright.png", 96))
    for path in sorted((folder / "orientation").iterdir()):
        seen = of_graph(as_query(path.read_bytes())[2])
        assert seen.shape == (72, 96, 3)
        assert np.abs(seen.astype(int) - upright).mean() < 3, path.name
        assert np.abs(np.asarray(thumbnail(path, 96)).astype(int) - upright).mean() < 3, path.name
    deep, grey = (np.asarray(thumbnail(folder / f"grey16/grey{n}.png", 96)).astype(int) for n in (16, 8))
    assert np.abs(deep - grey).max() <= 1
    ok, named = folder / "extensions/ok.jpg", folder / "extensions/saved_by_chrome.jfif"
    assert as_query(named.read_bytes())[:2] == as_query(ok.read_bytes())[:2] == (96, 72)
    with pytest.raises(Unusable, match="damaged|cut|corrupt"):
        as_query((folder / "extensions/IMG_0002.HEIC").read_bytes())


# 64 x 48, black on the upper left quarter. Its Exif says 6, which HEIF tells readers to ignore.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAb5tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9j"
    "AAAAAERAAAIAAQAAAAAB4gABAAAAAAAAAEAAAgAAAAACIgABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAA"
    "ABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNg"
    "AAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZE"
    "AcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AA"
    "AAACAAAAEHBpeGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAABppcmVmAAAAAAAAAA5jZHNjAAIAAQABAAAAbG1kYXQAAAA8"
    "KAGvCeAjsoH/+ewbnKPmSQPPVJKvnVs4vq1h/utXCDMXNv/81LOrXIEgC41wXoDXUoddA+QAfQ0Xo/+YAAAABkV4aWYAAE1NACoAAAAIAAEB"
    "EgADAAAAAQAGAAAAAAAA"
)


def test_the_formats_are_the_same_wherever_they_are_told() -> None:
    told = READ.split(", ")
    assert {f".{kind.lower()}" for kind in told} <= set(EXTENSIONS)
    assert MEANING[Status.UNKNOWN_FORMAT].endswith(f"(requests: PNG, JPEG; folders also {', '.join(told[2:])})")
    assert set(FORMATS) - {"MPO", "HEIF"} == {kind.upper() for kind in told}


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("PNG", ".png"), ("JPEG", ".jpg"), ("GIF", ".gif"), ("BMP", ".bmp"), ("WEBP", ".webp"), ("TIFF", ".tif"),
     ("AVIF", ".avif"), ("PPM", ""), ("ICO", "")],
)  # fmt: skip
def test_the_content_says_what_a_file_is_called(kind: str, suffix: str) -> None:
    if kind == "AVIF" and kind not in formats():
        pytest.skip("Pillow without AVIF")
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(stream, kind)
    assert suffix_of(stream.getvalue()[:16]) == suffix
    assert suffix_of(b"BMW is a car and") == suffix_of(b"") == suffix_of(b"\0\0\0\x18ftypqt  ") == ""


def test_a_heic_photo() -> None:
    width, height, query = as_query(HEIC)
    image = of_graph(query)
    assert (width, height) == (64, 48) and image[4:20, 4:28].max() < 20 and image[28:, 36:].min() > 235
    with pytest.raises(Unusable):
        as_query(HEIC[:300])


def test_a_heic_photo_without_its_reader_is_told_what_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from tf_ssgn.data.images import picture

    monkeypatch.setattr(picture, "formats", lambda: ("PNG", "JPEG"))
    with pytest.raises(Unusable, match=r"pip install 'tf_ssgn\[heic\]'"):
        as_query(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500))
