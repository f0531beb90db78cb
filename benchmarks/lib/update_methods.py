"""How each compressor is put to use on one task: bytes sent and the model that a receiver then has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rinr_flower.updates import Memory, apply_update, updates, updating
from rinr_flower.updates.layout import Layout, State
from rinr_flower.updates.parametrise import load_tensors, snapshot
from rinr_flower.updates.steps import qp_above

from .update_rivals import change_of, changed, nncodec, rivals
from .update_task import Task

VECTOR_BITS = 6
CODED = ", our coding"
"""Marks a rival whose float32 elements are quantised and entropy-coded as ours are, which its paper does not do."""
ROUNDS = ", 5 rounds"
_STEPS = {1: 1.7, 2: 1.7, 3: 1.2, 4: 1.7, 6: 1.2, 8: 1.2, 12: 1.2, 16: 1.0, 24: 0.7}
"""Steps of ``factorised`` at the ranks of the sweep: finer ones at high ranks."""
Options = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One operating point, or several that share a training.

    Attributes
    ----------
    series : its name on the page.
    how : "finished" compresses the change of the full training, "rounds" sends five updates with error feedback,
        "space" trains in the compressor's own space. All train equally long.
    compressor : name and options.
    codings : series and compressors that code the same training otherwise.
    """

    series: str
    how: Literal["finished", "rounds", "space"]
    compressor: Options
    codings: tuple[tuple[str, Options], ...] = ()

    @property
    def trains(self) -> bool:
        """Whether the setting has a training of its own, for which a learning rate is chosen."""
        return self.how != "finished"


@dataclass(frozen=True)
class Point:
    """Result of one setting: bytes sent in all, and scores on validation and test data."""

    series: str
    options: Options
    bytes: int
    validation: float
    test: float


def settings(ranks: Sequence[int], fractions: Sequence[float]) -> Iterator[Setting]:
    """All settings of the benchmark; every method with a training of its own is tried with equally many."""
    yield Setting("full", "finished", {"name": "full"})
    yield Setting("float16", "finished", {"name": "float16"})
    for name in rivals():
        yield Setting(name, "finished", {"name": name})
    if "NNCODEC_PYTHON" in os.environ:
        options = [{"name": "NNCodec", "step": step} for step in (0.25, 0.5, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6)]
        yield Setting("NNCodec", "finished", options[0], tuple(("NNCodec", o) for o in options[1:]))
    for levels in (1, 2, 3, 4, 6, 8, 12, 16):
        yield Setting("qsgd", "finished", {"name": "qsgd", "levels": levels})
    for bits in (1, 2, 3, 4):
        for fraction in (0.25, 0.5, 1.0):
            yield Setting("sketched", "finished", {"name": "sketched", "bits": bits, "fraction": fraction})
    for step in (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0):
        for weight in (0.05, 0.2):
            yield Setting("quantised", "finished", {"name": "quantised", "step": step, "rate_weight": weight})
    for rank in ranks:
        for bits in (4, 6):
            yield Setting("svd", "finished", {"name": "svd", "rank": rank, "bits": bits})
    for name in ("top_k", "stc"):
        for fraction in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4):
            yield Setting(name, "finished", {"name": name, "fraction": fraction, "scope": "model"})
    for rank in ranks:
        yield Setting(f"powersgd{ROUNDS}", "rounds", {"name": "powersgd", "rank": rank, "bits": 6})
    for fraction in fractions:
        for name in ("top_k", "stc"):
            options = {"name": name, "fraction": fraction, "scope": "model"}
            yield Setting(f"{name}{ROUNDS}", "rounds", options)
    for rank in ranks:
        yield _coded("structured_low_rank", {"rank": rank})
    for fraction in fractions:
        yield _coded("random_mask", {"fraction": fraction})
    for rank in ranks:
        yield Setting("factorised", "space", {"name": "factorised", "rank": rank, "step": _STEPS[rank]})


def _coded(name: str, options: Options) -> Setting:
    codings = tuple((f"{name}{CODED}", {"name": name, **options, "bits": bits}) for bits in (2, 3, 4, 5, 6))
    return Setting(name, "space", {"name": name, **options}, codings)


class Bench:
    """One task, with its full training.

    Parameters
    ----------
    rate : of the full training.
    """

    def __init__(self, task: Task, *, rate: float, seed: int) -> None:
        self.task = task
        self.rate = rate
        self.seed = seed
        self.full = self._trained()

    def measure(self, setting: Setting, rate: float) -> list[Point]:
        """The points of a setting, trained at ``rate`` if it trains."""
        name = setting.compressor["name"]
        if name in rivals() or name == "NNCodec":
            return self._rival(setting)
        compressor = _create(setting.compressor)
        model, base, seed = self.task.model, self.task.base, self.seed
        if setting.how == "rounds":
            sent, state = self._rounds(setting.compressor, rate)
            return [self._point(setting.series, setting.compressor, sent, state)]
        if setting.how == "finished":
            return [self._coded(setting.series, setting.compressor, self.full)]
        load_tensors(model, base)
        with updating(model, compressor, seed=seed) as update:
            self.task.train(model, 1.0, rate, seed + 2)
        points = [self._point(setting.series, setting.compressor, len(update.payload), update.state)]
        return points + [self._coded(series, options, update.state) for series, options in setting.codings]

    def _trained(self) -> State:
        load_tensors(self.task.model, self.task.base)
        self.task.train(self.task.model, 1.0, self.rate, self.seed + 1)
        return snapshot(self.task.model)

    def _coded(self, series: str, options: Options, new: State) -> Point:
        data = _create(options).compress(self.task.base, new, seed=self.seed)
        return self._point(series, options, len(data), apply_update(self.task.base, data))

    def _point(self, series: str, options: Options, size: int, state: State) -> Point:
        load_tensors(self.task.model, state)
        validation, test = self.task.score(self.task.model)
        return Point(series, {k: v for k, v in options.items() if k != "name"}, size, validation, test)

    def _rival(self, setting: Setting) -> list[Point]:
        """Points of what stands outside this library, of the finished change."""
        base = self.task.base
        change = change_of(base, self.full)
        every = [(setting.series, setting.compressor), *setting.codings]
        if setting.compressor["name"] == "NNCodec":
            weights = Layout.of(base).weights
            square = sum(float((change[n].astype("f8") ** 2).sum()) for n in weights)
            rms = (square / sum(change[n].size for n in weights)) ** 0.5
            arrived = nncodec(change, [qp_above(options["step"] * rms) for _, options in every])
        else:
            arrived = [rivals()[setting.compressor["name"]](change)]
        return [
            self._point(series, options, size, changed(base, found))
            for (series, options), (size, found) in zip(every, arrived, strict=True)
        ]

    def _rounds(self, options: Mapping[str, Any], rate: float, rounds: int = 5) -> tuple[int, State]:
        compressor, memory = _create(options), Memory("base")
        state, sent = self.task.base, 0
        for number in range(rounds):
            load_tensors(self.task.model, state)
            self.task.train(self.task.model, 1 / rounds, rate, self.seed + number)
            data = compressor.compress(state, snapshot(self.task.model), memory=memory, seed=self.seed + number)
            state, sent = apply_update(state, data), sent + len(data)
        return sent, state


def _create(options: Mapping[str, Any]) -> Any:
    bits = {} if options["name"] in ("full", "float16") else {"vector_bits": VECTOR_BITS}
    return updates.create(options, **bits)
