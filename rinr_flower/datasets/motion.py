"""Random smooth motion that is the same on every machine.

Only raw PCG64 output (whose stream NumPy guarantees) and float64 +, -, *, / (which IEEE 754 fixes) are used: no libm,
no reductions, no distributions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOISE_DEVIATION = 147.8
"""Of the sum of four even bytes: sqrt(4 (256^2 - 1) / 12)."""


class Stream:
    """Random numbers that depend on ``key`` alone."""

    def __init__(self, *key: int) -> None:
        self._source = np.random.PCG64(np.random.SeedSequence(key))

    def uniform(self, low: float, high: float) -> float:
        """A float64 in [low, high)."""
        return low + (high - low) * ((int(self._source.random_raw()) >> 11) * 2.0**-53)

    def below(self, count: int) -> int:
        """A whole number in 0..count-1."""
        return int(self._source.random_raw()) % count

    def noise(self, shape: tuple[int, ...]) -> NDArray[np.int32]:
        """Near-Gaussian whole numbers (sums of four bytes), mean 0, standard deviation :data:`NOISE_DEVIATION`."""
        count = int(np.prod(shape))
        raw = self._source.random_raw((count + 1) // 2).astype("<u8").view(np.uint8)
        total = raw.reshape(-1, 4).astype(np.int32)
        return (total[:, 0] + total[:, 1] + total[:, 2] + total[:, 3] - 510)[:count].reshape(shape)


@dataclass(frozen=True)
class Path:
    """A value that moves smoothly: a uniform cubic B-spline, twice continuously differentiable.

    ``knots`` are ``period`` frames apart; the curve stays within their range. A knot list that is longer continues the
    same curve.
    """

    knots: tuple[float, ...]
    period: float

    @classmethod
    def random(cls, stream: Stream, low: float, high: float, *, period: float, frames: int) -> Path:
        """Knots drawn evenly from low..high, enough for ``frames`` frames and one more."""
        return cls(tuple(stream.uniform(low, high) for _ in range(int((frames + 1) / period) + 5)), period)

    def __call__(self, time: float) -> float:
        """The value at ``time`` frames (-1 or later, to the last frame and one more)."""
        position = (time + 1) / self.period
        index = int(position)
        t = position - index
        k0, k1, k2, k3 = self.knots[index : index + 4]
        s = 1 - t
        return (
            s * s * s * k0
            + (3 * t * t * t - 6 * t * t + 4) * k1
            + (3 * s * s * s - 6 * s * s + 4) * k2
            + t * t * t * k3
        ) / 6


@dataclass(frozen=True)
class Sum:
    """Two motions added."""

    first: Path | Sum
    second: Path | Sum

    def __call__(self, time: float) -> float:
        return self.first(time) + self.second(time)


def turn(half_tangent: float) -> tuple[float, float]:
    """(cos, sin) of the angle whose half has this tangent, without libm."""
    square = half_tangent * half_tangent
    return (1 - square) / (1 + square), 2 * half_tangent / (1 + square)
