"""Folders of small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def picture(width: int = 64, height: int = 48, mode: str = "RGB", seed: int = 0) -> Image.Image:
    smooth = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(smooth).resize((width, height)).convert(mode)


def write_images(folder: Path, names: Sequence[str], *, width: int = 64, mode: str = "RGB") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        picture(width, mode=mode, seed=seed).save(folder / name)
