"""The fused kernel in Triton's interpreter, against a float64 forward pass and against plain torch.

Run it by itself, with Triton installed: ``TRITON_INTERPRET=1 pytest tests/unit/test_triton_render.py``.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("Triton reads TRITON_INTERPRET=1 when it is imported; it is not set", allow_module_level=True)
pytest.importorskip("triton", reason="Triton is not installed: pip install triton")

from rinr_flower.bitstream.weights import Quantised, quantise
from rinr_flower.codecs import RapidInr, Residual
from rinr_flower.codecs.rapid_inr import FusedSirens, SirenRenderer
from rinr_flower.codecs.residual_renderer import FusedResiduals, ResidualRenderer
from rinr_flower.decoding import FrameStore
from rinr_flower.frames import Clip, Frame
from rinr_flower.inr.siren import Banks, SirenShape, initial_bank
from rinr_flower.rendering import View, fused, kernels

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever falls back to plain torch says so in the log."""
    caplog.set_level(logging.WARNING, logger="rinr_flower.rendering")


def bank_of(shape: SirenShape, networks: int, bits: int, seed: int = 0) -> list[Quantised]:
    return [quantise(t.numpy(), bits, (0,)) for t in initial_bank(shape, networks, torch.Generator().manual_seed(seed))]


def reference(tensors: list[Quantised], network: int, points: np.ndarray, w0: int) -> np.ndarray:
    """One network in float64: points (p, 2) -> (p, 3)."""
    weights = [t.values[network].astype(np.float64) * t.scale[network].astype(np.float64) for t in tensors]
    value = points
    for i in range(0, len(weights) - 2, 2):
        value = np.sin(w0 * (value @ weights[i] + weights[i + 1]))
    return value @ weights[-2] + weights[-1]


def points_of(matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]].reshape(2, -1) + 0.5
    seen = np.stack([x, y, np.ones_like(x)], axis=1) @ matrix.T
    return seen[:, :2] / seen[:, 2:]


