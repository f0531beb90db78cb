"""Random changes of hue, saturation and value, on a batch of pictures at once."""

from __future__ import annotations

import torch


def jitter(pictures: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """Pictures (batch, 3, height, width), RGB 0..1, with the colour of each changed by its gains.

    ``gains`` (batch, 3): the hue turns by the first (a share of the colour circle), saturation and value are multiplied
    by 1 + the second and the third and clipped at 1. Grey stays grey. As ultralytics' ``RandomHSV``, without its
    rounding to 180 hues and 256 levels.
    """
    changed = (gains != 0).any(dim=1)
    if not bool(changed.any()):
        return pictures
    hue_gain, saturation_gain, value_gain = gains.to(pictures)[:, :, None, None].unbind(1)
    red, green, blue = pictures.unbind(1)
    value, least = pictures.amax(1), pictures.amin(1)
    span = value - least
    safe = span.clamp_min(1e-12)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * hue_gain
    saturation = (span / value.clamp_min(1e-12) * (1 + saturation_gain)).clamp_(0, 1)
    bright = (value * (1 + value_gain)).clamp_(0, 1)
    chroma = bright * saturation
    out = torch.empty_like(pictures)
    for channel, offset in enumerate((5, 3, 1)):
        sector = (hue + offset).remainder_(6)
        out[:, channel] = bright - chroma * torch.minimum(sector, 4 - sector).clamp_(0, 1)
    return out
