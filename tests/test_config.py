"""Config fields as typed flags, presets, and the round trip through JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_ssgn import config
from tf_ssgn.errors import UserError


@pytest.mark.parametrize("name", config.PRESETS)
def test_presets_survive_json(name):
    made = config.preset(name)
    assert made.preset == name
    assert config.from_dict(json.loads(json.dumps(config.to_dict(made)))) == made


def test_a_config_of_another_version_does_not_get_todays_model() -> None:
    saved = config.to_dict(config.preset("sketchy-mini"))
    del saved["training"]["patience"]
    assert config.from_dict(saved) == config.preset("sketchy-mini")
    del saved["model"]["pooling"]
    with pytest.raises(UserError, match="a config without model.pooling, expected all fields of the model"):
        config.from_dict(saved)


def test_dropped_fields_of_earlier_versions_load_and_are_named() -> None:
    saved = config.to_dict(config.preset("sketchy-mini"))
    saved["model"]["dropout"] = 0.0
    saved["training"] |= {"average": 0.9, "refit": True}
    assert config.from_dict(saved) == config.preset("sketchy-mini")
    assert config.dropped(saved) == {"training.average": 0.9}
    with pytest.raises(UserError, match="--training.refit is no longer there: .* set --data.validation_classes 0"):
        config.override(config.Config(), {"training.refit": "off"})


def test_every_field_has_a_help_text_and_a_valid_default():
    for name, (_, item, value) in config.fields(config.Config()).items():
        if name != "preset":
            assert item.metadata["help"], name
            assert config.override(config.Config(), {name: value}) == config.Config(), name


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("training.epochs", "7", 7),
        ("training.learning_rate", "1e-2", 0.01),
        ("model.coarse", "off", False),
        ("model.taps", "a,b", ("a", "b")),
        ("evaluation.k", "5,10", (5, 10)),
        ("model.weights", "file.h5", "file.h5"),
    ],
)
def test_text_becomes_the_fields_type(field, text, value):
    assert config.fields(config.override(config.Config(), {field: text}))[field][2] == value


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("training.epochs", "many", "expected a whole number"),
        ("training.epochs", "0", "expected a whole number from 1 to"),
        ("training.batch_classes", "-1", "expected a whole number from 2"),
        ("training.learning_rate", "nan", "expected a number from 0"),
        ("model.samples", "1000000", "from 1 to 1024"),
        ("data.image_size", "7", "from 32 to 1024"),
        ("evaluation.k", "5,0", "from 1 to"),
        ("model.coarse", "maybe", "expected true or false"),
        ("model.backbone", "resnet", "expected one of efficientnet_lite0, "),
        ("evaluation.k", "5,x", "comma-separated a whole number"),
        ("model.depth", "3", "unknown config field"),
    ],
)
def test_mistakes_say_what_was_expected(field, text, message):
    with pytest.raises(UserError, match=message):
        config.override(config.Config(), {field: text})


def test_unknown_presets_are_listed():
    with pytest.raises(UserError, match="demo, everyday, sketchy-mini, sketchy, tuberlin, quickdraw"):
        config.preset("imagenet")


def test_differences_name_the_fields():
    left = config.Config()
    right = config.override(left, {"training.epochs": 3})
    assert config.differences(left, left) == []
    assert config.differences(left, right) == [f"training.epochs: {left.training.epochs!r} here, 3 there"]


@given(st.text(max_size=20))
def test_no_text_ends_in_a_traceback(text):
    for field in ("training.epochs", "losses.kl", "model.fine", "model.fusion", "evaluation.k"):
        try:
            config.override(config.Config(), {field: text})
        except UserError as error:
            assert "\n" not in str(error)
