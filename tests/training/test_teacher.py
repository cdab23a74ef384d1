"""Knowledge preservation: the teacher's soft labels, its file, and training of all losses with it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.training.test_trainer import BATCH, TAPS, batches, fit, trainer_of
from tf_ssgn.errors import UserError

WIDTH, CLASSES = 32, 9


@pytest.fixture
def teacher(tmp_path):
    rng = np.random.default_rng(3)
    kernel = rng.standard_normal((WIDTH, CLASSES)).astype("float16")
    np.savez(tmp_path / "teacher.npz", kernel=kernel, bias=rng.standard_normal(CLASSES).astype("float32"))
    return tmp_path / "teacher.npz"


def preserving(file, **changes):
    return trainer_of(losses__preservation=1, losses__teacher=str(file), losses__teacher_classes=CLASSES, **changes)


def test_soft_labels_are_the_classifiers_answer_to_the_last_tap(teacher):
    inputs = next(batches(1))[0]
    out = preserving(teacher)(inputs)
    found = np.load(teacher)
    for row, soft in zip(inputs["photo"], keras.ops.convert_to_numpy(out["soft"]), strict=False):
        logits = row[TAPS - WIDTH : TAPS] @ found["kernel"].astype("float32") + found["bias"]
        shares = np.exp(logits - logits.max())
        np.testing.assert_allclose(soft, shares / shares.sum(), atol=1e-5)
    assert out["soft"].shape == (2 * BATCH, CLASSES)  # the pairs with contours have the same photos


def test_training_lowers_every_term_it_can_and_leaves_a_frozen_backbone_alone(teacher, tmp_path):
    trainer = preserving(teacher, training__learning_rate=3e-3)
    before = [weight.copy() for weight in trainer.backbone.get_weights()]
    history = fit(trainer, steps=15, epochs=4)
    for term in ("loss", "reconstruction", "classification", "contrastive", "semantic", "regression", "preservation"):
        assert history[term][-1] < history[term][0], term
    for a, b in zip(trainer.backbone.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    trainer.save_weights(tmp_path / "t.weights.h5")
    other = preserving(teacher, training__seed=7)
    other.load_weights(tmp_path / "t.weights.h5")
    for a, b in zip(other.get_weights(), trainer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_does_not_fit_is_one_line(teacher, tmp_path):
    with pytest.raises(UserError, match="name it with --losses.teacher"):
        trainer_of(losses__preservation=1)
    with pytest.raises(UserError, match="--training.finetune_from empty"):
        preserving(teacher, training__finetune_from="all")
    with pytest.raises(UserError, match=r"expected a kernel \[D, 1001\]"):
        trainer_of(losses__preservation=1, losses__teacher=str(teacher))
    np.savez(tmp_path / "other.npz", kernel=np.zeros((TAPS + 1, CLASSES)), bias=np.zeros(CLASSES))
    with pytest.raises(UserError, match=f"D up to {TAPS}"):
        preserving(tmp_path / "other.npz")
    with pytest.raises(UserError, match="No such file"):
        preserving(tmp_path / "none.npz")
