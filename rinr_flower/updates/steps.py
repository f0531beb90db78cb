"""Quantisation steps on the grid of the neural network coding standard, and uniform quantisation with them.

A step is named by an integer qp, four to each power of two: ``(4 + qp mod 4) / 4 * 2 ** floor(qp / 4)``
(ISO/IEC 15938-17, qp density 2). Every such step has three significant bits, so a level times a step is exact in
float32 for levels up to 2^21, and both ends compute the same weights.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rinr_flower.errors import DataError

MIN_QP, MAX_QP = -508, 508
MAX_LEVEL = 8_191


def step_of(qp: int) -> float:
    """The step that ``qp`` names."""
    return math.ldexp(4 + qp % 4, qp // 4 - 2)


def qp_above(step: float) -> int:
    """The smallest qp whose step is at least ``step``; MIN_QP for 0. Raises DataError on NaN and infinity."""
    if not math.isfinite(step):
        raise DataError("the change of this model is beyond what float32 holds; use the compressor 'full'")
    if step <= step_of(MIN_QP):
        return MIN_QP
    qp = 4 * math.floor(math.log2(step)) - 1
    while step_of(qp) < step:
        qp += 1
    return min(qp, MAX_QP)


def qp_for_bits(largest: float, bits: int) -> int:
    """The finest qp at which values up to ``largest`` in magnitude fit in ``bits`` bits, sign included."""
    return qp_above(largest / (2 ** (bits - 1) - 1))


def quantise(values: NDArray[np.float32], qp: int) -> NDArray[np.int32]:
    """Levels nearest to ``values / step``, at most MAX_LEVEL in magnitude."""
    levels: NDArray[np.int32] = np.rint(values / np.float32(step_of(qp))).clip(-MAX_LEVEL, MAX_LEVEL).astype(np.int32)
    return levels


def dequantise(levels: NDArray[np.integer], qp: int) -> NDArray[np.float32]:
    """``levels * step`` in float32, exactly."""
    values: NDArray[np.float32] = levels.astype(np.float32) * np.float32(step_of(qp))
    return values
