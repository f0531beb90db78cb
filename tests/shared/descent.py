"""Training a small network in a test."""

from __future__ import annotations

from collections.abc import Callable

import torch


def descend(optimiser: torch.optim.Optimizer, loss_of: Callable[[], torch.Tensor], steps: int) -> list[float]:
    """The loss before each step."""
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = loss_of()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses
