"""Dependent quantisation with rate-distortion optimised levels and entropy coding, in the manner of NNCodec."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.updates.base import Matrices, Parts, UpdateCompressor, updates
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.sparse import element_count, flatten, unflatten
from rinr_flower.updates.steps import MAX_LEVEL, MAX_QP, MIN_QP, qp_above, step_of
from rinr_flower.updates.trellis import in_lanes, reconstructed, trellis_levels
from rinr_flower.updates.trellis_coding import read_trellis, write_trellis

_OFFSET = 2 * MAX_QP
_MOST_FOR_A_BIT = 0.4  # mean squares of an element; from about 0.8 on, rare levels get dearer until none is sent


@updates.register("quantised")
@dataclass(frozen=True, kw_only=True)
class Quantised(UpdateCompressor):
    """Every element of the change in whole steps, the same step for all weights, then entropy-coded.

    What NNCodec does to an incremental update (Becking et al. 2023; ISO/IEC 15938-17) and DeepCABAC (Wiedemann et al.
    2020, arXiv 1907.11900) before it: steps from the standard's qp grid, two quantisers that depend on the levels
    before (:mod:`rinr_flower.updates.trellis`), and of all paths the one that is best in
    ``distortion / step^2 + rate_weight * bits``. Coding is by tables for each class of similar lanes, where the
    standard has context-adaptive binary arithmetic coding.

    Attributes
    ----------
    step : in units of the root mean square of the change of all weights, which is what is owed included. Above about 2
        little of a change without outliers is sent, and above 4 nothing.
    qp : overrules ``step`` by a step on the standard's grid (see :mod:`rinr_flower.updates.steps`); -38 is NNCodec's
        default.
    rate_weight : how much distortion, in squared steps, one bit is worth; 0 rounds to nearest. A bit is never worth
        more than 0.4 times the mean square of an element: with coarse steps, nothing would be sent, and error feedback,
        which makes the step grow with what is owed, would never end that.
    """

    step: float = 1.0
    qp: int | None = None
    rate_weight: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.step <= 1_000:
            raise ConfigError(f"quantised step {self.step} is not above 0 and at most 1,000")
        if self.qp is not None and not MIN_QP <= self.qp <= MAX_QP:
            raise ConfigError(f"quantised qp {self.qp} is not in {MIN_QP}..{MAX_QP}")
        if self.rate_weight < 0:
            raise ConfigError(f"quantised rate_weight {self.rate_weight} is negative")

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        writer = ByteWriter()
        vector = flatten(deltas)
        if vector.size == 0:
            return b""
        rms = float(np.sqrt(np.square(vector, dtype=np.float64).mean()))
        qp = qp_above(self.step * rms) if self.qp is None else self.qp
        writer.varint(qp + _OFFSET)
        scaled = (vector / np.float32(step_of(qp))).clip(-MAX_LEVEL, MAX_LEVEL)
        levels = trellis_levels(in_lanes(scaled), min(self.rate_weight, _MOST_FOR_A_BIT * (rms / step_of(qp)) ** 2))
        if not levels.any():
            warnings.warn(
                f"quantised sends no change of the weights: its step is {step_of(qp):.2g}, their change's root mean "
                f"square {rms:.2g}; take a smaller step",
                stacklevel=5,
            )
        write_trellis(writer, levels, vector.size)
        return writer.getvalue()

    @classmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        reader = ByteReader(data, "quantised update")
        if not parts:
            reader.end()
            return {}
        qp = reader.varint(_OFFSET + MAX_QP) - _OFFSET
        if qp < MIN_QP:
            raise PayloadError(f"quantised update declares qp {qp}; at least {MIN_QP} is allowed")
        size = element_count(parts)
        levels, states = read_trellis(reader, size, "quantised update")
        reader.end()
        values = reconstructed(levels, states) * np.float32(step_of(qp))
        return unflatten(np.ascontiguousarray(values.T).reshape(-1)[:size], parts)
