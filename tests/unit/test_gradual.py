"""Pictures of a residual that are computed one by one, each when it is first drawn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from rinr_flower.codecs import Scene
from rinr_flower.codecs.scene.decode.gradual import GradualPlanes
from rinr_flower.codecs.scene.decode.renderer import SceneRenderer
from rinr_flower.codecs.scene.decode.volume import forward, inverse
from rinr_flower.decoding import FrameStore
from rinr_flower.frames import Clip, Frame

CPU = torch.device("cpu")
SIZES = [(37, 51), (19, 26), (19, 26)]
STEPS = [6.0, 5.0, 5.0]


def pyramids(frames: int) -> list[list[np.ndarray]]:
    """Quantised coefficients of three planes that change from frame to frame."""
    rng = np.random.default_rng(1)
    planes = [np.cumsum(rng.normal(0, 12, (frames, *size)), axis=0).astype(np.float32) for size in SIZES]
    return [
        [np.rint(band / step).astype(np.int32) for band in bands]
        for bands, step in zip(forward(planes), STEPS, strict=True)
    ]


@pytest.mark.parametrize("frames", [1, 7])
def test_pictures_are_those_of_the_whole_volume(frames: int) -> None:
    """Rounded to whole levels, whose halves may fall to either side."""
    found = GradualPlanes(pyramids(frames), STEPS, SIZES, CPU)
    wanted = inverse(pyramids(frames), STEPS)
    assert np.abs(wanted[0]).max() > 20
    for k in reversed(range(frames)):
        found.need(k)
    assert found.chroma is not None
    for picture, plane in (
        (found.luma[:, 0], wanted[0]),
        (found.chroma[:, 0], wanted[1]),
        (found.chroma[:, 1], wanted[2]),
    ):
        assert np.abs(picture.numpy() - plane.clip(-128, 127)).max() < 0.501


def test_a_picture_does_not_depend_on_which_others_are_there() -> None:
    alone, last, threaded = (GradualPlanes(pyramids(5), STEPS, SIZES, CPU) for _ in range(3))
    alone.need(3)
    assert not alone.luma[2].any()
    for k in range(5):
        last.need(k)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(threaded.need, [3, 1, 3, 0, 3, 2, 4, 4]))
    assert torch.equal(alone.luma[3], last.luma[3])
    assert torch.equal(threaded.luma, last.luma)


def test_a_store_computes_a_frame_when_it_is_drawn() -> None:
    """A scene that flickers needs a residual; drawing its last frame leaves the others for later."""
    rng = np.random.default_rng(0)
    still = rng.integers(60, 190, (8, 12, 3)).repeat(6, axis=0).repeat(6, axis=1)
    y, x = np.mgrid[:48, :72]
    frames = []
    for t in range(6):
        spot = 60 * np.exp(-((x - 12 - 9 * t) ** 2 + (y - 24) ** 2) / 90)
        frames.append(Frame((still + spot[:, :, None]).clip(0, 255).astype(np.uint8)))
    payload = Scene(quality=70).encode(Clip("flicker", tuple(frames)))
    store = FrameStore([payload])
    last = store.render([5], (48, 72))
    renderer = store._renderer._renderers["scene"]  # type: ignore[attr-defined]
    assert isinstance(renderer, SceneRenderer)
    (shot,) = renderer._frames[0][0].shots
    assert shot.residual is not None
    assert shot.residual.luma[5].any()
    assert not shot.residual.luma[1].any()
    whole = store.render(range(6), (48, 72))
    assert shot.residual.luma[1].any()
    assert torch.equal(whole[5], last[0])
