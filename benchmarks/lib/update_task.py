"""A learning task of the update benchmark: a base model, more data, and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from rinr_flower.updates.layout import State

Data = tuple[torch.Tensor, torch.Tensor]
"""Inputs and labels."""
Train = Callable[[nn.Module, float, float, int], None]
"""(model, share of the training's length, factor on its learning rate, seed): train what requires gradients."""
Score = Callable[[nn.Module], tuple[float, float]]
"""Of a model: on validation data and on test data."""
RATES = (0.3, 1.0, 3.0, 10.0)
"""Factors on the learning rate that every training is tried with."""


@dataclass(frozen=True, eq=False)
class Task:
    """One scenario with one seed.

    Attributes
    ----------
    model : to be used for all trainings.
    base : its state before the update, which receivers hold.
    train : of ``model``, on the data that the update is about.
    score : of ``model``.
    """

    model: nn.Module
    base: State
    train: Train
    score: Score


def fit(model: nn.Module, data: Data, *, steps: int, batch: int, rate: float, seed: int) -> None:
    """Adam with a cosine schedule on whatever of the model requires gradients, over shuffled epochs."""
    images, labels = data
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    model.train()
    order: list[torch.Tensor] = []
    for _ in range(steps):
        if not order:
            order = list(torch.randperm(len(labels), generator=generator).split(batch))
        rows = order.pop()
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimiser.step()
        schedule.step()
    model.eval()


def accuracies(model: nn.Module, parts: Sequence[Data]) -> tuple[float, ...]:
    """Share classified correctly of each part, 0 to 1."""
    model.eval()
    with torch.no_grad():
        return tuple(float((model(images).argmax(1) == labels).float().mean()) for images, labels in parts)


def classification_task(
    model: nn.Module, before: Data, after: Data, held: Sequence[Data], *, steps: int, batch: int, rate: float, seed: int
) -> Task:
    """A base trained from nothing on ``before``; updates are trained on ``after``, validated and tested on ``held``.

    ``steps`` of ``batch`` examples for the base, and twice as many for an update.
    """
    fit(model, before, steps=steps, batch=batch, rate=rate, seed=seed)
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def train(network: nn.Module, share: float, factor: float, order: int) -> None:
        fit(network, after, steps=round(2 * steps * share), batch=batch, rate=rate * factor, seed=order)

    def score(network: nn.Module) -> tuple[float, float]:
        validation, test = accuracies(network, held)
        return validation, test

    return Task(model, base, train, score)
