"""QSGD, sketched updates and rate-optimised quantisation against direct formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard as hadamard_matrix

from rinr_flower.errors import DataError
from rinr_flower.updates import Qsgd, Quantised, Sketched, apply_update
from rinr_flower.updates.quantised import rate_optimised
from rinr_flower.updates.randomness import random_mask, random_signs, random_uniform, random_words
from rinr_flower.updates.sketched import hadamard
from rinr_flower.updates.steps import MAX_QP, MIN_QP, dequantise, qp_above, qp_for_bits, quantise, step_of


def change(rows: int = 64, columns: int = 96, seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(seed)
    return {"w": torch.zeros(rows, columns)}, {"w": torch.randn(rows, columns) * 0.1}


def test_steps_are_the_standards_grid() -> None:
    for qp in range(-60, 20):
        assert step_of(qp) == (4 + qp % 4) * 2.0 ** (qp // 4 - 2)
        assert qp_above(step_of(qp)) == qp
        assert qp_above(step_of(qp) * 1.0001) == qp + 1
    assert step_of(-38) == 6 / 4096
    assert (qp_above(0.0), qp_above(1e300)) == (MIN_QP, MAX_QP)
    with pytest.raises(DataError, match="float32"):
        qp_above(math.inf)
    values = np.linspace(-3, 3, 1_001).astype(np.float32)
    qp = qp_for_bits(3.0, 8)
    assert np.abs(quantise(values, qp)).max() <= 127
    assert np.abs(dequantise(quantise(values, qp), qp) - values).max() <= step_of(qp) / 2 + 1e-7


def test_random_draws_never_change() -> None:
    """Philox raw output is part of the format: an update made today must decode for ever."""
    assert random_words(7, "x", 4).tolist() == [1665793994, 1038297815, 768445636, 2636341930]
    assert random_signs(7, "x", 8).tolist() == [1, 1, -1, -1, 1, -1, 1, -1]
    assert not np.array_equal(random_words(7, "y", 4), random_words(7, "x", 4))
    assert random_mask(1, "m", 200_000, 0.2).mean() == pytest.approx(0.2, abs=0.004)
    assert random_uniform(1, "u", 200_000).mean() == pytest.approx(0.5, abs=0.004)
    assert random_uniform(1, "u", 200_000).max() < 1


@pytest.mark.parametrize("bucket", [0, 512])
def test_qsgd_rounds_to_the_two_neighbouring_levels_of_the_norm(bucket: int) -> None:
    base, new = change()
    result = apply_update(base, Qsgd(levels=4, bucket=bucket).compress(base, new, seed=1))["w"].reshape(-1)
    flat = new["w"].reshape(-1)
    for start in range(0, len(flat), bucket or len(flat)):
        part = slice(start, start + (bucket or len(flat)))
        norm = flat[part].norm()
        below = (flat[part].abs() * 4 / norm).floor()
        got = result[part] * flat[part].sign() * 4 / norm
        assert bool((((got - below).abs() < 1e-3) | ((got - below - 1).abs() < 1e-3)).all())


@pytest.mark.parametrize(
    "compressor", [Qsgd(levels=2), Sketched(bits=2, fraction=0.5), Sketched(bits=1, fraction=1.0, rotate=False)]
)
def test_unbiased_methods_have_the_change_as_their_mean(compressor: Qsgd | Sketched) -> None:
    base, new = change(16, 16)
    rounds = 200
    results = torch.stack(
        [apply_update(base, compressor.compress(base, new, seed=s))["w"] for s in range(rounds)]
    ).double()
    error = (results.mean(0) - new["w"]).abs().max()
    assert float(error) < 5 * float(results.std(0).max()) / math.sqrt(rounds)
    one = (results[0] - new["w"]).abs().max()
    assert float(error) < 0.5 * float(one)
    assert float(results.std(0).mean()) > 0.01


def test_hadamard_is_the_orthonormal_walsh_hadamard_matrix() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    np.testing.assert_allclose(hadamard(rows), rows @ hadamard_matrix(64) / 8, atol=1e-5)
    np.testing.assert_allclose(hadamard(hadamard(rows)), rows, atol=1e-5)


def test_rotation_lowers_the_error_of_few_bits_on_a_change_with_outliers() -> None:
    base, new = change(64, 64)
    new["w"][3, :5] = 5.0
    errors = []
    for rotate in (True, False):
        compressor = Sketched(bits=1, fraction=1, rotate=rotate)
        results = [apply_update(base, compressor.compress(base, new, seed=s))["w"] for s in range(5)]
        errors.append(sum(float((r - new["w"]).norm()) for r in results))
    assert errors[0] < 0.8 * errors[1]


def test_rate_optimised_levels_are_the_cheapest_for_the_final_table() -> None:
    """Direct search: no single element can do better with a candidate level, by the bits that were assumed."""
    values = np.random.default_rng(0).laplace(size=(50, 60)).astype(np.float32)
    qp = 0
    nearest = np.rint(values).astype(int)
    plain = rate_optimised(values, qp, 0.0)
    np.testing.assert_array_equal(plain, nearest)
    chosen = rate_optimised(values, qp, 0.3)
    assert (np.abs(chosen) <= np.abs(nearest)).all()
    assert ((chosen == 0) | (np.abs(chosen) >= np.abs(nearest) - 1)).all()

    def entropy(levels: np.ndarray) -> float:
        counts = np.unique(levels, return_counts=True)[1] / levels.size
        return float(-(counts * np.log2(counts)).sum())

    def cost(levels: np.ndarray) -> float:
        return float(np.square(values - levels).mean()) + 0.3 * entropy(levels)

    assert cost(chosen) < cost(plain)
    dead_zones = [np.sign(values) * np.floor(np.abs(values) + 1 - t) for t in (0.5, 0.6, 0.7, 0.8)]
    assert cost(chosen) <= min(cost(d.astype(int)) for d in dead_zones) * 1.01


def test_quantised_is_within_half_a_step_and_as_short_as_its_entropy() -> None:
    base, new = change(200, 200)
    data = Quantised(qp=-20, rate_weight=0).compress(base, new)
    step = step_of(-20)
    result = apply_update(base, data)["w"]
    assert float((result - new["w"]).abs().max()) <= step / 2 * 1.0001
    levels = (new["w"] / step).round()
    shares = torch.unique(levels, return_counts=True)[1] / levels.numel()
    bits = float(-(shares * shares.log2()).sum()) * levels.numel()
    assert len(data) * 8 == pytest.approx(bits, rel=0.02)
