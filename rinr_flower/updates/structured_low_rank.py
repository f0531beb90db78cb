"""Low-rank structured updates: one factor random from a seed, the other one sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.updates.base import Matrices, Parts, UpdateCompressor, updates
from rinr_flower.updates.exact import RAW_BITS
from rinr_flower.updates.layout import Part
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.parametrise import Change, Weight
from rinr_flower.updates.randomness import random_signs
from rinr_flower.updates.reals import check_bits, read_reals, write_reals

_MAX_RANK = 2**16
_GRID_BITS = 23


@updates.register("structured_low_rank")
@dataclass(frozen=True, kw_only=True)
class StructuredLowRank(UpdateCompressor):
    """The change of every m x n weight as ``A @ B``: A (m x rank) is random and known to both ends, B is sent.

    Konecny et al. 2016 (arXiv 1610.05492), section 2.1. A holds -1 and 1 from the update's seed. The paper learns B:
    train the model within :func:`updating`. A change that was trained freely is projected (least squares). A weight
    whose B would be no smaller than the weight itself is sent whole.

    Attributes
    ----------
    rank : columns of A.
    bits : 32 sends B as float32, as the paper does; 2 to 14 quantises and entropy-codes it.
    """

    rank: int = 4
    bits: int = RAW_BITS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bits(self.name, self.bits)
        if not 1 <= self.rank <= _MAX_RANK:
            raise ConfigError(f"structured_low_rank rank {self.rank} is not in 1..{_MAX_RANK}")

    def space(self, weights: Mapping[str, Weight], *, seed: int) -> dict[str, Change] | None:
        changes: dict[str, Change] = {}
        for name, weight in weights.items():
            rows, columns = weight.shape
            part = Part(np.arange(rows), rows, columns)
            whole = self.rank >= rows
            left = torch.eye(rows) if whole else torch.from_numpy(_left(name, part, self.rank, seed))
            changes[name] = _Product(left, columns, weight.padding)
        return changes

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        writer = ByteWriter()
        writer.varint(self.rank)
        rights = []
        for name, delta in deltas.items():
            if self.rank >= len(delta):
                rights.append(delta)
            else:
                left = _left(name, parts[name], self.rank, seed).astype(np.float64)
                rights.append(np.linalg.lstsq(left, delta.astype(np.float64), rcond=None)[0].astype(np.float32))
        write_reals(writer, rights, self.bits)
        return writer.getvalue()

    @classmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        reader = ByteReader(data, "structured_low_rank update")
        rank = reader.varint(_MAX_RANK)
        if rank == 0:
            raise PayloadError("structured_low_rank update declares rank 0")
        sizes = [min(rank, len(part.rows)) * part.columns for part in parts.values()]
        arrays = read_reals(reader, sizes, "low-rank factor")
        reader.end()
        result = {}
        for (name, part), values in zip(parts.items(), arrays, strict=True):
            rows = len(part.rows)
            right = values.reshape(min(rank, rows), part.columns)
            result[name] = right if rank >= rows else _exact_product(_left(name, part, rank, seed), right)
        return result


class _Product(Change):
    """left @ right, right trainable from zero."""

    left: torch.Tensor

    def __init__(self, left: torch.Tensor, columns: int, frozen_row: int | None) -> None:
        super().__init__(frozen_row)
        self.register_buffer("left", left)
        self.right = nn.Parameter(torch.zeros(left.shape[1], columns))

    def delta(self) -> torch.Tensor:
        return self.left @ self.right


def _left(name: str, part: Part, rank: int, seed: int) -> NDArray[np.float32]:
    return random_signs(seed, name, part.height * rank).reshape(part.height, rank)[part.rows]


def _exact_product(signs: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """``signs @ right`` with right snapped to multiples of 2^-23 of its range: whole numbers below 2^53, so that sums
    are exact in float64 in whatever order a BLAS takes them."""
    largest = float(np.abs(right).max(initial=0))
    if largest == 0:
        return np.zeros((len(signs), right.shape[1]), np.float32)
    shift = _GRID_BITS - int(np.frexp(largest)[1])
    whole = np.rint(np.ldexp(right.astype(np.float64), shift))
    return np.ldexp(signs.astype(np.float64) @ whole, -shift).astype(np.float32)
