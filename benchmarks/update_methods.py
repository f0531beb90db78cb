"""How each compressor is put to use on one scenario: bytes sent and the model that the receiver then has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from rinr_flower.updates import Factorised, Memory, apply_update, factorise, updates

VECTOR_BITS = 8
CODED = ", our coding"
"""Marks a rival whose float32 elements were quantised and entropy-coded as ours are, which its paper does not do."""
State = dict[str, torch.Tensor]
Options = dict[str, float | int | str]
Train = Callable[[nn.Module, float, float, int], None]
"""(model, share of the full training's epochs, factor on its learning rate, seed): train what requires gradients."""


@dataclass(frozen=True)
class Method:
    """One operating point.

    Attributes
    ----------
    series : what a curve in the report is called.
    options : of the compressor, and how it is trained.
    how : "once" compresses the finished change, "rounds" sends several updates with error feedback, "restricted"
        trains in the compressor's own space, "factors" trains through factors.
    """

    series: str
    compressor: str
    options: Options
    how: str = "once"
    rounds: int = 1
    warm: bool = False


def digits_methods() -> Iterator[Method]:
    """Every operating point of the digits benchmark; vectors go in 8 bits for all but ``full`` and ``float16``."""
    yield Method("full", "full", {})
    yield Method("float16", "float16", {})
    for levels in (1, 2, 4, 8, 16):
        yield Method("qsgd", "qsgd", {"levels": levels})
    for bits, fraction in ((1, 0.5), (2, 0.12), (2, 0.25), (2, 0.5), (2, 1.0), (4, 0.25), (4, 0.5)):
        yield Method("sketched", "sketched", {"bits": bits, "fraction": fraction})
    for qp in (-34, -30, -26, -24, -22, -20, -18):
        for weight in (0.05, 0.15):
            yield Method("quantised", "quantised", {"qp": qp, "rate_weight": weight})
    for rank in (1, 2, 3, 4, 6, 8):
        for bits in (5, 7):
            yield Method("svd", "svd", {"rank": rank, "bits": bits})
        yield Method("powersgd", "powersgd", {"rank": rank, "bits": 7})
    for name in ("top_k", "stc"):
        for fraction in (0.01, 0.02, 0.05, 0.1, 0.2):
            for scope in ("tensor", "model"):
                yield Method(name, name, {"fraction": fraction, "scope": scope})
        for fraction in (0.005, 0.02):
            yield Method(f"{name}, 5 rounds", name, {"fraction": fraction, "scope": "model"}, "rounds", rounds=5)
    for bits, suffix in ((32, ""), (6, CODED), (4, CODED)):
        for rank in (1, 2, 4):
            options: Options = {"rank": rank, "bits": bits}
            yield Method(f"structured_low_rank{suffix}", "structured_low_rank", options, "restricted")
        for fraction in (0.01, 0.02, 0.05, 0.1):
            yield Method(f"random_mask{suffix}", "random_mask", {"fraction": fraction, "bits": bits}, "restricted")
    for rank, step in ((1, 1.0), (2, 0.5), (2, 1.0), (2, 1.5), (3, 1.0)):
        yield Method("factorised", "factorised", {"rank": rank, "step": step}, "factors", warm=True)
    rated: Options = {"rank": 4, "step": 1.5, "loss_per_kilobyte": 0.05}
    yield Method("factorised", "factorised", rated, "factors", warm=True)
    yield Method("factorised, cold start", "factorised", {"rank": 3}, "factors")


def yolo_methods() -> Iterator[Method]:
    """A choice of operating points for YOLOv8n, where training takes longer; training through a restriction only once
    for each compressor of that kind."""
    yield Method("full", "full", {})
    yield Method("float16", "float16", {})
    for levels in (1, 2, 4):
        yield Method("qsgd", "qsgd", {"levels": levels})
    for bits, fraction in ((2, 0.25), (2, 1.0), (4, 1.0)):
        yield Method("sketched", "sketched", {"bits": bits, "fraction": fraction})
    for qp in (-50, -46, -42, -38, -34):
        yield Method("quantised", "quantised", {"qp": qp, "rate_weight": 0.1})
    for rank in (1, 2, 4, 8, 16):
        yield Method("svd", "svd", {"rank": rank, "bits": 7})
    for name in ("top_k", "stc"):
        for fraction in (0.003, 0.01, 0.03, 0.1, 0.3):
            yield Method(name, name, {"fraction": fraction, "scope": "model"})
    for bits, suffix in ((32, ""), (6, CODED)):
        for rank in (2, 8, 16):
            options: Options = {"rank": rank, "bits": bits}
            yield Method(f"structured_low_rank{suffix}", "structured_low_rank", options, "restricted")
        yield Method(f"random_mask{suffix}", "random_mask", {"fraction": 0.05, "bits": bits}, "restricted")
    for rank in (2, 4, 8, 16):
        yield Method("factorised", "factorised", {"rank": rank, "step": 0.5}, "factors", warm=True)


class Bench:
    """One base and one full training, against which methods are measured.

    Methods that train do so for twice the epochs of the full training, except those that start from its result, which
    add one time its epochs: the same work for all.
    """

    def __init__(self, model: nn.Module, base: State, full: State, train: Train, score: Callable[[nn.Module], float]):
        self.model = model
        self.base = base
        self.full = full
        self.train = train
        self.score = score
        self._restricted: dict[str, State] = {}

    def measure(self, method: Method, seed: int) -> tuple[int, float]:
        """Bytes sent in all, and the score of the model that was received."""
        bits = {} if method.compressor in ("full", "float16") else {"vector_bits": VECTOR_BITS}
        compressor = updates.create(method.compressor, **method.options, **bits)
        if method.how == "rounds":
            sent, state = self._rounds(compressor, method.rounds, seed)
        elif method.how == "factors":
            assert isinstance(compressor, Factorised)
            self.model.load_state_dict(self.base)
            with factorise(self.model, compressor, start=self.full if method.warm else None, seed=seed) as factors:
                self.train(self.model, 1 if method.warm else 2, 3, seed + 1)
            sent, state = len(factors.payload), apply_update(self.base, factors.payload)
        else:
            new = self._trained_restricted(method, compressor, seed) if method.how == "restricted" else self.full
            data = compressor.compress(self.base, new, seed=seed)
            sent, state = len(data), apply_update(self.base, data)
        self.model.load_state_dict(state)
        return sent, self.score(self.model)

    def _trained_restricted(self, method: Method, compressor: object, seed: int) -> State:
        key = f"{method.compressor} {method.options.get('rank')} {method.options.get('fraction')}"
        if key not in self._restricted:
            self.model.load_state_dict(self.base)
            with compressor.restrict(self.model, seed=seed):  # type: ignore[attr-defined]
                self.train(self.model, 2, 1, seed + 1)
            self._restricted[key] = {k: v.clone() for k, v in self.model.state_dict().items()}
        return self._restricted[key]

    def _rounds(self, compressor: object, rounds: int, seed: int) -> tuple[int, State]:
        state, memory, sent = self.base, Memory(), 0
        for number in range(rounds):
            self.model.load_state_dict(state)
            self.train(self.model, 2 / rounds, 1, seed + number)
            new = {k: v.clone() for k, v in self.model.state_dict().items()}
            data = compressor.compress(state, new, memory=memory, seed=seed + number)  # type: ignore[attr-defined]
            state, sent = apply_update(state, data), sent + len(data)
        return sent, state
