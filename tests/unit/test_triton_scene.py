"""The fused kernel of scenes in Triton's interpreter, against the formula in float64 and against plain torch.

Run it by itself, with Triton installed: ``TRITON_INTERPRET=1 pytest tests/unit/test_triton_scene.py``.
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
from numpy.typing import NDArray

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("Triton reads TRITON_INTERPRET=1 when it is imported; it is not set", allow_module_level=True)
pytest.importorskip("triton", reason="Triton is not installed: pip install triton")

from rinr_flower.codecs import Scene
from rinr_flower.codecs.scene.decode.fused import FusedScenes
from rinr_flower.codecs.scene.decode.renderer import SceneRenderer
from rinr_flower.datasets import load
from rinr_flower.decoding import FrameStore
from rinr_flower.frames import Clip, Frame
from rinr_flower.rendering import View, fused_scene, kernels
from rinr_flower.rendering.fused_scene import FrameEntry, FrameTable, LayerEntry, Plane

CPU = torch.device("cpu")
BEND_UNIT, EDGE = 0.125, 1.5
WORKING = (40, 60)  # height, width
Points = NDArray[np.float64]


def keys(distance: Points) -> Points:
    """Cubic convolution with a = -0.75, as a function of the distance of a sample."""
    a, d = -0.75, np.abs(distance)
    near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def hat(distance: Points) -> Points:
    return np.maximum(1 - np.abs(distance), 0)


def look(picture: NDArray[np.floating], x: Points, y: Points, weight: object) -> Points:
    """One channel (h, w) at points, as the sum over all samples of a picture continued by its border."""
    reach = 5
    padded = np.pad(picture.astype(np.float64), reach, mode="edge")
    x = np.clip(x, -2, picture.shape[1] + 2)[:, None] - 0.5
    y = np.clip(y, -2, picture.shape[0] + 2)[:, None] - 0.5
    columns, rows = np.arange(-reach, picture.shape[1] + reach), np.arange(-reach, picture.shape[0] + reach)
    across, down = weight(x - columns), weight(y - rows)  # type: ignore[operator]
    return np.einsum("pr,rc,pc->p", down, padded, across)


def moved(matrix: torch.Tensor, x: Points, y: Points) -> tuple[Points, Points]:
    m = matrix.double().numpy()
    depth = m[2, 0] * x + m[2, 1] * y + m[2, 2]
    return (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / depth, (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / depth


def channels(plane: Plane | None, x: Points, y: Points, weight: object) -> list[Points]:
    if plane is None:
        return []
    return [look(c, x * plane.scale[0], y * plane.scale[1], weight) for c in plane.values.numpy()]


def expected(entry: FrameEntry, x: Points, y: Points) -> tuple[Points, NDArray[np.int64]]:
    """RGB (3, points) at a frame's points in float64, and how many objects cover each."""
    x, y = x * entry.to_working[0], y * entry.to_working[1]
    cx, cy = moved(entry.to_canvas, x, y)
    if entry.bend is not None:
        dx, dy = channels(entry.bend, x, y, hat)
        cx, cy = cx + BEND_UNIT * dx, cy + BEND_UNIT * dy
    parts = channels(entry.canvas, cx, cy, keys) + (channels(entry.chroma, cx, cy, hat) or [0 * x, 0 * x])
    added = channels(entry.residual, x, y, hat) + channels(entry.residual_chroma, x, y, hat)
    for channel, values in enumerate(added):
        parts[channel] = parts[channel] + values
    covered = np.zeros(len(x), np.int64)
    for layer in entry.layers:
        lx, ly = moved(layer.pose, x, y)
        height, width = layer.luma.values.shape[1:]
        rim = np.minimum(np.minimum(lx, width - lx), np.minimum(ly, height - ly))
        share = np.clip(rim / EDGE, 0, 1)
        covered += share > 0
        volume = channels(layer.luma, lx, ly, keys) + channels(layer.chroma, lx, ly, keys)
        (mask,) = channels(layer.mask, lx, ly, hat)
        for channel, values in enumerate(volume):
            parts[channel] = parts[channel] + share * (values - mask * parts[channel])
    luma, blue, red = parts
    rgb = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue])
    return ((rgb + 128) / 255).clip(0, 1), covered


