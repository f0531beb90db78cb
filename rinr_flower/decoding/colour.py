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
    is_red, is_green = value == red, value == green
    difference = torch.where(is_red, green - blue, torch.where(is_green, blue - red, red - green))
    sector = torch.where(is_red, 0.0, torch.where(is_green, 2.0, 4.0))
    hue = difference.div_(span.clamp_min(1e-12)).add_(sector).add_(6 * hue_gain).remainder_(6)
    saturation = span.div_(value.clamp_min(1e-12)).mul_(1 + saturation_gain).clamp_(0, 1)
    bright = value.mul_(1 + value_gain).clamp_(0, 1)
    chroma = saturation.mul_(bright)
    least = bright - chroma
    out = torch.empty_like(pictures)
    for channel, share in enumerate(((hue - 3).abs_().sub_(1), 2 - (hue - 2).abs_(), 2 - (hue - 4).abs_())):
        torch.addcmul(least, chroma, share.clamp_(0, 1), out=out[:, channel])
    return out
