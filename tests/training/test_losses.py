"""Each loss against a naive loop."""

from __future__ import annotations

import keras
import numpy as np

from tf_ssgn.training import losses

RNG = np.random.default_rng(0)


def unit(shape):
    rows = RNG.standard_normal(shape).astype("float32")
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def value(tensor):
    return float(keras.ops.convert_to_numpy(tensor))


def test_reconstruction():
    x, t = unit((6, 5)), unit((6, 5))
    expected = np.mean([sum((a - b) ** 2 for a, b in zip(x[i], t[i], strict=True)) for i in range(6)])
    assert np.isclose(value(losses.reconstruction(x, t)), expected)
    assert value(losses.reconstruction(x, x)) == 0


def test_kl_against_the_integral():
    mean, log_variance = np.array([[0.7, -1.0]], np.float32), np.array([[0.3, -0.8]], np.float32)
    x = np.linspace(-12, 12, 200_001)
    total = 0.0
    for m, lv in zip(mean[0], log_variance[0], strict=True):
        p = np.exp(-((x - m) ** 2) / (2 * np.exp(lv))) / np.sqrt(2 * np.pi * np.exp(lv))
        log_ratio = -((x - m) ** 2) / (2 * np.exp(lv)) - lv / 2 + x**2 / 2
        total += np.sum(p * log_ratio) * (x[1] - x[0])
    assert np.isclose(value(losses.kl(mean, log_variance)), total, atol=1e-4)
    assert value(losses.kl(np.zeros((3, 4), "float32"), np.zeros((3, 4), "float32"))) == 0


def test_cosine_distance():
    a, b = unit((4, 3)), unit((4, 3))
    expected = np.mean([1 - sum(x * y for x, y in zip(a[i], b[i], strict=True)) for i in range(4)])
    assert np.isclose(value(losses.cosine_distance(a, b)), expected, atol=1e-6)


def test_classification():
    codes, prototypes, labels = unit((7, 5)), unit((4, 5)), RNG.integers(0, 4, 7).astype("int32")
    expected = 0.0
    for code, label in zip(codes, labels, strict=True):
        logits = [float(code @ prototype) / 0.1 for prototype in prototypes]
        expected -= np.log(np.exp(logits[label]) / sum(np.exp(logit) for logit in logits)) / 7
    assert np.isclose(value(losses.classification(codes, prototypes, labels, 0.1)), expected, rtol=1e-5)


def test_preservation():
    codes, prototypes, soft = unit((7, 5)), unit((4, 5)), np.abs(unit((7, 4)))
    soft /= soft.sum(axis=1, keepdims=True)
    expected = 0.0
    for code, wanted in zip(codes, soft, strict=True):
        shares = np.exp([float(code @ prototype) / 0.1 for prototype in prototypes])
        expected -= sum(wanted * np.log(shares / shares.sum())) / 7
    assert np.isclose(value(losses.preservation(codes, prototypes, soft, 0.1)), expected, rtol=1e-5)


def test_contrastive():
    queries, gallery, labels = unit((6, 5)), unit((6, 5)), np.array([0, 0, 1, 1, 1, 2], np.int32)

    def one_way(a, b):
        total = 0.0
        for i in range(6):
            scores = [np.exp(float(a[i] @ b[j]) / 0.2) for j in range(6)]
            same = [j for j in range(6) if labels[j] == labels[i]]
            total -= sum(np.log(scores[j] / sum(scores)) for j in same) / len(same)
        return total / 6

    expected = (one_way(queries, gallery) + one_way(gallery, queries)) / 2
    assert np.isclose(value(losses.contrastive(queries, gallery, labels, 0.2)), expected, rtol=1e-5)


def test_extreme_cosines_stay_finite():
    codes = np.eye(4, dtype="float32")
    labels = np.array([3, 2, 1, 0], np.int32)
    assert np.isfinite(value(losses.classification(codes, codes, labels, 1e-3)))
    assert np.isfinite(value(losses.contrastive(codes, codes, labels, 1e-3)))
