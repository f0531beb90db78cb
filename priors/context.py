"""Train the integer network that chooses tables, and count what the tables start from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from traces import INPUTS, Counted, Trace

from rinr_flower.codecs.scene.format.adaptive import UNIT, prior_counts
from rinr_flower.codecs.scene.format.network import DESCRIBED, SIGN_CONTEXTS, TOP, ContextNetwork

# Set by hand, as all numbers of this file: no one command chooses them anew. A try is a training (`python priors`, ten
# minutes) and a run of benchmarks/scene_rate.py, and what it writes makes another version of the format.
TABLES = 32
LAST = 20
UNITS = (32, 16)
PASSES = 5
_SHIFTS = (5, 6, 9)
_UNIT = 64.0  # an int8 weight of so much counts one
_LENGTHS = 21
_STEPS, _BATCH, _RATE = 4000, 4096, 4e-3
# Set by hand: more trusts the training clips longer, less follows a clip sooner; magnitudes had 96 before commit
# 096d278.
WEIGHTS = {"magnitudes": 200, "flags": 64, "occupied": 12, "signs": 64, "lengths": 8}
"""Symbols that a table counts as seen when it starts."""


class _Net(nn.Module):
    """The network in floating point, rounded as the integer one is, with gradients passed straight through."""

    def __init__(self) -> None:
        super().__init__()
        one, two = UNITS
        self.first = nn.Parameter(torch.randn(PASSES, INPUTS, one) * 0.15)
        self.classes = nn.Parameter(torch.zeros(sum(DESCRIBED), one))
        self.passes = nn.Parameter(torch.zeros(PASSES, one))
        self.second = nn.Parameter(torch.randn(one, two) * 0.15)
        self.second_bias = nn.Parameter(torch.zeros(two))
        self.third = nn.Parameter(torch.rand(two) * 0.1)
        self.third_bias = nn.Parameter(torch.full((1,), 4.0))
        mean = 0.01 * 2.0 ** (torch.arange(TABLES) / 3)
        ratio = (mean / (1 + mean))[:, None]
        logits = torch.log(ratio) * torch.arange(LAST + 1)
        self.tables = nn.Parameter(logits - logits[:, :1])

    def whole(self) -> dict[str, torch.Tensor]:
        """Weights in the integer network's units."""
        return {
            "first": (self.first * _UNIT).clamp(-127, 127),
            "classes": (self.classes * _UNIT * 16).clamp(-30000, 30000),
            "passes": (self.passes * _UNIT * 16).clamp(-30000, 30000),
            "second": (self.second * _UNIT).clamp(-127, 127),
            "second_bias": self.second_bias * _UNIT * 32,
            "third": (self.third * _UNIT).clamp(-127, 127),
            "third_bias": self.third_bias * 2.0 ** _SHIFTS[2],
        }

    def forward(self, number: int, inputs: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Place (n,) among the tables, with a fraction."""
        w = {name: _rounded(value) for name, value in self.whole().items()}
        hidden = inputs @ w["first"][number] + w["passes"][number] + w["classes"][classes].sum(dim=1)
        hidden = _activation(hidden / 2.0 ** _SHIFTS[0]) @ w["second"] + w["second_bias"]
        hidden = _activation(hidden / 2.0 ** _SHIFTS[1]) @ w["third"] + w["third_bias"]
        return hidden / 2.0 ** _SHIFTS[2]

    def bits(self, place: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
        """Mean code length by the tables on both sides of ``place``."""
        at = (place - 0.5).clamp(0, TABLES - 1.001)
        low = at.detach().floor().long()
        share = (at - low)[:, None]
        logits = (1 - share) * self.tables[low] + share * self.tables[low + 1]
        outside = (place - place.detach().clamp(0, TABLES)).abs().mean() * 0.1  # draws back what has left the tables
        return nn.functional.cross_entropy(logits, magnitude) / np.log(2) + outside


def _rounded(value: torch.Tensor) -> torch.Tensor:
    return value + (value.round() - value).detach()


def _activation(value: torch.Tensor) -> torch.Tensor:
    return (value + (value.floor() - value).detach()).clamp(0, TOP)


def train(traces: Sequence[Trace], seed: int, steps: int = _STEPS) -> _Net:
    """Fit the network to the magnitudes of ``traces``."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = _Net()
    offsets = torch.tensor(np.cumsum([0, *DESCRIBED])[:-1])
    data = []
    for number in range(PASSES):
        picks = [t.number == number for t in traces]
        inputs, classes, magnitude = (
            torch.from_numpy(np.concatenate([getattr(t, name)[p] for t, p in zip(traces, picks, strict=True)]))
            for name in ("inputs", "classes", "magnitude")
        )
        data.append((inputs, classes, magnitude))
    total = sum(len(d[0]) for d in data)
    optimiser = torch.optim.Adam(net.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        loss = torch.zeros(())
        for number, (inputs, classes, magnitude) in enumerate(data):
            count = max(round(_BATCH * len(inputs) / total), 1)
            pick = torch.from_numpy(rng.integers(0, len(inputs), count))
            place = net(number, inputs[pick].float(), classes[pick].long() + offsets)
            loss = loss + net.bits(place, magnitude[pick].long()) * (len(inputs) / total)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 500 == 0:
            print(f"context network, step {step}: {loss.item():.4f} bits a coefficient", flush=True)
    return net


def shipped_from(net: _Net, traces: Sequence[Trace], counted: Sequence[Counted]) -> ContextNetwork:
    """The integer network, with tables that start from the counts of ``traces`` and ``counted``."""
    w = {name: value.detach().round() for name, value in net.whole().items()}
    blank = blank_network()
    network = ContextNetwork(
        **{name: w[name].numpy().astype(getattr(blank, name).dtype) for name in w},
        shifts=np.array(_SHIFTS, np.int32),
        **{name: getattr(blank, name) for name in ("magnitudes", "flags", "occupied", "signs", "lengths")},
    )
    shares = torch.softmax(net.tables.detach(), dim=1).numpy().astype(np.float64)
    # 8, 24, 4, 2 and 4, set by hand: symbols added to those counted, so that no table starts from a few alone
    counts = np.tile(shares, (DESCRIBED[0], 1)) * 8  # what the network was fitted with stands for eight symbols
    common = np.zeros_like(shares)
    starts = np.cumsum([0, *DESCRIBED])[:-1]
    for t in traces:
        for number in range(PASSES):
            of = t.number == number
            described = w["classes"].numpy()[t.classes[of] + starts].sum(axis=1).astype(np.float32)
            table = network.tables(number, t.inputs[of], described, np.arange(int(of.sum())))
            np.add.at(common, (table, t.magnitude[of]), 1)
            np.add.at(counts, (table + t.classes[of, 0] * TABLES, t.magnitude[of]), 1)
    counts += 24 * np.tile((common + shares) / (common + shares).sum(axis=1, keepdims=True), (DESCRIBED[0], 1))
    flags = 4.0 + sum(c.flags for c in counted)
    occupied = 2.0 + sum(c.occupied for c in counted)
    signs = 4.0 + sum(c.signs for c in counted)
    return ContextNetwork(
        **{name: getattr(network, name) for name in w},
        shifts=network.shifts,
        magnitudes=_weighted(counts, WEIGHTS["magnitudes"]),
        flags=_weighted(flags, WEIGHTS["flags"]),
        occupied=_weighted(occupied, WEIGHTS["occupied"]),
        signs=_weighted(signs, WEIGHTS["signs"]),
        lengths=blank.lengths,
    )


def _weighted(counts: NDArray[np.float64], weight: int) -> NDArray[np.int64]:
    shares = counts / counts.sum(axis=1, keepdims=True)
    return np.maximum(np.rint(shares * UNIT * weight), 1).astype(np.int64)


def blank_network() -> ContextNetwork:
    """A network that always chooses the table in the middle: what training clips are coded with at first."""
    kinds = DESCRIBED[0]

    def even(contexts: int, weight: int) -> NDArray[np.int64]:
        return prior_counts(np.full(contexts, 512), np.zeros(contexts, np.int64), 2, weight)

    return ContextNetwork(
        np.zeros((PASSES, INPUTS, UNITS[0]), np.int8),
        np.zeros((sum(DESCRIBED), UNITS[0]), np.int16),
        np.zeros((PASSES, UNITS[0]), np.int16),
        np.zeros(UNITS, np.int8),
        np.zeros(UNITS[1], np.int32),
        np.zeros(UNITS[1], np.int8),
        np.full(1, TABLES // 2 << _SHIFTS[2], np.int32),
        np.array(_SHIFTS, np.int32),
        # 850 and 400 of 1024, set by hand: for the first round of training alone
        prior_counts(np.full(kinds * TABLES, 850), np.full(kinds * TABLES, 400), LAST + 1, WEIGHTS["magnitudes"]),
        even(kinds * 24, WEIGHTS["flags"]),
        even(kinds * 6, WEIGHTS["occupied"]),
        even(kinds * SIGN_CONTEXTS, WEIGHTS["signs"]),
        even(_LENGTHS, WEIGHTS["lengths"]),
    )
