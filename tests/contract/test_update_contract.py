"""What every registered update compressor promises, with its default options, on tensors of every kind."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from rinr_flower.errors import DataError, PayloadError
from rinr_flower.updates import Memory, apply_update, updates

NAMES = updates.names()
State = dict[str, torch.Tensor]


def network() -> nn.Module:
    """Linear, plain, grouped, depthwise and transposed convolutions, normalisations, an embedding and odd buffers."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.ConvTranspose2d(8, 4, 2),
        nn.GroupNorm(2, 4),
        nn.Flatten(),
        nn.Linear(64, 40),
        nn.Embedding(30, 20),
        nn.Conv1d(4, 4, 1),
    )
    net.register_buffer("mask", torch.tensor([True, False, True]))
    net.register_buffer("counts", torch.tensor([3, 2**40], dtype=torch.int64))
    net.register_buffer("empty", torch.zeros(0, 3))
    net.register_buffer("scale", torch.tensor(2.0))
    net.register_buffer("bits16", torch.ones(4, 6, dtype=torch.float16))
    net.register_buffer("brain16", torch.ones(4, 6, dtype=torch.bfloat16))
    net.register_buffer("bits64", torch.ones(5, 6, dtype=torch.float64))
    return net


def states(seed: int = 0) -> tuple[State, State]:
    """A base, and the base after a change of low rank plus noise, as training makes it; every tensor changes."""
    torch.manual_seed(seed)
    base = {k: v.clone() for k, v in network().state_dict().items()}
    return base, moved(base)


def moved(base: State) -> State:
    new = {}
    for name, tensor in base.items():
        if tensor.dtype == torch.bool:
            new[name] = ~tensor
        elif not tensor.is_floating_point():
            new[name] = tensor + 7
        elif tensor.ndim >= 2 and tensor.numel():
            flat = tensor.float().reshape(len(tensor), -1)
            low_rank = torch.randn(len(flat), 1) @ torch.randn(1, flat.shape[1])
            new[name] = (flat + 0.02 * low_rank + 0.002 * torch.randn_like(flat)).reshape(tensor.shape).to(tensor.dtype)
        else:
            new[name] = tensor + 0.1
    return new


def same(a: State, b: State) -> bool:
    return list(a) == list(b) and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("name", NAMES)
def test_update_brings_the_base_nearer_and_leaves_it_untouched(name: str) -> None:
    base, new = states()
    before = {k: v.clone() for k, v in base.items()}
    data = updates.create(name).compress(base, new, seed=3)
    result = apply_update(base, data)
    assert same(base, before)
    assert list(result) == list(new)
    for key, tensor in new.items():
        assert result[key].dtype == tensor.dtype
        assert result[key].shape == tensor.shape
        if not tensor.is_floating_point() or tensor.ndim < 2:
            assert torch.equal(result[key], tensor), key
    correlation = sum(
        ((result[k] - base[k]).double() * (new[k] - base[k]).double()).sum() for k in new if new[k].is_floating_point()
    )
    assert correlation > 0
    result["7.weight"].add_(1)
    assert same(base, before)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes(name: str) -> None:
    base, new = states()
    compressor = updates.create(name)
    assert compressor.compress(base, new, seed=5) == compressor.compress(base, new, seed=5)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_changed_costs_only_the_header(name: str) -> None:
    base, _ = states()
    data = updates.create(name).compress(base, base)
    assert len(data) < 60
    assert same(apply_update(base, data), base)


@pytest.mark.parametrize("name", NAMES)
def test_order_of_names_does_not_matter(name: str) -> None:
    base, new = states()
    data = updates.create(name).compress(base, new)
    shuffled = dict(reversed(list(base.items())))
    result = apply_update(shuffled, data)
    assert list(result) == list(shuffled)
    assert same({k: result[k] for k in base}, apply_update(base, data))


@pytest.mark.parametrize("name", NAMES)
def test_vectors_may_be_quantised(name: str) -> None:
    if updates.get(name).lossless:
        pytest.skip("sends every tensor raw")
    base, new = states()
    result = apply_update(base, updates.create(name, vector_bits=8).compress(base, new))
    for key, tensor in new.items():
        if tensor.is_floating_point() and tensor.ndim < 2 and tensor.numel():
            error = (result[key] - tensor).abs().max()
            assert error <= (tensor - base[key]).abs().max() / 127, key


@pytest.mark.parametrize("name", NAMES)
def test_ten_rounds_with_memory_leave_both_ends_alike(name: str) -> None:
    compressor, memory = updates.create(name), Memory("base")
    torch.manual_seed(1)
    sender = {k: v.clone() for k, v in network().state_dict().items()}
    receiver = {k: v.clone() for k, v in sender.items()}
    for number in range(10):
        data = compressor.compress(sender, moved(sender), memory=memory, seed=number)
        sender = apply_update(sender, data)
        receiver = apply_update(receiver, data)
        assert same(sender, receiver)


