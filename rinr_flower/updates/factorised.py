"""Factorised updates: the change of every weight as a product of two small factors, trained through the task's loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.updates.base import Matrices, UpdateCompressor, apply_update, updates
from rinr_flower.updates.factor_coding import QuantisedFactors, read_factors, write_factors
from rinr_flower.updates.factors import FactorisedChange, Side
from rinr_flower.updates.layout import Layout, State, check_pair, delta_matrix, matrix_shape
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.parametrise import restricted, trainable_weights
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
    term are additions. Train within :func:`factorise`; :meth:`compress` of a finished change factorises it afterwards.

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

    def encode(self, deltas: Matrices, *, seed: int, memory: Memory | None) -> bytes:
        writer = ByteWriter()
        write_factors(writer, [c.quantised() for c in self.from_change(deltas, seed=seed).values()])
        return writer.getvalue()

    @classmethod
    def decode(cls, data: bytes, shapes: Mapping[str, tuple[int, int]], *, seed: int) -> dict[str, NDArray[np.float32]]:
        reader = ByteReader(data, "factorised update")
        factors = read_factors(reader, shapes, "factorised update")
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

    def from_weights(self, weights: Matrices, *, seed: int) -> dict[str, FactorisedChange]:
        """Factors of no change yet: left sides random, right sides zero, at the scale of a change of a tenth."""
        shapes = {n: (w.shape[0], w.shape[1]) for n, w in weights.items()}
        rank = self.rank if self.budget_bytes is None else equal_rank(shapes, self.elements(shapes))
        changes = {}
        for name, weight in weights.items():
            expected = _EXPECTED_CHANGE * max(_rms(weight), 1e-6)
            rows, columns = weight.shape
            if not pays(rank, (rows, columns)):
                zero = np.zeros(weight.shape, np.float32)
                changes[name] = FactorisedChange(None, self._side(zero, expected))
                continue
            scale = float(np.sqrt(expected / np.sqrt(rank)))
            left = random_signs(seed, name, rows * rank).reshape(rows, rank) * np.float32(scale)
            right = np.zeros((rank, columns), np.float32)
            changes[name] = FactorisedChange(self._side(left, scale), self._side(right, scale))
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

    def compress_factors(self, factors: Factors) -> bytes:
        """The update from ``factors.base`` that carries the trained factors. Raises DataError on NaN or infinity."""
        for name, change in factors.changes.items():
            for parameter in change.parameters():
                if not bool(torch.isfinite(parameter).all()):
                    raise DataError(f"the factors of {name!r} hold NaN or infinity; lower the learning rate")
        check_pair(factors.base, factors.trained)
        quantised = {n: change.quantised() for n, change in factors.changes.items()}
        for name in Layout.of(factors.base).weights:
            if name not in quantised:
                delta = delta_matrix(factors.base[name], factors.trained[name])
                qp = qp_for_bits(float(np.abs(delta).max()), MAX_BITS)
                quantised[name] = QuantisedFactors(None, quantise(delta, qp), 0, qp)
        sent = {n: quantised[n] for n in sorted(quantised) if quantised[n].right.any()}
        writer = ByteWriter()
        write_factors(writer, list(sent.values()))
        return self.assemble(factors.base, factors.trained, list(sent), writer.getvalue(), seed=0)


@dataclass(eq=False)
class Factors:
    """The factors of a model within :func:`factorise`.

    Attributes
    ----------
    base : the model's state on entry.
    changes : weight name to its trainable change.
    trained : the model's state without its changes, on leaving: base, but for vectors and buffers.
    payload : the update, on leaving.
    """

    base: dict[str, torch.Tensor]
    changes: dict[str, FactorisedChange]
    trained: State = field(default_factory=dict)
    payload: bytes = b""


@contextmanager
def factorise(
    model: nn.Module, compressor: Factorised, *, start: State | None = None, seed: int = 0
) -> Iterator[Factors]:
    """Within the context the model's weights are frozen and only factors, biases and normalisation train.

    Create the optimiser inside, over the parameters that require gradients, and train with the task's own loss. On
    leaving, ``factors.payload`` is the update, and the model holds exactly what a receiver will hold after it.

    Parameters
    ----------
    start : a state that an ordinary training reached from the model's present one; the factors start from the strongest
        components of that change, the vectors and buffers from its values. Without it they start from no change.
    seed : of the random left sides.

    Raises
    ------
    ConfigError
        If weights are shared or already parametrised.
    DataError
        If training ended in NaN or infinity, or ``start`` is of another model. The model is left as it was.
    """
    base = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    names = sorted(trainable_weights(model))
    if start is None:
        matrices = {n: base[n].detach().cpu().float().reshape(matrix_shape(base[n].shape)).numpy() for n in names}
        changes = compressor.from_weights(matrices, seed=seed)
    else:
        check_pair(base, start)
        changes = compressor.from_change({n: delta_matrix(base[n], start[n]) for n in names}, seed=seed)
    factors = Factors(base, changes)
    try:
        with restricted(model, lambda name, _: changes[name]):
            if start is not None:
                _load_vectors(model, start)
            yield factors
        state = model.state_dict()
        factors.trained = {n: base[n] if n in changes else t.detach().clone() for n, t in state.items()}
        factors.payload = compressor.compress_factors(factors)
        model.load_state_dict(apply_update(base, factors.payload))
    except BaseException:
        model.load_state_dict(base)
        raise


def _load_vectors(model: nn.Module, start: State) -> None:
    layout, state = Layout.of(start), model.state_dict()
    for name in (*layout.vectors, *layout.integers):
        state[name].copy_(start[name])


def _rms(matrix: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(matrix, dtype=np.float64).mean()))
