"""Uniform quantisation with rate-distortion optimised rounding and entropy coding, in the manner of NNCodec."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.updates.base import Matrices, Parts, UpdateCompressor, updates
from rinr_flower.updates.levels import read_levels, write_levels
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.steps import MAX_LEVEL, MAX_QP, MIN_QP, dequantise, quantise, step_of

_PASSES = 2
_OFFSET = 2 * MAX_QP


@updates.register("quantised")
@dataclass(frozen=True, kw_only=True)
class Quantised(UpdateCompressor):
    """Every element of the change in whole steps, the same step for all weights, then entropy-coded.

    What NNCodec does to an incremental update (Becking et al. 2023; ISO/IEC 15938-17) and DeepCABAC (Wiedemann et al.
    2020, arXiv 1907.11900) before it: steps from the standard's qp grid, and for every element the level that is best
    in ``distortion / step^2 + rate_weight * bits``. The bits of a level come from its weight's own histogram; coding is
    by static ANS tables per weight, where the standard has context-adaptive binary arithmetic coding.

    Attributes
    ----------
    qp : the step (see :mod:`rinr_flower.updates.steps`); -38 is NNCodec's default.
    rate_weight : how much distortion, in squared steps, one bit is worth; 0 rounds to nearest.
    """

    qp: int = -38
    rate_weight: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not MIN_QP <= self.qp <= MAX_QP:
            raise ConfigError(f"quantised qp {self.qp} is not in {MIN_QP}..{MAX_QP}")
        if self.rate_weight < 0:
            raise ConfigError(f"quantised rate_weight {self.rate_weight} is negative")

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        writer = ByteWriter()
        writer.varint(self.qp + _OFFSET)
        write_levels(writer, [rate_optimised(d, self.qp, self.rate_weight) for d in deltas.values()])
        return writer.getvalue()

    @classmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        reader = ByteReader(data, "quantised update")
        qp = reader.varint(_OFFSET + MAX_QP) - _OFFSET
        if qp < MIN_QP:
            raise PayloadError(f"quantised update declares qp {qp}; at least {MIN_QP} is allowed")
        arrays = read_levels(reader, [p.size for p in parts.values()], "quantised levels")
        reader.end()
        return {n: dequantise(a, qp).reshape(parts[n].shape) for n, a in zip(parts, arrays, strict=True)}


def rate_optimised(values: NDArray[np.float32], qp: int, rate_weight: float) -> NDArray[np.int32]:
    """Levels of least ``(value / step - level)^2 + rate_weight * bits(level)``.

    Candidates are the nearest level, the one below it in magnitude, and zero. The bits of a level are those of the
    histogram of the levels so far, started from the nearest ones and refined twice.
    """
    levels = quantise(values, qp)
    if rate_weight == 0 or not levels.any():
        return levels
    scaled = (values / np.float32(step_of(qp))).clip(-MAX_LEVEL, MAX_LEVEL)
    candidates = (levels, levels - np.sign(levels), np.zeros_like(levels))
    for _ in range(_PASSES):
        low = min(int(levels.min()), 0)
        counts = np.bincount((levels - low).reshape(-1), minlength=int(max(c.max() for c in candidates)) - low + 1)
        bits = -np.log2((counts + 0.5) / (counts.sum() + 0.5 * counts.size)).astype(np.float32)
        best, cost = levels, np.full(levels.shape, np.inf, np.float32)
        for candidate in candidates:
            inside = candidate.clip(low, None)
            trial = np.square(scaled - inside) + np.float32(rate_weight) * bits[inside - low]
            better = trial < cost
            best, cost = np.where(better, inside, best), np.where(better, trial, cost)
        levels = best
    return levels
