"""Truncated singular value decomposition of a finished change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import ConfigError
from rinr_flower.updates.base import Matrices, Parts, UpdateCompressor, updates
from rinr_flower.updates.factor_coding import QuantisedFactors, read_factors, write_factors
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.reals import MAX_BITS
from rinr_flower.updates.singular import balanced_factors
from rinr_flower.updates.steps import qp_for_bits, quantise


@updates.register("svd")
@dataclass(frozen=True, kw_only=True)
class TruncatedSvd(UpdateCompressor):
    """The best approximation of given rank of every weight's change, factors quantised and entropy-coded.

    Eckart and Young 1936; what one gets without training through the factors. A weight whose factors would have no
    fewer elements than the weight is sent whole, quantised likewise.

    Attributes
    ----------
    rank : at most this many components of every weight.
    bits : of the largest element of each factor, 2 to 14.
    """

    rank: int = 4
    bits: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1:
            raise ConfigError(f"svd rank {self.rank} is not at least 1")
        if not 2 <= self.bits <= MAX_BITS:
            raise ConfigError(f"svd bits {self.bits} is not in 2..{MAX_BITS}")

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        writer = ByteWriter()
        write_factors(writer, [self._one(delta, seed) for delta in deltas.values()])
        return writer.getvalue()

    def _one(self, delta: NDArray[np.float32], seed: int) -> QuantisedFactors:
        rows, columns = delta.shape
        if self.rank * (rows + columns) >= rows * columns:
            qp = qp_for_bits(float(np.abs(delta).max()), self.bits)
            return QuantisedFactors(None, quantise(delta, qp), 0, qp)
        left, right = balanced_factors(delta, self.rank, seed=seed)
        qps = [qp_for_bits(float(np.abs(side).max()), self.bits) for side in (left, right)]
        return QuantisedFactors(quantise(left, qps[0]), quantise(right, qps[1]), *qps).without_empty_components()

    @classmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        reader = ByteReader(data, "svd update")
        factors = read_factors(reader, parts, "svd update")
        reader.end()
        return {name: f.change() for name, f in factors.items()}
