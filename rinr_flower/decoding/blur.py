"""Blur at random, so that a detector does not learn sharpness as the label.

A codec that spends its bytes on the object leaves it sharper than the rest of the frame; a camera does not.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import conv2d, pad

SIGMA_PX = (0.4, 1.6)  # of the Gaussian, drawn evenly
_REACH = 4  # pixels to each side that it covers


def blur_some(pictures: torch.Tensor, share: float, generator: np.random.Generator) -> torch.Tensor:
    """Pictures (batch, 3, height, width), each blurred with probability ``share`` by a Gaussian of SIGMA_PX."""
    drawn = generator.uniform(size=len(pictures)) < share
    sigmas = generator.uniform(*SIGMA_PX, size=len(pictures))[drawn]
    if len(sigmas) == 0:
        return pictures
    offsets = np.arange(-_REACH, _REACH + 1)
    kernels = np.exp(-0.5 * (offsets / sigmas[:, None]) ** 2)
    weights = torch.tensor(kernels / kernels.sum(axis=1, keepdims=True)).to(pictures).repeat_interleave(3, dim=0)
    out = pictures.clone()
    chosen = torch.as_tensor(drawn, device=pictures.device)
    planes = pad(out[chosen], (_REACH,) * 4, mode="replicate").flatten(0, 1)[None]
    planes = conv2d(planes, weights[:, None, None, :], groups=len(weights))
    planes = conv2d(planes, weights[:, None, :, None], groups=len(weights))
    out[chosen] = planes.reshape(len(sigmas), 3, *pictures.shape[2:])
    return out
