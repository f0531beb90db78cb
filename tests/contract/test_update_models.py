"""Every compressor on the families of models that people train, in four dtypes."""

from __future__ import annotations

import warnings

import pytest
import torch
from model_families import DTYPES, FAMILIES, PADDING, LanguageModel, Recurrent, family, fit, task
from torch import nn

from rinr_flower.errors import DataError
from rinr_flower.updates import Memory, apply_update, updates, updating
from rinr_flower.updates.layout import matrix_shape, same_bits
from rinr_flower.updates.parametrise import snapshot

NAMES = updates.names()
SPACES = [name for name in NAMES if name in ("factorised", "random_mask", "structured_low_rank")]
State = dict[str, torch.Tensor]


def changed(name: str, dtype: torch.dtype) -> tuple[State, State]:
    """A state of the family and where an ordinary training takes it."""
    model = family(name, dtype)
    base = snapshot(model)
    fit(model, name, steps=4, rate=2e-2)
    return base, snapshot(model)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_update_of_a_finished_training_keeps_what_the_model_is(name: str, dtype: torch.dtype) -> None:
    base, new = changed(name, dtype)
    for compressor in NAMES:
        result = apply_update(base, updates.create(compressor).compress(base, new, seed=5))
        wanted = torch.cat([(new[n] - base[n]).double().reshape(-1) for n in new if n != "mask"])
        got = torch.cat([(result[n] - base[n]).double().reshape(-1) for n in new if n != "mask"])
        assert float(wanted @ got) > 0, compressor
        for key, tensor in new.items():
            assert result[key].dtype == dtype or not tensor.is_floating_point()
            if same_bits(base[key], tensor):
                assert same_bits(result[key], tensor), (compressor, key)
            elif tensor.ndim >= 2:
                still = ((new[key] - base[key]).reshape(matrix_shape(tensor.shape)) == 0).all(1)
                rows = [t[key].reshape(matrix_shape(tensor.shape))[still] for t in (base, result)]
                assert torch.equal(*rows), (compressor, key)
        if name == "language model":
            assert same_bits(result["table.weight"], result["head.weight"]), compressor
        if name == "recurrent":
            assert same_bits(result["head.weight"], result["also_head.weight"]), compressor
            assert not result["table.weight"][PADDING].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("compressor", [*SPACES, "quantised"])
def test_training_for_an_update_learns_and_ends_with_what_receivers_hold(
    compressor: str, name: str, dtype: torch.dtype
) -> None:
    model, other = family(name, dtype), family(name, dtype)
    base, order = snapshot(model), list(model.state_dict())
    parameters = dict(model.named_parameters())
    with updating(model, updates.create(compressor), seed=3) as update:
        losses = fit(model, name, steps=8, rate=1e-2)
    assert losses[-1] < 0.98 * losses[0]
    received = apply_update(base, update.payload)
    assert list(model.state_dict()) == order
    assert all(same_bits(received[n], v) for n, v in model.state_dict().items())
    assert any(not same_bits(base[n], received[n]) for n in base if base[n].ndim >= 2)
    assert all(parameters[n] is p and p.requires_grad for n, p in model.named_parameters())
    other.load_state_dict(received)
    inputs = task(name, dtype)[0]
    assert torch.equal(model.eval()(inputs), other.eval()(inputs))
    if isinstance(model, Recurrent):
        assert model.table.sparse
        assert not received["table.weight"][PADDING].any()
    if isinstance(model, LanguageModel):
        assert model.head.weight is model.table.weight


@pytest.mark.parametrize("compressor", SPACES)
def test_training_under_autocast_sends_what_trained(compressor: str) -> None:
    model = family("vision transformer")
    with updating(model, updates.create(compressor), seed=3) as update, torch.autocast("cpu", torch.bfloat16):
        fit(model, "vision transformer", steps=4, rate=1e-2)
        inside = model.head.weight.detach().clone()
    assert inside.dtype == torch.float32
    torch.testing.assert_close(update.state["head.weight"], inside, rtol=0, atol=1e-6)


def test_tokens_not_seen_keep_their_rows_when_factors_train() -> None:
    model = family("recurrent")
    before = snapshot(model)["table.weight"]
    with updating(model, updates.create("factorised")) as update:
        fit(model, "recurrent", steps=6, rate=2e-2)
    moved = (update.state["table.weight"] != before).any(1)
    assert moved[1:12].any()
    assert not moved[12:].any()


