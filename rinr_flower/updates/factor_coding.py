"""Quantised factors of low-rank changes in bytes, and their product, exact on every machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import decode_ints, encode_ints
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import PayloadError
from rinr_flower.updates.exact import read_qps
from rinr_flower.updates.layout import Part
from rinr_flower.updates.levels import read_levels, write_levels
from rinr_flower.updates.steps import step_of

Levels = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class QuantisedFactors:
    """A change ``step(qp_left) * step(qp_right) * left @ right``, or, with ``left`` None, ``step(qp_right) * right``.

    Attributes
    ----------
    left : integer levels (m, rank), or None for a change sent whole.
    right : integer levels (rank, n), or (m, n).
    qp_left, qp_right : see :mod:`rinr_flower.updates.steps`; ``qp_left`` is 0 for a change sent whole.
    """

    left: Levels | None
    right: Levels
    qp_left: int
    qp_right: int

    def change(self) -> NDArray[np.float32]:
        """The float32 change. The sums are of whole numbers below 2^53, exact in float64 in any order."""
        if self.left is None:
            return (self.right.astype(np.float64) * step_of(self.qp_right)).astype(np.float32)
        product = self.left.astype(np.float64) @ self.right.astype(np.float64)
        return (product * (step_of(self.qp_left) * step_of(self.qp_right))).astype(np.float32)

    def of_rows(self, rows: NDArray[np.int64]) -> QuantisedFactors:
        """Those rows of the change."""
        if self.left is None:
            return QuantisedFactors(None, self.right[rows], self.qp_left, self.qp_right)
        return QuantisedFactors(self.left[rows], self.right, self.qp_left, self.qp_right)

    def without_empty_components(self) -> QuantisedFactors:
        """The same change without components of which one side is all zero."""
        if self.left is None:
            return self
        used = self.left.any(axis=0) & self.right.any(axis=1)
        return QuantisedFactors(self.left[:, used], self.right[used], self.qp_left, self.qp_right)


def write_factors(writer: ByteWriter, factors: Sequence[QuantisedFactors]) -> None:
    """Append ranks (0 for a change sent whole, else rank + 1), steps and levels; shapes are the reader's to know."""
    ranks = [0 if f.left is None else f.left.shape[1] + 1 for f in factors]
    used = [f for f, rank in zip(factors, ranks, strict=True) if rank != 1]
    qps = [qp for f in used for qp in ((f.qp_right,) if f.left is None else (f.qp_left, f.qp_right))]
    writer.blob(encode_ints(np.array(ranks, np.int64)))
    writer.blob(encode_ints(np.diff(np.array(qps, np.int64), prepend=0)))
    write_levels(writer, [f.left.T for f in used if f.left is not None] + [f.right for f in used])


def read_factors(reader: ByteReader, parts: Mapping[str, Part], what: str) -> dict[str, QuantisedFactors]:
    """What :func:`write_factors` wrote for the weights of ``parts``. Raises PayloadError on impossible ranks."""
    ranks = [int(r) for r in decode_ints(reader.blob(), len(parts), f"{what} ranks")]
    shapes = {name: part.shape for name, part in parts.items()}
    for rank, (name, shape) in zip(ranks, shapes.items(), strict=True):
        if not 0 <= rank <= min(shape) + 1:
            raise PayloadError(f"{what} declares rank {rank - 1} for {name!r}, which is {shape[0]} x {shape[1]}")
    qps = iter(read_qps(reader, sum(2 if rank > 1 else 1 - rank for rank in ranks)))
    sides = list(zip(ranks, shapes.values(), strict=True))
    left_sizes = [m * (rank - 1) for rank, (m, _) in sides if rank > 1]
    right_sizes = [(rank - 1 if rank else m) * n for rank, (m, n) in sides if rank != 1]
    arrays = read_levels(reader, left_sizes + right_sizes, f"{what} levels")
    lefts, rights = iter(arrays[: len(left_sizes)]), iter(arrays[len(left_sizes) :])
    result = {}
    for name, (rank, (m, n)) in zip(shapes, sides, strict=True):
        if rank == 0:
            result[name] = QuantisedFactors(None, next(rights).reshape(m, n), 0, next(qps))
        elif rank == 1:
            none: Levels = np.zeros((0, n), np.int64)
            result[name] = QuantisedFactors(np.zeros((m, 0), np.int64), none, 0, 0)
        else:
            left = next(lefts).reshape(rank - 1, m).T
            result[name] = QuantisedFactors(left, next(rights).reshape(rank - 1, n), next(qps), next(qps))
    return result
