"""Average precision beside scikit-learn's. `make jax` installs it: where it is, Keras imports it in every process."""

from __future__ import annotations

import numpy as np
import pytest

from tf_ssgn.evaluation import score_rankings

sklearn = pytest.importorskip("sklearn.metrics")


def test_it_agrees_on_average_precision():
    random = np.random.default_rng(0)
    scores, relevant = random.standard_normal((30, 200)), random.random((30, 200)) < 0.2
    pairs = zip(relevant, scores, strict=True)
    expected = np.mean([sklearn.average_precision_score(mask, score) for mask, score in pairs])
    got = score_rankings(scores, relevant, 10)
    assert got["sem_pcyc"]["map_all"] == pytest.approx(expected, abs=1e-12)
    assert got["torchmetrics"]["map_all"] == got["sem_pcyc"]["map_all"]
