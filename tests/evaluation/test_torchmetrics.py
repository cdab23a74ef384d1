"""The `torchmetrics` family against the library itself, where it is installed; it needs PyTorch, so it is no extra."""

from __future__ import annotations

import numpy as np
import pytest

from tf_ssgn.evaluation import score_rankings


@pytest.mark.parametrize("k", [1, 7, 50, 200])
def test_equals_the_library(k: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    retrieval = pytest.importorskip("torchmetrics.retrieval", reason="torchmetrics is not installed")
    random = np.random.default_rng(0)
    scores, relevant = random.random((30, 90)), random.random((30, 90)) < 0.2
    relevant[3] = False
    indexes = np.repeat(np.arange(30), 90)
    inputs = (torch.tensor(scores.ravel()), torch.tensor(relevant.ravel()), torch.tensor(indexes))
    got = score_rankings(scores, relevant, k)["torchmetrics"]
    expected = {
        "map_all": retrieval.RetrievalMAP(empty_target_action="neg"),
        f"map_at_{k}": retrieval.RetrievalMAP(empty_target_action="neg", top_k=k),
        f"precision_at_{k}": retrieval.RetrievalPrecision(empty_target_action="neg", top_k=k),
        f"recall_at_{k}": retrieval.RetrievalRecall(empty_target_action="neg", top_k=k),
    }
    for name, metric in expected.items():
        assert got[name] == pytest.approx(float(metric(*inputs)), abs=1e-6), name
