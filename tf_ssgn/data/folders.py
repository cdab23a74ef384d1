"""Which entries of a folder are a person's photos: one rule for galleries, datasets and checks."""

import fnmatch
import os
from collections import Counter
from collections.abc import Callable, Sequence

from tf_ssgn.common.names import composed, printable
from tf_ssgn.errors import UserError

EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".hif"),
)
READ = "PNG, JPEG, WebP, BMP, GIF, TIFF, AVIF"  # what error messages call photos; HEIC is an extra
_MARKS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"II*\0": ".tif", b"MM\0*": ".tif"}
_FTYP = dict.fromkeys((b"avif", b"avis"), ".avif") | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"mif1"), ".heic"
)

_HEAD = 16  # bytes; all that a format's mark takes

# What storage boxes, archives and operating systems put beside photos, in lower case; the rest begins with a dot.
SYSTEM_FOLDERS = frozenset(
    {
        *("@eadir", "@tmp", "@sharebin", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),  # Synology, QNAP
        *("$recycle.bin", "recycler", "recycled", "system volume information", "found.000"),  # Windows
        *("__macosx", "network trash folder", "temporary items"),  # macOS
        *("lost+found", "~snapshot", "__pycache__"),  # Linux, NetApp, Python
    }
)
SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})


def is_system(name: str) -> bool:
    """Whether a file or folder below the one that was given is none of its owner's making: hidden (`.thumbnails`,
    `.Trash-1000`, `.git`, `._photo.jpg`), or a system's (`@eaDir` and `__MACOSX` hold copies of photos)."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS or name.lower() in SYSTEM_FILES


def extension(name: str) -> str:
    """The lower-case extension with its dot; "" for none, or for one without a letter, as in `scan 10.30.15`."""
    text = os.path.splitext(name)[1].lower()
    return text if any(map(str.isalpha, text)) else ""


def has_photo_name(name: str) -> bool:
    return extension(name) in EXTENSIONS


def is_photo(entry: os.DirEntry[str]) -> bool:
    """Whether to read it as a photo: by its extension, and where it has none by its first bytes; OSError where these
    cannot be read."""
    return has_photo_name(entry.name) or (
        not extension(entry.name) and entry.is_file() and _starts_as_photo(entry.path)
    )


def _starts_as_photo(path: str) -> bool:
    # Without O_NONBLOCK a pipe that took the file's place would wait for a writer for ever.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as handle:
        return bool(suffix_of(handle.read(_HEAD)))


def suffix_of(head: bytes) -> str:
    """The extension for a file that begins with these 16 bytes; "" where its format is not read. Names do not count."""
    if head[:2] == b"BM":
        return ".bmp" if head[6:10] == b"\0\0\0\0" else ""  # two letters alone would be any text
    if head[4:8] == b"ftyp":
        return _FTYP.get(head[8:12], "")
    if head[:4] + head[8:12] == b"RIFFWEBP":
        return ".webp"
    return _MARKS.get(head[:4]) or _MARKS.get(head[:3], "")


def counted(left_out: Counter[str]) -> str:
    """`3 .heic, 2 .mp4, 1 without an extension`: the most frequent first, then by name."""
    order = sorted(left_out.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{count:,} {printable(kind) or 'without an extension'}" for kind, count in order)


def excluder(globs: Sequence[str]) -> Callable[[str], bool]:
    """Path below a source, with `/` -> whether one of the globs names it or a folder that it lies in.

    A glob without `/` is held against each name, one with `/` against the path; `*` also matches `/`. Composed and
    decomposed letters are equal. UserError for an empty glob.
    """
    kept = [composed(glob).removeprefix("./").rstrip("/") for glob in globs]
    for glob, text in zip(globs, kept, strict=True):
        if not text:
            raise UserError(f"exclude: received {glob!r}; expected a glob such as *_thumb.jpg, cache or 2019/raw*")
    names = [glob for glob in kept if "/" not in glob]
    paths = [glob.lstrip("/") for glob in kept if "/" in glob]

    def excludes(path: str) -> bool:
        parts = composed(path).split("/")
        whole = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        return _any(parts, names) or _any(whole, paths)

    return excludes if kept else lambda path: False


def _any(texts: Sequence[str], globs: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, glob) for text in texts for glob in globs)
