"""Factorised updates: the change of every weight as a product of two small factors, trained through the task's loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import ConfigError
from rinr_flower.updates.base import Changes, Matrices, Parts, UpdateCompressor, updates
from rinr_flower.updates.factor_coding import QuantisedFactors, read_factors, write_factors
from rinr_flower.updates.factors import FactorisedChange, Side, bits_per_element
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.parametrise import Change, Weight
from rinr_flower.updates.randomness import random_signs
from rinr_flower.updates.rank_rule import equal_rank, pays, ranks_by_strength
from rinr_flower.updates.reals import MAX_BITS
from rinr_flower.updates.singular import balanced_factors
from rinr_flower.updates.steps import qp_above, qp_for_bits, quantise

_SPREAD = 4  # a weight gets at most this many times the mean rank
_EXPECTED_CHANGE = 0.1


@updates.register("factorised")
@dataclass(frozen=True, kw_only=True)
class Factorised(UpdateCompressor):
    """``W + U V`` with W frozen, U and V trained with the task's own loss, rounded while training, entropy-coded.

    Chen, Bakhshi, Batista, Ng and Chin 2022 (arXiv 2203.04516): rank * (m + n) elements instead of m * n, a convolution
    as a matrix (see :func:`matrix_shape`), biases and normalisation as they are. Rounding while training is ours. Train
    within :func:`updating`; :meth:`compress` of a finished change factorises it afterwards.

    Attributes
    ----------
    rank : components of every weight; of a finished change their mean number, given to the weights where the change is
        strong. A weight whose factors would be no smaller than the weight has its change trained and sent whole.
    budget_bytes : about how many bytes the factors may take; overrules ``rank``.
    step : quantisation step in units of the root mean square of each factor, below 2. Factors that were not trained
        through it, of a finished change, take a third of it.
    """

    rank: int = 4
    budget_bytes: int | None = None
    step: float = 1.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1:
            raise ConfigError(f"factorised rank {self.rank} is not at least 1")
        if self.budget_bytes is not None and self.budget_bytes < 1:
            raise ConfigError(f"factorised budget_bytes {self.budget_bytes} is not at least 1")
        if not 0 < self.step < 2:
            raise ConfigError(f"factorised step {self.step} is not above 0 and below 2")

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        writer = ByteWriter()
        write_factors(writer, list(self._factors(deltas, seed).values()))
        return writer.getvalue()

    def space(self, weights: Mapping[str, Weight], *, seed: int) -> dict[str, Change] | None:
        """Factors of no change yet, at the scale of a change of a tenth: one side random signs, the other zero.

        The right side is zero, but for an embedding's table the left one, so that tokens not seen do not change.
        """
        shapes = {n: w.shape for n, w in weights.items()}
        rank = self.rank if self.budget_bytes is None else equal_rank(shapes, self._elements(shapes, self.step))
        changes: dict[str, Change] = {}
        for name, weight in weights.items():
            rms = float(weight.parameter.detach().float().square().mean().sqrt())
            expected = _EXPECTED_CHANGE * max(rms, 1e-6)
            rows, columns = weight.shape
            if not pays(rank, (rows, columns)):
                whole = Side(np.zeros(weight.shape, np.float32), step=self.step, scale=expected)
                changes[name] = FactorisedChange(None, whole, weight.padding)
                continue
            scale = float(np.sqrt(expected / np.sqrt(rank)))
            left, right = np.zeros((rows, rank), np.float32), np.zeros((rank, columns), np.float32)
            side = right if weight.looked_up else left
            side[:] = random_signs(seed, name, side.size).reshape(side.shape) * np.float32(scale)
            left_side, right_side = (Side(values, step=self.step, scale=scale) for values in (left, right))
            changes[name] = FactorisedChange(left_side, right_side, weight.padding)
        return changes

    def encode_trained(self, changes: Changes, deltas: Matrices, parts: Parts, *, seed: int) -> bytes:
        writer = ByteWriter()
        factors = []
        for name, part in parts.items():
            change = changes.get(name)
            if isinstance(change, FactorisedChange):
                factors.append(change.quantised().of_rows(part.rows))
            else:
                qp = qp_for_bits(float(np.abs(deltas[name]).max()), MAX_BITS)
                factors.append(QuantisedFactors(None, quantise(deltas[name], qp), 0, qp))
        write_factors(writer, factors)
        return writer.getvalue()

    @classmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        reader = ByteReader(data, "factorised update")
        factors = read_factors(reader, parts, "factorised update")
        reader.end()
        return {name: f.change() for name, f in factors.items()}

    def _elements(self, shapes: Mapping[str, tuple[int, int]], step: float) -> int:
        """Factor elements to spend on weights of these shapes, in steps of ``step``."""
        if self.budget_bytes is not None:
            return int(self.budget_bytes * 8 / bits_per_element(step))
        return sum(self.rank * sum(s) if pays(self.rank, s) else s[0] * s[1] for s in shapes.values())

    def _factors(self, deltas: Matrices, seed: int) -> dict[str, QuantisedFactors]:
        """Factors of a finished change, ranks going where it is strong."""
        shapes, step = {n: (d.shape[0], d.shape[1]) for n, d in deltas.items()}, self.step / 3
        elements = self._elements(shapes, step)
        limit = _SPREAD * equal_rank(shapes, elements)
        factors = {n: balanced_factors(d, limit, seed=seed) for n, d in deltas.items()}
        strengths = {n: np.square(left).sum(axis=0) for n, (left, _) in factors.items()}
        ranks = ranks_by_strength(strengths, shapes, elements)
        found = {}
        for name, (left, right) in factors.items():
            rank = ranks[name]
            if rank and not pays(rank, shapes[name]):
                found[name] = _rounded(None, deltas[name], step)
            else:
                found[name] = _rounded(left[:, :rank], right[:rank], step)
        return found


def _rounded(left: NDArray[np.float32] | None, right: NDArray[np.float32], step: float) -> QuantisedFactors:
    """Both sides in steps of ``step`` times their root mean square."""

    def qp(side: NDArray[np.float32]) -> int:
        square = float(np.square(side, dtype=np.float64).sum())
        return qp_above(step * (square / max(side.size, 1)) ** 0.5)

    if left is None:
        return QuantisedFactors(None, quantise(right, qp(right)), 0, qp(right))
    sides = quantise(left, qp(left)), quantise(right, qp(right))
    return QuantisedFactors(sides[0], sides[1], qp(left), qp(right)).without_empty_components()
