"""Smooth random fields: the texture of surfaces and the grain of paper."""

import numpy as np
from PIL import Image

FLOAT = np.float32


def noise_field(rng: np.random.Generator, side: int, cells: tuple[int, ...], weights: tuple[float, ...]) -> np.ndarray:
    """Smooth noise float32 [side, side] around 0: grids of random values, enlarged and added up."""
    total = np.zeros((side, side), FLOAT)
    for count, weight in zip(cells, weights, strict=True):
        grid = Image.fromarray(rng.uniform(-1, 1, (count, count)).astype(FLOAT))
        total += FLOAT(weight) * np.asarray(grid.resize((side, side), Image.Resampling.BILINEAR))
    return total
