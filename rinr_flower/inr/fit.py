"""The one fitting loop that every network shares, and its schedule as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from rinr_flower.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """How networks are fitted.

    Attributes
    ----------
    steps : optimiser steps.
    learning_rate : Adam's peak rate, reached after ``warmup`` and brought to zero by a half cosine.
    warmup : fraction of the steps in which the rate rises linearly.
    quantise_from : fraction of the steps after which the forward pass sees quantised weights (quantisation-aware
        training with a straight-through gradient); 1 never does.
    """

    steps: int = 1_000
    learning_rate: float = 2e-3
    warmup: float = 0.05
    quantise_from: float = 0.8

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"a schedule of {self.steps} steps fits nothing; give at least 1")
        if not 0 < self.learning_rate < 1:
            raise ConfigError(f"learning rate {self.learning_rate} is not in (0, 1)")

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        done = step / self.steps
        if done < self.warmup:
            return self.learning_rate * (step + 1) / (self.warmup * self.steps + 1)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup)))

    def quantised(self, step: int) -> bool:
        """Whether the forward pass of this step sees quantised weights."""
        return step >= self.quantise_from * self.steps


def fit(
    parameters: Iterable[torch.Tensor],
    losses: Callable[[int], Iterable[torch.Tensor]],
    schedule: Schedule,
    *,
    first: int = 0,
    last: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Minimise the sum of ``losses(step)`` over ``parameters`` in place by Adam (Kingma and Ba, 2015).

    Each loss is differentiated before the next is asked for: memory holds the intermediate values of one. ``first`` and
    ``last`` run a stretch of the schedule (candidates are fitted briefly, the best goes on). The loop never waits for
    the device: no value is read back.
    """
    values = list(parameters)
    optimiser = torch.optim.Adam(values, lr=schedule.learning_rate, betas=(0.9, 0.99), foreach=True)
    last = schedule.steps if last is None else last
    every = max(1, (last - first) // 50)
    for step in range(first, last):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        optimiser.zero_grad(set_to_none=True)
        for loss in losses(step):
            torch.autograd.backward(loss)
        optimiser.step()
        if progress is not None and step % every == 0:
            progress((step + 1) / schedule.steps)
