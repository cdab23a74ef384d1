"""The `prepare` command, end to end on small trees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trees import picture, plain, put, quickdraw, sketchy, tuberlin
from tf_ssgn import prepare
from tf_ssgn.data import check as checking
from tf_ssgn.data.check import check, read_image
from tf_ssgn.data.datasets.items import open_dataset
from tf_ssgn.data.datasets.layouts import LAYOUTS
from tf_ssgn.data.datasets.published import DATASETS, Counts, Published, classes_of
from tf_ssgn.data.datasets.splits import published
from tf_ssgn.errors import UserError


def shell(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tf_ssgn.prepare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def json_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict]:
    code = prepare.main([*map(str, arguments), "--json"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    return int(code or 0), json.loads(lines[0])


def test_exit_codes_are_those_of_the_design(tmp_path: Path) -> None:
    helped = shell("check", "--help")
    assert helped.returncode == 0 and "--dataset" in helped.stdout
    mistake = shell("check", tmp_path / "absent", "--dataset", "sketchy")
    assert mistake.returncode == 2 and mistake.stderr.startswith("error: ") and mistake.stderr.count("\n") == 1
    assert shell("check", plain(tmp_path), "--dataset", "folder").returncode == 0
    a_file = shell("check", Path(__file__), "--dataset", "folder")
    assert a_file.returncode == 2 and "is a file; expected the folder that holds the dataset" in a_file.stderr
    assert shell("check", tmp_path, "--dataset", "sketchy").returncode == 1
    assert shell("check", tmp_path, "--dataset", "skechy").returncode == 2
    assert shell("nonsense").returncode == 2


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom tf_ssgn import prepare\ntry:\n    prepare.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'tensorflow', 'keras', 'numpy', 'PIL'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_check_leaves_out_what_it_is_told_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(plain(tmp_path), ["photo/drafts/1.jpg"])
    (tmp_path / "photo/ant/cut.jpg").write_bytes(b"x")
    code, found = json_of(capsys, "check", tmp_path, "--dataset", "folder", "--exclude", "drafts", "--exclude", "cut.*")
    assert (code, found["complete"], found["counts"]["photos"]["found"]) == (0, True, 4)
    assert json_of(capsys, "check", tmp_path, "--dataset", "folder")[0] == 1
    with pytest.raises(UserError, match="exclude: received ''; expected a glob"):
        check(str(tmp_path), "folder", exclude=[""])


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(["list"]) == 0
    text = capsys.readouterr().out
    for name in (*published(), *DATASETS, "sketchy-mini"):
        assert name in text
    assert all(layout in text for layout in LAYOUTS)
    _, listed = json_of(capsys, "list")
    assert listed["layouts"] == list(LAYOUTS)
    assert listed["splits"]["sketchy-25"] == {
        "dataset": "sketchy", "seen": 100, "validation": 0, "unseen": 25, "queries": 15229, "gallery": 14601,
        "checksum": published()["sketchy-25"]["checksum"], "note": published()["sketchy-25"]["note"],
    }  # fmt: skip


def test_synthetic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "drawn"
    arguments = ["--photos-per-class", "2", "--sketches-per-class", "2", "--size", "32", "--seed", "3"]
    assert prepare.main(["synthetic", str(folder), *arguments]) == 0
    dataset = open_dataset(folder)
    assert len(dataset.photos) == 2 * len(dataset.classes) == len(dataset.sketches)
    assert check(str(folder), "folder", str(folder / "split.json")).problems == []
    capsys.readouterr()
    vectors = str(folder / "semantics.npz")
    assert prepare.main(["semantics", "--vectors", vectors, "--split", str(folder / "split.json"), "-k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(dataset.classes)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Published counts of the size of the trees here; names and messages stay the real ones."""
    monkeypatch.setitem(DATASETS, "sketchy", Published(125 * 3, 125 * 5, "the sketches", "the photos", 0, 125 * 7))
    monkeypatch.setitem(checking.SPLIT_COUNTS, "sketchy-21", Counts(21 * 3, 21 * 5, 21 * 7))