@pytest.mark.parametrize("name", NAMES)
def test_memory_makes_up_for_what_was_left_out(name: str) -> None:
    """With nothing new to send, rounds of what is owed bring the receiver nearer to the state first asked for."""
    if not updates.get(name).feedback:
        pytest.skip("unbiased, without error feedback")
    base, new = states()
    compressor, memory = updates.create(name), Memory("base")
    key, asked, errors = "7.weight", {k: v.clone() for k, v in base.items()}, []
    for number in range(12):
        wanted = new if number == 0 else asked
        asked = apply_update(asked, compressor.compress(asked, wanted, memory=memory, seed=number))
        errors.append(float((asked[key] - new[key]).norm()))
    scale = float((base[key] - new[key]).norm())
    assert errors[-1] <= max(errors[0], 1e-6 * scale)
    owed = torch.from_numpy(memory.residual[key]) if key in memory.residual else torch.zeros(40, 64)
    torch.testing.assert_close(asked[key] + owed, new[key], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_another_base_is_refused(name: str) -> None:
    base, new = states()
    data = updates.create(name).compress(base, new)
    other = {k: v.clone() for k, v in base.items()}
    other["0.weight"][0, 0, 0, 0] += 1e-6
    with pytest.raises(PayloadError, match="update is for the base"):
        apply_update(other, data)


@pytest.mark.parametrize("name", NAMES)
def test_every_truncation_and_every_altered_byte_is_refused(name: str) -> None:
    base, new = states()
    before = {k: v.clone() for k, v in base.items()}
    data = updates.create(name).compress(base, new)
    stride = max(1, len(data) // 60)
    for at in range(0, len(data), stride):
        with pytest.raises(PayloadError):
            apply_update(base, data[:at])
        with pytest.raises(PayloadError):
            apply_update(base, data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
    with pytest.raises(PayloadError):
        apply_update(base, data + b"\0")
    assert same(base, before)


@pytest.mark.parametrize("name", NAMES)
def test_altered_content_under_a_valid_checksum_never_fails_otherwise(name: str) -> None:
    """A hostile sender can compute a CRC-32: whatever it sends, the answer is a PayloadError or finite weights."""
    from rinr_flower.updates.envelope import Envelope

    base, new = states()
    envelope = Envelope.from_bytes(updates.create(name).compress(base, new))
    content, stride = envelope.content, max(1, len(envelope.content) // 80)
    attacks = [content[:at] for at in range(0, len(content), stride)] + [content + b"\1"]
    for at in range(0, len(content), stride):
        attacks += [content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :] for flip in (1, 0x80, 0xFF)]
    for attack in attacks:
        data = Envelope(envelope.compressor, envelope.base, envelope.seed, attack).to_bytes()
        try:
            result = apply_update(base, data)
        except PayloadError:
            continue
        assert all(torch.isfinite(t).all() for t in result.values() if t.is_floating_point())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_and_the_memory_keeps_its_debt(name: str, value: float) -> None:
    base, new = states()
    memory = Memory("base")
    compressor = updates.create(name)
    compressor.compress(base, new, memory=memory)
    owed = {k: v.copy() for k, v in memory.residual.items()}
    new["7.weight"][1, 1] = value
    with pytest.raises(DataError, match=r"7\.weight"):
        compressor.compress(base, new, memory=memory)
    assert all((memory.residual[k] == v).all() for k, v in owed.items())


@pytest.mark.parametrize("name", NAMES)
def test_another_model_is_refused(name: str) -> None:
    base, new = states()
    compressor = updates.create(name)
    with pytest.raises(DataError, match="missing"):
        compressor.compress(base, {k: v for k, v in new.items() if k != "7.weight"})
    with pytest.raises(DataError, match=r"7\.weight"):
        compressor.compress(base, {**new, "7.weight": new["7.weight"].T})


def digest(state: State) -> str:
    return hashlib.sha256(
        b"".join(v.reshape(-1).view(torch.uint8).numpy().tobytes() for v in state.values())
    ).hexdigest()


def test_another_process_with_other_threads_gets_the_same_bits(tmp_path: Path) -> None:
    """The receiver's process has another thread count, which changes what floating matrix products give."""
    base, new = states()
    torch.save(base, tmp_path / "base.bin")
    wanted = {}
    for name in NAMES:
        data = updates.create(name).compress(base, new, seed=2)
        (tmp_path / f"{name}.upd").write_bytes(data)
        wanted[name] = digest({k: v for k, v in apply_update(base, data).items() if v.numel()})
    script = (
        "import hashlib, sys, pathlib, torch\n"
        "torch.set_num_threads(3)\n"
        "from rinr_flower.updates import apply_update\n"
        "base = torch.load(sys.argv[1] + '/base.bin')\n"
        "for f in sorted(pathlib.Path(sys.argv[1]).glob('*.upd')):\n"
        "    new = apply_update(base, f.read_bytes())\n"
        "    parts = [v.reshape(-1).view(torch.uint8).numpy().tobytes() for v in new.values() if v.numel()]\n"
        "    print(f.stem, hashlib.sha256(b''.join(parts)).hexdigest())\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert dict(line.split() for line in run.stdout.splitlines()) == wanted
