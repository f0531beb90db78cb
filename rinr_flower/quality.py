"""Reconstruction quality: PSNR of frame, background and object against the decoded camera file."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rinr_flower.frames import Clip, box_mask


@dataclass(frozen=True)
class Quality:
    """PSNR in dB over a whole clip: 10 log10(255^2 / MSE).

    The squared error is averaged over all pixels of the region in all frames and channels. NaN where the region is
    empty (a clip without boxes has no object).
    """

    frame_db: float
    background_db: float
    object_db: float
    worst_frame_db: float


def psnr_db(mse: float) -> float:
    """Return the PSNR in dB of an 8-bit signal: infinite for an MSE of 0, NaN for NaN."""
    return math.inf if mse == 0 else 10 * math.log10(255.0**2 / mse)


def measure(original: Clip, decoded: Clip, *, max_width: int | None = None) -> Quality:
    """Compare ``decoded`` with ``original`` frame by frame.

    ``max_width`` scales both (Pillow's area-weighted BOX filter) to at most that width before comparing.
    """
    error = np.zeros(2)
    count = np.zeros(2)
    worst = 0.0
    for before, after in zip(original.frames, decoded.frames, strict=True):
        scale = 1.0 if max_width is None else min(1.0, max_width / before.width)
        a, b = _scaled(before.image, scale), _scaled(after.image, scale)
        squared = ((a.astype(np.float64) - b.astype(np.float64)) ** 2).mean(axis=2)
        mask = box_mask(before.boxes * np.float32(scale), a.shape[1], a.shape[0])
        error += squared[mask].sum(), squared[~mask].sum()
        count += mask.sum(), (~mask).sum()
        worst = max(worst, float(squared.mean()))
    inside, outside = (psnr_db(e / c) if c else math.nan for e, c in zip(error, count, strict=True))
    return Quality(psnr_db(error.sum() / count.sum()), outside, inside, psnr_db(worst))


def _scaled(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1.0:
        return image
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
