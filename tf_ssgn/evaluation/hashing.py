"""Binary codes: iterative quantisation (ITQ) and ranking by Hamming distance.

ITQ (Gong, Lazebnik, Gordo and Perronnin, "Iterative Quantization", 2013): project centred features on their first
principal directions and rotate them so that taking signs loses as little as possible. It is fitted without labels; fit
it on the training photos. Some published code fits it on the test gallery, which lets the codes adapt to the test
classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_ssgn.errors import UserError
from tf_ssgn.evaluation.inputs import Labels, unit_rows
from tf_ssgn.evaluation.ranking import Block, rank_by_label
from tf_ssgn.evaluation.threads import one_blas_thread
from tf_ssgn.settings import CODES_TOGETHER

SMALLEST_BITS, LARGEST_BITS = 16, 128
ITERATIONS = 50  # the paper's; the rotation has settled by then


@dataclass(frozen=True)
class ITQ:
    """A fitted quantiser: bits are `(x / |x| - mean) @ projection > 0`; `mean` [d], `projection` [d, bits], float32."""

    mean: np.ndarray
    projection: np.ndarray

    @property
    def bits(self) -> int:
        return self.projection.shape[1]

    def encode(self, features: Any) -> np.ndarray:
        """Packed codes uint8 [M, bits / 8] of features [M, d], most significant bit first."""
        unit = unit_rows(features, "features")
        if unit.shape[1] != len(self.mean):
            raise UserError(
                f"features have {unit.shape[1]} dimensions, the codes were fitted on {len(self.mean)}; embed both alike"
            )
        return np.packbits((unit - self.mean) @ self.projection > 0, axis=1)


def fit_itq(features: Any, bits: int = 64, *, seed: int = 0, iterations: int = ITERATIONS) -> ITQ:
    """Fits ITQ on features [M, d], to 16 to 128 bits, a multiple of 8, at most d. `seed` is of the first rotation; the
    same seed and features give the same codes. UserError: bits out of range, NaN, or fewer than two items."""
    if not SMALLEST_BITS <= bits <= LARGEST_BITS or bits % 8:
        raise UserError(f"received {bits} bits, expected a multiple of 8 from {SMALLEST_BITS} to {LARGEST_BITS}")
    unit = unit_rows(features, "features")
    items, dimension = unit.shape
    if bits > dimension:
        raise UserError(
            f"received {bits} bits for features of {dimension} dimensions; expected at most one bit per dimension"
        )
    if items < 2:
        raise UserError(f"received {items} item to fit codes on, expected two or more")
    mean = unit.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = unit - mean
    with one_blas_thread():
        _, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))  # ascending variance
        principal = directions[:, ::-1][:, :bits]
        # LAPACK leaves the sign of an eigenvector open; fix it, so that codes do not depend on the build.
        principal = principal * np.sign(principal[np.abs(principal).argmax(axis=0), np.arange(bits)])
        projected = centred @ principal.astype(np.float32)
        rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((bits, bits)))
        for _ in range(iterations):
            signs = np.where(projected @ rotation.astype(np.float32) > 0, np.float32(1), np.float32(-1))
            # The rotation nearest to the signs (Procrustes).
            left, _, right = np.linalg.svd((projected.T @ signs).astype(np.float64))
            rotation = left @ right
    return ITQ(mean, (principal @ rotation).astype(np.float32))


def hamming(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Distances uint8 [Q, N] of packed codes uint8 [Q, bytes] and [N, bytes], bytes at most 16."""
    return _distances(_words(left), _words(right))


def rank_codes(queries: np.ndarray, gallery: np.ndarray, labels: Labels) -> Iterator[Block]:
    """Blocks by Hamming distance of packed codes; the score is bits minus distance. Feed them to `metrics.measure`."""
    bits = np.uint8(8 * queries.shape[1])
    order = np.argsort(labels.gallery, kind="stable")
    left, right = _words(queries), _words(gallery[order])
    yield from rank_by_label(lambda rows: bits - _distances(left[rows], right), np.uint8, labels, order)


def _words(codes: np.ndarray) -> np.ndarray:
    """Packed codes as uint64 [M, words], zeros behind the last byte."""
    padded = np.zeros((len(codes), -(-codes.shape[1] // 8) * 8), np.uint8)
    padded[:, : codes.shape[1]] = codes
    return padded.view(np.uint64)


def _distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    result = np.zeros((len(left), len(right)), np.uint8)
    for start in range(0, len(left), CODES_TOGETHER):
        part = slice(start, start + CODES_TOGETHER)
        for word in range(left.shape[1]):
            result[part] += np.bitwise_count(left[part, word, None] ^ right[:, word])
    return result
