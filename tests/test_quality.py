"""`bench quality`: a run is made once and then remembered, and the table says what the runs said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tf_ssgn.benchmarks import quality
from tf_ssgn.errors import UserError
from tf_ssgn.evaluation.report.facts import NAME_ALONE, NOT_ZERO_SHOT, TOLD

SMALL = {
    "model.backbone": "tiny", "data.image_size": 32, "model.code": 16, "model.hidden": 8, "model.latent": 4,
    "training.epochs": 1, "training.views": 1, "training.photo_views": 1,
    "evaluation.views": 1, "evaluation.photo_views": 1, "data.validation_classes": 0, "training.batch_classes": 6,
    "model.kept": 4, "model.weights": "none",
}  # fmt: skip


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TF_SSGN_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_run_is_measured_once(drawn: Path, elsewhere: Path) -> None:
    material = {"data": str(drawn), "weights": "", "vectors": str(drawn / "semantics.npz")}
    found = quality.measure("SSGN", SMALL, str(drawn / "split.json"), 0, material)
    for label in (quality.AS_SEARCHED, "views"):
        told = {TOLD, NAME_ALONE, "acc@1, sketch", f"acc@1, sketch, {TOLD}"}
        assert {*quality.STAGES, "retrieved", "acc_at_1", "acc_at_5", "transductive", *told} == set(found[label])
        assert found[label]["retrieved"] == found[label]["fine"] and 0 < found[label]["untrained"] < 1
    assert found["views"]["untrained"] != found[quality.AS_SEARCHED]["untrained"]
    assert quality.measure("SSGN", SMALL, str(drawn / "split.json"), 0, material) == found
    with pytest.raises(UserError, match="measured with another config .training.epochs: 2 here, 1 there.; remove"):
        quality.measure("SSGN", SMALL | {"training.epochs": 2}, str(drawn / "split.json"), 0, material)
    kept = json.loads((elsewhere / "bench-quality/SSGN-split-0.json").read_text())
    assert kept == found


def test_a_head_without_decoders_retrieves_with_the_sketchs_own_code(drawn: Path, elsewhere: Path) -> None:
    material = {"data": str(drawn), "weights": "", "vectors": str(drawn / "semantics.npz")}
    changes = SMALL | quality.HEAD | {"model.code": 16}
    found = quality.measure("discriminative head", changes, str(drawn / "split.json"), 0, material)["views"]
    assert found["retrieved"] == found["sketch_code"] and "fine" not in found


def test_the_teacher_is_the_packages_classifier(elsewhere: Path) -> None:
    with np.load(quality._teacher()) as arrays:
        assert arrays["kernel"].shape == (1280, 1000) and arrays["bias"].shape == (1000,)


def test_rows_that_are_told_the_class_stand_apart() -> None:
    values = dict.fromkeys(
        [*quality.STAGES, "retrieved", "acc_at_1", "acc_at_5", "transductive", TOLD, NAME_ALONE], 0.5
    )
    text = quality.table({"SSGN": {"a": [{quality.AS_SEARCHED: values, "views": values}]}}, {})
    apart = text[text.index("## With the class name") : text.index("## Beyond one model")]
    assert NOT_ZERO_SHOT in apart and f"| {TOLD} | 0.500 / 0.500 |" in apart and f"| {NAME_ALONE} |" in apart


def test_the_table_has_means_and_spreads() -> None:
    def cell(value: float) -> dict:
        stages = dict.fromkeys([*quality.STAGES, "retrieved", "acc_at_1", "acc_at_5", "transductive"], value)
        return {quality.AS_SEARCHED: stages, "views": {key: value + 0.1 for key in stages}}

    without = {label: {"sketch_code": 0.2, "retrieved": 0.2} for label in (quality.AS_SEARCHED, "views")}
    found = {"SSGN": {"a": [cell(0.2), cell(0.4)], "b": [cell(0.5)]}, "other": {"a": [without], "b": [without]}}
    text = quality.table(found, {"all seeds together": {"a": cell(0.6), "b": cell(0.7)}})
    assert "| all seeds together | 0.600 / 0.700 | 0.700 / 0.800 |" in text
    assert "| all seeds together, transductive | 0.600 / 0.700 | 0.700 / 0.800 |" in text
    assert "| transductive | 0.300 ± 0.141 / 0.400 ± 0.141 | 0.500 / 0.600 |" in text
    assert "together |" not in quality.table(found, {})
    assert "| SSGN | 2 | 0.300 ± 0.141 / 0.400 ± 0.141 | 0.500 / 0.600 |" in text
    assert "| other | 1 | 0.200 / 0.200 | 0.200 / 0.200 |" in text
    ablation = {"no fine stage": {"a": [without], "b": [without]}}
    assert "| 0.200 / 0.200 | `--model.fine False` |" in quality.table(found | ablation, {})
    missing = text.partition("Not run with today's recipe yet: ")[2].partition(".\n")[0].split(", ")
    assert missing == list(quality.MAIN_VARIANTS | quality.ABLATIONS)[1:], "what was not measured is named"
    whole = found | {name: found["other"] for name in missing}
    assert "Not run" not in quality.table(whole, {})
    assert "| sketch's own code | 0.300 ± 0.141 / 0.400 ± 0.141 | 0.500 / 0.600 |" in text


def test_another_split_than_those_of_the_table_is_refused() -> None:
    with pytest.raises(UserError, match="--only: received 'tuberlin-30', expected one of sketchy-21, sketchy-25"):
        quality.run(False, only="tuberlin-30")


def test_material_that_is_not_there_is_named(elsewhere: Path) -> None:
    with pytest.raises(UserError, match="sketchy_mini.*--data"):
        quality.run(False, str(elsewhere))


def test_every_variant_is_a_config() -> None:
    from tf_ssgn import config

    preset = config.override(config.preset("sketchy-mini"), quality.FIXED)
    for name, changes in (quality.MAIN_VARIANTS | quality.ABLATIONS).items():
        changed = config.override(preset, changes)
        assert name == quality.MAIN or len(config.differences(changed, preset)) == len(changes), name
