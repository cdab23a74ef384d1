"""`evaluate` on real small runs: the run's own data, other data, several seeds, one run against another."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.eagerly import eagerly
from tf_ssgn import evaluate
from tf_ssgn.data.datasets.items import open_dataset
from tf_ssgn.data.datasets.splits import checksum
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation import per_query


@pytest.fixture(scope="module")
def runs(chain, tiny_config, cache: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds: the run that all tests share, and one that is trained for an epoch."""
    from tf_ssgn.train import train

    training = dataclasses.replace(tiny_config.training, seed=1, epochs=1)
    data = dataclasses.replace(tiny_config.data, validation_classes=0)
    config = dataclasses.replace(tiny_config, training=training, data=data)
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(chain.run, folder / "seed0")
    with eagerly():
        return [folder / "seed0", train(config, str(chain.data), None, str(folder / "seed1"), cache)]


@pytest.fixture
def run(runs: list[Path], tmp_path: Path) -> Path:
    """A copy to evaluate."""
    return Path(shutil.copytree(runs[0], tmp_path / "run"))


def read(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_own_data(run: Path, drawn: Path, cache: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--cache", cache, "--k", "3,7", "--generalized", "--hash", "16", "--transductive", "4"]
    assert evaluate.main([str(run), *flags]) == 0
    text = capsys.readouterr().out
    metrics = read(run)
    unseen = json.loads((drawn / "split.json").read_text())["unseen"]
    assert metrics["split"]["unseen"] == sorted(unseen) and metrics["trained_on"] == []
    assert metrics["duplicates"] is False and "duplicate photos: no" in text
    assert metrics["split"]["name"] == drawn.name  # of its split.json, which has no other name
    assert f"split: {drawn.name} (sha256 {metrics['split']['checksum'][:16]})" in text
    assert {"map_all", "map_at_3", "precision_at_7"} <= set(metrics["families"]["sake"])
    assert set(metrics["generalized"]) == {"unseen", "seen", "harmonic", "counts"} and "16" in metrics["binary"]
    moved = metrics["transductive"]["4"]["sem_pcyc"]["map_all"]
    assert moved != metrics["families"]["sem_pcyc"]["map_all"] and "4 neighbours" in text
    assert metrics["counts"]["queries"] == 6 * len(unseen) == metrics["counts"]["gallery"]
    assert (run / "report.html").exists() and (run / "figures" / "map.svg").exists()
    assert (
        list(metrics["told"]) == ["told the class name", "class name alone"] and "no zero-shot sketch figures" in text
    )
    assert set(metrics["told_fine_grained"]) == {"sketch", "sketch, told the class name"}
    assert metrics["told_fine_grained"]["sketch"] == metrics["fine_grained"]["acc_at_1"]
    assert "With the class name" in (run / "report.html").read_text(encoding="utf-8")
    kept = per_query.load(run)
    assert len(kept.queries) == 6 * len(unseen) and kept.queries[0].startswith("sketch/")
    found = kept.per_query.mean()["cvae"]["map_at_7"]
    assert found == pytest.approx(metrics["families"]["cvae"]["map_at_7"], abs=1e-6)


@pytest.fixture
def other(drawn: Path, tmp_path: Path) -> Path:
    """Three classes of the drawn data under names of their own, and one that training showed."""
    split = json.loads((drawn / "split.json").read_text())
    renamed = dict(zip(split["unseen"][:3], ("Zorb", "big-thing", "猫"), strict=True)) | {
        split["seen"][0]: "Zebra Fish"
    }
    for modality in ("sketch", "photo"):
        for name, new in renamed.items():
            shutil.copytree(drawn / modality / name, tmp_path / "Their Data" / modality / new)
    return tmp_path / "Their Data"


def test_other_data_with_its_own_class_names(run: Path, other: Path, cache: str) -> None:
    before = sorted(path.name for path in run.iterdir())
    assert evaluate.main([str(run), "--data", str(other), "--cache", cache]) == 0
    metrics = read(run / "evaluations" / "Their Data-all")
    assert sorted(path.name for path in run.iterdir()) == sorted([*before, "evaluations"])
    classes = ["Zebra Fish", "Zorb", "big-thing", "猫"]
    assert metrics["split"] == {"name": "all", "checksum": checksum((), classes), "unseen": classes}
    assert metrics["counts"]["queries"] == 24 and metrics["dataset"] == "Their Data"
    assert any("no split was given: all 4 classes" in note for note in metrics["notes"])
    assert "told" not in metrics  # no vectors for their names


def test_other_data_with_a_split_that_has_no_seen_classes(run: Path, other: Path, cache: str, tmp_path: Path) -> None:
    (tmp_path / "two.json").write_text(json.dumps({"seen": [], "unseen": ["zorb", "Big Thing"]}))
    words = [str(run), "--data", str(other), "--split", str(tmp_path / "two.json"), "--cache", cache]
    assert evaluate.main(words) == 0
    assert read(run / "evaluations" / "Their Data-two")["split"]["unseen"] == ["Zorb", "big-thing"]
    with pytest.raises(UserError, match="--generalized: Their Data has no other classes"):
        evaluate.main([*words, "--generalized"])
    (other / "split.json").write_text(json.dumps({"seen": [], "unseen": ["猫"]}))
    assert evaluate.main([str(run), "--data", str(other), "--cache", cache, "--hash", "16"]) == 0
    assert read(run / "evaluations" / "Their Data-Their Data")["counts"]["queries"] == 6
    (tmp_path / "three.json").write_text(json.dumps({"unseen": ["gnu"]}))
    with pytest.raises(UserError, match="the dataset lacks 1 of its classes: gnu"):
        evaluate.main([*words[:3], "--split", str(tmp_path / "three.json")])


def test_classes_that_training_showed_are_a_loud_warning(
    run: Path, drawn: Path, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = json.loads((drawn / "split.json").read_text())
    unseen = [split["seen"][0].upper().replace("_", " "), split["unseen"][0]]
    (tmp_path / "mixed.json").write_text(json.dumps({"unseen": unseen}))
    assert evaluate.main([str(run), "--split", str(tmp_path / "mixed.json"), "--cache", cache]) == 0
    assert "warning: NOT zero-shot: the model was trained on 1 of these classes" in capsys.readouterr().err
    assert read(run / "evaluations" / "data-mixed")["trained_on"] == [split["seen"][0]]


def test_duplicates_change_the_gallery_and_go_into_a_folder_of_their_own(
    run: Path, drawn: Path, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unseen = json.loads((drawn / "split.json").read_text())["unseen"]
    root = tmp_path / "sketchy"
    for name in unseen:
        shutil.copytree(drawn / "sketch" / name, root / "256x256" / "sketch" / "tx_000000000000" / name)
        shutil.copytree(drawn / "photo" / name, root / "256x256" / "photo" / "tx_000000000000" / name)
        shutil.copytree(drawn / "photo" / name, root / "EXTEND_image_sketchy" / name)
    words = [str(run), "--data", str(root), "--cache", cache]
    assert evaluate.main([*words, "--no-duplicates"]) == 0
    assert "duplicate photos: no" in capsys.readouterr().out
    assert evaluate.main([*words, "--duplicates"]) == 0
    assert "duplicate photos: yes" in capsys.readouterr().out
    once, twice = (read(run / "evaluations" / f"sketchy-{drawn.name}{end}") for end in ("", "-duplicates"))
    assert once["duplicates"] is False and twice["duplicates"] is True
    assert twice["counts"]["gallery"] == 2 * once["counts"]["gallery"] == 12 * len(unseen)
    for metrics, word in ((once, "no duplicates: "), (twice, "duplicates: ")):
        assert any(note.startswith(word) for note in metrics["notes"])
    settings = json.loads((run / "config.json").read_text())
    settings["config"]["data"]["duplicates"] = True  # a run trained with them is evaluated with them
    settings["data"] = str(root)
    (run / "config.json").write_text(json.dumps(settings))
    assert evaluate.main([str(run), "--cache", cache]) == 0
    assert read(run)["counts"] == twice["counts"] and read(run)["duplicates"] is True


def test_several_runs(runs: list[Path], cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copies = [str(shutil.copytree(run, tmp_path / run.name)) for run in runs]
    assert evaluate.main([*copies, "--cache", cache, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    assert len(lines) == 1 and list(found["runs"]) == copies and found["split"]["checksum"]
    values = [found["runs"][run]["families"]["zse"]["map_all"] for run in copies]
    entry = found["across_runs"]["zse"]["map_all"]
    assert entry["mean"] == pytest.approx(np.mean(values)) and entry["std"] == pytest.approx(np.std(values, ddof=1))
    assert [found["runs"][run]["seed"] for run in copies] == [0, 1]
    assert evaluate.main([copies[0], copies[0], "--cache", cache]) == 0
    captured = capsys.readouterr()
    assert "2 runs: mean" in captured.out and "a spread over equal seeds means little" in captured.err
    with pytest.raises(UserError, match="--against: received with 2 runs"):
        evaluate.main([*copies, "--against", copies[0]])


def test_one_run_against_another(
    runs: list[Path], cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = (str(shutil.copytree(run, tmp_path / run.name)) for run in runs)
    with pytest.raises(UserError, match="evaluate that run on the same data first"):
        evaluate.main([ours, "--against", theirs, "--cache", cache])
    assert evaluate.main([theirs, "--cache", cache]) == 0
    capsys.readouterr()
    assert evaluate.main([ours, "--against", theirs, "--cache", cache]) == 0
    words = f"difference = {ours} minus {theirs}, paired over queries: above 0 where {ours} is better"
    assert words in capsys.readouterr().out
    entry = read(Path(ours))["against"]["families"]["sake"]["map_all"]
    means = [read(Path(run))["families"]["sake"]["map_all"] for run in (ours, theirs)]
    assert entry["difference"] == pytest.approx(means[0] - means[1], abs=1e-6)
    assert entry["low"] <= entry["difference"] <= entry["high"] and 0 < entry["p"] <= 1
    assert f"Against {theirs}" in (Path(ours) / "report.html").read_text()


def test_mistakes_are_one_line(run: Path, tmp_path: Path) -> None:
    (run / "metrics.json").unlink(missing_ok=True)
    for words, message in (
        ([str(tmp_path / "absent")], "is not a run folder"),
        ([str(run), str(tmp_path / "absent")], "is not a run folder"),
        ([str(run), "--data", str(tmp_path / "absent")], "does not exist"),
        ([str(run), "--split", "sketchy-22"], "unknown split"),
        ([str(run), "--to", "x"], "--to: received with a run"),
        ([str(run), "--views", "16"], "expected 0 to 15"),
        ([str(run), "--k", "0"], "whole numbers of 1 or more"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate.main(words)
    assert not (run / "evaluations").exists() and not (run / "metrics.json").exists()


def test_a_run_that_is_not_there_is_told_before_tensorflow_is_imported(tmp_path: Path) -> None:
    code = """
import sys
from tf_ssgn import evaluate, export
from tf_ssgn.errors import UserError
run = sys.argv[1]
for command, words in ((evaluate, [run]), (evaluate, [run, run, "--ensemble"]), (export, [run, "--to", run])):
    try:
        command.main(words)
    except UserError as error:
        assert "is not a run folder" in str(error), error
        heavy = {"tensorflow", "keras"} & set(sys.modules)
        assert not heavy, (command, words, heavy)
    else:
        raise AssertionError(command)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "absent")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_target_that_cannot_be_a_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"queries": rng.random((4, 3)), "gallery": rng.random((5, 3))}
    np.savez(tmp_path / "f.npz", query_labels=[0, 1, 0, 1], gallery_labels=[0, 1, 0, 1, 1], **arrays)
    (tmp_path / "taken").write_text("")
    for target in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(UserError, match="--to: cannot make the folder"):
            evaluate.main(["--features", str(tmp_path / "f.npz"), "--to", str(target)])
    assert (tmp_path / "taken").read_text() == ""


def test_an_ensemble_ranks_by_the_mean_of_the_cosines(runs: list[Path], cache: str, tmp_path: Path) -> None:
    from tf_ssgn.evaluation import score_rankings
    from tf_ssgn.runs.encoder import RunEncoder
    from tf_ssgn.runs.ensemble import evaluate_ensemble
    from tf_ssgn.training.run_folder import open_run

    scores = []
    for folder in runs:
        made = open_run(folder)
        dataset = open_dataset(made.data)
        encoder = RunEncoder(made, 0, 0, cache)
        sketches, photos = (encoder.images(items, made.split.unseen) for items in (dataset.sketches, dataset.photos))
        scores.append(encoder.codes(sketches)["code"] @ encoder.codes(photos)["code"].T)
        relevant = np.array(sketches.labels)[:, None] == np.array(photos.labels)
    expected = score_rankings(np.mean(scores, axis=0), relevant, (5,))["sem_pcyc"]["map_all"]
    found = evaluate_ensemble(runs, 0, k=(5,), transductive=3, cache=cache)
    assert found["families"]["sem_pcyc"]["map_all"] == pytest.approx(expected, abs=1e-4)
    assert "3" in found["transductive"]
    with pytest.raises(UserError, match="received 1 run, expected two"):
        evaluate_ensemble(runs[:1])
    with pytest.raises(UserError, match="--hash: received with --ensemble"):
        evaluate.main([*map(str, runs), "--ensemble", "--hash", "16"])
    other = shutil.copytree(runs[1], tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["split"]["unseen"].pop()
    config["split"]["checksum"] = checksum(config["split"]["seen"], config["split"]["unseen"])
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="expected one"):
        evaluate_ensemble([runs[0], other])
