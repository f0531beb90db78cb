"""Precision of rendering, float32 on CUDA too, and of training, mixed on CUDA and unchanged on a processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rinr_flower.codecs import Jpeg
from rinr_flower.decoding import FrameStore
from rinr_flower.detection import Yolo
from rinr_flower.detection.precision import Precision
from rinr_flower.frames import Clip, Frame
from rinr_flower.rendering.exact import exact_float32

CPU = torch.device("cpu")


def network() -> torch.nn.Linear:
    made = torch.nn.Linear(8, 4)
    with torch.no_grad():
        for number, tensor in enumerate(made.parameters()):
            tensor.copy_(torch.rand(tensor.shape, generator=torch.Generator().manual_seed(number)) - 0.5)
    return made


def test_off_it_is_the_plain_step_bit_for_bit() -> None:
    inputs = torch.rand(5, 8, generator=torch.Generator().manual_seed(9))
    plain, ours = network(), network()
    optimisers = [torch.optim.AdamW(n.parameters(), lr=0.1) for n in (plain, ours)]
    precision = Precision(CPU)
    assert not precision.mixed
    for _ in range(3):
        optimisers[0].zero_grad()
        plain(inputs).square().sum().backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimisers[0].step()
        with precision.forward():
            values = ours(inputs)
        assert values.dtype == torch.float32
        precision.step(values.square().sum(), optimisers[1], ours.parameters(), 0.5)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), ours.parameters(), strict=True))


def test_on_products_are_rounded_gradients_are_not_scaled_and_an_overflow_changes_nothing() -> None:
    inputs = torch.rand(5, 8, generator=torch.Generator().manual_seed(9))
    ours = network()
    optimiser, precision = torch.optim.SGD(ours.parameters(), lr=1.0), Precision(CPU, mixed=True)
    before = ours.weight.detach().clone()
    with precision.forward():
        values = ours(inputs)
    assert values.dtype == torch.bfloat16
    precision.step(values.float().sum(), optimiser, ours.parameters(), 1e9)
    expected = before - inputs.sum(dim=0)
    assert torch.allclose(ours.weight, expected, rtol=0.02)
    before = ours.weight.detach().clone()
    with precision.forward():
        values = ours(inputs)
    precision.step(values.float().sum() * 1e38, optimiser, ours.parameters(), 1.0)
    assert torch.equal(ours.weight, before)


@pytest.fixture(scope="module")
def store() -> FrameStore:
    images = np.random.default_rng(0).integers(0, 255, (4, 64, 96, 3), np.uint8)
    box, kind = np.array([[20, 10, 60, 50]], np.float32), np.zeros(1, np.int64)
    return FrameStore([Jpeg().encode(Clip("noise", tuple(Frame(i, box, kind) for i in images)))])


def test_a_detector_trains_in_either(store: FrameStore) -> None:
    states = {}
    for mixed in (None, False, True):
        detector = Yolo(mixed_precision=mixed)
        log = detector.fit(store, range(4), steps=2, batch=2, size=64)
        assert np.isfinite(log.losses).all()
        states[mixed] = detector.state()
    assert all(np.array_equal(states[None][n], states[False][n]) for n in states[None])
    apart = max(float(np.abs(states[True][n] - states[False][n]).max()) for n in states[True])
    assert apart > 0
    assert all(a.dtype == np.float32 and np.isfinite(a).all() for a in states[True].values())


def test_pictures_are_computed_in_float32_on_cuda_and_the_process_keeps_its_choice() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic
    assert cudnn.allow_tf32
    with exact_float32(torch.device("cuda")):
        assert not cudnn.allow_tf32
        assert cudnn.enabled
        assert cudnn.deterministic
    assert cudnn.allow_tf32
    assert cudnn.deterministic == before
    with exact_float32(CPU):
        assert cudnn.allow_tf32
