"""Factorised updates: trained through the factors, sent exactly as trained."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from descent import descend
from torch import nn

from rinr_flower.errors import ConfigError, DataError
from rinr_flower.updates import Factorised, Full, TruncatedSvd, apply_update, updating
from rinr_flower.updates.factors import UNIT, Side
from rinr_flower.updates.steps import step_of

IMAGES = torch.randn(48, 2, 6, 6, generator=torch.Generator().manual_seed(5))
LABELS = torch.randint(0, 4, (48,), generator=torch.Generator().manual_seed(6))


def network() -> nn.Module:
    """Plain, grouped and depthwise convolutions, normalisation and linear layers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Flatten(),
        nn.Linear(128, 40),
        nn.ReLU(),
        nn.Linear(40, 4),
    )


def fit(model: nn.Module, steps: int = 60, rate: float = 5e-3) -> float:
    """Adam on fixed data; the last loss."""
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate)
    model.train()
    return descend(optimiser, lambda: nn.functional.cross_entropy(model(IMAGES), LABELS), steps)[-1]


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def trained(steps: int = 60) -> tuple[nn.Module, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A model at its base, its base, and where ordinary training takes it."""
    model = network()
    base = snapshot(model)
    fit(model, steps)
    full = snapshot(model)
    model.load_state_dict(base)
    return model, base, full


@pytest.mark.parametrize("warm", [False, True])
def test_training_through_factors_learns_and_the_payload_is_the_model(warm: bool) -> None:
    model, base, full = trained()
    model.eval()
    start = float(nn.functional.cross_entropy(model(IMAGES), LABELS).detach())
    with updating(model, Factorised(rank=3), start=full if warm else None) as update:
        loss = fit(model)
    assert loss < 0.5 * start
    assert list(model.state_dict()) == list(base)
    assert all(p.requires_grad for p in model.parameters())
    received = apply_update(base, update.payload)
    assert all(torch.equal(received[k], v) for k, v in model.state_dict().items())
    assert len(update.payload) < 0.4 * len(Full().compress(base, full))
    other = network()
    other.load_state_dict(received)
    model.eval(), other.eval()
    assert torch.equal(model(IMAGES), other(IMAGES))


def test_what_trains_is_what_is_sent() -> None:
    """The loss that the last step saw is that of the decoded model, to within a sum's rounding."""
    model, base, _ = trained()
    model.eval()
    with updating(model, Factorised(rank=2)) as update:
        fit(model, 20)
        model.eval()
        inside = model(IMAGES).detach()
    torch.testing.assert_close(model(IMAGES), inside, rtol=1e-4, atol=1e-5)
    ranks = {n: c.quantised() for n, c in update.changes.items()}
    for name, quantised in ranks.items():
        change = (model.state_dict()[name] - base[name]).reshape(len(base[name]), -1).numpy()
        np.testing.assert_allclose(change, quantised.change(), atol=1e-6)
        if quantised.left is not None:
            assert np.linalg.matrix_rank(quantised.left @ quantised.right) <= 2


def test_the_base_is_frozen_and_a_cold_start_changes_nothing() -> None:
    model, base, _ = trained(1)
    model.eval()
    before = model(IMAGES)
    with updating(model, Factorised(rank=2)) as update:
        assert torch.equal(model(IMAGES), before)
        trainable = {n for n, p in model.named_parameters() if p.requires_grad}
        assert not any(n.endswith(".original") for n in trainable)
        assert {"1.weight", "3.bias", "6.bias"} <= trainable
        fit(model, 3)
        originals = {n: p for n, p in model.named_parameters() if n.endswith("original")}
        assert torch.equal(originals["6.parametrizations.weight.original"], base["6.weight"])
    assert set(update.changes) == {"0.weight", "3.weight", "4.weight", "6.weight", "8.weight"}


def test_training_through_beats_truncation_of_the_same_rank() -> None:
    model, base, full = trained(120)
    state = apply_update(base, TruncatedSvd(rank=1, bits=8).compress(base, full))
    model.load_state_dict(state)
    model.train()
    truncated = float(nn.functional.cross_entropy(model(IMAGES), LABELS).detach())
    model.load_state_dict(base)
    with updating(model, Factorised(rank=1), start=full):
        through = fit(model, 120)
    assert through < 0.5 * truncated


def test_the_rate_term_shortens_the_update() -> None:
    sizes = []
    for weight in (0.0, 5.0):
        model, _, full = trained()
        compressor = Factorised(rank=3, loss_per_kilobyte=weight, vector_bits=8)
        with updating(model, compressor, start=full) as update:
            fit(model, 60)
        sizes.append(len(update.payload))
    assert sizes[1] < 0.9 * sizes[0]


def test_the_rate_gradient_is_the_slope_of_the_estimated_bits() -> None:
    values = np.array([[0.3, -0.05, 0.9]], np.float32)
    side = Side(values, qp=-12, scale=0.2, loss_per_bit=0.01)
    (side.array * 0).sum().backward()
    assert side.array.grad is not None

    def bits(x: float) -> float:
        return 2 * math.log2(1 + abs(x) * UNIT * 0.2 / step_of(-12))

    for got, x in zip(side.array.grad[0].tolist(), (values / (UNIT * 0.2))[0].tolist(), strict=True):
        assert got == pytest.approx(0.01 * (bits(x + 1e-6) - bits(x - 1e-6)) / 2e-6, rel=1e-3)


def test_a_byte_budget_is_kept() -> None:
    sizes = {}
    for budget in (250, 750):
        model, base, full = trained()
        overhead = len(Factorised().compress(base, {**base, **{k: v for k, v in full.items() if v.ndim < 2}}))
        with updating(model, Factorised(budget_bytes=budget), start=full) as update:
            fit(model)
        sizes[budget] = len(update.payload) - overhead
        assert sizes[budget] <= 1.3 * budget
    assert sizes[750] > 1.5 * sizes[250]


def test_frozen_weights_stay_and_cost_nothing() -> None:
    model, base, _ = trained(1)
    model[6].weight.requires_grad_(False)
    with updating(model, Factorised(rank=2)) as update:
        fit(model, 10)
    assert "6.weight" not in update.changes
    assert torch.equal(model.state_dict()["6.weight"], base["6.weight"])
    assert not model[6].weight.requires_grad


@pytest.mark.parametrize("break_it", ["raise", "nan factor", "nan bias"])
def test_failed_training_leaves_the_model_untouched(break_it: str) -> None:
    model, base, _ = trained(1)
    expected: type[Exception] = ZeroDivisionError if break_it == "raise" else DataError

    def broken_training() -> None:
        with updating(model, Factorised(rank=2)) as update:
            fit(model, 3)
            with torch.no_grad():
                if break_it == "nan factor":
                    next(iter(update.changes["6.weight"].parameters()))[0, 0] = float("nan")
                elif break_it == "nan bias":
                    model[6].bias[0] = float("nan")
                else:
                    raise ZeroDivisionError

    with pytest.raises(expected):
        broken_training()
    assert list(model.state_dict()) == list(base)
    assert all(torch.equal(base[k], v) for k, v in model.state_dict().items())


def test_a_start_of_another_model_is_refused() -> None:
    model, _, full = trained(1)
    with pytest.raises(DataError, match="missing"), updating(model, Factorised(), start={"6.bias": full["6.bias"]}):
        pass


def test_options_are_checked() -> None:
    for options in ({"rank": 0}, {"budget_bytes": 0}, {"step": 0.0}, {"loss_per_kilobyte": -1.0}):
        with pytest.raises(ConfigError):
            Factorised(**options)  # type: ignore[arg-type]
