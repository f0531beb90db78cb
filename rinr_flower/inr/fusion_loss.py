"""NeRV's training loss: absolute error and structural similarity together."""

from __future__ import annotations

import torch
import torch.nn.functional as F

_WINDOW, _SIGMA = 11, 1.5
_L1_SHARE = 0.7


def ssim(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean structural similarity of two batches (n, c, height, width) in 0..1, both sides at least 11 pixels.

    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity" (2004): Gaussian window of
    11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03, only where the window lies inside the picture.
    """
    offsets = torch.arange(_WINDOW, dtype=a.dtype, device=a.device) - _WINDOW // 2
    gauss = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    gauss = gauss / gauss.sum()
    # every plane is a channel: a depthwise convolution is twenty times faster than a batch of one-channel ones
    maps = torch.cat([a, b, a * a + b * b, a * b]).flatten(0, 1)[None].contiguous(memory_format=torch.channels_last)
    planes = maps.shape[1]
    maps = F.conv2d(maps, gauss.view(1, 1, -1, 1).expand(planes, 1, -1, 1), groups=planes)
    maps = F.conv2d(maps, gauss.view(1, 1, 1, -1).expand(planes, 1, 1, -1), groups=planes)
    mean_a, mean_b, squares, product = maps.chunk(4, dim=1)
    c1, c2 = 0.01**2, 0.03**2
    both, each = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    return ((2 * both + c1) * (2 * (product - both) + c2) / ((each + c1) * (squares - each + c2))).mean()


def fusion_loss(drawn: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """0.7 L1 + 0.3 (1 - SSIM) ("Fusion6" of the NeRV code); L1 alone where a side is under 11 pixels."""
    l1 = (drawn - target).abs().mean()
    if min(target.shape[2:]) < _WINDOW:
        return l1
    return _L1_SHARE * l1 + (1 - _L1_SHARE) * (1 - ssim(drawn, target))
