"""Factorised updates: trained through the factors, sent exactly as trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from descent import descend
from torch import nn

from rinr_flower.errors import ConfigError, DataError
from rinr_flower.updates import Factorised, Full, TruncatedSvd, apply_update, updating
from rinr_flower.updates.factors import Side, bits_per_element
from rinr_flower.updates.steps import qp_above, step_of

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


def test_training_through_factors_learns_and_the_payload_is_the_model() -> None:
    model = network()
    base = snapshot(model)
    model.eval()
    start = float(nn.functional.cross_entropy(model(IMAGES), LABELS).detach())
    with updating(model, Factorised(rank=3)) as update:
        loss = fit(model)
    assert loss < 0.5 * start
    assert list(model.state_dict()) == list(base)
    assert all(p.requires_grad for p in model.parameters())
    received = apply_update(base, update.payload)
    assert all(torch.equal(received[k], v) for k, v in model.state_dict().items())
    assert len(update.payload) < 0.4 * len(Full().compress(base, received))
    other = network()
    other.load_state_dict(received)
    model.eval(), other.eval()
    assert torch.equal(model(IMAGES), other(IMAGES))


def test_what_trains_is_what_is_sent() -> None:
    """The loss that the last step saw is that of the decoded model, to within a sum's rounding."""
    model = network()
    base = snapshot(model)
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
    model = network()
    base = snapshot(model)
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
    model = network()
    base = snapshot(model)
    fit(model, 120)
    state = apply_update(base, TruncatedSvd(rank=1, bits=8).compress(base, snapshot(model)))
    model.load_state_dict(state)
    model.train()
    truncated = float(nn.functional.cross_entropy(model(IMAGES), LABELS).detach())
    model.load_state_dict(base)
    with updating(model, Factorised(rank=1)):
        through = fit(model, 120, rate=1e-3)
    assert through < 0.8 * truncated


@pytest.mark.parametrize("spread", [3e-5, 0.1, 7.0])
def test_a_side_is_rounded_to_a_step_that_follows_its_spread(spread: float) -> None:
    values = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32) * np.float32(spread)
    side = Side(values, step=1.2, scale=spread)
    levels, qp = side.levels()
    assert qp == qp_above(1.2 * float(np.sqrt(np.square(values).mean())))
    assert np.array_equal(levels, np.rint(values / step_of(qp)))
    assert np.array_equal(side().detach().numpy(), (levels * step_of(qp)).astype(np.float32))
    with torch.no_grad():
        side.array *= 4
    assert side.levels()[1] == qp + 8  # two powers of two on the grid of four steps each
    side().sum().backward()
    assert side.array.grad is not None
    assert bool((side.array.grad == side.unit).all())


def test_bits_of_an_element_are_the_entropy_of_rounded_normal_values() -> None:
    values = np.random.default_rng(0).normal(size=400_000)
    for step in (0.5, 1.5):
        shares = np.unique(np.rint(values / step), return_counts=True)[1] / values.size
        assert bits_per_element(step) == pytest.approx(-(shares * np.log2(shares)).sum(), abs=0.01)


@pytest.mark.parametrize("trained", [True, False])
def test_a_byte_budget_is_kept(trained: bool) -> None:
    sizes = {}
    for budget in (150, 450):
        model, compressor = network(), Factorised(budget_bytes=budget)
        base = snapshot(model)
        if trained:
            with updating(model, compressor) as update:
                fit(model)
            data = update.payload
        else:
            fit(model)
            data = compressor.compress(base, snapshot(model))
        new = apply_update(base, data)
        overhead = len(compressor.compress(base, {**base, **{k: v for k, v in new.items() if v.ndim < 2}}))
        sizes[budget] = len(data) - overhead
    assert sizes[150] <= 1.3 * 150 + 40
    assert sizes[450] <= 1.3 * 450 + 40
    assert sizes[450] > 1.5 * sizes[150]


def test_frozen_weights_stay_and_cost_nothing() -> None:
    model = network()
    base = snapshot(model)
    model[6].weight.requires_grad_(False)
    with updating(model, Factorised(rank=2)) as update:
        fit(model, 10)
    assert "6.weight" not in update.changes
    assert torch.equal(model.state_dict()["6.weight"], base["6.weight"])
    assert not model[6].weight.requires_grad


@pytest.mark.parametrize("break_it", ["raise", "nan factor", "nan bias"])
def test_failed_training_leaves_the_model_untouched(break_it: str) -> None:
    model = network()
    base = snapshot(model)
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


def test_options_are_checked() -> None:
    for options in ({"rank": 0}, {"budget_bytes": 0}, {"step": 0.0}, {"step": 2.0}):
        with pytest.raises(ConfigError):
            Factorised(**options)  # type: ignore[arg-type]
