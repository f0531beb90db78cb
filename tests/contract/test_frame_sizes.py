"""No frame size may end the process: every codec that calls native code, on single pixels and on narrow strips.

Each codec runs in a process of its own, which prints a case before it tries it; a process that dies names that case.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from rinr_flower.codecs import codecs, decode
from rinr_flower.frames import Clip, Frame

SIZES = [(1, 1), (7, 1), (1, 7), (3, 3), (11, 11), (31, 33), (100, 24), (640, 8), (8, 640), (640, 24), (640, 31)]
CASES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "scene fast": [("scene", {"preset": "fast"})],
    "scene balanced": [("scene", {})],
    "scene best": [("scene", {"preset": "best"})],
    "key frames": [("roi_jpeg", {"key_every": 2}), ("roi_avif", {"key_every": 2, "coarse_reduce": 2})],
    "images": [(name, {}) for name in ("jpeg", "webp", "avif", "roi_jpeg", "roi_avif")],
    "video": [(name, {}) for name in ("av1", "x264", "roi_av1", "roi_x264")],
    "networks": [
        ("rapid_inr", {"steps": 3}),
        ("residual", {"background": "jpeg", "steps": 3}),
        ("nerv", {"steps": 3}),
    ],
}


def panned(width: int, height: int) -> Clip:
    """Three frames of smooth noise that moves, with a box over the left half, one at the corner, and none."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0 : width + 4]
    phases = rng.uniform(0, 6, (3, 1, 1))
    wide = 128 + 100 * np.sin(x / 3 + phases) * np.cos(y / 2 + phases[::-1])
    image = np.ascontiguousarray(wide.transpose(1, 2, 0)).astype(np.uint8)
    boxes = np.array([[0, 0, max(width / 2, 1), height], [width - 1, height - 1, width, height]], np.float32)
    frames = (
        Frame(np.ascontiguousarray(image[:, 2 * t : 2 * t + width]), boxes[: 2 - t], np.zeros(2 - t, np.int64))
        for t in range(3)
    )
    return Clip("panned", tuple(frames))


def tried(group: str) -> None:
    for name, options in CASES[group]:
        for size in SIZES:
            print(f"{name} {size[0]}x{size[1]}", flush=True)
            clip = panned(*size)
            assert decode(codecs.create(name, **options).encode(clip)).images().shape == clip.images().shape


@pytest.mark.parametrize("group", CASES)
def test_every_size_is_encoded_and_decoded(group: str) -> None:
    done = subprocess.run([sys.executable, __file__, group], capture_output=True, text=True, check=False)
    last = (done.stdout.splitlines() or ["the start"])[-1]
    assert done.returncode == 0, f"exit code {done.returncode} at {last}: {done.stderr[-800:]}"


if __name__ == "__main__":
    tried(sys.argv[1])
