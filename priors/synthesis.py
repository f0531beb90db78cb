"""Train the trunk: features of decoded planes on which a few weights a clip mend most of what quantisation took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from rinr_flower.codecs.scene.encode.heads import Coded
from rinr_flower.codecs.scene.format.code import FEATURES
from rinr_flower.codecs.scene.format.trunk import WEIGHT_UNIT, Trunk

# Set by hand: more units make better features and slower arrival, the others are of training alone. A try is a training
# (`python priors`) and a run of benchmarks/scene_rate.py.
UNITS = 16
_RIDGE = 1e-3
_RATE = 5e-3
_KEPT = 16
_SIDE, _CUTS = 48, 6  # of a training example: cuts from the planes of one clip


@dataclass(frozen=True)
class Example:
    """Planes of one clip in quantiser steps, float32 (h, w) each: decoded, and as they were before quantisation."""

    decoded: list[NDArray[np.float32]]
    wanted: list[NDArray[np.float32]]


def example(volumes: Sequence[Coded]) -> Example:
    """Luma of up to _KEPT pictures of one clip."""
    pictures = [(d / v.step, w / v.step) for v in volumes for d, w in zip(v.decoded[0], v.wanted[0], strict=True)]
    pictures = pictures[:: max(len(pictures) // _KEPT, 1)]
    return Example([d.astype(np.float32) for d, _ in pictures], [w.astype(np.float32) for _, w in pictures])


class _Features(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(UNITS, 5, 5) * 0.2)
        self.first_bias = nn.Parameter(torch.zeros(UNITS))
        self.second = nn.Parameter(torch.randn(FEATURES - 1, UNITS) * 0.3)
        self.second_bias = nn.Parameter(torch.zeros(FEATURES - 1))

    def whole(self) -> dict[str, torch.Tensor]:
        first = self.first - self.first.mean(dim=(1, 2), keepdim=True)
        found = {"first": first, "first_bias": self.first_bias, "second": self.second, "second_bias": self.second_bias}
        return {name: (value / WEIGHT_UNIT).clamp(-127, 127) for name, value in found.items()}

    def forward(self, luma: torch.Tensor) -> torch.Tensor:
        w = {name: (v + (v.round() - v).detach()) * WEIGHT_UNIT for name, v in self.whole().items()}
        hidden = F.conv2d(F.pad(luma[:, None], (2, 2, 2, 2), "replicate"), w["first"][:, None], w["first_bias"]).relu()
        hidden = F.conv2d(hidden, w["second"][:, :, None, None], w["second_bias"]).relu()
        return torch.cat([hidden, torch.ones_like(hidden[:, :1])], dim=1)


def train(examples: Sequence[Example], seed: int, steps: int) -> Trunk:
    """Minimise the share of squared error that is left once each clip has its own least-squares head."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = _Features()
    optimiser = torch.optim.Adam(net.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps, pct_start=0.1)
    mean = 0.0
    for step in range(steps):
        loss = torch.zeros(())
        for number in rng.integers(0, len(examples), 2):
            loss = loss + _left(net, *_cuts(examples[number], rng)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        mean += (loss.item() - mean) / min(step + 1, 200)
        if step % 250 == 0:
            print(f"trunk, step {step}: {mean:.4f} of the squared error left", flush=True)
    return Trunk(**{name: v.detach().round().numpy().astype(np.int8) for name, v in net.whole().items()})


def _cuts(example: Example, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    decoded, wanted = [], []
    for _ in range(_CUTS):
        k = int(rng.integers(len(example.decoded)))
        plane = example.decoded[k]
        y, x = (int(rng.integers(0, max(n - _SIDE, 0) + 1)) for n in plane.shape)
        for out, source in ((decoded, plane), (wanted, example.wanted[k])):
            cut = source[y : y + _SIDE, x : x + _SIDE]
            out.append(np.pad(cut, ((0, _SIDE - cut.shape[0]), (0, _SIDE - cut.shape[1])), "edge"))
    return torch.from_numpy(np.stack(decoded)), torch.from_numpy(np.stack(wanted))


def _left(net: _Features, decoded: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    rows = net(decoded).transpose(0, 1).reshape(FEATURES, -1)
    missing = (wanted - decoded).reshape(-1)
    matrix = rows @ rows.T
    ridge = _RIDGE * matrix.diagonal().mean() + 1e-6
    head = torch.linalg.solve(matrix + ridge * torch.eye(FEATURES), rows @ missing)
    return ((missing - head @ rows) ** 2).sum() / (missing**2).sum().clamp_min(1e-6)


def blank_trunk() -> Trunk:
    """A trunk whose features are zero: no clip is given a head."""
    count = FEATURES - 1
    zeros = (np.zeros(shape, np.int8) for shape in ((UNITS, 5, 5), UNITS, (count, UNITS), count))
    return Trunk(*zeros)
