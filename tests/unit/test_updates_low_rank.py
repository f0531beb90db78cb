"""Structured, truncated and power-iterated low-rank updates, and random masks, against direct formulas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from descent import descend
from torch import nn

from rinr_flower.errors import ConfigError
from rinr_flower.updates import Memory, PowerSgd, RandomMask, StructuredLowRank, TruncatedSvd, apply_update, updating
from rinr_flower.updates.factor_coding import QuantisedFactors
from rinr_flower.updates.randomness import random_mask, random_signs
from rinr_flower.updates.rank_rule import equal_rank, ranks_by_strength
from rinr_flower.updates.singular import balanced_factors


def change(rows: int = 30, columns: int = 50) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    base = {"w": torch.randn(rows, columns)}
    delta = torch.randn(rows, 6) @ torch.diag(2.0 ** -torch.arange(6)) @ torch.randn(6, columns)
    return base, {"w": base["w"] + delta}


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(96, 4))


def fit(model: nn.Module, steps: int = 30) -> list[float]:
    torch.manual_seed(1)
    images, labels = torch.randn(32, 2, 6, 6), torch.randint(0, 4, (32,))
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    return descend(optimiser, lambda: nn.functional.cross_entropy(model(images), labels), steps)


def test_a_free_change_is_projected_on_the_random_factor() -> None:
    base, new = change()
    result = apply_update(base, StructuredLowRank(rank=5).compress(base, new, seed=9))["w"] - base["w"]
    left = random_signs(9, "w", 30 * 5).reshape(30, 5).astype(np.float64)
    delta = (new["w"] - base["w"]).double().numpy()
    np.testing.assert_allclose(result.numpy(), left @ np.linalg.pinv(left) @ delta, atol=2e-5)


@pytest.mark.parametrize("compressor", [StructuredLowRank(rank=2), RandomMask(fraction=0.3)])
def test_what_was_trained_in_the_restricted_space_arrives_whole(compressor: StructuredLowRank | RandomMask) -> None:
    model = small_model()
    base = {k: v.clone() for k, v in model.state_dict().items()}
    with updating(model, compressor, seed=4) as update:
        losses = fit(model)
        inside = {n: model.get_parameter(f"{n[0]}.bias").detach().clone() for n in ("0.bias", "3.bias")}
        inside |= {f"{n}.weight": model[n].weight.detach().clone() for n in (0, 3)}
    assert losses[-1] < 0.8 * losses[0]
    assert list(model.state_dict()) == list(base)
    assert all(p.requires_grad for p in model.parameters())
    received = apply_update(base, update.payload)
    for name, tensor in inside.items():
        torch.testing.assert_close(received[name], tensor, rtol=0, atol=2e-6)
        assert torch.equal(model.state_dict()[name], received[name])
    assert float((received["3.weight"] - base["3.weight"]).abs().max()) > 1e-3


def test_only_masked_elements_move() -> None:
    base, new = change()
    data = RandomMask(fraction=0.25).compress(base, new, seed=3)
    mask = torch.from_numpy(random_mask(3, "w", 1_500, 0.25).reshape(30, 50))
    result = apply_update(base, data)["w"]
    torch.testing.assert_close(result, torch.where(mask, new["w"], base["w"]), rtol=0, atol=1e-6)
    assert len(data) < int(mask.sum()) * 4 + 60


def test_svd_is_the_best_approximation_of_its_rank() -> None:
    base, new = change()
    delta = (new["w"] - base["w"]).numpy()
    left, values, right = np.linalg.svd(delta)
    for rank in (1, 3):
        best = left[:, :rank] * values[:rank] @ right[:rank]
        got = (apply_update(base, TruncatedSvd(rank=rank, bits=14).compress(base, new))["w"] - base["w"]).numpy()
        np.testing.assert_allclose(got, best, atol=1e-3 * values[0])


@pytest.mark.parametrize("shape", [(300, 700), (700, 300), (20, 900), (1, 9), (12, 12)])
def test_factors_lose_little_more_than_the_best_ones(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    core = random.normal(size=(shape[0], 12)) * 0.7 ** np.arange(12) @ random.normal(size=(12, shape[1]))
    matrix = (core + 0.01 * random.normal(size=shape)).astype(np.float32)
    left, right = balanced_factors(matrix, 5)
    best = np.sqrt(np.square(np.linalg.svd(matrix, compute_uv=False)[5:]).sum())
    assert np.linalg.norm(matrix - left @ right) <= 1.01 * best + 1e-4
    np.testing.assert_allclose(np.linalg.norm(left, axis=0), np.linalg.norm(right, axis=1), rtol=1e-3)


def test_powersgd_is_one_power_iteration_a_round_with_error_feedback() -> None:
    """Algorithm 1 of arXiv 1905.13727 in float64 beside it for four rounds."""
    base, new = change()
    delta = (new["w"] - base["w"]).double().numpy()
    basis = random_signs(0, "w", 50 * 2).reshape(50, 2).astype(np.float64)
    residual, memory, state, asked = np.zeros_like(delta), Memory("base"), base, new
    for _ in range(4):
        wanted = delta + residual
        left = np.linalg.qr(wanted @ basis)[0]
        basis = wanted.T @ left
        sent = left @ basis.T
        residual = wanted - sent
        result = apply_update(state, PowerSgd(rank=2).compress(state, asked, memory=memory))
        np.testing.assert_allclose((result["w"] - state["w"]).numpy(), sent, atol=5e-3)
        state, asked = result, {"w": result["w"] + (new["w"] - base["w"])}


def test_products_of_factors_are_exact_sums() -> None:
    random = np.random.default_rng(0)
    left, right = random.integers(-8_191, 8_192, (40, 64)), random.integers(-8_191, 8_192, (64, 30))
    exact = [[sum(int(a) * int(b) for a, b in zip(row, column, strict=True)) for column in right.T] for row in left]
    change_ = QuantisedFactors(left, right, -20, -23).change()
    steps = 2.0**-5 * (5 / 4 * 2.0**-6)
    assert change_.tolist() == [[float(np.float32(v * steps)) for v in row] for row in exact]


def test_ranks_keep_the_most_change_for_their_elements() -> None:
    shapes = {"a": (10, 20), "b": (8, 8), "c": (30, 10)}
    strengths = {
        "a": np.array([5, 3, 1], np.float32),
        "b": np.array([4, 0.5, 0], np.float32),
        "c": np.array([2, 1.9, 1.8], np.float32),
    }
    for budget in (46, 76, 86, 126):
        ranks = ranks_by_strength(strengths, shapes, budget)
        spent = sum(ranks[n] * sum(shapes[n]) for n in shapes)
        kept = sum(float(np.square(strengths[n][: ranks[n]]).sum()) for n in shapes)
        assert spent <= budget
        best = max(
            sum(float(np.square(strengths[n][:r]).sum()) for n, r in zip(shapes, combination, strict=True))
            for combination in itertools.product(range(4), repeat=3)
            if sum(r * sum(shapes[n]) for n, r in zip(shapes, combination, strict=True)) <= budget
        )
        assert kept >= 0.85 * best
    assert ranks_by_strength(strengths, shapes, 10_000) == {"a": 3, "b": 2, "c": 3}


def test_an_equal_rank_fits_its_elements() -> None:
    shapes = {"a": (10, 20), "b": (3, 3)}
    assert equal_rank(shapes, 10) == 1
    assert equal_rank(shapes, 30 + 6 + 29) == 1
    assert equal_rank(shapes, 60 + 9) == 2
    assert equal_rank(shapes, 10**6) < 10


def test_tied_weights_get_one_change() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with updating(model, StructuredLowRank(rank=2)) as update:
        assert update.changes["0.weight"] is update.changes["1.weight"]
        fit_once = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
        model(torch.ones(2, 4)).square().sum().backward()
        fit_once.step()
        assert torch.equal(model[0].weight, model[1].weight)
    assert model[1].weight is model[0].weight


def test_a_second_restriction_is_refused() -> None:
    model = small_model()
    with (
        updating(model, StructuredLowRank()),
        pytest.raises(ConfigError, match="already parametrised"),
        updating(model, RandomMask()),
    ):
        pass


def test_a_failed_training_leaves_the_model_as_it_was() -> None:
    model = small_model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ZeroDivisionError), updating(model, StructuredLowRank(rank=2)):
        raise ZeroDivisionError(fit(model, 2))
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