def random_plane(rng: np.random.Generator, shape: tuple[int, ...], kind: type, most: int) -> torch.Tensor:
    return torch.from_numpy(rng.integers(-most, most + 1, shape).astype(kind))


def random_layer(rng: np.random.Generator, size: tuple[int, int], place: tuple[int, int], coloured: bool) -> LayerEntry:
    """An object of ``size`` (height, width), turned a little, at ``place`` (x, y) of the working picture."""
    pose = torch.tensor([[1.1, 0.2, -1.1 * place[0]], [-0.15, 0.9, -0.9 * place[1]], [0.001, 0, 1]])
    mask = torch.from_numpy(rng.integers(0, 16, (1, 3, 4)).astype(np.float32) / 15)
    chroma = random_plane(rng, (2, *size), np.int16, 90)
    return LayerEntry(
        pose,
        Plane(random_plane(rng, (1, *size), np.int16, 200)),
        Plane.stretched(chroma, size) if coloured else None,
        Plane.stretched(mask, size),
    )


def entries() -> list[FrameEntry]:
    """A frame with everything, one that is a canvas alone, and a grey one."""
    rng = np.random.default_rng(0)
    to_canvas = torch.tensor([[1.02, 0.05, 3.1], [-0.04, 0.98, 2.2], [0.0004, -0.0002, 1]])
    canvas, chroma = random_plane(rng, (1, 47, 71), np.int8, 127), random_plane(rng, (2, 24, 36), np.int8, 60)
    residual = Plane.stretched(random_plane(rng, (1, 20, 30), np.int8, 40), WORKING)
    residual_chroma = Plane.stretched(random_plane(rng, (2, 10, 15), np.int8, 30), WORKING)
    bend = Plane.stretched(random_plane(rng, (2, 3, 4), np.int8, 40), WORKING)
    objects = [random_layer(rng, (17, 23), (8, 9), True), random_layer(rng, (30, 26), (20, 5), True)]
    coloured = Plane.stretched(chroma, (47, 71))
    full = FrameEntry(to_canvas, (0.5, 0.5), Plane(canvas), coloured, residual, residual_chroma, bend, objects)
    bare = FrameEntry(torch.eye(3), (0.5, 0.5), Plane(canvas), coloured, None, None, None, [])
    grey_objects = [random_layer(rng, (21, 19), (12, 8), False)]
    grey = FrameEntry(to_canvas, (0.5, 0.5), Plane(canvas), None, residual, None, None, grey_objects)
    return [full, bare, grey]


def table_of(found: list[FrameEntry]) -> FrameTable:
    table = FrameTable(CPU, bend_unit=BEND_UNIT, edge=EDGE)
    for entry in found:
        table.add(entry)
    return table


def points_of(matrix: NDArray[np.floating], size: tuple[int, int]) -> tuple[Points, Points]:
    y, x = np.mgrid[: size[0], : size[1]].reshape(2, -1) + 0.5
    seen = np.stack([x, y, np.ones_like(x)], axis=1) @ matrix.T.astype(np.float64)
    return seen[:, 0] / seen[:, 2], seen[:, 1] / seen[:, 2]


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever falls back to plain torch says so in the log."""
    caplog.set_level(logging.WARNING, logger="rinr_flower.rendering")


def test_pictures_are_the_formula_in_float64(caplog: pytest.LogCaptureFixture) -> None:
    """Resized, mirrored and turned, tilted and past every border; a frame twice; 19 x 31 px, which no block divides."""
    size, found = (19, 31), entries()
    matrices = np.array(
        [
            [[120 / 31, 0, 0], [0, 80 / 19, 0], [0, 0, 1]],
            [[-3.9, 0.6, 118], [0.5, 4.1, -3], [0, 0, 1]],
            [[4.6, 0.2, -9], [0.4, 4.9, -6], [0.004, -0.002, 1]],
            [[4.6, 0.2, -9], [0.4, 4.9, -6], [0.004, -0.002, 1]],
        ],
        np.float32,
    )
    shown = [0, 2, 0, 1]
    drawn = table_of(found).draw(shown, View(size, torch.from_numpy(matrices)))
    assert drawn is not None, caplog.text
    counts = np.zeros(3, np.int64)
    for row, frame in enumerate(shown):
        wanted, covered = expected(found[frame], *points_of(matrices[row], size))
        counts += np.bincount(covered, minlength=3)
        assert np.abs(drawn[row].numpy().reshape(3, -1) - wanted).max() < 0.02 / 255
    assert (counts > 20).all()  # points under none, one and two objects


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_points_at_infinity_have_a_finite_colour() -> None:
    """The horizon runs through the middle of a pixel's row."""
    matrix = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [0, 1, -2.5]]])
    drawn = table_of(entries()).draw([0], View((6, 8), matrix))
    assert drawn is not None
    assert torch.isfinite(drawn).all()
    assert 0 <= drawn.min() <= drawn.max() <= 1


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """A moving camera with an object, and a grey clip."""
    moving = load("sample:sequences=1,frames=5,width=128,height=80")[0]
    grey = [Frame(np.repeat(f.image[:, :, :1], 3, axis=2), f.boxes, f.classes) for f in moving.frames[:2]]
    return [moving, Clip("grey", tuple(grey), moving.class_names)]


