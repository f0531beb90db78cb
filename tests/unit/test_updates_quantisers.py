"""QSGD, sketched updates and rate-optimised quantisation against direct formulas."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard as hadamard_matrix

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import DataError
from rinr_flower.updates import Memory, Qsgd, Quantised, Sketched, apply_update
from rinr_flower.updates.levels import read_levels, write_levels
from rinr_flower.updates.randomness import random_mask, random_signs, random_uniform, random_words
from rinr_flower.updates.sketched import hadamard
from rinr_flower.updates.steps import MAX_QP, MIN_QP, dequantise, qp_above, qp_for_bits, quantise, step_of
from rinr_flower.updates.trellis import NEXT, QUANTISER, _best_path, in_lanes, reconstructed, states_of, trellis_levels
from rinr_flower.updates.trellis_coding import read_trellis, write_trellis


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


def test_the_trellis_finds_the_cheapest_of_all_paths() -> None:
    """Against trying every choice of levels up to 3 on seven values, at several prices of a bit."""
    random = np.random.default_rng(0)
    tables = [np.array([0.6, 2.5, 4.0, 6.5], np.float32), np.array([0.9, 2.1, 3.8, 6.0], np.float32)]
    sizes = np.abs(random.laplace(size=(7, 3))).astype(np.float32)
    for price in (0.0, 0.3, 1.0):
        found = _best_path(sizes, tables, price)
        for lane in range(3):
            values = sizes[:, lane]
            costs = {}
            for path in itertools.product(range(4), repeat=7):
                state, cost = 0, 0.0
                for value, level in zip(values, path, strict=True):
                    quantiser = QUANTISER[state]
                    meant = 2 * level - quantiser if level else 0
                    cost += (float(value) - meant) ** 2 + price * float(tables[quantiser][level])
                    state = NEXT[state, level & 1]
                costs[path] = cost
            assert costs[tuple(found[:, lane].tolist())] == pytest.approx(min(costs.values()), abs=1e-4)


def test_states_and_values_follow_the_machine() -> None:
    levels = np.array([[1, 0], [-3, 2], [0, 1], [2, -1]], np.int32)
    states = states_of(levels)
    assert states.tolist() == [[0, 0], [2, 0], [3, 0], [6, 2]]
    assert reconstructed(levels, states).tolist() == [[2, 0], [-6, 4], [0, 2], [4, -2]]
    assert reconstructed(np.array([[3, -1, 0]]), np.array([[1, 5, 7]], np.uint8)).tolist() == [[5, -1, 0]]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3_000), st.integers(0, 2**32 - 1), st.sampled_from([0.05, 1.0, 30.0]))
def test_trellis_levels_survive(size: int, seed: int, spread: float) -> None:
    values = np.random.default_rng(seed).laplace(scale=spread, size=size).astype(np.float32)
    values[: size // 2] *= 0.1
    levels = trellis_levels(in_lanes(values), 0.2)
    writer = ByteWriter()
    write_trellis(writer, levels, size)
    reader = ByteReader(writer.getvalue())
    got, states = read_trellis(reader, size, "levels")
    reader.end()
    assert np.array_equal(got.T.reshape(-1)[:size], levels.T.reshape(-1)[:size])
    assert np.array_equal(states.T.reshape(-1)[:size], states_of(levels).T.reshape(-1)[:size])


@pytest.mark.parametrize("step", [0.4, 0.8])
def test_quantised_takes_fewer_bytes_than_any_uniform_quantiser_at_equal_error(step: float) -> None:
    base, new = change(300, 400)
    data = Quantised(step=step).compress(base, new)
    values = new["w"].double().numpy().reshape(-1)
    error = np.square(apply_update(base, data)["w"].double().numpy().reshape(-1) - values).mean()
    best = np.inf
    for width in np.geomspace(0.3, 3, 40) * values.std():
        for dead_zone in (0.5, 0.55, 0.6, 0.65):
            levels = np.sign(values) * np.floor(np.abs(values) / width + 1 - dead_zone)
            shares = np.unique(levels, return_counts=True)[1] / levels.size
            if np.square(values - levels * width).mean() <= error:
                best = min(best, -(shares * np.log2(shares)).sum())
    assert len(data) * 8 / values.size < 0.97 * best
    distortion = error / values.var()
    assert (
        len(data) * 8 / values.size < 0.5 * math.log2(1 / distortion) + 0.2
    )  # from Shannon's bound for a normal source


def test_quantised_takes_its_step_from_the_change() -> None:
    """A fine-tune of root mean square 2e-4 arrives as well as one of 0.2; a step given too large is told."""
    base, new = change()
    errors = []
    for scale in (1.0, 2e-3):
        small = {"w": new["w"] * scale}
        result = apply_update(base, Quantised().compress(base, small))
        errors.append(float((result["w"] - small["w"]).norm() / small["w"].norm()))
    assert errors[0] == pytest.approx(errors[1], rel=0.1)
    assert errors[0] < 0.6
    with pytest.warns(UserWarning, match="sends no change of the weights"):
        Quantised(qp=-8).compress(base, {"w": new["w"] * 2e-3})


@pytest.mark.parametrize("rate_weight", [0.1, 0.3, 3.0])
@pytest.mark.filterwarnings("ignore:quantised sends no change")
def test_coarse_steps_with_error_feedback_do_not_stall(rate_weight: float) -> None:
    """15 rounds of changes of nearly one magnitude, as Adam makes them, leave a bounded amount owed."""
    random = np.random.default_rng(0)
    state, memory, owed = {"w": torch.zeros(128, 200)}, Memory("base"), []
    for number in range(15):
        signs = random.choice([-1.0, 1.0], (128, 200))
        change = torch.from_numpy((1e-3 * signs * random.uniform(0.5, 1.5, (128, 200))).astype(np.float32))
        data = Quantised(step=2.0, rate_weight=rate_weight).compress(
            state, {"w": state["w"] + change}, memory=memory, seed=number
        )
        state = apply_update(state, data)
        owed.append(float(np.square(memory.residual["w"], dtype=np.float64).mean()) / 1e-6)
    assert owed[-1] < 5, f"mean squares of one change that are owed, round by round: {owed}"
    assert owed[-1] < 1.2 * owed[7]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 700), max_size=6), st.integers(0, 2**32 - 1))
def test_levels_of_any_sizes_survive(sizes: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    arrays = [np.rint(random.laplace(scale=10.0 ** random.integers(-2, 3), size=n)).astype(np.int64) for n in sizes]
    writer = ByteWriter()
    write_levels(writer, arrays)
    reader = ByteReader(writer.getvalue())
    got = read_levels(reader, sizes, "levels")
    reader.end()
    assert all(np.array_equal(a, b) for a, b in zip(arrays, got, strict=True))


def test_levels_of_different_spread_take_the_bits_of_their_own_entropies() -> None:
    random = np.random.default_rng(0)
    arrays = [np.rint(random.laplace(scale=s, size=4_000)).astype(np.int64) for s in (0.3, 4.0, 60.0, 0.3)]
    writer = ByteWriter()
    write_levels(writer, arrays)
    bits = 0.0
    for array in arrays:
        shares = np.unique(array, return_counts=True)[1] / array.size
        bits -= float((shares * np.log2(shares)).sum()) * array.size
    assert len(writer.getvalue()) * 8 < 1.06 * bits
