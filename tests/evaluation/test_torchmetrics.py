"""The `torchmetrics` family against what the library itself says.

The numbers are torchmetrics 1.9.0's, on PyTorch 2.14.1, in float32: `RetrievalMAP`, `RetrievalPrecision` and
`RetrievalRecall` with `empty_target_action="neg"` on the table that is drawn here. The library needs PyTorch, whose
builds on the package index are gigabytes of GPU code, so it is not a dependency of the tests.
"""

from __future__ import annotations

import numpy as np
import pytest

from tf_ssgn.evaluation import score_rankings

MAP_ALL = 0.21956689655780792
GOLDEN = {  # k: map_at_k, precision_at_k, recall_at_k
    1: (0.1666666716337204, 0.1666666716337204, 0.008690943010151386),
    7: (0.3377910256385803, 0.17619051039218903, 0.06701484322547913),
    50: (0.23452571034431458, 0.18666666746139526, 0.520505964756012),
    200: (0.21956689655780792, 0.08749999850988388, 0.9666666388511658),
}


@pytest.mark.parametrize("k", GOLDEN)
def test_equals_the_library(k: int) -> None:
    random = np.random.default_rng(0)
    scores, relevant = random.random((30, 90)), random.random((30, 90)) < 0.2
    relevant[3] = False
    values = score_rankings(scores, relevant, k)["torchmetrics"]
    expected = dict(zip((f"map_at_{k}", f"precision_at_{k}", f"recall_at_{k}"), GOLDEN[k], strict=True))
    assert values == pytest.approx({"map_all": MAP_ALL, **expected}, abs=1e-6)
