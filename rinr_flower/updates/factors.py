"""The trainable modules behind factorised updates: a weight's change as two factors, rounded while they train."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rinr_flower.updates.factor_coding import QuantisedFactors
from rinr_flower.updates.parametrise import Change
from rinr_flower.updates.steps import MAX_LEVEL, MAX_QP, MIN_QP, step_of

UNIT = 100.0
"""Parameters are factor elements divided by ``UNIT`` times their scale, so that a learning rate of Adam that suits a
model's weights suits factors of any scale."""
_FLOOR = 0.02


class _Round(torch.autograd.Function):
    """Rounding to whole levels whose gradient is that of the identity (straight-through, Bengio et al. 2013)."""

    @staticmethod
    def forward(ctx: object, values: torch.Tensor) -> torch.Tensor:
        return values.round().clamp(-MAX_LEVEL, MAX_LEVEL)

    @staticmethod
    def backward(ctx: object, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0]


class Side(nn.Module):
    """One trainable array, rounded to a quantisation step that follows the root mean square of its elements.

    Parameters
    ----------
    values : where training starts.
    step : quantisation step in units of the array's root mean square.
    scale : typical magnitude that the elements will have; the step does not fall below a fiftieth of ``step`` times it.
    """

    def __init__(self, values: NDArray[np.float32], *, step: float, scale: float) -> None:
        super().__init__()
        self.unit = UNIT * scale
        self.step = step
        self.array = nn.Parameter(torch.from_numpy(values / np.float32(self.unit)))

    def qp(self) -> torch.Tensor:
        """The finest step of the grid (see :mod:`rinr_flower.updates.steps`) that is at least the wanted one."""
        rms = torch.linalg.vector_norm(self.array.detach()) / math.sqrt(max(self.array.numel(), 1))
        wanted = self.step * rms.clamp_min(_FLOOR / UNIT) * self.unit
        power = wanted.log2().floor()
        quarters = ((wanted / power.exp2() - 1) * 4).ceil()
        qp: torch.Tensor = (4 * power + quarters).clamp(MIN_QP, MAX_QP)
        return qp

    def forward(self) -> torch.Tensor:
        """The rounded array."""
        qp = self.qp()
        step = (1 + qp.remainder(4) / 4) * (qp / 4).floor().exp2()
        rounded: torch.Tensor = _Round.apply(self.array * (self.unit / step))  # type: ignore[no-untyped-call]
        return rounded * step

    def levels(self) -> tuple[NDArray[np.int32], int]:
        """The whole levels that :meth:`forward` stands for, and their qp."""
        qp = round(float(self.qp()))
        with torch.no_grad():
            levels = (self.forward() / step_of(qp)).round()
        return levels.cpu().numpy().astype(np.int32), qp


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
        right, qp = self.right.levels()
        if self.left is None:
            return QuantisedFactors(None, right, 0, qp)
        left, qp_left = self.left.levels()
        return QuantisedFactors(left, right, qp_left, qp).without_empty_components()


def bits_per_element(step: float) -> float:
    """Entropy of normal values in steps of ``step`` times their root mean square, as Side's come out."""
    edges = (np.arange(-200, 201) + 0.5) * step / math.sqrt(2)
    shares = np.diff([0.5 * (1 + math.erf(e)) for e in edges])
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())
