"""Top-k, sparse ternary compression and Golomb coding against direct, element-by-element formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.updates import Memory, SparseTernary, TopK, apply_update
from rinr_flower.updates.golomb import golomb_bits, read_places, write_places


def states(seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(seed)
    base = {"a": torch.randn(20, 30), "b": torch.randn(8, 3, 3, 3)}
    return base, {"a": base["a"] + torch.randn(20, 30), "b": base["b"] + 3 * torch.randn(8, 3, 3, 3)}


def golomb_length(places: list[int], bits: int) -> int:
    """Algorithm 3 of arXiv 1903.02891, counting: a unary quotient, its stop, and ``bits`` bits, for every distance."""
    length, before = 0, -1
    for place in places:
        length += (place - before - 1) // 2**bits + 1 + bits
        before = place
    return length


@pytest.mark.parametrize("fraction", [0.001, 0.01, 0.04, 0.1, 0.3, 0.6])
def test_golomb_parameter_is_the_papers_and_nearly_the_best(fraction: float) -> None:
    bits = golomb_bits(fraction)
    phi = (math.sqrt(5) + 1) / 2
    assert bits == max(0, 1 + math.floor(math.log2(math.log(phi - 1) / math.log(1 - fraction))))
    places = np.flatnonzero(np.random.default_rng(0).random(60_000) < fraction).tolist()
    best = min(golomb_length(places, b) for b in range(16))
    assert golomb_length(places, bits) <= best * 1.01


@given(st.sets(st.integers(0, 2_999)), st.integers(3_000, 9_000))
def test_places_survive_and_take_the_bits_of_the_formula(chosen: set[int], total: int) -> None:
    places = sorted(chosen)
    writer = ByteWriter()
    write_places(writer, np.array(places, np.int64), total)
    data = writer.getvalue()
    reader = ByteReader(data)
    assert read_places(reader, total).tolist() == places
    reader.end()
    if places:
        bits = golomb_length(places, golomb_bits(len(places) / total))
        assert len(data) <= math.ceil(bits / 8) + 6


def test_top_k_sends_exactly_the_largest_elements_of_each_tensor() -> None:
    base, new = states()
    result = apply_update(base, TopK(fraction=0.1).compress(base, new))
    for name in base:
        delta = (new[name] - base[name]).reshape(-1)
        places = delta.abs().topk(round(0.1 * delta.numel())).indices
        wanted = torch.zeros_like(delta)
        wanted[places] = delta[places]
        torch.testing.assert_close((result[name] - base[name]).reshape(-1), wanted, rtol=0, atol=1e-6)


def test_top_k_over_the_model_sends_the_largest_of_all() -> None:
    base, new = states()
    result = apply_update(base, TopK(fraction=0.05, scope="model").compress(base, new))
    delta = torch.cat([(new[n] - base[n]).reshape(-1) for n in base])
    got = torch.cat([(result[n] - base[n]).reshape(-1) for n in base])
    assert set(got.nonzero()[:, 0].tolist()) == set(delta.abs().topk(round(0.05 * delta.numel())).indices.tolist())


@pytest.mark.parametrize("scope", ["tensor", "model"])
def test_sparse_ternary_is_the_papers_formula(scope: str) -> None:
    base, new = states()
    result = apply_update(base, SparseTernary(fraction=0.1, scope=scope).compress(base, new))  # type: ignore[arg-type]
    groups = [["a"], ["b"]] if scope == "tensor" else [["a", "b"]]
    for names in groups:
        delta = torch.cat([(new[n] - base[n]).reshape(-1) for n in names])
        got = torch.cat([(result[n] - base[n]).reshape(-1) for n in names])
        threshold = delta.abs().sort(descending=True).values[round(0.1 * len(delta)) - 1]
        mask = delta.abs() >= threshold
        mu = delta[mask].abs().mean()
        torch.testing.assert_close(got, mu * delta.sign() * mask, rtol=0, atol=1e-6)


def test_sparse_ternary_takes_the_bits_of_places_and_signs() -> None:
    torch.manual_seed(0)
    base = {"w": torch.zeros(400, 500)}
    data = SparseTernary(fraction=0.01).compress(base, {"w": torch.randn(400, 500)})
    bits = golomb_bits(0.01)
    expected = bits + 1 / (1 - 0.99 ** (2**bits)) + 1  # the paper's equation 17, and a sign
    assert len(data) * 8 == pytest.approx(2_000 * expected, rel=0.03)


def test_error_feedback_is_what_was_wanted_less_what_was_decoded() -> None:
    """Three rounds by hand: residual <- residual + change - decoded change."""
    base, new = states()
    memory, compressor = Memory("base"), SparseTernary(fraction=0.05)
    residual = {n: torch.zeros_like(t) for n, t in base.items()}
    for number in range(3):
        result = apply_update(base, compressor.compress(base, new, memory=memory))
        wanted = {n: new[n] - base[n] + residual[n] for n in base}
        plain = apply_update(base, compressor.compress(base, {n: base[n] + wanted[n] for n in base}))
        for name in base:
            torch.testing.assert_close(result[name], plain[name], rtol=0, atol=1e-5)
            residual[name] = wanted[name] - (result[name] - base[name])
            owed = torch.from_numpy(memory.residual[name]).reshape(base[name].shape)
            torch.testing.assert_close(owed, residual[name], rtol=0, atol=1e-5)
        base = result
        new = {n: t + (0.1 + number) * torch.randn_like(t) for n, t in base.items()}