@pytest.mark.parametrize("duplicates", [False, True])
def test_a_complete_copy(tmp_path: Path, small: None, duplicates: bool) -> None:
    sketchy(tmp_path, classes=classes_of("sketchy"))
    report = check(str(tmp_path), "sketchy", "sketchy-21", duplicates=duplicates)
    assert report.problems == []
    assert report.counts["gallery"] == {"found": 147 if duplicates else 105, "published": 147 if duplicates else 105}
    assert report.checksum == published()["sketchy-21"]["checksum"]
    assert len(report.duplicates) == (250 if duplicates else 0)


def test_an_incomplete_copy_says_what_to_get_and_where(
    tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    sketchy(tmp_path, classes=[name for name in classes_of("sketchy") if name not in ("cup", "giraffe")])
    damaged = tmp_path / "EXTEND_image_sketchy" / "pig" / "ext_0.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-60])
    code, report = json_of(capsys, "check", tmp_path, "--dataset", "sketchy", "--split", "sketchy-21")
    assert code == 1 and not report["complete"]
    assert report["missing_classes"] == ["cup", "giraffe"]
    assert report["unreadable"] == [[str(damaged), "the file ends early"]]
    problems = "\n".join(report["problems"])
    assert "2 classes are missing: cup, giraffe" in problems
    assert f"369 sketches, published are 375: get the missing ones; the sketches, below {tmp_path}" in problems
    assert "615 photos, published are 625: get the missing ones; the photos" in problems
    assert "split sketchy-21: the dataset lacks 2 of its classes" in problems
    assert prepare.main(["check", str(tmp_path), "--dataset", "sketchy"]) == 1
    text = capsys.readouterr().out
    assert "problem   2 classes are missing: cup, giraffe" in text and text.endswith("not complete: 4 problems\n")


def test_a_folder_without_any_layout_says_what_to_get(tmp_path: Path) -> None:
    put(tmp_path, ["256x256/sketch/tx_000000000000/cup/1-1.png"])
    report = check(str(tmp_path), "sketchy")
    assert f"below {tmp_path}" in report.problems[1] and "EXTEND_image_sketchy/<class>" in report.problems[2]


def test_short_classes_and_foreign_ones(tmp_path: Path) -> None:
    report = check(str(tuberlin(tmp_path, classes=("hot air balloon", "zeppelin"))), "tuberlin")
    assert any("1 classes have fewer than 80 sketches: hot air balloon (3)" in text for text in report.problems)
    assert report.other_classes == ["zeppelin"]
    assert "248 classes are missing" not in report.problems[0] and "249 classes are missing" in report.problems[0]


def test_quickdraw_counts_are_rounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "quickdraw", Published(6, 4, "s", "p", slack=0.01))
    quickdraw(tmp_path)
    assert [text for text in check(str(tmp_path), "quickdraw").problems if "published" in text] == []
    put(tmp_path, ["images/bat/more.jpg"], 999)
    assert "published are about 4: remove" in " ".join(check(str(tmp_path), "quickdraw").problems)


def test_duplicates_and_content_that_is_seen_and_unseen(tmp_path: Path) -> None:
    plain(tmp_path, ("ant", "bee", "cow"))
    for path in ("photo/ant/copy.jpg", "photo/bee/copy.jpg"):
        (tmp_path / path).write_bytes(picture(5000, "JPEG"))
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"seen": ["ant", "cow"], "unseen": ["bee"]}))
    assert check(str(tmp_path), "folder").problems == []
    report = check(str(tmp_path), "folder", str(split))
    assert len(report.duplicates) == 1
    assert (
        len(report.problems) == 1
        and "1 images are in a seen and in an unseen class: photo/ant/copy.jpg = photo/bee" in (report.problems[0])
    )
    split.write_text(json.dumps({"seen": ["ant", "bee"], "unseen": ["bee"]}))
    with pytest.raises(UserError, match="both 'seen' and 'unseen': bee"):
        check(str(tmp_path), "folder", str(split))
    with pytest.raises(UserError, match="unknown split"):
        check(str(tmp_path), "folder", "sketchy-22")


