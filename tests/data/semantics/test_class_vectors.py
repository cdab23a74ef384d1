"""Class vectors from every file format, each written by the test; composition, guards, neighbours."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_ssgn.data.datasets.splits import published
from tf_ssgn.data.semantics.class_vectors import class_vectors, neighbours, source_digest
from tf_ssgn.data.semantics.vector_files import read_words
from tf_ssgn.errors import UserError
from tf_ssgn.settings import VECTOR_LIMITS

WORDS = ["the", "cat", "Cat", "hot", "air", "balloon", "hot_air_balloon", "hot-dog", "sea", "turtle", "crocodile", "TV",
         "Santa_Claus", "café", "猫", "o", "jack", "lantern"]  # fmt: skip
VECTORS = np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype(np.float32)
TABLE = dict(zip(WORDS, VECTORS, strict=True))


def npz(path: Path, words: list[str] = WORDS, vectors: np.ndarray = VECTORS) -> str:
    np.savez(path, names=np.array(words), vectors=vectors)
    return str(path)


def binary(path: Path, newline: bytes = b"\n") -> str:
    rows = b"".join(word.encode() + b" " + vector.tobytes() + newline for word, vector in TABLE.items())
    path.write_bytes(b"%d %d\n" % VECTORS.shape + rows)
    return str(path)


def text(path: Path, header: bool = True, tail: str = "", between: str = " ", start: str = "") -> str:
    lines = [f"{len(WORDS)} 5\n"] if header else []
    lines += [between.join([word, *(repr(float(x)) for x in vector)]) + f"{tail}\n" for word, vector in TABLE.items()]
    path.write_text(start + "".join(lines), encoding="utf-8")
    return str(path)


def packed(write: Callable[[Path], str]) -> Callable[[Path], str]:
    def written(path: Path) -> str:
        plain = Path(write(path))
        packed = plain.with_name(plain.name + ".gz")
        packed.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
        return str(packed)

    return written


FORMATS: dict[str, Callable[[Path], str]] = {
    "npz": lambda folder: npz(folder / "v.npz"),
    "word2vec.bin": lambda folder: binary(folder / "v.bin"),
    "gensim.bin": lambda folder: binary(folder / "v.bin", b""),
    "word2vec.txt": lambda folder: text(folder / "v.txt"),
    "fasttext.vec": lambda folder: text(folder / "v.vec", tail=" "),
    "glove.txt": lambda folder: text(folder / "v.TXT", header=False),
    "tabs.vec": lambda folder: text(folder / "v.vec", between="\t"),
    "bom.txt": lambda folder: text(folder / "v.txt", header=False, start="\ufeff"),
    "bom.vec": lambda folder: text(folder / "v.vec", start="\ufeff"),
    "bin.gz": packed(lambda folder: binary(folder / "v.bin")),
    "txt.gz": packed(lambda folder: text(folder / "v.txt")),
}


def unit(*words: str) -> np.ndarray:
    return np.mean([TABLE[word] / np.linalg.norm(TABLE[word]) for word in words], axis=0)


@pytest.mark.parametrize("name", FORMATS)
def test_lookup_and_composition(tmp_path: Path, name: str) -> None:
    source = FORMATS[name](tmp_path)
    classes = ["hot-air_balloon", "cat", "sea_turtle", "hotdog", "crocodilian", "jack-o-lantern", "CAFÉ", "猫"]
    vectors = class_vectors(classes, source)
    assert vectors.shape == (8, 5) and vectors.dtype == np.float32
    expected = [
        TABLE["hot_air_balloon"],  # in one piece
        TABLE["cat"],  # lower case rather than Cat
        unit("sea", "turtle"),  # mean of the words
        TABLE["hot-dog"],
        TABLE["crocodile"],  # another name of the class
        unit("jack", "lantern"),  # function words say nothing
        TABLE["café"],
        TABLE["猫"],
    ]
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_unknown_words_are_listed(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="no vector for 2 of 3 classes: zorb, sea zorb; rename") as caught:
        class_vectors(["zorb", "cat", "sea zorb"], FORMATS[name](tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_names_that_are_no_text_are_listed(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="no vector for 2 of 3 classes: %FF, %ED%A0%80; rename"):
        class_vectors(["\udcff", "cat", "\ud800"], FORMATS[name](tmp_path))


def test_a_text_is_no_list_of_classes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="classes: received the text 'cat', expected a list"):
        class_vectors("cat", text(tmp_path / "v.txt"))


def test_names_of_an_npz_are_matched_as_class_names(tmp_path: Path) -> None:
    source = npz(tmp_path / "v.npz", ["mouse_(animal)", "Palm-Tree", "palm", "tree"], np.eye(4, dtype=np.float32))
    np.testing.assert_array_equal(class_vectors(["palm tree", "mouse"], source), np.eye(4)[[1, 0]])


def test_capitalised_names_are_found_in_text(tmp_path: Path) -> None:
    np.testing.assert_allclose(class_vectors(["santa claus", "tv"], text(tmp_path / "v.txt")),
                               [TABLE["Santa_Claus"], TABLE["TV"]], rtol=1e-6)  # fmt: skip


def test_glove_words_with_spaces(tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_text("cat 1 2\ncat at home 3 4\n. . . 5 6\n")
    assert set(read_words(str(tmp_path / "g.txt"), {"cat", "catathome"})) == {"cat", "cat at home"}
    np.testing.assert_array_equal(class_vectors(["cat"], str(tmp_path / "g.txt")), [[1, 2]])


FAULTS: dict[str, tuple[str, bytes]] = {
    "not there": ("absent.txt", b""),
    "no suffix": ("vectors", b"cat 1 2\n"),
    "empty bin": ("v.bin", b""),
    "empty txt": ("v.txt", b""),
    "text as bin": ("v.bin", b"cat 0.1 0.2\n"),
    "truncated bin": ("v.bin", b"2 2\ncat " + struct.pack("<2f", 1, 2) + b"\ndog " + struct.pack("<f", 1)),
    "bin without a space": ("v.bin", b"1 2\n" + b"x" * 100_000),
    "huge dimension": ("v.bin", b"1 999999999\ncat "),
    "huge count": ("v.bin", b"99999999999 300\ncat "),
    "zero dimension": ("v.txt", b"1 0\ncat\n"),
    "fastText model": ("v.bin", b"\xba\x16\x4f\x2f\x0c\x00\x00\x00"),
    "no numbers": ("v.txt", b"cat sat\non the mat\n"),
    "bad number": ("v.txt", b"dog 1 2\ncat 1 x\n"),
    "short line": ("v.txt", b"dog 1 2\ncat 1\n"),
    "fewer lines than said": ("v.vec", b"3 2\ncat 1 2\n"),
    "header of fewer dimensions": ("v.vec", b"1 1\ncat 1 2\n"),
    "header of more dimensions": ("v.vec", b"1 3\ncat 1 2\n"),
    "bin header of fewer dimensions": ("v.bin", b"2 1\ncat " + struct.pack("<2f", 1, 2) + b"dog " + bytes(8)),
    "endless line": ("v.txt", b"dog " + b"1 " * (16 * VECTOR_LIMITS.dimension + VECTOR_LIMITS.word_bytes)),
    "damaged gzip": ("v.txt.gz", gzip.compress(b"cat 1 2\n" * 1000)[:-20]),
    "no gzip": ("v.txt.gz", b"cat 1 2\n"),
    "no zip": ("v.npz", b"cat 1 2\n"),
    "zero vector": ("v.txt", b"cat 0 0\n"),
    "not a number": ("v.txt", b"cat nan 1\n"),
    "infinite": ("v.txt", b"cat 1e99 1\n"),
    "too long for its square": ("v.txt", b"cat 1e30 1\n"),
    "too short for its square": ("v.txt", b"cat 1e-42 0\n"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_files_are_one_line(tmp_path: Path, fault: str) -> None:
    name, content = FAULTS[fault]
    if fault != "not there":
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        class_vectors(["cat"], str(tmp_path / name))
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_faulty_npz(tmp_path: Path) -> None:
    faults = [
        {"names": np.array(["cat"]), "vecs": np.ones((1, 2))},
        {"names": np.array(["cat"]), "vectors": np.ones((2, 2))},
        {"names": np.array(["cat"]), "vectors": np.ones(2)},
        {"names": np.array([1]), "vectors": np.ones((1, 2))},
        {"names": np.array(["cat"]), "vectors": np.ones((1, 0))},
        {"names": np.array(["cat"]), "vectors": np.ones((1, 2), complex)},
        {"names": np.array(["cat"], object), "vectors": np.ones((1, 2))},  # would need pickle, which runs code
        {"names": np.array(["cat", "cat"]), "vectors": np.ones((2, 2))},
        {"names": np.array(["cat"]), "vectors": np.array([[1e300, 1]])},
    ]
    for number, arrays in enumerate(faults):
        path = tmp_path / f"{number}.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]
        with pytest.raises(UserError) as caught:
            class_vectors(["cat"], str(path))
        assert "pickle" not in str(caught.value) and "get the file again" not in str(caught.value)
        assert "names (text, [N]) and vectors" in str(caught.value) or number == len(faults) - 1


def test_an_npz_that_claims_to_be_huge(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 300)})
    names = io.BytesIO()
    np.save(names, np.array(["cat"]))
    with zipfile.ZipFile(tmp_path / "v.npz", "w") as archive:
        archive.writestr("names.npy", names.getvalue())
        archive.writestr("vectors.npy", header.getvalue())
    with pytest.raises(UserError):
        class_vectors(["cat"], str(tmp_path / "v.npz"))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    count, size = 40_000, 64  # 10 MB
    path = tmp_path / "v.bin"
    block = np.random.default_rng(0).normal(size=size).astype("<f4").tobytes()
    with open(path, "wb") as handle:
        handle.write(b"%d %d\n" % (count, size))
        for number in range(count):
            handle.write(b"word%d " % number + block + b"\n")
    tracemalloc.start()
    try:
        vectors = class_vectors(["word39999", "word0"], str(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert vectors.shape == (2, 64) and peak < 5 * 2**20


@settings(deadline=None)  # other work on the machine must not fail a test
@given(st.binary(max_size=300), st.sampled_from([".bin", ".txt", ".npz", ".txt.gz"]))
def test_any_bytes_give_vectors_or_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(data)
    try:
        assert class_vectors(["a"], str(path)).shape[0] == 1
    except UserError:
        pass


def test_no_classes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no classes"):
        class_vectors([], npz(tmp_path / "v.npz"))


def test_neighbours() -> None:
    vectors = np.array([[1, 0], [2, 0.1], [0, 1], [0.0, 3]])
    near = neighbours(vectors, ["a", "b", "c", "d"], 2)
    assert [[name for name, _ in row] for row in near] == [["b", "c"], ["a", "c"], ["d", "b"], ["c", "b"]]
    assert near[2][0][1] == pytest.approx(1.0)
    assert neighbours(vectors, ["a", "b", "c", "d"], 99)[0] == neighbours(vectors, ["a", "b", "c", "d"], 3)[0]


def test_fingerprint_knows_contents(tmp_path: Path) -> None:
    source = Path(text(tmp_path / "v.txt"))
    before = source_digest(str(source))
    source.write_bytes(source.read_bytes() + b"dog 1 2 3 4 5\n")
    assert source_digest(str(source)) != before and len(before) == 64
    with pytest.raises(UserError):
        source_digest(str(tmp_path / "absent"))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["sketchy_word2vec", "sketchy_glove", "sketchy_fasttext"])
def test_real_vectors(shared: Path, name: str) -> None:
    split = published()["sketchy-21"]
    classes = split["seen"] + split["unseen"]
    vectors = class_vectors(classes, str(shared / "vectors" / f"{name}.npz"))
    near = dict(zip(classes, neighbours(vectors, classes, 3), strict=True))
    assert {other for other, _ in near["saxophone"]} <= {"piano", "guitar", "violin", "trumpet", "harp"}


@pytest.mark.shared
def test_every_tuberlin_class_has_a_real_vector(shared: Path) -> None:
    split = published()["tuberlin-30"]
    source = str(shared / "vectors" / "tuberlin_word2vec.npz")
    assert class_vectors(split["seen"] + split["unseen"], source).shape == (250, 300)


def test_wordnet_similarities_are_a_table_as_any_other(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", names=np.array(["cat", "palm_tree"]), sim=np.array([[1, 0.5], [0.2, 1]], np.float32))
    expected = np.array([[0.2, 1], [1, 0.5]], np.float32)
    np.testing.assert_array_equal(class_vectors(["palm tree", "cat"], str(tmp_path / "v.npz")), expected)
    for use in (source_digest, lambda source: class_vectors(["cat"], source)):
        with pytest.raises(UserError, match="^wordnet:/x: WordNet itself is no longer read; expected a table"):
            use("wordnet:/x")


@pytest.mark.shared
def test_the_published_similarities_are_read(shared: Path) -> None:
    source = str(shared / "vectors" / "wordnet_sim_to_imagenet1000_sketchy_train.npz")
    seen = published()["sketchy-25"]["seen"]
    vectors = class_vectors([name for name in seen if name != "seagull"], source)
    assert vectors.shape == (99, 1000) and vectors.max() == 1
    with pytest.raises(UserError, match="the vectors of 1 classes are zero, .*: seagull;"):  # the file's own zero row
        class_vectors(seen, source)
