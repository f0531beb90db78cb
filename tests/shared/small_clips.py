"""Clips that cost nothing to make: noise with one box, as a camera's JPEG files."""

from __future__ import annotations

import numpy as np

from rinr_flower.frames import Clip, Frame, write_jpeg


def small_clip(name: str, seed: int, size: tuple[int, int] = (24, 32), class_name: str = "cup") -> Clip:
    """Two frames of ``size`` = (height, width)."""
    images = np.random.default_rng(seed).integers(0, 255, (2, *size, 3), np.uint8)
    box = np.array([[4, 4, 20, 16]], np.float32)
    frames = (Frame(image, box, np.zeros(1, np.int64), write_jpeg(image, 90)) for image in images)
    return Clip(name, tuple(frames), (class_name,))
