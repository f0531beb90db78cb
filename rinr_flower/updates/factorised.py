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
from rinr_flower.updates.factors import FactorisedChange, Side
from rinr_flower.updates.layout import State, delta_matrix
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.parametrise import Change, Weight
from rinr_flower.updates.randomness import random_signs
from rinr_flower.updates.rank_rule import equal_rank, pays, ranks_by_strength
from rinr_flower.updates.reals import MAX_BITS
from rinr_flower.updates.singular import balanced_factors
from rinr_flower.updates.steps import qp_above, qp_for_bits, quantise

_BITS_PER_ELEMENT = 4.0
_SPREAD = 4  # a weight gets at most this many times the mean rank
_EXPECTED_CHANGE = 0.1


@updates.register("factorised")
@dataclass(frozen=True, kw_only=True)
class Factorised(UpdateCompressor):
    """``W + U V`` with W frozen, U and V trained with the task's own loss, rounded while training, entropy-coded.

    Chen, Bakhshi, Batista, Ng and Chin 2022 (arXiv 2203.04516): rank * (m + n) elements instead of m * n, a convolution
    as a matrix (see :func:`matrix_shape`), biases and normalisation as they are. Rounding while training and the rate
    term are additions. Train within :func:`updating`; :meth:`compress` of a finished change factorises it afterwards.

    Attributes
    ----------
    rank : components of every weight; with ``budget_bytes``, or a change to start from, their mean number, given to the
        weights where they matter most.
    budget_bytes : about how many bytes the factors may take, at 4 bits an element; overrules ``rank``.
    step : quantisation step in units of the root mean square of a weight's factors.
    loss_per_kilobyte : training loss that a kilobyte of update is worth; 0 trains for the task alone.
    """

    rank: int = 4
    budget_bytes: int | None = None
    step: float = 0.5
    loss_per_kilobyte: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank < 1:
            raise ConfigError(f"factorised rank {self.rank} is not at least 1")
        if self.budget_bytes is not None and self.budget_bytes < 1:
            raise ConfigError(f"factorised budget_bytes {self.budget_bytes} is not at least 1")
        if not 0 < self.step <= 8:
            raise ConfigError(f"factorised step {self.step} is not above 0 and at most 8")
        if self.loss_per_kilobyte < 0:
            raise ConfigError(f"factorised loss_per_kilobyte {self.loss_per_kilobyte} is negative")

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        writer = ByteWriter()
        write_factors(writer, [c.quantised() for c in self.from_change(deltas, seed=seed).values()])
        return writer.getvalue()

    def space(
        self, weights: Mapping[str, Weight], base: State, *, start: State | None, seed: int
    ) -> dict[str, Change] | None:
        if start is None:
            return dict(self.from_weights(weights, seed=seed))
        return dict(self.from_change({n: delta_matrix(base[n], start[n]) for n in weights}, seed=seed))

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

    def elements(self, shapes: Mapping[str, tuple[int, int]]) -> int:
        """Factor elements to spend on weights of these shapes."""
        if self.budget_bytes is not None:
            return int(self.budget_bytes * 8 / _BITS_PER_ELEMENT)
        return sum(self.rank * sum(s) if pays(self.rank, s) else s[0] * s[1] for s in shapes.values())

    def from_change(self, deltas: Matrices, *, seed: int) -> dict[str, FactorisedChange]:
        """Factors of a known change, ranks going where the change is strong."""
        shapes = {n: (d.shape[0], d.shape[1]) for n, d in deltas.items()}
        limit = _SPREAD * equal_rank(shapes, self.elements(shapes))
        factors = {n: balanced_factors(d, limit, seed=seed) for n, d in deltas.items()}
        strengths = {n: np.square(left).sum(axis=0) for n, (left, _) in factors.items()}
        ranks = ranks_by_strength(strengths, shapes, self.elements(shapes))
        return {
            name: self._change(deltas[name], left[:, : ranks[name]], right[: ranks[name]])
            for name, (left, right) in factors.items()
        }

    def from_weights(self, weights: Mapping[str, Weight], *, seed: int) -> dict[str, FactorisedChange]:
        """Factors of no change yet, at the scale of a change of a tenth: one side random, the other zero.

        The right side is zero, but for an embedding's table the left one, so that tokens not seen do not change.
        """
        shapes = {n: w.shape for n, w in weights.items()}
        rank = self.rank if self.budget_bytes is None else equal_rank(shapes, self.elements(shapes))
        changes = {}
        for name, weight in weights.items():
            expected = _EXPECTED_CHANGE * max(float(weight.parameter.detach().float().square().mean().sqrt()), 1e-6)
            rows, columns = weight.shape
            if not pays(rank, (rows, columns)):
                zero = np.zeros(weight.shape, np.float32)
                changes[name] = FactorisedChange(None, self._side(zero, expected), weight.padding)
                continue
            scale = float(np.sqrt(expected / np.sqrt(rank)))
            left, right = np.zeros((rows, rank), np.float32), np.zeros((rank, columns), np.float32)
            side = right if weight.looked_up else left
            side[:] = random_signs(seed, name, side.size).reshape(side.shape) * np.float32(scale)
            changes[name] = FactorisedChange(self._side(left, scale), self._side(right, scale), weight.padding)
        return changes

    def _change(
        self, delta: NDArray[np.float32], left: NDArray[np.float32], right: NDArray[np.float32]
    ) -> FactorisedChange:
        rank = left.shape[1]
        if rank and not pays(rank, (len(left), right.shape[1])):
            return FactorisedChange(None, self._side(delta, max(_rms(delta), 1e-12)))
        elements = left.size + right.size
        energy = float(np.square(left).sum() + np.square(right).sum())
        scale = max(float(np.sqrt(energy / elements)) if elements else 0.0, 1e-12)
        return FactorisedChange(self._side(left, scale), self._side(right, scale))

    def _side(self, values: NDArray[np.float32], scale: float) -> Side:
        return Side(values, qp_above(self.step * scale), scale, self.loss_per_kilobyte / 8_000)


def _rms(matrix: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(matrix, dtype=np.float64).mean()))
