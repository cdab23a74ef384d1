"""WordNet similarities, on a tiny corpus in WordNet's own format that the test writes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tf_ssgn.data.semantics import wordnet
from tf_ssgn.data.semantics.class_vectors import class_vectors, fingerprint
from tf_ssgn.errors import UserError

# synset: (words, hypernyms, instance of)
SYNSETS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "entity": (["entity"], [], []),
    "animal": (["animal"], ["entity"], []),
    "thing": (["thing"], ["entity"], []),
    "cat": (["cat"], ["animal"], []),
    "cow": (["cow", "moo-cow"], ["animal"], []),
    "person": (["person"], ["animal"], []),
    "crane man": (["crane", "Stephen_Crane"], [], ["person"]),
    "crane bird": (["crane"], ["animal"], []),
    "crane machine": (["crane"], ["thing"], []),
    "lantern": (["lantern"], ["thing"], []),
    "hot-air_balloon": (["hot-air_balloon"], ["thing"], []),
    "tower": (["Eiffel_Tower"], [], ["thing"]),
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """`index.noun` and `data.noun`, with the indented licence on top, glosses, and pointers of other kinds."""
    folder = tmp_path / "corpora" / "wordnet"
    folder.mkdir(parents=True)
    offset = {name: 100 + 10 * number for number, name in enumerate(SYNSETS)}
    senses: dict[str, list[int]] = {}
    lines = ["  1 This is the licence.  "]
    for name, (terms, above, instance) in SYNSETS.items():
        pointers = [f"@ {offset[other]:08} n 0000" for other in above] + [
            f"@i {offset[other]:08} n 0000" for other in instance
        ]
        pointers.append("~ 00000100 n 0000")
        shown = " ".join(f"{term} 0" for term in terms)
        lines.append(
            f"{offset[name]:08} 03 n {len(terms):02x} {shown} {len(pointers):03} {' '.join(pointers)} | a | gloss"
        )
        for term in terms:
            senses.setdefault(term.lower(), []).append(offset[name])
    (folder / "data.noun").write_text("\n".join(lines) + "\n")
    rows = [
        f"{term} n {len(found)} 2 @ ~ {len(found)} 0 {' '.join(f'{synset:08}' for synset in found)}  "
        for term, found in senses.items()
    ]
    (folder / "index.noun").write_text("  1 This is the licence.  \n" + "\n".join(rows) + "\n")
    return tmp_path


def test_path_similarity(corpus: Path) -> None:
    index, tree = wordnet._load(wordnet.find(str(corpus)))

    def similarity(left: str, right: str) -> float:
        sides = [[wordnet._ancestors(s, tree) for s in wordnet._senses(name, index, tree)] for name in (left, right)]
        return wordnet._similarity(*sides)

    assert similarity("cat", "cat") == 1.0
    assert similarity("cat", "cow") == pytest.approx(1 / 3)  # up to animal, down to cow
    assert similarity("cat", "lantern") == pytest.approx(1 / 5)
    assert similarity("crane", "cow") == pytest.approx(1 / 3)  # the bird
    assert similarity("crane", "lantern") == pytest.approx(1 / 3)  # the machine
    assert similarity("crane", "person") == pytest.approx(1 / 3)  # not the man, who would be 1 / 2
    assert similarity("hot air balloon", "hot-air_balloon") == similarity("hotairballoon", "hot_air_balloon") == 1.0
    assert similarity("the eiffel tower", "lantern") == pytest.approx(
        1 / 3
    )  # an individual, as there is no other sense
    assert similarity("jack-o-lantern", "lantern") == 1.0  # by its last word
    assert similarity("moo cows", "cow") == 1.0
    assert similarity("zorb", "cow") == 0.0


def test_as_a_source_of_class_vectors(corpus: Path) -> None:
    vectors = class_vectors(["cat", "cow", "lantern"], f"wordnet:{corpus}")
    assert vectors.dtype == np.float32 and vectors.max() == 1.0
    again = class_vectors(["lantern"], f"wordnet:{corpus}")
    np.testing.assert_array_equal(again[0], vectors[2])  # columns do not depend on which classes are asked for
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2]
    with pytest.raises(UserError, match="no vector for 1 of 2 classes: zorb; rename"):
        class_vectors(["cat", "zorb"], f"wordnet:{corpus}")


def test_found_where_nltk_keeps_it_and_in_its_zip(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = class_vectors(["cat", "lantern"], f"wordnet:{corpus}")
    monkeypatch.setenv("NLTK_DATA", f"/nowhere:{corpus}")
    np.testing.assert_array_equal(class_vectors(["cat", "lantern"], "wordnet:"), expected)
    assert fingerprint("wordnet:") == fingerprint(f"wordnet:{corpus}")
    zipped = tmp_path / "zipped" / "corpora"
    zipped.mkdir(parents=True)
    with zipfile.ZipFile(zipped / "wordnet.zip", "w") as archive:
        for name in wordnet.FILES:
            archive.write(corpus / "corpora" / "wordnet" / name, f"wordnet/{name}")
    np.testing.assert_array_equal(class_vectors(["cat", "lantern"], f"wordnet:{zipped.parent}"), expected)


def test_not_installed_and_damaged_are_one_line(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="WordNet is not in .*apt-get install wordnet-base"):
        class_vectors(["cat"], f"wordnet:{tmp_path / 'absent'}")
    data = corpus / "corpora" / "wordnet" / "data.noun"
    for harm in (b"\xff\xfe\x00", b"00000100 03 n zz\n", b"00000100 03 n 01 cat 0 099\n00000110 03\n"):
        data.write_bytes(harm)
        with pytest.raises(UserError, match="is damaged|knows none") as caught:
            class_vectors(["cat"], f"wordnet:{corpus}")
        assert "\n" not in str(caught.value)


def test_a_loop_in_the_tree_ends() -> None:
    assert wordnet._ancestors(1, {1: [(2, False)], 2: [(1, False)]}) == {1: 0, 2: 1}
