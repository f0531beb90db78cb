"""Sampling pictures at arbitrary points: what makes a scene a function of continuous coordinates."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F

# Pieces of equal size at most, of the points on a CPU: torch gives whole pieces to its threads. A number of points that
# shares no divisor with it is one piece. Any value gives the same samples.
_PIECES = 16


def sample(picture: torch.Tensor, points: torch.Tensor, mode: Literal["bilinear", "bicubic"]) -> torch.Tensor:
    """``picture`` float32 (channels, height, width) at ``points`` (n, 2): x, y in its pixels, centres at +0.5.

    Returns (channels, n). The border is repeated outside.
    """
    height, width = picture.shape[-2:]
    scale = torch.tensor([2.0 / width, 2.0 / height], device=points.device)
    # one piece where gradients flow: those of the picture would be summed piece by piece
    split = points.device.type == "cpu" and not picture.requires_grad
    pieces = math.gcd(len(points), _PIECES) if split else 1
    grid = (points * scale).sub_(1).reshape(pieces, 1, -1, 2)
    found = F.grid_sample(picture.expand(pieces, *picture.shape), grid, mode, "border", False)
    return found.movedim(0, 2).reshape(len(picture), -1)


def transform(points: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Homogeneous transform of ``points`` (n, 2) by ``matrix`` (3, 3), term by term so that no batch changes it.

    The matrix lies on the CPU, whatever device the points are on: its terms are read without waiting for that device.
    """
    x, y = points[:, 0], points[:, 1]
    m: list[list[float]] = matrix.tolist()
    rows = [(y * b).add_(c).add_(x * a) for a, b, c in m[: 2 if m[2][:2] == [0, 0] else 3]]
    if len(rows) == 2:
        return torch.stack(rows, dim=-1).div_(m[2][2])
    return torch.stack([rows[0] / rows[2], rows[1] / rows[2]], dim=-1)


def to_rgb(luma: torch.Tensor, chroma: torch.Tensor) -> torch.Tensor:
    """RGB (3, n) in 0..1 from luma (n,) and chroma (2, n) in 0..255 units about 128 and 0 (BT.601, full range)."""
    blue, red = chroma[0], chroma[1]
    rgb = torch.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue])
    return rgb.add_(128).div_(255)


def centres(height: int, width: int) -> torch.Tensor:
    """Coordinates (height * width, 2), x then y, of the pixel centres of a picture."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2).float()
