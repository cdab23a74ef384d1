"""Published splits against the facts, custom split files, validation classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_ssgn.common.names import normalise
from tf_ssgn.data.datasets import splits
from tf_ssgn.data.datasets.published import DATASETS, classes_of
from tf_ssgn.data.datasets.splits import Split, carve_validation, checksum, load_split, published, read_split
from tf_ssgn.errors import UserError

SIZES = {
    "sketchy-25": (100, 0, 25, "sketchy"),
    "sketchy-21": (104, 0, 21, "sketchy"),
    "tuberlin-30": (220, 0, 30, "tuberlin"),
    "quickdraw-30": (80, 0, 30, "quickdraw"),
    "sketchy-25-sem-pcyc": (100, 12, 13, "sketchy"),
    "tuberlin-30-sem-pcyc": (220, 15, 15, "tuberlin"),
}
# Written down apart from the file, so that a change of a list together with its checksum does not go unseen.
CHECKSUMS = {
    "sketchy-25": "78d45095b525",
    "sketchy-21": "c1854446a48f",
    "tuberlin-30": "a26202043a56",
    "quickdraw-30": "de6f504b3ca0",
    "sketchy-25-sem-pcyc": "7cdaff2321a9",
    "tuberlin-30-sem-pcyc": "33f91966b3de",
}


@pytest.mark.parametrize("name", SIZES)
def test_published_splits(name: str) -> None:
    seen, validation, unseen, dataset = SIZES[name]
    split = load_split(name, classes_of(dataset))
    assert (len(split.seen), len(split.validation), len(split.unseen)) == (seen, validation, unseen)
    assert sorted((*split.all_seen, *split.unseen)) == classes_of(dataset)
    assert split.checksum.startswith(CHECKSUMS[name])
    assert split.name == name


def test_every_published_split_is_known() -> None:
    assert set(published()) == set(SIZES)
    assert {split["dataset"] for split in published().values()} == set(DATASETS)


@pytest.mark.shared
def test_class_lists_equal_the_facts(shared: Path) -> None:
    facts = json.loads((shared / "facts" / "splits.json").read_text())
    for name, dataset, key in (
        ("sketchy-25", "sketchy", "unseen25_sake_zeroshot1"),
        ("sketchy-21", "sketchy", "unseen21_eccv18"),
        ("tuberlin-30", "tuberlin", "unseen30_sake_zeroshot"),
        ("quickdraw-30", "quickdraw", "unseen30_doodle2search"),
    ):
        assert set(read_split(name).seen) == set(facts[dataset][key]["seen"])
        assert set(read_split(name).unseen) == set(facts[dataset][key]["unseen"])
    for name, dataset in (("sketchy-25-sem-pcyc", "sketchy"), ("tuberlin-30-sem-pcyc", "tuberlin")):
        drawn = facts[dataset]["sem_pcyc_code_seed0"]
        split = read_split(name)
        assert (set(split.seen), set(split.validation), set(split.unseen)) == (
            set(drawn["train"]),
            set(drawn["val"]),
            set(drawn["test"]),
        )


def test_a_damaged_list_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = json.loads(splits.PUBLISHED_FILE.read_text())
    lists["sketchy-21"]["unseen"].append(lists["sketchy-21"]["seen"].pop())
    damaged = tmp_path / "splits.json"
    damaged.write_text(json.dumps(lists))
    monkeypatch.setattr(splits, "PUBLISHED_FILE", damaged)
    published.cache_clear()
    try:
        with pytest.raises(RuntimeError, match="sketchy-21.*checksum"):
            published()
    finally:
        monkeypatch.undo()
        published.cache_clear()
        published()


def test_names_are_spelled_as_the_dataset_spells_them() -> None:
    classes = [name.replace("_", " ").upper() for name in classes_of("quickdraw")]
    split = load_split("quickdraw-30", classes)
    assert set(split.seen) | set(split.unseen) == set(classes)
    assert split.checksum == load_split("quickdraw-30", classes_of("quickdraw")).checksum


def test_unknown_split_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="'sketchy25'.*sketchy-25, sketchy-21, tuberlin-30"):
        load_split("sketchy25", ["a"])


def test_missing_classes_are_listed_and_an_evaluation_needs_the_unseen_ones_only() -> None:
    classes = classes_of("sketchy")
    split = published()["sketchy-21"]
    without_seen = [name for name in classes if name != "teapot"]
    with pytest.raises(UserError, match="lacks 1 of its classes: teapot"):
        load_split("sketchy-21", without_seen)
    loaded = load_split("sketchy-21", without_seen, need_seen=False)
    assert len(loaded.seen) == 103 and any("teapot" in note for note in loaded.notes)
    assert loaded.checksum == split["checksum"]
    assert load_split("sketchy-21", split["unseen"], need_seen=False).seen == ()
    with pytest.raises(UserError, match="giraffe"):
        load_split("sketchy-21", [name for name in classes if name != "giraffe"], need_seen=False)


def write(path: Path, value: object) -> str:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return str(path)


def test_custom_file(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.json", {"seen": ["Big Cat", "dog"], "unseen": ["cow"], "validation": ["dog"]})
    split = load_split(file, ["big_cat", "dog", "cow", "emu"])
    assert (split.name, split.seen, split.validation, split.unseen) == ("mine", ("big_cat",), ("dog",), ("cow",))
    assert any("emu" in note for note in split.notes)
    assert split.checksum == checksum(["dog", "big cat"], ["COW"])


def test_the_name_of_a_custom_split_tells_it_apart(tmp_path: Path) -> None:
    folder = tmp_path / "my drawings"
    folder.mkdir()
    roles = {"seen": ["cow"], "unseen": ["dog"]}
    assert read_split(write(folder / "split.json", roles)).name == "my drawings"
    assert read_split(write(folder / "easy.json", roles)).name == "easy"
    assert read_split(write(folder / "sketchy-25.json", roles)).name == "sketchy-25.json"  # not the published one


def test_evaluation_split_without_seen_classes(tmp_path: Path) -> None:
    file = write(tmp_path / "eval.json", {"seen": [], "unseen": ["cow", "dog"]})
    assert load_split(file, ["cow", "dog"]).seen == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"seen": ["cat", "dog"], "unseen": ["Cat"]}, "both 'seen' and 'unseen': cat"),
        ({"seen": ["cat"], "unseen": ["dog"], "validation": ["dog"]}, "both 'validation' and 'unseen': dog"),
        ({"seen": ["cat", "cat "], "unseen": ["dog"]}, "twice: cat"),
        ({"seen": "cat", "unseen": ["dog"]}, "'seen' must be a list"),
        ({"seen": [1], "unseen": ["dog"]}, "'seen' must be a list"),
        ({"seen": [""], "unseen": ["dog"]}, "'seen' must be a list"),
        ({"seen": [], "unseen": []}, "no class at all"),
        ({"train": ["cat"]}, "expected an object"),
        ({"seen": ["cat"], "unseen": ["dog"], "test": []}, "unknown keys test"),
        (["cat"], "expected an object"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("", "not JSON"),
    ],
)
def test_faulty_files(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_split(write(tmp_path / "s.json", content), ["cat", "dog"])
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        load_split(str(tmp_path / "absent.json"), ["cat"])
    with pytest.raises(UserError, match="directory"):
        load_split(str(tmp_path), ["cat"])
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not JSON"):
        load_split(str(tmp_path / "binary.json"), ["cat"])


def test_two_names_for_one_class(tmp_path: Path) -> None:
    file = write(tmp_path / "s.json", {"seen": ["motorcycle"], "unseen": ["motorbike"]})
    with pytest.raises(UserError, match="both"):
        load_split(file, ["motorcycle", "motorbike"])


def test_carving() -> None:
    split = load_split("sketchy-21", classes_of("sketchy"))
    carved = carve_validation(split, 20, 0)
    assert len(carved.validation) == 20 and len(carved.seen) == 84
    assert carved.all_seen == split.seen and carved.unseen == split.unseen and carved.checksum == split.checksum
    assert carve_validation(split, 20, 0) == carved
    assert carve_validation(split, 20, 1).validation != carved.validation
    assert carve_validation(split, 0, 0) is split
    assert carved.validation[:3] == ("banana", "cannon", "car_(sedan)")  # the same on every machine and version


def test_carving_ignores_spelling() -> None:
    classes = classes_of("quickdraw")
    one = carve_validation(load_split("quickdraw-30", classes), 10, 3)
    two = carve_validation(load_split("quickdraw-30", [name.replace("_", "-") for name in classes]), 10, 3)
    assert set(map(normalise, one.validation)) == set(map(normalise, two.validation))


def test_a_published_validation_set_stays() -> None:
    split = load_split("sketchy-25-sem-pcyc", classes_of("sketchy"))
    assert carve_validation(split, 5, 0) is split


@pytest.mark.parametrize("count", [-1, 3, 4, 99])
def test_carving_leaves_something_to_train_on(count: int) -> None:
    with pytest.raises(UserError, match="expected 0 to 2"):
        carve_validation(Split("s", ("a", "b", "c", "d"), ("e",), (), ""), count, 0)


@settings(deadline=None)  # other work on the machine must not fail a test
@given(st.lists(st.text(min_size=1, max_size=8), unique_by=normalise, min_size=2, max_size=12), st.integers(0, 9))
def test_checksum_knows_sets_not_orders(names: list[str], at: int) -> None:
    at = at % (len(names) - 1) + 1
    seen, unseen = names[:at], names[at:]
    assert checksum(seen, unseen) == checksum(seen[::-1], unseen[::-1])
    assert checksum(seen, unseen) != checksum(names, [])
    assert checksum(seen, unseen) != checksum(names[: at - 1], names[at - 1 :])
