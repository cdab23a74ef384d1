"""The guides against a naive solution, and what they leave alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.training.test_trainer import TAPS, trainer_of
from tf_ssgn.data.datasets.items import Example
from tf_ssgn.training.guides import guided, set_guides, solve_guides
from tf_ssgn.training.images import Images

LABELS = ["cup", "cup", "cat", "cat", "cat", "bee"]
VIEWS = 2
CLASSES = ["ant", "bee", "cat", "cow", "cup", "dog"]  # three of them have no sketches


def images(modality: str, instances: list[str], width: int, seed: int) -> Images:
    taps = np.random.default_rng(seed).standard_normal((len(LABELS), VIEWS, width)).astype("float32")
    items = [Example(f"{label}{row}", label, modality, instances[row]) for row, label in enumerate(LABELS)]
    return Images(items, taps)


SKETCHES = images("sketch", ["a", "", "c", "d", "x", "f"], TAPS, 0)
PHOTOS = images("photo", ["a", "b", "c", "d", "e", "f"], 2 * TAPS, 1)


def unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def numpy(values) -> np.ndarray:
    return keras.ops.convert_to_numpy(values)


def stirred(**changes):
    """A trainer whose decoders already add something of their own."""
    trainer = trainer_of(**changes)
    rng = np.random.default_rng(2)
    for stage in ("coarse", "fine"):
        kernel = getattr(trainer.ssgn, f"{stage}_decoder").get_layer("last").kernel
        kernel.assign(rng.standard_normal(kernel.shape).astype("float32"))
    return trainer


@pytest.mark.parametrize("ridge", [0.02, 3.0])
def test_guides_are_the_ridge_regression_of_what_is_missing(ridge):
    trainer = stirred(training__ridge=ridge)
    found = solve_guides(trainer, SKETCHES, PHOTOS, CLASSES)
    set_guides(trainer.ssgn, found)

    photos = [unit(sum(numpy(trainer.ssgn.photo_code(PHOTOS.taps[row][[view]]))[0] for view in range(VIEWS)))
              for row in range(len(LABELS))]  # fmt: skip
    centre = {label: unit(np.mean([photos[i] for i in range(6) if LABELS[i] == label], axis=0)) for label in LABELS}
    own = {0: 0, 2: 2, 3: 3, 5: 5}  # the second names no photo, the fifth one that is not there
    for stage in ("fine", "coarse"):  # the fine one first: it was solved with the coarse guide in place
        getattr(trainer.ssgn, f"{stage}_decoder").get_layer("guide").kernel.assign(np.zeros_like(found[stage]))
        rows, missing = [], []
        for row, label in enumerate(LABELS):
            for view in range(VIEWS):
                out = {k: numpy(v)[0] for k, v in trainer.ssgn.retrieve(SKETCHES.taps[row][[view]]).items()}
                target = photos[own[row]] if stage == "fine" and row in own else centre[label]
                fine = np.concatenate([out["sketch"], out["coarse"]])
                rows.append(out["semantics"] if stage == "coarse" else fine)
                missing.append(target - out[stage])
        x, t = np.array(rows, float), np.array(missing, float)
        # Ridge as least squares: one more row for each weight, which wants it to be 0.
        x = np.concatenate([x, np.sqrt(ridge * len(t)) * np.eye(x.shape[1])])
        t = np.concatenate([t, np.zeros((x.shape[1], t.shape[1]))])
        np.testing.assert_allclose(found[stage], np.linalg.lstsq(x, t, rcond=None)[0], atol=2e-4)
    assert np.abs(found["fine"]).max() > 1e-3


def test_guides_bring_the_codes_nearer_to_their_photos_and_leave_the_model_as_it_is():
    trainer = stirred()
    photos = numpy(trainer.ssgn.photo_code(PHOTOS.taps[:, 0]))
    paired = [0, 2, 3, 5]

    def nearness():
        codes = numpy(trainer.ssgn.retrieve(SKETCHES.taps[:, 0])["code"])
        return (codes * photos)[paired].sum(axis=1).mean()

    before, weights = nearness(), trainer.get_weights()
    guides = solve_guides(trainer, SKETCHES, PHOTOS, CLASSES)
    with guided(trainer.ssgn, guides):
        within = nearness()
    assert within > before + 0.05
    assert nearness() == before
    for value, expected in zip(trainer.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(value, expected)
    set_guides(trainer.ssgn, guides)
    assert nearness() == pytest.approx(within, abs=1e-6)
    for stage, kernel in solve_guides(trainer, SKETCHES, PHOTOS, CLASSES).items():  # whatever guides the model has
        np.testing.assert_allclose(kernel, guides[stage], atol=1e-5)


def test_a_ridge_of_0_solves_nothing_and_gradients_leave_guides_alone():
    trainer = stirred(training__ridge=0)
    assert solve_guides(trainer, SKETCHES, PHOTOS, CLASSES) == {}
    trained = {id(variable) for variable in trainer.trainable_variables}
    for stage in ("coarse", "fine"):
        assert id(getattr(trainer.ssgn, f"{stage}_decoder").get_layer("guide").kernel) not in trained
    plain = trainer_of(model__residual=False)
    guides = solve_guides(plain, SKETCHES, PHOTOS, CLASSES)
    assert guides == {}
    set_guides(plain.ssgn, guides)


def test_one_stage_alone_has_its_guide():
    for stage, other in (("coarse", "fine"), ("fine", "coarse")):
        trainer = trainer_of(**{f"model__{other}": False})
        guides = solve_guides(trainer, SKETCHES, PHOTOS, CLASSES)
        assert set(guides) == {stage, "told"}
        assert guides[stage].any()


def test_the_guide_of_given_vectors_is_the_ridge_regression_onto_the_classes_photos():
    trainer = trainer_of(training__told_ridge=0.3)
    guide = solve_guides(trainer, SKETCHES, PHOTOS, CLASSES)["told"]
    photos = [unit(sum(numpy(trainer.ssgn.photo_code(PHOTOS.taps[row][[view]]))[0] for view in range(VIEWS)))
              for row in range(len(LABELS))]  # fmt: skip
    drawn = sorted(set(LABELS))
    x = np.array([numpy(trainer.semantics)[CLASSES.index(label)] for label in drawn], float)
    t = np.array([unit(np.mean([photos[i] for i in range(6) if LABELS[i] == label], axis=0)) for label in drawn])
    x = np.concatenate([x, np.sqrt(0.3) * np.eye(x.shape[1])])
    t = np.concatenate([t, np.zeros((x.shape[1], t.shape[1]))])
    np.testing.assert_allclose(guide, np.linalg.lstsq(x, t, rcond=None)[0], atol=2e-4)