@pytest.mark.parametrize(("hidden", "layers", "bits"), [(28, 10, 8), (10, 3, 16), (5, 1, 6), (40, 2, 32)])
def test_whole_pictures_are_the_float64_forward_pass(
    hidden: int, layers: int, bits: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Resized, cut off, mirrored and tilted, two networks in one batch, and 17 x 23 px, which no block divides."""
    shape, size, frame = SirenShape(hidden, layers), (17, 23), (64, 48)
    tensors = bank_of(shape, 3, bits)
    places = Banks(CPU).add(shape, bits, tensors)
    matrices = np.array(
        [
            [[64 / 23, 0, 0], [0, 48 / 17, 0], [0, 0, 1]],
            [[-2, 0.3, 60], [0.2, 3, -9], [0, 0, 1]],
            [[3, 0.1, -2], [0.2, 2.5, 1], [0.004, -0.002, 1]],
        ]
    )
    out = torch.full((3, 3, *size), -1.0)
    items = [fused.Item(places[n], row, (0, 0, *frame)) for row, n in enumerate((2, 0, 2))]
    assert fused.draw(out, View(size, torch.tensor(matrices, dtype=torch.float32)), items, whole=True), caplog.text
    for row, network in enumerate((2, 0, 2)):
        points = (points_of(matrices[row], size) / frame * 2 - 1).clip(-1, 1)
        expected = (reference(tensors, network, points, 30) / 2 + 0.5).clip(0, 1)
        assert np.abs(out[row].numpy().reshape(3, -1).T - expected).max() < 1 / 255


@pytest.mark.parametrize("scale", [None, 0.75])
def test_objects_are_drawn_in_their_windows_and_the_last_one_lies_on_top(
    scale: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    shape, size = SirenShape(14, 3, 15), (30, 40)
    tensors = bank_of(shape, 3, 8, seed=1)
    places = Banks(CPU).add(shape, 8, tensors)
    windows = [(4, 2, 50, 40), (30, 20, 61, 47), (0, 29, 9, 31)]
    matrix = np.diag([64 / 40, 48 / 30, 1.0])
    below = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    out = below.clone()
    items = [fused.Item(places[i], 0, w, scale, (i + 1, 3)) for i, w in enumerate(windows)]
    assert fused.draw(out, View(size, torch.tensor(matrix[None], dtype=torch.float32)), items, whole=False), caplog.text
    expected = below[0].numpy().reshape(3, -1).T.astype(np.float64)
    points = points_of(matrix, size)
    owner = np.full(len(points), -1)
    for i, (x1, y1, x2, y2) in enumerate(windows):
        owner[(points >= (x1, y1)).all(axis=1) & (points < (x2, y2)).all(axis=1)] = i
    assert set(owner) == {-1, 0, 1, 2}
    for i, (x1, y1, x2, y2) in enumerate(windows):
        mine = owner == i
        local = (points[mine] - (x1, y1)) / (x2 - x1, y2 - y1) * 2 - 1
        value = reference(tensors, i, local, 15)
        expected[mine] = value / 2 + 0.5 if scale is None else expected[mine] + value * scale / 2
    error = np.abs(out[0].numpy().reshape(3, -1).T - expected.clip(0, 1))
    assert error.max() < 1 / 255
    assert error[owner == -1].max() == 0


@pytest.fixture(scope="module")
def payloads() -> list[bytes]:
    """Fitted networks of both codecs: their weights are larger than those they started from."""
    y, x = np.mgrid[0:36, 0:48].astype(np.float64)
    frames = []
    for t in range(2):
        image = np.stack([128 + 80 * np.sin((x + 3 * t) / 5 + c) * np.cos(y / 4) for c in range(3)], axis=-1)
        boxes = np.array([[4, 3, 25, 20], [18, 12, 40.5, 33]], np.float32)
        frames.append(Frame(image.clip(0, 255).astype(np.uint8), boxes, np.zeros(2, np.int64)))
    clip = Clip("waves", tuple(frames))
    background = RapidInr(hidden=28, layers=10, steps=60, batch_points=256)
    objects = Residual(background=background, steps=60, candidates=1, batch_points=128)
    direct = Residual(background=background, mode="direct", bits=16, steps=60, candidates=1, batch_points=128)
    return [c.encode(clip) for c in (background, objects, direct)]


def test_a_store_draws_with_the_kernel_what_plain_torch_draws(
    payloads: list[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    launches = []
    monkeypatch.setattr(fused, "_launch", lambda *a, launch=fused._launch, **k: launches.append(launch(*a, **k)))
    matrix = torch.tensor([[[1.3, 0.1, -2], [-0.1, 1.2, 3], [0, 0, 1]]]).expand(6, -1, -1)
    drawn = FrameStore(payloads).render(range(6), (24, 40), matrix=matrix)
    assert launches
    assert not caplog.records
    monkeypatch.setenv(kernels.SWITCH, "0")
    plain = FrameStore(payloads).render(range(6), (24, 40), matrix=matrix)
    assert (drawn - plain).abs().max() < 1 / 255
    assert not torch.equal(drawn, plain)  # it was another computation


def test_the_switch_and_the_device_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(RapidInr.renderer(CPU)) is FusedSirens
    assert type(Residual.renderer(CPU)) is FusedResiduals
    monkeypatch.setenv(kernels.SWITCH, "0")
    assert type(RapidInr.renderer(CPU)) is SirenRenderer
    assert type(Residual.renderer(CPU)) is ResidualRenderer
    monkeypatch.delenv(kernels.SWITCH)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert type(RapidInr.renderer(CPU)) is SirenRenderer


def test_a_failed_compilation_falls_back_to_plain_torch_and_says_so_once(
    payloads: list[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A block size that is no power of two is a real error of Triton's compiler."""
    monkeypatch.setattr(fused, "_failed", set())
    monkeypatch.setattr(fused, "BLOCK_PX", 100)
    drawn = FrameStore(payloads[1:2]).render([0, 1, 0], (12, 16))
    assert len(caplog.records) == len({r.getMessage() for r in caplog.records}) >= 1
    assert "Triton failed for SirenShape(hidden=" in caplog.text
    monkeypatch.setenv(kernels.SWITCH, "0")
    assert torch.equal(drawn, FrameStore(payloads[1:2]).render([0, 1, 0], (12, 16)))


def test_networks_too_wide_for_the_kernel_are_drawn_by_plain_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fused, "_failed", set())
    frame = Frame(np.zeros((8, 8, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    payload = RapidInr(hidden=fused.MAX_HIDDEN + 1, layers=1, steps=1).encode(Clip("wide", (frame,)))
    drawn = FrameStore([payload]).render([0, 0], (8, 8))
    assert "wider than 64 units" in caplog.text
    monkeypatch.setenv(kernels.SWITCH, "0")
    assert torch.equal(drawn, FrameStore([payload]).render([0, 0], (8, 8)))


COMPILE = """
import sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from rinr_flower.rendering.siren_kernel import draw_block
fixed = {"HIDDEN": 28, "LAYERS": 10, "PARAMETERS": 7479, "PADDED": 32, "BLOCK": 128}
kinds = {"numbers": "*i32", "pixels": "i32", "width": "i32", "blocks": "i32", "w0": "fp32"}
for chip, values, half, product in ((80, "*i8", True, "mma.sync"), (90, "*i16", False, "wgmma.mma_async")):
    constants = {**fixed, "HALF": half, "WHOLE": half, "ADDED": not half}
    types = {n: "constexpr" if n in constants else kinds.get(n, "*fp32") for n in draw_block.arg_names}
    source = ASTSource(draw_block, {**types, "values": values}, constexprs=constants)
    made = compile(source, target=GPUTarget("cuda", chip, 32), options={"enable_fp_fusion": False})
    assert made.asm["cubin"] and product in made.asm["ptx"], chip
    assert made.metadata.shared <= 64 * 1024, made.metadata.shared
"""


def test_it_compiles_to_machine_code_with_tensor_products(tmp_path: Path) -> None:
    """For Ampere and Hopper, with Triton's own assembler, which needs no GPU."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
