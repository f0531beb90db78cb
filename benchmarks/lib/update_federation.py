"""A federation of ten devices that average a classifier, model updates compressed both ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rinr_flower.updates import Memory, UpdateCompressor, apply_update, updates, updating
from rinr_flower.updates.layout import State
from rinr_flower.updates.parametrise import load_tensors, snapshot

from .update_images import cnn, digits
from .update_task import Data, accuracies, fit

DEVICES, ROUNDS = 10, 10
STEPS, BATCH, RATE = 20, 16, 2e-3
ATTENDS, LOST = 0.7, 0.1
"""With absences: probability that a device attends a round, and that its answer is lost on the way."""
CONDITIONS = {"non-IID": (0.3, False), "non-IID, absences": (0.3, True), "IID": (None, False)}
"""Name to the concentration of the Dirichlet distribution that labels are dealt by (Hsu et al. 2019), and absences."""
VECTOR_BITS = 8
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Scheme:
    """How updates travel.

    Attributes
    ----------
    series : its name on the page.
    up : compressor of the devices, with ``name`` and options; None sends whole models both ways, as FedAvg does.
    down : compressor of the fog.
    space : whether devices train in the space of ``up`` or compress the finished change.
    """

    series: str
    up: Options | None
    down: Options | None
    space: bool = False


def schemes() -> Iterator[Scheme]:
    """All schemes of the benchmark: two settings of each method."""
    yield Scheme("FedAvg", None, None)
    for name, options in (
        ("stc", [{"fraction": fraction} for fraction in (0.03, 0.1)]),
        ("powersgd", [{"rank": rank, "bits": 6} for rank in (4, 8)]),
        ("factorised", [{"rank": rank} for rank in (4, 8)]),
        ("qsgd", [{"levels": levels} for levels in (2, 8)]),
        ("quantised", [{"step": step} for step in (1.0, 2.0)]),
    ):
        for each in options:
            compressor = {"name": name, **each, "vector_bits": VECTOR_BITS}
            yield Scheme(name, compressor, compressor)
    for rank in (4, 8):
        up = {"name": "factorised", "rank": rank, "vector_bits": VECTOR_BITS}
        down = {"name": "quantised", "step": 1.0, "vector_bits": VECTOR_BITS}
        yield Scheme("factorised, trained; quantised down", up, down, space=True)


@dataclass(frozen=True)
class Progress:
    """After a round: bytes sent so far (start models apart), and scores of the model in common."""

    sent: int
    start: int
    validation: float
    test: float


def federate(scheme: Scheme, condition: str, *, seed: int) -> list[Progress]:
    """Run ``ROUNDS`` rounds."""
    concentration, absences = CONDITIONS[condition]
    random = np.random.default_rng(seed)
    parts, held = _dealt(random, concentration)
    torch.manual_seed(seed)
    model = cnn()
    state: State = snapshot(model)
    whole = sum(t.numel() * t.element_size() for t in state.values())
    memories, feedback = [Memory("base") for _ in range(DEVICES)], Memory("base")
    chain: list[int] = []  # sizes of the updates down
    holds: dict[int, int] = {}  # device -> updates that it has
    sent = start = 0
    found = []
    for number in range(ROUNDS):
        models, weights = [], []
        for device in range(DEVICES):
            if absences and random.random() > ATTENDS:
                continue
            if device not in holds:
                start += whole
            else:
                sent += min(whole, sum(chain[holds[device] :]))
            holds[device] = len(chain)
            order = seed * 10_000 + number * 100 + device
            size, result = _trained(scheme, model, state, parts[device], memories[device], order)
            sent += size
            if not absences or random.random() > LOST:
                models.append(result)
                weights.append(len(parts[device][1]))
        if models:
            average = _average(state, models, weights)
            if scheme.down is None:
                state = average
                chain.append(whole)
            else:
                feedback.follow(state)
                data = _create(scheme.down).compress(state, average, memory=feedback, seed=seed * 1_000 + number)
                state = apply_update(state, data)
                chain.append(len(data))
        load_tensors(model, state)
        found.append(Progress(sent, start, *accuracies(model, held)))
    return found


def _trained(
    scheme: Scheme, model: nn.Module, state: State, data: Data, memory: Memory, seed: int
) -> tuple[int, State]:
    """Bytes of a device's answer, and the model that it makes."""
    load_tensors(model, state)
    if scheme.up is None:
        fit(model, data, steps=STEPS, batch=BATCH, rate=RATE, seed=seed)
        return sum(t.numel() * t.element_size() for t in state.values()), snapshot(model)
    compressor, memory.state = _create(scheme.up), None
    if scheme.space:
        with updating(model, compressor, memory=memory, seed=seed) as update:
            fit(model, data, steps=STEPS, batch=BATCH, rate=RATE, seed=seed)
        return len(update.payload), update.state
    fit(model, data, steps=STEPS, batch=BATCH, rate=RATE, seed=seed)
    payload = compressor.compress(state, snapshot(model), memory=memory, seed=seed)
    return len(payload), apply_update(state, payload)


def _average(state: State, models: list[State], weights: list[int]) -> State:
    shares = np.array(weights) / sum(weights)
    result = {}
    for name, before in state.items():
        total = sum(m[name].double() * share for m, share in zip(models, shares, strict=True))
        assert isinstance(total, torch.Tensor)
        result[name] = (total if before.is_floating_point() else total.round()).to(before.dtype)
    return result


def _dealt(random: np.random.Generator, concentration: float | None) -> tuple[list[Data], list[Data]]:
    """Training data of every device, and validation and test data."""
    images, labels = digits()
    order = random.permutation(len(labels))
    fifth = len(labels) // 5
    held = [_pick(images, labels, rows) for rows in (order[:fifth], order[fifth : 2 * fifth])]
    rows = order[2 * fifth :]
    if concentration is None:
        dealt = np.array_split(rows, DEVICES)
    else:
        shares = random.dirichlet([concentration] * DEVICES, 10)
        piles: list[list[NDArray[np.int64]]] = [[rows[i : i + BATCH // 2]] for i in range(0, 8 * DEVICES, BATCH // 2)]
        rest = rows[8 * DEVICES :]
        for label in range(10):
            mine = rest[labels[rest] == label]
            cuts = (np.cumsum(shares[label])[:-1] * len(mine)).astype(int)
            for pile, part in zip(piles, np.split(mine, cuts), strict=True):
                pile.append(part)
        dealt = [np.concatenate(pile) for pile in piles]
    return [_pick(images, labels, part) for part in dealt], held


def _pick(images: NDArray[np.float32], labels: NDArray[np.int64], rows: NDArray[np.int64]) -> Data:
    return torch.from_numpy(images[rows, None]), torch.from_numpy(labels[rows])


def _create(options: Options) -> UpdateCompressor:
    return updates.create(dict(options))
