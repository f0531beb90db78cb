"""Rank-r updates by one warm-started power iteration: PowerSGD."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import ConfigError
from rinr_flower.updates.base import Matrices, Parts, UpdateCompressor, updates
from rinr_flower.updates.factor_coding import QuantisedFactors, read_factors, write_factors
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.randomness import random_signs
from rinr_flower.updates.reals import MAX_BITS
from rinr_flower.updates.steps import qp_for_bits, quantise


@updates.register("powersgd")
@dataclass(frozen=True, kw_only=True)
class PowerSgd(UpdateCompressor):
    """Left factor ``orthonormal(M @ Q)``, right factor its transpose times M; Q is kept for the next round.

    Vogels et al. 2019 (arXiv 1905.13727), algorithm 1: a single power iteration a round, started from the last round's
    right factor, which a :class:`Memory` holds, with error feedback. Without a memory it starts from random signs.
    Factors are quantised and entropy-coded; at 14 bits that is as exact as the half precision commonly used. A weight
    whose factors would have no fewer elements than the weight is sent whole.

    Attributes
    ----------
    rank : components of every weight.
    bits : of the largest element of each factor, 2 to 14.
    """

    rank: int = 4
    bits: int = MAX_BITS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1:
            raise ConfigError(f"powersgd rank {self.rank} is not at least 1")
        if not 2 <= self.bits <= MAX_BITS:
            raise ConfigError(f"powersgd bits {self.bits} is not in 2..{MAX_BITS}")

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        writer = ByteWriter()
        write_factors(writer, [self._one(name, delta, seed, memory) for name, delta in deltas.items()])
        return writer.getvalue()

    def _one(self, name: str, delta: NDArray[np.float32], seed: int, memory: Memory | None) -> QuantisedFactors:
        rows, columns = delta.shape
        if self.rank * (rows + columns) >= rows * columns:
            qp = qp_for_bits(float(np.abs(delta).max()), self.bits)
            return QuantisedFactors(None, quantise(delta, qp), 0, qp)
        start = memory.basis.get(name) if memory else None
        if start is None or start.shape != (columns, self.rank):
            start = random_signs(seed, name, columns * self.rank).reshape(columns, self.rank)
        left = np.linalg.qr(delta @ start)[0]
        right = left.T @ delta
        if memory is not None:
            memory.basis[name] = right.T.copy()
        qps = [qp_for_bits(float(np.abs(side).max()), self.bits) for side in (left, right)]
        return QuantisedFactors(quantise(left, qps[0]), quantise(right, qps[1]), *qps)

    @classmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        reader = ByteReader(data, "powersgd update")
        factors = read_factors(reader, parts, "powersgd update")
        reader.end()
        return {name: f.change() for name, f in factors.items()}