@pytest.mark.parametrize("compressor", SPACES)
def test_an_optimiser_made_too_early_is_told(compressor: str) -> None:
    model = nn.Linear(30, 20)
    early = torch.optim.SGD(model.parameters(), 0.1)

    def train(optimiser: torch.optim.Optimizer | None) -> None:
        with updating(model, updates.create(compressor)):
            optimiser = optimiser or torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
            model(torch.ones(2, 30)).sum().backward()
            optimiser.step()

    with pytest.warns(UserWarning, match="create the optimiser inside"):
        train(early)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(None)


def test_extra_state_is_left_alone_and_other_entries_are_named() -> None:
    class WithExtra(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"version": 1}

        def set_extra_state(self, state: dict[str, int]) -> None:
            assert state == {"version": 1}

    model = nn.Sequential(WithExtra(3, 2))
    base = model.state_dict()
    with updating(model, updates.create("factorised")) as update:
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    result = apply_update(base, update.payload)
    assert result["0._extra_state"] == {"version": 1}
    model.load_state_dict(result)
    bad = {
        "is a dict": {"version": 1},
        "layout torch.sparse_coo": torch.zeros(2, 2).to_sparse(),
        "dtype torch.float8_e4m3fn": torch.zeros(2, 2).to(torch.float8_e4m3fn),
        "device 'meta'": torch.zeros(2, 2, device="meta"),
        "dtype torch.complex64": torch.zeros(2, 2, dtype=torch.complex64),
    }
    for text, entry in bad.items():
        for name in NAMES:
            with pytest.raises(DataError, match=f"'odd' .*{text}"):
                updates.create(name).compress({"odd": entry}, {"odd": entry})  # type: ignore[dict-item]


@pytest.mark.parametrize("name", NAMES)
def test_a_change_beyond_the_method_is_refused_by_the_sender(name: str) -> None:
    base, new = {"w": torch.zeros(64, 64)}, {"w": torch.full((64, 64), 1e38)}
    new["w"][::2] *= -1
    new["w"][5] = 3
    try:
        data = updates.create(name).compress(base, new)
    except DataError:
        return
    assert bool(torch.isfinite(apply_update(base, data)["w"]).all())


@pytest.mark.parametrize("name", [n for n in NAMES if not updates.get(n).lossless])
def test_small_steady_gains_arrive_with_a_memory(name: str) -> None:
    """A bias that gains 1e-3 a round, beside one that jumps."""
    state = {"bias": torch.zeros(2)}
    memory, compressor = Memory("base"), updates.create(name, vector_bits=6)
    for number in range(100):
        new = {"bias": state["bias"] + torch.tensor([1e-3, 1.0 if number % 2 else -1.0])}
        state = apply_update(state, compressor.compress(state, new, memory=memory, seed=number))
    assert float(state["bias"][0]) == pytest.approx(0.1, abs=0.02)


def test_a_memory_stays_with_the_model_that_its_update_made() -> None:
    base, new = changed("convolutions", torch.float32)
    for memory in (Memory("base"), Memory("own")):
        compressor = updates.create("stc")
        held = apply_update(base, compressor.compress(base, new, memory=memory))
        with pytest.raises(DataError, match=r"go on from\s+apply_update"):
            compressor.compress(new, base, memory=memory)
        compressor.compress(held, new, memory=memory)
        memory.follow(new)
        compressor.compress(new, base, memory=memory)


@pytest.mark.parametrize("name", [n for n in NAMES if updates.get(n).feedback])
def test_a_publisher_may_go_on_from_its_own_model(name: str) -> None:
    """Forty rounds of a model that drifts: receivers follow it, and nothing adds up to more than is owed."""
    torch.manual_seed(0)
    own = {"w": torch.randn(24, 32)}
    held, memory, drift = dict(own), Memory("own"), 0.05 * torch.randn(24, 32)
    gaps = []
    for number in range(40):
        own = {"w": own["w"] + drift}
        held = apply_update(held, updates.create(name).compress(held, own, memory=memory, seed=number))
        gaps.append(float((held["w"] - own["w"]).norm()))
    assert gaps[-1] < 0.75 * float(40 * drift.norm())
    assert not memory.residual
