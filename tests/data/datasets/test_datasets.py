"""Every published layout, on small trees; and what is wrong with folders in the wild."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trees import CLASSES, plain, put, quickdraw, sketchy, tuberlin
from tf_ssgn.data.datasets.file_lists import parse_line, read_file_lists
from tf_ssgn.data.datasets.items import Dataset, open_dataset
from tf_ssgn.errors import UserError


def relative(dataset: Dataset, modality: str = "photos") -> list[str]:
    return [os.path.relpath(item.path, dataset.root) for item in getattr(dataset, modality)]


@pytest.mark.parametrize("suffix", ["", "_ready"])
def test_sketchy(tmp_path: Path, suffix: str) -> None:
    dataset = open_dataset(sketchy(tmp_path, suffix))
    assert dataset.name == "sketchy" and dataset.classes == sorted(CLASSES)
    assert len(dataset.sketches) == 9 and len(dataset.photos) == 15
    assert all(path.startswith("EXTEND") for path in relative(dataset))
    assert {item.instance for item in dataset.sketches} == {f"n0{c}_{n}" for c in range(3) for n in (1, 2)}
    instances = {(item.label, item.instance) for item in dataset.photos}
    assert all((item.label, item.instance) in instances for item in dataset.sketches)
    assert any(note.startswith("no duplicates: 6 of the 6 original photos") for note in dataset.notes)


def test_sketchy_with_duplicates_as_the_published_lists_have_it(tmp_path: Path) -> None:
    dataset = open_dataset(sketchy(tmp_path), duplicates=True)
    assert len(dataset.photos) == 15 + 6
    assert any(note.startswith("duplicates: 6 of the 6") for note in dataset.notes)


def test_sketchy_whose_extended_folder_lacks_originals(tmp_path: Path) -> None:
    sketchy(tmp_path)
    (tmp_path / "EXTEND_image_sketchy" / "cup" / "n00_1.jpg").unlink()
    dataset = open_dataset(tmp_path)
    assert len(dataset.photos) == 15
    assert sorted({item.instance for item in dataset.photos if item.label == "cup"}) == [
        "ext_0", "ext_1", "ext_2", "n00_1", "n00_2",
    ]  # fmt: skip


def test_one_original_in_a_hundred_may_have_another_name(tmp_path: Path) -> None:
    put(tmp_path, [f"256x256/photo/tx_000000000000/cup/n_{n}.jpg" for n in range(100)])
    put(tmp_path, [f"EXTEND_image_sketchy/cup/n_{n}.jpg" for n in range(99)] + ["EXTEND_image_sketchy/cup/other.jpg"])
    put(tmp_path, ["256x256/sketch/tx_000000000000/cup/n_0-1.png"])
    assert len(open_dataset(tmp_path).photos) == 100
    assert len(open_dataset(tmp_path, duplicates=True).photos) == 200


def test_sketchy_without_the_extension_and_given_as_its_256x256_folder(tmp_path: Path) -> None:
    sketchy(tmp_path / "with")
    sketchy(tmp_path / "without", extended=False)
    assert len(open_dataset(tmp_path / "without").photos) == 6
    for dataset in (open_dataset(tmp_path / "with" / "256x256"), open_dataset(tmp_path / "with")):
        assert dataset.name == "sketchy" and len(dataset.photos) == 15 and len(dataset.classes) == 3


@pytest.mark.parametrize("suffix", ["", "_ready"])
def test_tuberlin(tmp_path: Path, suffix: str) -> None:
    dataset = open_dataset(tuberlin(tmp_path, suffix))
    assert dataset.name == "tuberlin" and dataset.classes == ["hot air balloon", "mouse (animal)"]
    assert len(dataset.sketches) == 6 and len(dataset.photos) == 4
    assert all(item.instance == "" for item in dataset.sketches)


def test_quickdraw_joins_two_spellings(tmp_path: Path) -> None:
    dataset = open_dataset(quickdraw(tmp_path))
    assert dataset.name == "quickdraw" and dataset.classes == ["bat", "palm tree"]
    assert {item.label for item in dataset.sketches} == {"bat", "palm tree"}


def test_plain_and_parts(tmp_path: Path) -> None:
    dataset = open_dataset(plain(tmp_path / "mine"))
    assert dataset.name == "mine" and (len(dataset.sketches), len(dataset.photos)) == (8, 4)
    plain(tmp_path / "split" / "train", ("ant",))
    plain(tmp_path / "split" / "val", ("bee", "ant"))
    parts = open_dataset(tmp_path / "split")
    assert parts.classes == ["ant", "bee"] and (len(parts.sketches), len(parts.photos)) == (12, 6)
    assert any("train and val" in note for note in parts.notes)


def write_lists(folder: Path, root: Path, files: dict[str, str], names: dict[str, list[str]]) -> None:
    """Lists like the published ones: `{list name: glob below root}`, labels from `{cname file: classes}`."""
    folder.mkdir(parents=True, exist_ok=True)
    for cname, classes in names.items():
        (folder / cname).write_text("".join(f"{name} {number}\n" for number, name in enumerate(classes)))
    for listing, pattern in files.items():
        classes = names["cname_cid_zero.txt" if "zero" in listing else "cname_cid.txt"]
        paths = sorted(path for path in root.glob(pattern) if path.parent.name in classes)
        lines = [f"{path.relative_to(root)} {classes.index(path.parent.name)}\n" for path in paths]
        (folder / listing).write_text("".join(lines))


NAMES = {"cname_cid.txt": ["cup", "hot-air_balloon"], "cname_cid_zero.txt": ["car_(sedan)"]}
SKETCHY_LISTS = {
    "sketch_tx_000000000000_ready_filelist_train.txt": "256x256/sketch/*/*/*.png",
    "sketch_tx_000000000000_ready_filelist_val.txt": "256x256/sketch/*/cup/*.png",
    "sketch_tx_000000000000_ready_filelist_zero.txt": "256x256/sketch/*/*/*.png",
    "all_photo_filelist_train.txt": "**/*.jpg",
    "all_photo_filelist_zero.txt": "**/*.jpg",
}


@pytest.mark.parametrize("duplicates", [False, True])
def test_published_file_lists(tmp_path: Path, duplicates: bool) -> None:
    sketchy(tmp_path, "_ready")
    write_lists(tmp_path / "zeroshot1", tmp_path, SKETCHY_LISTS, NAMES)
    listed = open_dataset(tmp_path / "zeroshot1", duplicates=duplicates)
    folder = open_dataset(tmp_path, duplicates=duplicates)
    assert listed.sketches == folder.sketches and listed.photos == folder.photos and listed.name == "sketchy"
    assert listed.classes == folder.classes


def test_file_lists_with_spaces_and_without_class_names(tmp_path: Path) -> None:
    tuberlin(tmp_path, "_ready")
    names = {"cname_cid.txt": ["hot air balloon", "mouse (animal)"]}
    lists = {"png_ready_sketch_filelist.txt": "png_ready/*/*.png", "photo_filelist.txt": "ImageResized_ready/*/*.JPEG"}
    write_lists(tmp_path / "lists", tmp_path, lists, names)
    with_names = open_dataset(tmp_path / "lists")
    (tmp_path / "lists" / "cname_cid.txt").unlink()
    without = open_dataset(tmp_path / "lists")
    assert with_names.classes == without.classes == ["hot air balloon", "mouse (animal)"]
    assert with_names.photos == without.photos and with_names.name == "tuberlin"


def test_mixed_up_class_numbers_are_refused(tmp_path: Path) -> None:
    sketchy(tmp_path, "_ready")
    write_lists(tmp_path / "lists", tmp_path, SKETCHY_LISTS, NAMES)
    (tmp_path / "lists" / "cname_cid.txt").write_text("hot-air_balloon 0\ncup 1\n")
    with pytest.raises(UserError, match="line 1: the folder says cup, number 0 says hot-air_balloon"):
        open_dataset(tmp_path / "lists")


@pytest.mark.parametrize(
    ("line", "message"),
    [("only/a/path.png\n", "line 2"), ("a/b.png x\n", "line 2"), ("7\n", "line 2"), ("a b.png -1\n", "line 2")],
)
def test_malformed_lists(tmp_path: Path, line: str, message: str) -> None:
    plain(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "sketch.txt").write_text("sketch/ant/p00-0.png 0\n" + line)
    (tmp_path / "lists" / "photo.txt").write_text("photo/ant/p00.jpg 0\r\n\r\n")
    with pytest.raises(UserError, match=message) as caught:
        open_dataset(tmp_path / "lists")
    assert "expected lines of `<path> <class number>`" in str(caught.value)


def test_listed_images_that_are_missing(tmp_path: Path) -> None:
    plain(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "sketch.txt").write_text("sketch/ant/p00-0.png 0\n")
    (tmp_path / "lists" / "photo.txt").write_text("photo/ant/p00.jpg 0\nphoto/ant/gone.jpg 0\n")
    with pytest.raises(UserError, match="1 listed images are not there: .*gone.jpg"):
        open_dataset(tmp_path / "lists")
    assert len(open_dataset(tmp_path / "lists", strict=False).photos) == 1
    (tmp_path / "lists" / "photo.txt").write_text("elsewhere/ant/p00.jpg 0\n")
    (tmp_path / "lists" / "sketch.txt").write_text("elsewhere/ant/p00.png 0\n")
    with pytest.raises(UserError, match="put the lists into the folder that holds the images"):
        open_dataset(tmp_path / "lists")


@settings(deadline=None)  # other work on the machine must not fail a test
@given(
    st.lists(
        st.text(st.characters(blacklist_characters="\n\r\0", blacklist_categories=["Cs"]), min_size=1), min_size=1
    ),
    st.integers(0, 10**6),
)
def test_any_path_survives_its_line(words: list[str], label: int) -> None:
    path = " ".join(words)
    if path.strip() and path == path.rstrip(" \t\x0b\x0c"):
        assert parse_line(f"{path} {label}\n".encode()) == (path, label)


def test_what_is_not_an_image_is_left_out_and_counted(tmp_path: Path) -> None:
    plain(tmp_path)
    ant = tmp_path / "photo" / "ant"
    put(tmp_path, ["photo/ant/UPPER.JPG", "photo/ant/.hidden.jpg", "photo/.cache/x.jpg", "photo/ant/deeper/y.jpg",
                   "__MACOSX/photo/ant/x.jpg", "photo/__MACOSX/x.jpg", "photo/loose.jpg"])  # fmt: skip
    (ant / "Thumbs.db").write_bytes(b"x")
    (ant / "film.mp4").write_bytes(b"x")
    put(tmp_path, ["photo/@eaDir/x.jpg", "sketch/.ipynb_checkpoints/x.jpg", "photo/ant/#recycle/x.jpg"])
    (ant / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (ant / "linked.jpg").symlink_to(tmp_path / "photo" / "bee" / "p10.jpg")
    (ant / "loop").symlink_to(tmp_path / "photo")
    os.mkfifo(ant / "pipe.jpg")
    dataset = open_dataset(tmp_path)
    names = {os.path.basename(path) for path in relative(dataset) if "ant" in path}
    assert names == {"p00.jpg", "p01.jpg", "UPPER.JPG", "linked.jpg"}
    notes = " ".join(dataset.notes)
    assert (
        "1 files left out that are no images: 1 .mp4" in notes
        and "2 broken links" in notes
        and "2 folders inside" in notes
    )


def test_exclude_is_the_rule_of_galleries_in_every_layout(tmp_path: Path) -> None:
    thumbs = ["photo/ant/p00_thumb.jpg", "photo/drafts/1.jpg", "sketch/drafts/1.png", "photo/bee/raw/1.jpg"]
    put(plain(tmp_path / "plain"), thumbs)
    dataset = open_dataset(tmp_path / "plain", exclude=["*_thumb.jpg", "drafts", "photo/bee/raw", "sketch/ant/p00-*"])
    assert dataset.classes == ["ant", "bee"] and (len(dataset.photos), len(dataset.sketches)) == (4, 6)
    assert not any("left out" in note for note in dataset.notes), "what is excluded is not counted as something else"
    with pytest.raises(UserError, match="exclude: received '/'; expected a glob"):
        open_dataset(tmp_path / "plain", exclude=["/"])

    root = sketchy(tmp_path / "sketchy")
    assert len(open_dataset(root).photos) == 15
    for folder in (root, root / "256x256"):
        originals = open_dataset(folder, exclude=["EXTEND_image_sketchy"])
        assert len(originals.photos) == 6 and not any("duplicates" in note for note in originals.notes)
        assert len(open_dataset(folder, exclude=["EXTEND_image_sketchy/cup"]).photos) == 12, "2 originals of it stay"

    (root / "zeroshot1").mkdir()
    for side, lines in (("photo", ["EXTEND_image_sketchy/cup/ext_0.jpg", "EXTEND_image_sketchy/gone/1.jpg"]),
                        ("sketch", ["256x256/sketch/tx_000000000000/cup/n00_1-1.png"])):  # fmt: skip
        (root / "zeroshot1" / f"{side}_all.txt").write_text("".join(f"{line} 0\n" for line in lines))
    listed = open_dataset(root / "zeroshot1", exclude=["EXTEND_image_sketchy/gone"])
    assert [os.path.basename(item.path) for item in listed.photos] == ["ext_0.jpg"], "one that is not there is no loss"


def test_linked_class_folders(tmp_path: Path) -> None:
    plain(tmp_path / "real")
    (tmp_path / "linked").mkdir()
    for modality in ("sketch", "photo"):
        (tmp_path / "linked" / modality).symlink_to(tmp_path / "real" / modality)
    assert len(open_dataset(tmp_path / "linked").sketches) == 8


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    plain(tmp_path)
    for modality, name in (("photo", b"p\xff.jpg"), ("sketch", b"p\xff-1.png")):
        folder = os.path.join(os.fsencode(tmp_path), modality.encode(), b"caf\xe9")
        os.makedirs(folder)
        source = next((tmp_path / modality / "ant").iterdir())
        with open(os.path.join(folder, name), "wb") as handle:
            handle.write(source.read_bytes())
    dataset = open_dataset(tmp_path)
    assert dataset.classes == ["ant", "bee", "caf%E9"]
    sketch = next(item for item in dataset.sketches if item.label == "caf%E9")
    photo = next(item for item in dataset.photos if item.label == "caf%E9")
    assert sketch.instance == photo.instance != ""
    assert os.fsencode(photo.path).endswith(b"caf\xe9/p\xff.jpg")
    with open(photo.path, "rb") as handle:
        assert handle.read()


def test_order_does_not_depend_on_the_disk(tmp_path: Path) -> None:
    put(tmp_path / "a", [f"{m}/c{c}/{n}.png" for m in ("sketch", "photo") for c in (3, 1, 2) for n in (2, 0, 1)])
    put(tmp_path / "b", [f"{m}/c{c}/{n}.png" for m in ("photo", "sketch") for c in (1, 2, 3) for n in (0, 1, 2)])
    one, two = open_dataset(tmp_path / "a"), open_dataset(tmp_path / "b")
    assert relative(one) == relative(two) == sorted(relative(one))
    assert one.classes == ["c1", "c2", "c3"]


def test_a_sketch_names_a_photo_of_its_own_class_or_none(tmp_path: Path) -> None:
    put(tmp_path, ["photo/ant/a-1.jpg", "photo/bee/b.jpg"])
    put(tmp_path, ["sketch/ant/a-1-3.png", "sketch/ant/b-1.png", "sketch/ant/a-1.png", "sketch/bee/b-x.png"])
    instances = [item.instance for item in open_dataset(tmp_path).sketches]
    assert instances == ["a-1", "", "", ""]


@pytest.mark.parametrize(("ours", "theirs"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_names_meet(tmp_path: Path, ours: str, theirs: str) -> None:
    """A disk written on a Mac, drawings from elsewhere: é is one character or two."""
    cafe, other = unicodedata.normalize(ours, "café"), unicodedata.normalize(theirs, "café")
    assert cafe != other
    put(tmp_path / "plain", [f"photo/{cafe}/{cafe}.jpg", f"sketch/{other}/{other}-1.png"])
    dataset = open_dataset(tmp_path / "plain")
    assert dataset.classes == [cafe] and [item.instance for item in dataset.sketches] == ["café"]
    assert dataset.photos[0].instance == "café" and dataset.photos[0].path.endswith(f"{cafe}/{cafe}.jpg")

    base = tmp_path / "sketchy"
    put(base, [f"256x256/photo/tx_000000000000/{cafe}/{cafe}.jpg", f"256x256/sketch/tx_000000000000/{cafe}/x-1.png"])
    put(base, [f"EXTEND_image_sketchy/{other}/{other}.jpg"])
    assert [item.label for item in open_dataset(base).photos] == [other], "the same photo, listed once"

    parts = tmp_path / "parts"
    put(parts, [f"train/photo/{cafe}/1.jpg", f"train/sketch/{cafe}/1.png", f"val/photo/{other}/2.jpg"])
    put(parts, [f"val/sketch/{other}/2.png"])
    dataset = open_dataset(parts)
    assert dataset.classes == [cafe] and (len(dataset.photos), len(dataset.sketches)) == (2, 2)


@pytest.mark.parametrize(("listed", "disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_file_lists_name_files_in_either_form(tmp_path: Path, listed: str, disk: str) -> None:
    there, written = unicodedata.normalize(disk, "café"), unicodedata.normalize(listed, "café")
    put(tmp_path, [f"photo/{there}/{there}.jpg", f"photo/{there}/b.jpg", f"sketch/{there}/{there}-1.png"])
    (tmp_path / "photo_all.txt").write_text(f"photo/{written}/{written}.jpg 0\nphoto/{there}/{there}.jpg 0\n")
    (tmp_path / "sketch_all.txt").write_text(f"sketch/{written}/{written}-1.png 0\n")
    (tmp_path / "lists").mkdir()
    for folder in (tmp_path, tmp_path / "lists"):  # beside the images, or below
        for name in ("photo_all.txt", "sketch_all.txt"):
            if folder != tmp_path:
                (tmp_path / name).rename(folder / name)
        lists = read_file_lists(str(folder))
        assert lists is not None and not lists.missing
        assert sum(lists.photos.values(), []) == [f"{tmp_path}/photo/{there}/{there}.jpg"], "opened as the disk has it"
        assert sum(lists.sketches.values(), []) == [f"{tmp_path}/sketch/{there}/{there}-1.png"]


def test_part_of_a_dataset(tmp_path: Path) -> None:
    part = open_dataset(plain(tmp_path)).of(["bee", "unknown"])
    assert part.classes == ["bee"] and {item.label for item in part.sketches + part.photos} == {"bee"}


def problem(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        open_dataset(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_that_are_no_dataset(tmp_path: Path) -> None:
    assert "does not exist" in problem(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    assert "is a file" in problem(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "found nothing; expected one of these layouts" in problem(tmp_path / "empty")
    sketchy(tmp_path / "wrapped" / "Sketchy")
    assert f"so give {tmp_path}/wrapped/Sketchy" in problem(tmp_path / "wrapped")
    (tmp_path / "hollow" / "photo" / "ant").mkdir(parents=True)
    (tmp_path / "hollow" / "sketch").mkdir()
    assert "found 0 sketches and 0 photos; expected both" in problem(tmp_path / "hollow")
    put(tmp_path / "half", ["sketch/ant/1.png"])
    (tmp_path / "half" / "photo").mkdir()
    assert "found 1 sketches and 0 photos" in problem(tmp_path / "half")


def test_empty_classes_and_classes_without_photos(tmp_path: Path) -> None:
    plain(tmp_path, ("ant", "bee", "cow"))
    for modality in ("photo", "sketch"):
        (tmp_path / modality / "dodo").mkdir()
    put(tmp_path, ["sketch/elk/1.png", "photo/fox/1.jpg"])
    for file in (tmp_path / "photo" / "bee").iterdir():
        file.unlink()
    for file in (tmp_path / "sketch" / "cow").iterdir():
        file.unlink()
    message = problem(tmp_path)
    assert "1 classes have no images: dodo" in message
    assert "2 classes have sketches but no photos: bee, elk" in message
    assert "1 classes have photos but an empty sketch folder: cow" in message
    dataset = open_dataset(tmp_path, strict=False)
    assert dataset.classes == ["ant", "cow", "fox"]
    assert {item.label for item in dataset.sketches} == {"ant"}
    assert any("photos only" in note and "cow, fox" in note for note in dataset.notes)


def test_two_photo_folders_that_fit_one_sketch_folder(tmp_path: Path) -> None:
    plain(tmp_path)
    put(tmp_path, ["sketch/big cat/1.png", "photo/big_cat/1.jpg", "photo/Big-Cat/1.jpg"])
    assert "the sketches of big cat fit several photo folders: Big-Cat, big_cat" in problem(tmp_path)


def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    plain(tmp_path)
    closed = tmp_path / "photo" / "ant"
    closed.chmod(0)
    try:
        if os.access(closed, os.R_OK):
            pytest.skip("this user may read everything")
        assert "Permission denied; make it readable" in problem(tmp_path)
    finally:
        closed.chmod(0o755)


def test_a_folder_is_listed_once_and_no_file_is_opened_or_looked_at(tmp_path: Path) -> None:
    """The largest published set has 534,000 images: what is asked of the system must not grow with their number."""
    for modality, suffix in (("sketch", "-1.png"), ("photo", ".jpg")):
        for number in range(3):
            put(tmp_path, [f"{modality}/class{number}/p{n}{suffix}" for n in range(40)])
    asked: list[str] = []
    listening = False
    inside = str(tmp_path / "")

    def hook(event: str, words: tuple) -> None:
        if listening and event in ("open", "os.scandir", "os.listdir") and str(words[0]).startswith(inside):
            asked.append(os.path.relpath(words[0], tmp_path))

    sys.addaudithook(hook)
    listening = True
    dataset = open_dataset(tmp_path)
    listening = False
    folders = [f"{modality}/class{number}" for modality in ("photo", "sketch") for number in range(3)]
    assert sorted(asked) == sorted([*folders, "photo", "sketch"])
    assert len(dataset.sketches) == len(dataset.photos) == 120
    assert all(item.instance for item in dataset.sketches)


@pytest.mark.shared
def test_real_sketchy(shared: Path) -> None:
    dataset = open_dataset(shared / "data" / "sketchy_mini")
    assert (len(dataset.classes), len(dataset.sketches), len(dataset.photos)) == (125, 3125, 3125)
    assert all(item.instance for item in dataset.sketches)
