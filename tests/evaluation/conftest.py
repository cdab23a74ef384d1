"""Features that more than one test of the room uses."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest


class Arrays(NamedTuple):
    queries: Any
    query_labels: Any
    gallery: Any
    gallery_labels: Any


@pytest.fixture
def arrays() -> Arrays:
    """40 queries and 150 photos of 5 classes, 16-d, clustered enough that metrics are neither 0 nor 1."""
    random = np.random.default_rng(3)
    names = np.array(["ant", "bat", "cow (big)", "dög", "elk"])
    left, right = random.integers(0, 5, 40), random.integers(0, 5, 150)
    centres = random.standard_normal((5, 16))
    queries = centres[left] + 1.5 * random.standard_normal((40, 16))
    gallery = centres[right] + 1.5 * random.standard_normal((150, 16))
    return Arrays(queries.astype(np.float32), names[left], gallery.astype(np.float32), names[right])
