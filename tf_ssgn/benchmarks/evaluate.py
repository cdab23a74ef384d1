"""Speed and memory of the evaluation, against the floor that any implementation pays: the matrix product and a sort.

Times on a shared machine mean little, so floor and evaluation alternate in one process and the ratio of their medians
is the figure to watch. `run(True)` takes the published sizes; `run(False)` the same code on a fixed-seed small part.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tf_ssgn.benchmarks import megabytes, noting, seconds
from tf_ssgn.common.cores import cores
from tf_ssgn.evaluation.hashing import fit_itq, rank_codes
from tf_ssgn.evaluation.inputs import encode_labels
from tf_ssgn.evaluation.metrics import measure, per_query_features, score_features
from tf_ssgn.evaluation.threads import one_blas_thread

# name: (queries, photos, dimension, classes, rounds)
FULL = {"sketchy-25": (15_229, 17_101, 512, 25, 3), "quickdraw-30": (92_291, 54_151, 512, 30, 1)}
SMALL = {"sketchy-25 / 8": (1_904, 2_138, 64, 25, 3)}
CUTS = (100, 200)
FLOOR_ROWS = 512  # rows of one product; the floor does not get faster with other blocks


def run(full: bool) -> dict[str, Any]:
    """Measures and prints, and returns by size: seconds as medians over rounds, `peak_mb` of memory above the inputs;
    `itq_fit_s` is of 64 bits on the gallery, `hamming_64_s` of all families once the codes are made."""
    figures: dict[str, Any] = {}
    note = noting(figures, 14)
    for name, numbers in (FULL if full else SMALL).items():
        note(name, _size(*numbers))
    return figures


def _size(queries: int, photos: int, dimension: int, classes: int, rounds: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    centres = random.standard_normal((classes, dimension), dtype=np.float32)
    asked, held = random.integers(0, classes, queries), random.integers(0, classes, photos)
    left = random.standard_normal((queries, dimension), dtype=np.float32) + 0.3 * centres[asked]
    right = random.standard_normal((photos, dimension), dtype=np.float32) + 0.3 * centres[held]
    large = queries > FULL["sketchy-25"][0]
    floors, times, halves = [], [], []
    peak = 0.0
    for _ in range(rounds):
        floors.append(seconds(_floor, left, right))
        Path("/proc/self/clear_refs").write_text("5")  # the highest memory is counted anew (Linux)
        before = megabytes()
        times.append(seconds(per_query_features, left, asked, right, held, CUTS, progress=large))
        peak = max(peak, megabytes("VmHWM") - before)
        half = queries // 2
        halves.append(seconds(score_features, left[:half], asked[:half], right, held, CUTS))
    start = time.perf_counter()
    itq = fit_itq(right, 64)
    fitted = time.perf_counter() - start
    codes, gallery = itq.encode(left), itq.encode(right)
    labels = encode_labels(asked, held, queries, photos)
    hamming = [
        seconds(lambda: measure(rank_codes(codes, gallery, labels), queries, photos, CUTS)) for _ in range(rounds)
    ]
    return {
        "queries": queries,
        "photos": photos,
        "dimension": dimension,
        "floor_s": float(np.median(floors)),
        "all_families_s": float(np.median(times)),
        "ratio": float(np.median(times) / np.median(floors)),
        "half_queries_s": float(np.median(halves)),
        "peak_mb": peak,
        "itq_fit_s": fitted,
        "hamming_64_s": float(np.median(hamming)),
    }


def _floor(queries: np.ndarray, gallery: np.ndarray) -> None:
    """All products and all rows sorted, on all cores, with nothing made of them."""

    def part(start: int) -> None:
        (queries[start : start + FLOOR_ROWS] @ gallery.T).sort(axis=1)

    with one_blas_thread(), ThreadPoolExecutor(cores()) as pool:
        list(pool.map(part, range(0, len(queries), FLOOR_ROWS)))
