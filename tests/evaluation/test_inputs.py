"""`evaluate --features`: arrays made anywhere, and every way in which such a file can be wrong."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.conftest import Arrays
from tf_ssgn import evaluate
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation import inputs, score_features
from tf_ssgn.evaluation.inputs import read_features


@pytest.fixture
def file(tmp_path: Path, arrays: Arrays) -> Path:
    path = tmp_path / "features.npz"
    np.savez(path, **arrays._asdict(), something_else=np.zeros(3))
    return path


def test_the_shell_gives_what_python_gives(file: Path, arrays: Arrays, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--features", str(file), "--k", "20,5", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["families"] == score_features(*arrays, (5, 20))
    assert evaluate.main(["--features", str(file)]) == 0
    text = capsys.readouterr().out
    assert "mAP@100" in text and "mAP@200" not in text
    assert "k = 200: larger than the gallery of 150, so left out of the tables" in text


def test_report_of_features(file: Path, tmp_path: Path) -> None:
    assert evaluate.main(["--features", str(file), "--to", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["counts"]["queries"] == 40
    assert (tmp_path / "out" / "figures" / "curve.svg").exists()


def test_a_failure_on_the_way_leaves_no_metrics_without_their_report(file: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "figures").write_text("in the way")
    with pytest.raises(OSError):
        evaluate.main(["--features", str(file), "--to", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_a_damaged_archive_is_described_without_its_bytes(file: Path) -> None:
    whole = file.read_bytes()
    at = whole.rfind(b"query_labels.npy", 0, whole.rfind(b"PK\x01\x02"))  # the name in the member's own header
    file.write_bytes(whole[:at] + b"\xff" * 16 + whole[at + 16 :])
    with pytest.raises(UserError) as caught:
        read_features(file)
    assert "query_labels" in str(caught.value) and "\\xff" not in str(caught.value) and len(str(caught.value)) < 400


def test_against_other_features(file: Path, tmp_path: Path, arrays: Arrays, capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).standard_normal(arrays.queries.shape)
    np.savez(tmp_path / "worse.npz", **(arrays._asdict() | {"queries": arrays.queries + 3 * noise}))
    assert evaluate.main(["--features", str(file), "--against", str(tmp_path / "worse.npz"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["against"]["families"]["sake"]["map_all"]
    assert found["difference"] > 0.05 and found["low"] > 0 and found["p"] < 0.01
    labels = arrays.query_labels
    for other in (labels[::-1], np.tile(labels[:, None], 2), np.array("ant"), np.arange(len(labels))):
        np.savez(tmp_path / "other.npz", **(arrays._asdict() | {"query_labels": other}))
        with pytest.raises(UserError, match="other query_labels"):
            evaluate.main(["--features", str(file), "--against", str(tmp_path / "other.npz")])


def test_against_says_whose_difference_it_is(
    file: Path, tmp_path: Path, arrays: Arrays, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "worse.npz", **(arrays._asdict() | {"queries": arrays.queries[::-1]}))
    worse, out = str(tmp_path / "worse.npz"), tmp_path / "out"
    assert evaluate.main(["--features", str(file), "--against", worse, "--to", str(out)]) == 0
    words = f"difference = {file} minus {worse}, paired over queries: above 0 where {file} is better"
    assert words in capsys.readouterr().out and words in (out / "report.html").read_text()
    assert json.loads((out / "metrics.json").read_text())["against"]["of"] == str(file)


def test_classes_without_photos_are_a_warning(
    tmp_path: Path, arrays: Arrays, capsys: pytest.CaptureFixture[str]
) -> None:
    for labels, count in ((np.full(150, "gnu"), 5), (np.where(arrays.gallery_labels == "ant", "gnu", "bat"), 4)):
        np.savez(tmp_path / "f.npz", **(arrays._asdict() | {"gallery_labels": labels}))
        assert evaluate.main(["--features", str(tmp_path / "f.npz"), "--json"]) == 0
        printed = capsys.readouterr()
        assert f"warning: {count} of 5 query classes have no photo in the gallery: " in printed.err
        assert json.loads(printed.out)["notes"][0] in printed.err


def test_names_that_are_no_text(tmp_path: Path, arrays: Arrays, capfd: pytest.CaptureFixture[str]) -> None:
    names = [np.where(side == "ant", "\udcffnt", side) for side in (arrays.query_labels, arrays.gallery_labels)]
    file = tmp_path / "f\udcff.npz"
    np.savez(file, **(arrays._asdict() | {"query_labels": names[0], "gallery_labels": names[1]}))
    assert evaluate.main(["--features", str(file), "--to", str(tmp_path / "out")]) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert "%FFnt" in metrics["per_class"] and metrics["dataset"] == f"{tmp_path}/f%FF.npz"
    assert "f%FF.npz" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"dataset: {tmp_path}/f%FF.npz" in capfd.readouterr().out


def test_other_formats_are_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.zeros((3, 2)))
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("array.npy", "text.npz", "empty.npz"):
        with pytest.raises(UserError, match="is no .npz file"):
            read_features(tmp_path / name)
    with pytest.raises(UserError, match="absent.npz: No such file"):
        read_features(tmp_path / "absent.npz")
    with pytest.raises(UserError, match="Is a directory"):
        read_features(tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
def test_any_truncation_and_any_flipped_byte_is_one_line(tmp_path: Path, compressed: bool) -> None:
    buffer = io.BytesIO()
    arrays = {"queries": np.eye(3), "query_labels": np.arange(3), "gallery": np.eye(3), "gallery_labels": np.arange(3)}
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    whole = buffer.getvalue()
    path = tmp_path / "f.npz"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError) as caught:
            read_features(path)
        assert "\n" not in str(caught.value)
    for at in range(0, len(whole), 11):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        try:
            found, _ = read_features(path)
        except UserError as error:
            assert "\n" not in str(error)
        else:  # a byte of the archive that says nothing about the values
            np.testing.assert_array_equal(found.queries, np.eye(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": None}, "lacks queries"),
        ({"queries": np.array([["a", {}], [1, 2]], object)}, "holds Python objects"),
        ({"gallery": np.array([{}], object)}, "the array gallery holds Python objects"),
        ({"query_labels": np.array(["a", "b"], object)}, r"store numbers or text .`.astype.str.`."),
        ({"query_labels": np.array([b"ant"] * 40)}, "query_labels: received .S3 labels"),
        ({"query_labels": np.arange(40)}, "query_labels are int and gallery_labels str"),
        ({"query_labels": np.full(40, 1.5)}, "expected all int or all str"),
        ({"query_labels": np.array(["ant"] * 39)}, "39. labels for 40 items"),
        ({"queries": np.full((40, 16), np.nan)}, "40 row.s. hold NaN"),
        ({"queries": np.ones((40, 5))}, "5 dimensions and the gallery 16"),
        ({"queries": np.ones(16)}, r"expected numbers \[items, dimension\]"),
        ({"gallery": np.zeros((0, 16)), "gallery_labels": np.zeros(0, str)}, "at least one item"),
        ({"queries": np.array("text")}, "expected numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_one_line(
    tmp_path: Path, arrays: Arrays, change: dict[str, Any], message: str
) -> None:
    changed = {name: value for name, value in (arrays._asdict() | change).items() if value is not None}
    np.savez(tmp_path / "f.npz", **changed)
    with pytest.raises(UserError, match=message) as caught:
        evaluate.main(["--features", str(tmp_path / "f.npz")])
    assert "\n" not in str(caught.value)


def test_an_array_that_claims_to_be_huge(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 512)})
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        for name in ("queries", "query_labels", "gallery", "gallery_labels"):
            archive.writestr(f"{name}.npy", header.getvalue())
    with pytest.raises(UserError, match="the array queries takes 4,503,599,627,370,496 bytes"):
        read_features(tmp_path / "f.npz")


def test_arrays_together_are_bounded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(array.nbytes for array in read_features(file)[0])
    monkeypatch.setattr(inputs, "FEATURES_BYTES", size)
    read_features(file)
    monkeypatch.setattr(inputs, "FEATURES_BYTES", size - 1)
    with pytest.raises(UserError, match="the array gallery_labels takes .* left of what is allowed"):
        read_features(file)


def test_an_array_that_is_there_twice(file: Path) -> None:
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("gallery.npy", archive.read("queries.npy"))
    with pytest.raises(UserError, match="holds the array gallery twice"):
        read_features(file)


def test_arrays_that_no_figure_uses_are_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--features", str(file), "--json"]) == 0
    captured = capsys.readouterr()
    assert "note: the file also holds something_else, which no figure uses" in captured.err
    assert "something_else" in json.loads(captured.out)["notes"][0]


@pytest.mark.parametrize(
    "words", [[], ["--views", "3"], ["--hash", "64"], ["--no-duplicates"], ["--duplicates"], ["--split", "x"]]
)
def test_flags_that_do_not_go_together(file: Path, words: list[str]) -> None:
    with pytest.raises(
        UserError, match="either run folders|with --features" if not words else "--" + words[0][2:].removeprefix("no-")
    ):
        evaluate.main([*words, *(["--features", str(file)] if words else [])])
    with pytest.raises(UserError, match="either run folders"):
        evaluate.main(["run", "--features", str(file)])
    with pytest.raises(UserError, match=f"a file of features, not a run folder; evaluate it with --features {file}"):
        evaluate.main([str(file)])
    with pytest.raises(UserError, match="expected whole numbers of 1 or more"):
        evaluate.main(["--features", str(file), "--k", "5,x"])
