"""The synthesis: a small network that adds to decoded planes what quantisation took from them.

A trunk that is shipped with the program turns the surroundings of every sample into features; heads that each clip
sends turn features into values. Both are applied once, when a payload is opened, to the planes that then stay resident:
a frame is sampled from them at any points as before.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from rinr_flower.codecs.scene.decode.wavelet import Floats
from rinr_flower.codecs.scene.format.code import HEAD_UNIT, Head
from rinr_flower.codecs.scene.format.trunk import WEIGHT_UNIT, Trunk, shipped_trunk

_AT_ONCE = 1 << 16  # samples whose features are held together: what a cache holds, 4 times faster than 1 << 20


def features_of(trunk: Trunk, luma: torch.Tensor) -> torch.Tensor:
    """Features (n, FEATURES, h, w) of planes (n, h, w) given in quantiser steps; the last is 1."""
    arrays = (trunk.first, trunk.first_bias, trunk.second, trunk.second_bias)
    first, first_bias, second, second_bias = (torch.from_numpy(a.astype(np.float32)) * WEIGHT_UNIT for a in arrays)
    hidden = F.conv2d(F.pad(luma[:, None], (2, 2, 2, 2), "replicate"), first[:, None], first_bias).relu_()
    hidden = F.conv2d(hidden, second[:, :, None, None], second_bias).relu_()
    return torch.cat([hidden, torch.ones_like(hidden[:, :1])], dim=1)


def synthesise_planes(planes: list[Floats], head: Head, step: float, share: Floats | None = None) -> None:
    """Add to decoded ``planes`` (frames, h, w) what ``head`` makes of them, ``step`` being that of luma.

    The head has a row for each plane it changes, luma first; these are of one size. ``share`` (h, w) is how much of it
    is added where.
    """
    trunk = shipped_trunk()
    weights = torch.from_numpy(head.astype(np.float32) * np.float32(HEAD_UNIT * step))
    gate = None if share is None else torch.from_numpy(share)
    frames, height, width = planes[0].shape
    at_once = max(1, _AT_ONCE // (height * width))
    for start in range(0, frames, at_once):
        part = slice(start, start + at_once)
        features = features_of(trunk, torch.from_numpy(planes[0][part] * np.float32(1 / step)))
        added = torch.einsum("nfhw,cf->cnhw", features, weights)
        if gate is not None:
            added *= gate
        for plane, values in zip(planes[: len(head)], added, strict=True):
            plane[part] += values.numpy()
