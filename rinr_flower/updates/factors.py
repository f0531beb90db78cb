"""The trainable modules behind factorised updates: a weight's change as two factors, rounded while they train."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rinr_flower.updates.factor_coding import QuantisedFactors
from rinr_flower.updates.parametrise import Change
from rinr_flower.updates.steps import MAX_LEVEL, step_of

UNIT = 10.0
"""Parameters are factor elements divided by ``UNIT`` times their scale, so that a learning rate that suits weights of
about 0.1 suits factors of any scale."""


class _Round(torch.autograd.Function):
    """Rounding to whole levels whose gradient is that of the identity (straight-through, Bengio et al. 2013)."""

    @staticmethod
    def forward(ctx: object, values: torch.Tensor) -> torch.Tensor:
        return values.round().clamp(-MAX_LEVEL, MAX_LEVEL)

    @staticmethod
    def backward(ctx: object, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0]


class Side(nn.Module):
    """One trainable array and its quantisation step.

    Parameters
    ----------
    values : where training starts.
    qp : quantisation step (see :mod:`rinr_flower.updates.steps`).
    scale : typical magnitude that the elements will have.
    loss_per_bit : added to the training loss for every bit of an element, a bit count being estimated as
        ``2 * log2(1 + |level|)``. It enters as a gradient, so the training loop need not know of it.
    """

    def __init__(self, values: NDArray[np.float32], qp: int, scale: float, loss_per_bit: float) -> None:
        super().__init__()
        self.qp = qp
        self.levels_per_unit = UNIT * scale / step_of(qp)
        self.array = nn.Parameter(torch.from_numpy(values / np.float32(UNIT * scale)))
        self._loss_per_bit = loss_per_bit
        if loss_per_bit > 0:
            self.array.register_hook(self._with_rate)  # type: ignore[no-untyped-call]

    def _with_rate(self, gradient: torch.Tensor) -> torch.Tensor:
        array = self.array.detach()
        slope = 2 / math.log(2) * self.levels_per_unit / (1 + array.abs() * self.levels_per_unit)
        return gradient + self._loss_per_bit * slope * array.sign()

    def forward(self) -> torch.Tensor:
        """The rounded array."""
        rounded: torch.Tensor = _Round.apply(self.array * self.levels_per_unit)  # type: ignore[no-untyped-call]
        return rounded * step_of(self.qp)

    def levels(self) -> NDArray[np.int32]:
        """The whole levels that :meth:`forward` stands for."""
        with torch.no_grad():
            rounded = _Round.apply(self.array * self.levels_per_unit)  # type: ignore[no-untyped-call]
        levels: NDArray[np.int32] = rounded.cpu().numpy().astype(np.int32)
        return levels


class FactorisedChange(Change):
    """left @ right; without a left side, right."""

    def __init__(self, left: Side | None, right: Side, frozen_row: int | None = None) -> None:
        super().__init__(frozen_row)
        self.left = left
        self.right = right

    def delta(self) -> torch.Tensor:
        right: torch.Tensor = self.right()
        return right if self.left is None else self.left() @ right

    def quantised(self) -> QuantisedFactors:
        """What will be sent."""
        right = self.right
        if self.left is None:
            return QuantisedFactors(None, right.levels(), 0, right.qp)
        return QuantisedFactors(self.left.levels(), right.levels(), self.left.qp, right.qp).without_empty_components()
