"""Truncated singular value decompositions of changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rinr_flower.updates.randomness import random_signs

_EXACT = 256
_OVERSAMPLING = 8
_POWER_ITERATIONS = 2

Factors = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Left (m, rank) and right (rank, n) factor; the change is their product."""


def balanced_factors(delta: NDArray[np.float32], rank: int, *, seed: int = 0) -> Factors:
    """The best factors of rank at most ``rank``, the square root of each singular value on either side.

    From the eigenvectors of the smaller Gram matrix where a side is at most 256: change matrices are wide, and that
    takes a fraction of a full decomposition's time; singular values below 1e-7 of the largest are lost, which is under
    any quantisation step. Larger ones by Halko, Martinsson and Tropp 2011 (algorithms 4.4 and 5.1), with a random range
    finder and two power iterations.
    """
    rank = min(rank, *delta.shape)
    if delta.shape[0] > delta.shape[1]:
        right, left = balanced_factors(np.ascontiguousarray(delta.T), rank, seed=seed)
        return np.ascontiguousarray(left.T), np.ascontiguousarray(right.T)
    basis: NDArray[Any] = np.eye(len(delta), dtype=np.float32)
    if len(delta) > max(_EXACT, rank + _OVERSAMPLING):
        columns = rank + _OVERSAMPLING
        probe = random_signs(seed, "range finder", delta.shape[1] * columns).reshape(-1, columns)
        basis = np.linalg.qr(delta @ probe)[0]
        for _ in range(_POWER_ITERATIONS):
            basis = np.linalg.qr(delta @ (delta.T @ basis))[0]
    wide = (basis.T @ delta).astype(np.float64)
    vectors = np.linalg.eigh(wide @ wide.T)[1][:, ::-1][:, :rank]
    scaled = vectors.T @ wide  # rows are right singular vectors times singular values
    root = np.sqrt(np.sqrt(np.square(scaled).sum(axis=1)))
    left = (basis @ vectors * root).astype(np.float32)
    return left, (scaled / np.where(root > 0, root, 1)[:, None]).astype(np.float32)
