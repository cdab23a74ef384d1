"""Class names across the three datasets' spellings."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tf_ssgn.common.names import ALIASES, listed, match, normalise, printable, spellings, words
from tf_ssgn.data.datasets.items import Dataset
from tf_ssgn.data.datasets.published import DATASETS, classes_of
from tf_ssgn.data.datasets.splits import load_split
from tf_ssgn.errors import UserError


@pytest.mark.parametrize(
    "same",
    [
        ("car_(sedan)", "car (sedan)", "car", "Car_(Sedan)"),
        ("hot-air_balloon", "hot air balloon", "hot_air_balloon"),
        ("palm tree", "palm_tree", "Palm-Tree"),
        ("mouse (animal)", "mouse", "mouse_(animal)"),
        ("jack-o-lantern", "jack o lantern", "jack_o_lantern"),
        ("hotdog", "hot-dog", "hot dog"),
        ("fire_hydrant", "fire hydrant"),
        ("tablelamp", "table_lamp"),
        ("crocodilian", "crocodile"),
        ("ｃａｔ", "cat"),  # full-width letters
        ("ours polaire", "ours_polaire"),
    ],
)
def test_spellings_of_one_class_meet(same: tuple[str, ...]) -> None:
    assert len({normalise(name) for name in same}) == 1


@pytest.mark.parametrize(
    "other", [("mouse", "computer-mouse"), ("car", "race car"), ("1 11", "11 1"), ("a+", "b+"), ("+", "-")]
)
def test_different_classes_stay_apart(other: tuple[str, str]) -> None:
    assert normalise(other[0]) != normalise(other[1])


@pytest.mark.parametrize("dataset", DATASETS)
def test_no_published_dataset_has_two_classes_with_one_key(dataset: str) -> None:
    names = classes_of(dataset)
    assert len({normalise(name) for name in names}) == len(names)


def test_an_alias_belongs_to_one_group() -> None:
    keys = [normalise(group[0]) for group in ALIASES]
    assert len(set(keys)) == len(keys)
    assert all(normalise(name) == normalise(group[0]) for group in ALIASES for name in group)


@settings(deadline=None)  # other work on the machine must not fail a test
@given(st.text(min_size=1))
@example("R¸")  # NFKC makes a space and a cedilla of the second sign
@example("\u1100 \u1161")  # two parts of one Hangul syllable
@example("\xa0")
def test_any_name_has_a_key_that_is_its_own_key(name: str) -> None:
    assert words(name)
    assert normalise(name)
    assert normalise(normalise(name)) == normalise(name)
    assert name in spellings(name)


@settings(deadline=None)  # other work on the machine must not fail a test
@given(st.lists(st.sampled_from(classes_of("tuberlin")), unique=True), st.sampled_from(["_", "-", " "]))
def test_respelled_names_find_their_class(names: list[str], glue: str) -> None:
    respelled = [glue.join(words(name)).upper() for name in names]
    found, missing = match(respelled, classes_of("tuberlin"))
    assert not missing
    assert [found[name] for name in respelled] == names


def test_match_prefers_the_very_name_and_refuses_to_guess() -> None:
    assert match(["a", "A"], ["A", "a"]) == ({"a": "a", "A": "A"}, [])
    assert match(["Big Cat", "dog"], ["big_cat", "BIG-CAT"]) == ({}, ["Big Cat", "dog"])


def test_names_that_are_not_utf8_can_be_printed() -> None:
    assert printable("caf\udce9 %") == "caf%E9 %"
    json.dumps(printable("\udcff"), ensure_ascii=False).encode("utf-8")


def test_long_lists_are_cut() -> None:
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert listed(["a", "b"], 2) == "a, b"


def test_what_no_terminal_or_json_can_hold_is_escaped() -> None:
    assert printable("caf\udce9 \ud800 猫\n") == "caf%E9 %ED%A0%80 猫\n"
    printable("".join(map(chr, range(0xD800, 0xE000)))).encode("utf-8")


def test_a_text_is_no_list_of_names() -> None:
    for call in (
        lambda: load_split("sketchy-21", "cup"),
        lambda: Dataset("d", "/", [], [], ["cup"], []).of("cup"),
    ):
        with pytest.raises(UserError, match="classes: received the text 'cup', expected a list"):
            call()
