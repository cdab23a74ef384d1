"""Words as people type them, to the names that they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_ssgn.data.semantics.vocabulary import Vocabulary, fold
from tf_ssgn.errors import UserError

NAMES = [
    "giraffe", "hot air balloon", "hot_dog", "mouse", "airplane", "color tv", "gray wolf", "knife", "baby", "box",
    "scissors", "car (sedan)", "fireman", "tire", "bus", "glasses", "glass",
]  # fmt: skip
VOCABULARY = Vocabulary(NAMES)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("giraffe", "giraffe"), ("GIRAFFE", "giraffe"), (" giraffes ", "giraffe"),

        ("hot-air balloon", "hot air balloon"), ("Hot Air Balloons", "hot air balloon"),
        ("hotdog", "hot_dog"), ("hot dogs", "hot_dog"), ("mice", "mouse"),
        ("aeroplane", "airplane"), ("aeroplanes", "airplane"), ("colour TV", "color tv"), ("grey wolf", "gray wolf"),
        ("grey wolves", "gray wolf"), ("knives", "knife"), ("babies", "baby"), ("boxes", "box"),
        ("scissor", "scissors"), ("car", "car (sedan)"), ("cars", "car (sedan)"), ("firemen", "fireman"),
        ("tyres", "tire"), ("buses", "bus"), ("glass", "glass"), ("glasses", "glasses"),
    ],
)  # fmt: skip
def test_a_word_means_a_name(word: str, name: str) -> None:
    assert NAMES[VOCABULARY.find(word)] == name


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("girafe", "spelled most alike: giraffe"), ("жираф", "not among the 17 known; nothing is spelled like it"),
        ("", "not among"), ("\x1b[31m", "not among"), ("<b>giraffe</b>", "not among"), ("x" * 65, "65 characters"),
        ("a" * 10**6, "1,000,000 characters"), (b"giraffe", "received a bytes"), (7, "received a int"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_answered_with_one_line_and_never_guessed(word, said: str) -> None:
    with pytest.raises(UserError) as caught:
        VOCABULARY.find(word)
    assert said in str(caught.value) and str(caught.value).isprintable()


def test_completions_begin_with_what_was_typed_then_with_a_later_word_and_are_bounded() -> None:
    assert VOCABULARY.complete("Gl", 9) == ["glass", "glasses"]
    assert VOCABULARY.complete("wol", 9) == ["gray wolf"]
    assert VOCABULARY.complete("hot ", 1) == ["hot_dog"]
    assert VOCABULARY.complete(" ", 9) == VOCABULARY.complete("", 9) == []


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_one_line(word: str) -> None:
    known = fold(word.strip()) in VOCABULARY.rows and len(word) <= 64
    try:
        assert NAMES[VOCABULARY.find(word)] and known
    except UserError as error:
        assert not known and "\n" not in str(error)