def test_unreadable_files(tmp_path: Path) -> None:
    png, jpeg = picture(1), picture(1, "JPEG")
    faults = {
        "empty.png": b"", "text.png": b"<html>", "cut.png": png[:-30], "flipped.png": png[:60] + b"\0\0" + png[62:],
        "cut.jpg": jpeg[:-40], "magic.jpg": jpeg[:3], "bomb.png": png[:16] + b"\x00\x01\x00\x00" * 2 + png[24:],
        "tiff.png": b"II*\0" + bytes(20),
    }  # fmt: skip
    for name, content in faults.items():
        (tmp_path / name).write_bytes(content)
        assert read_image(str(tmp_path / name))[0], name
    assert read_image(str(tmp_path / "absent.png"))[0] == "No such file or directory"
    fine = {"a.png": png, "a.jpg": jpeg, "wrongly_named.png": jpeg, "trailing.jpg": jpeg + b"garbage"}
    for name, content in fine.items():
        (tmp_path / name).write_bytes(content)
        assert read_image(str(tmp_path / name))[0] == "", name


def test_semantics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(tmp_path / "v.npz")
    np.savez(source, names=np.array(["cat", "lion", "car"]), vectors=np.array([[1, 0], [1, 0.1], [0, 1.0]]))
    assert prepare.main(["semantics", "--vectors", source, "--names", "cat", "lion", "car", "-k", "1"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["cat", "lion"], ["lion", "cat"], ["car", "lion"],
    ]  # fmt: skip
    with pytest.raises(UserError, match="no vector for 1 of 2 classes: dog"):
        prepare.main(["semantics", "--vectors", source, "--names", "cat", "dog"])
    for names, received in (
        ([], "neither --names nor"),
        (["--names", "cat", "--split", "sketchy-21"], "both --names and"),
    ):
        with pytest.raises(UserError, match=f"received {received} --split; expected one of them"):
            prepare.main(["semantics", "--vectors", source, *names])
    with pytest.raises(UserError, match="no vector for 1 of 2 classes: %FF"):
        prepare.main(["semantics", "--vectors", source, "--names", "cat", "\udcff"])
    with pytest.raises(UserError, match="-k: received '0', expected a whole number"):
        prepare.main(["semantics", "--vectors", source, "--names", "cat", "-k", "0"])


def test_strokes(tmp_path: Path) -> None:
    (tmp_path / "cat.ndjson").write_text('{"key_id": "7", "drawing": [[[0, 9], [0, 9]]]}\n' * 3)
    options = ["--size", "64", "--line-width", "3", "--padding", "4", "--per-class", "1"]
    assert prepare.main(["strokes", str(tmp_path / "cat.ndjson"), "--to", str(tmp_path / "sketch"), *options]) == 0
    assert Image.open(tmp_path / "sketch" / "cat" / "7.png").size == (64, 64)


@pytest.mark.parametrize("option", [["--line-width", "inf"], ["--size", "100000"], ["--padding", "128"]])
def test_impossible_strokes_leave_nothing_behind(tmp_path: Path, option: list[str]) -> None:
    (tmp_path / "cat.ndjson").write_text('{"key_id": "7", "drawing": [[[0, 9], [0, 9]]]}\n')
    with pytest.raises(UserError, match="expected 1 to 2,048 pixels"):
        prepare.main(["strokes", str(tmp_path / "cat.ndjson"), "--to", str(tmp_path / "sketch"), *option])
    assert not (tmp_path / "sketch").exists()


def test_a_folder_of_ones_own_is_not_held_against_published_counts(tmp_path: Path) -> None:
    plain(tmp_path, classes_of("sketchy"))
    report = check(str(tmp_path), "folder", "sketchy-21")
    assert report.problems == [] and report.counts["queries"]["published"] is None


@pytest.mark.shared
def test_real_subset_of_sketchy_is_readable_but_not_complete(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = json_of(capsys, "check", shared / "data" / "sketchy_mini", "--dataset", "sketchy")
    assert code == 1 and report["missing_classes"] == [] and report["unreadable"] == []
    assert report["counts"]["photos"] == {"found": 3125, "published": 73002}
