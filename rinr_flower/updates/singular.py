"""Truncated singular value decompositions of changes, randomised where the matrix is large."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rinr_flower.updates.randomness import random_signs

_EXACT = 64
_OVERSAMPLING = 8
_POWER_ITERATIONS = 2

Factors = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Left (m, rank) and right (rank, n) factor; the change is their product."""


def balanced_factors(delta: NDArray[np.float32], rank: int, *, seed: int = 0) -> Factors:
    """The best factors of rank at most ``rank``, the square root of each singular value on either side.

    Exact for matrices with a side up to 64; others by Halko, Martinsson and Tropp 2011 (algorithms 4.4 and 5.1).
    """
    rank = min(rank, *delta.shape)
    if min(delta.shape) <= max(_EXACT, rank + _OVERSAMPLING):
        left, values, right = np.linalg.svd(delta, full_matrices=False)
    else:
        columns = rank + _OVERSAMPLING
        probe = random_signs(seed, "range finder", delta.shape[1] * columns).reshape(-1, columns)
        basis = np.linalg.qr(delta @ probe)[0]
        for _ in range(_POWER_ITERATIONS):
            basis = np.linalg.qr(delta @ np.linalg.qr(delta.T @ basis)[0])[0]
        left, values, right = np.linalg.svd(basis.T @ delta, full_matrices=False)
        left = basis @ left
    root = np.sqrt(values[:rank])
    return left[:, :rank] * root, root[:, None] * right[:rank]
