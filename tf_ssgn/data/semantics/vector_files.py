"""Streams word-vector files and keeps only the words asked for, so that 3 million words need the memory of a few."""

import codecs
import gzip
import os
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO, cast

import numpy as np

from tf_ssgn.common import npz
from tf_ssgn.common.names import listed, printable
from tf_ssgn.errors import UserError
from tf_ssgn.settings import VECTOR_LIMITS

FORMATS = ".npz (names, vectors), .bin (word2vec), .txt (word2vec, GloVe), .vec (fastText), the last three also .gz"
FASTTEXT_MODEL = b"\xba\x16\x4f\x2f"  # first bytes of fastText's own .bin, which holds subwords and not plain vectors
_JOINTS = str.maketrans("", "", "_- ")
NPZ = "arrays names (text, [N]) and vectors (numbers, [N, s]), as np.savez(FILE, names=..., vectors=...) writes them"


class _Malformed(ValueError):
    """What is wrong with the file, for the one line of the UserError, and what was `expected` where that is known."""

    def __init__(self, fault: str, expected: str = f"{FORMATS}, so get the file again"):
        super().__init__(fault)
        self.expected = expected


def read_words(path: str, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """`{lower-case word: float32 [s]}` of the wanted words that a `.bin`, `.txt` or `.vec` file has, in its order.

    `wanted` are in `compact` form, in which the file's words are compared; where several differ in case alone, the one
    in lower case counts, else the first, which is the most frequent one. UserError: no such file, an unknown format, a
    damaged or implausible file.
    """
    suffix = os.path.splitext(path.lower().removesuffix(".gz"))[1]
    if suffix not in (".bin", ".txt", ".vec"):
        raise UserError(f"vectors {printable(path)}: unknown format {suffix!r}; expected {FORMATS}")
    with _one_line_errors(path), _open(path) as handle:
        return _choose(_read_binary(handle, wanted) if suffix == ".bin" else _read_text(handle, wanted))


def _open(path: str) -> IO[bytes]:
    if path.lower().endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    return open(path, "rb", 1 << 20)


@contextmanager
def _one_line_errors(path: str) -> Iterator[None]:
    try:
        yield
    except _Malformed as error:
        raise UserError(f"vectors {printable(path)}: {error}; expected {error.expected}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"vectors {printable(path)}: damaged ({error}); get the file again") from None
    except OSError as error:
        raise UserError(f"vectors {printable(path)}: {error.strerror or error}; expected a readable file") from None


def _choose(pairs: Iterator[tuple[bytes, np.ndarray]]) -> dict[str, np.ndarray]:
    chosen: dict[str, np.ndarray] = {}
    exact: set[str] = set()
    for raw, vector in pairs:
        word = raw.decode("utf-8", "replace")
        key = word.lower()
        if key not in chosen or (word == key and key not in exact):
            chosen[key] = vector
        if word == key:
            exact.add(key)
    return chosen


def read_npz(path: str) -> dict[str, np.ndarray]:
    """`{name: float32 [s]}` of a file with `names` [N] and `vectors` [N, s], or `sim` as tables of taxonomy
    similarities call it; errors as `read_words`."""
    try:
        arrays = npz.read_npz(path, ("names", "vectors", "sim"), VECTOR_LIMITS.npz_bytes)
        vectors = arrays.get("vectors", arrays.get("sim"))
        if "names" not in arrays or vectors is None:
            raise UserError(f"{printable(path)} holds the arrays {listed(sorted(npz.names(path))) or 'none'}")
    except UserError as error:
        raise UserError(f"vectors {error}; expected the {NPZ}") from None
    with _one_line_errors(path):
        return _table(arrays["names"], vectors)


def _table(names: np.ndarray, vectors: np.ndarray) -> dict[str, np.ndarray]:
    if names.ndim != 1 or names.dtype.kind not in "US" or vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        shapes = f"names {names.dtype} {list(names.shape)}, vectors {vectors.dtype} {list(vectors.shape)}"
        raise _Malformed(shapes, NPZ)
    if len(names) != len(vectors) or not vectors.shape[1]:
        raise _Malformed(f"{len(names)} names for vectors of shape {list(vectors.shape)}", NPZ)
    texts = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names.tolist()]
    if twice := [name for name, count in Counter(texts).items() if count > 1]:
        raise _Malformed(
            f"{len(twice)} names stand there twice: {listed(twice)}", f"one vector for each name, in {NPZ}"
        )
    with np.errstate(over="ignore"):  # what becomes infinite is refused by name where it is asked for
        return dict(zip(texts, vectors.astype(np.float32), strict=True))


def _header(line: bytes) -> tuple[int, int] | None:
    """(words, dimension) of a word2vec header, None for any other line."""
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        return None
    count, dimension = int(parts[0]), int(parts[1])
    if not 0 < count <= VECTOR_LIMITS.words or not 0 < dimension <= VECTOR_LIMITS.dimension:
        raise _Malformed(f"the header says {count:,} words of {dimension:,} dimensions")
    return count, dimension


def _read_binary(handle: IO[bytes], wanted: Collection[str]) -> Iterator[tuple[bytes, np.ndarray]]:
    """word2vec's binary form: a header line, then for each word its bytes, a space, `s` little-endian float32."""
    line = handle.readline(64)
    if line.startswith(FASTTEXT_MODEL):
        raise _Malformed("a fastText model; take the .vec file beside it")
    header = _header(line)
    if header is None:
        raise _Malformed(f"no header `<words> <dimension>` but {line[:20]!r}")
    count, dimension = header
    keys = _bytes(wanted)
    size = 4 * dimension
    buffer, at = b"", 0
    for index in range(count):
        end = buffer.find(b" ", at, at + VECTOR_LIMITS.word_bytes)
        if end < 0 or len(buffer) < end + 1 + size:  # refill once per megabyte: the file has millions of words
            buffer, at = buffer[at:] + handle.read(max(1 << 20, 2 * size)), 0
            end = buffer.find(b" ", 0, VECTOR_LIMITS.word_bytes)
            if end < 0 or len(buffer) < end + 1 + size:
                raise _Malformed(f"ends or breaks off at word {index + 1:,} of {count:,}")
        word = buffer[at:end].lstrip(b"\n")
        at = end + 1 + size
        if _compact(word) in keys:
            yield word, np.frombuffer(buffer, "<f4", dimension, end + 1).astype(np.float32)
    if (buffer[at:] + handle.read(64)).strip():  # the vectors taken from it would be shifted ones
        raise _Malformed(f"goes on after the {count:,} words of {dimension:,} dimensions of its header")


def _bytes(words: Collection[str]) -> set[bytes]:
    """A name that is no Unicode text is in no file, so any bytes that are not UTF-8 will do for it."""
    return {word.encode("utf-8", "surrogatepass") for word in words}


def compact(word: str) -> str:
    """Lower case, without what joins words: `Hot-dog`, `hot_dog` and `hotdog` are `hotdog`."""
    return word.lower().translate(_JOINTS)


def _compact(word: bytes) -> bytes:
    """`compact` of UTF-8 bytes; quick, as it is asked of each of millions of words."""
    if word.isascii():
        return word.lower().translate(None, b"_- ")
    return compact(word.decode("utf-8", "replace")).encode()


def _read_text(handle: IO[bytes], wanted: Collection[str]) -> Iterator[tuple[bytes, np.ndarray]]:
    """One word a line: `<word> <s numbers>`. word2vec and fastText start with a header line, GloVe does not, and has
    words with spaces in them; the last `s` tokens are the numbers."""
    keys = _bytes(wanted)
    beginnings = {key[:length] for key in keys for length in range(1, len(key) + 1)}
    longest_word = VECTOR_LIMITS.word_bytes
    longest = longest_word + 32 * VECTOR_LIMITS.dimension
    count = dimension = number = 0
    while line := handle.readline(longest):
        number += 1
        if len(line) == longest:
            raise _Malformed(f"line {number:,} has more than {longest:,} bytes")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
            header = _header(line)
            if header:
                count, dimension = header
                continue
            dimension = _trailing_numbers(line.split())
            if not dimension:
                raise _Malformed(f"line 1 is {line[:40]!r}, not a word with its numbers")
        if number == 2 and count and (numbers := _trailing_numbers(line.split())) not in (0, dimension):
            raise _Malformed(f"the header says {dimension:,} dimensions, line 2 has {numbers:,} numbers")
        first = line[:longest_word].split(None, 1)
        if not first or _compact(first[0]) not in beginnings:
            continue  # a first look at the first token alone: splitting every line takes thirty times as long
        parts = line.rsplit(None, dimension)
        if len(parts) <= dimension:
            raise _Malformed(f"line {number:,} does not have a word and {dimension} numbers")
        if _compact(parts[0]) in keys:
            yield parts[0], _numbers(parts[1:], number)
    if not number or (count and number - 1 < count):
        raise _Malformed(f"ends after {max(number - 1, 0):,} of {count:,} words" if count else "is empty")


def _trailing_numbers(parts: list[bytes]) -> int:
    """How many numbers stand behind the first word."""
    try:
        return len(_numbers(parts[1:], 1))
    except ValueError:
        return 0


def _numbers(parts: list[bytes], line: int) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # too large a number becomes infinite, which the caller refuses
            return np.array(parts, dtype=np.float32)
    except ValueError:
        raise _Malformed(f"line {line:,} has something else where its numbers should be") from None