@pytest.fixture(scope="module")
def payloads(clips: list[Clip]) -> list[bytes]:
    return [Scene().encode(clip) for clip in clips]


MATRIX = torch.tensor([[3.13, 0.11, -2.07], [-0.13, 3.23, 3.11], [0.0011, 0, 1]])


def test_a_store_draws_with_the_kernel_what_plain_torch_draws(
    payloads: list[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All frames of two scenes, the second added after the first was drawn, are one launch."""
    launches = []
    launch = FrameTable._launch
    monkeypatch.setattr(FrameTable, "_launch", lambda *a: launches.append(launch(*a)))
    store = FrameStore(payloads[:1])
    store.render([0], (8, 8))
    store.add(payloads[1])
    matrix = MATRIX.expand(8, -1, -1)
    drawn = store.render([6, 0, 1, 2, 3, 4, 5, 6], (24, 37), matrix=matrix)
    assert len(launches) == 2
    assert not caplog.records
    monkeypatch.setenv(kernels.SWITCH, "0")
    plain = FrameStore(payloads).render([6, 0, 1, 2, 3, 4, 5, 6], (24, 37), matrix=matrix)
    assert (drawn - plain).abs().max() < 0.02 / 255
    assert not torch.equal(drawn, plain)  # it was another computation


def test_the_switch_and_the_device_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(Scene.renderer(CPU)) is FusedScenes
    monkeypatch.setenv(kernels.SWITCH, "0")
    assert type(Scene.renderer(CPU)) is SceneRenderer
    monkeypatch.delenv(kernels.SWITCH)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert type(Scene.renderer(CPU)) is SceneRenderer


def test_a_failed_compilation_falls_back_to_plain_torch_and_says_so_once(
    payloads: list[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A block size that is no power of two is a real error of Triton's compiler."""
    monkeypatch.setattr(fused_scene, "BLOCK_PX", 100)
    store = FrameStore(payloads)
    drawn = [store.render([0, 6], (12, 16)) for _ in range(2)]
    assert caplog.text.count("Triton failed for scenes") == 1
    monkeypatch.setenv(kernels.SWITCH, "0")
    plain = FrameStore(payloads).render([0, 6], (12, 16))
    assert all(torch.equal(picture, plain) for picture in drawn)


def test_a_plane_that_is_not_contiguous_is_refused() -> None:
    with pytest.raises(ValueError, match="not contiguous"):
        Plane(torch.zeros(1, 4, 6)[:, :, ::2]).address()


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from rinr_flower.rendering.scene_kernel import draw_block
kinds = {"shown": "*i32", "frames": "*i64", "layers": "*i64", "pixels": "i32", "width": "i32", "blocks": "i32",
         "bend_unit": "fp32", "edge": "fp32", "BLOCK": "constexpr"}
for chip in (80, 90):
    types = {n: kinds.get(n, "*fp32") for n in draw_block.arg_names}
    source = ASTSource(draw_block, types, constexprs={"BLOCK": 128})
    made = compile(source, target=GPUTarget("cuda", chip, 32), options={"enable_fp_fusion": False})
    assert made.asm["cubin"], chip
    assert "ld.local" not in made.asm["ptx"], "values spill"
"""


def test_it_compiles_to_machine_code(tmp_path: Path) -> None:
    """For Ampere and Hopper, with Triton's own assembler, which needs no GPU."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
