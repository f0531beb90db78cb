"""Bilinear sampling of pictures in whole numbers, so that every machine computes the same pixels.

Four 8-bit channels share one 64-bit word, 16 bits each: with 4-bit weights in each direction the weighted sum of a
channel stays under 2**16, so one multiplication interpolates all four channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SUBPIXELS = 16
UNIT = 255 * SUBPIXELS**2
"""What a sampled channel value of 255 becomes."""

Affine = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): source x = a u + b v + c, source y = d u + e v + f, for pixel-edge coordinates u, v."""


def pack(picture: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """uint8 (height, width, 4) as 64-bit words (height, width)."""
    return np.ascontiguousarray(picture.astype("<u2")).view("<u8")[..., 0].astype(np.uint64)


def halve(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of 2x2 blocks, uint8 (height, width, n) -> (height // 2, width // 2, n), rounded."""
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    wide = picture[:height, :width].astype(np.uint16)
    total = wide[0::2, 0::2] + wide[1::2, 0::2] + wide[0::2, 1::2] + wide[1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)


def sample(packed: NDArray[np.uint64], affine: Affine, columns: range, rows: range) -> NDArray[np.uint16]:
    """Bilinear values at the pixels ``rows`` x ``columns``, uint16 (rows, columns, 4), 255 becoming :data:`UNIT`.

    Positions are rounded to 1/16 px of the source; beyond its border the border pixel is repeated.
    """
    height, width = packed.shape
    a, b, c, d, e, f = (round(value * 65536) for value in affine)
    u = np.arange(columns.start, columns.stop, dtype=np.int64) * 2 + 1
    v = np.arange(rows.start, rows.stop, dtype=np.int64) * 2 + 1
    # Pixel centres lie at u / 2; the source's first centre is at 0.5, hence the half pixel (32768) taken off.
    x = ((a * u // 2 + c - 32768)[None, :] + (b * v // 2)[:, None]) >> 12
    y = ((d * u // 2 + f - 32768)[None, :] + (e * v // 2)[:, None]) >> 12
    np.clip(x, 0, (width - 1) * SUBPIXELS - 1, out=x)
    np.clip(y, 0, (height - 1) * SUBPIXELS - 1, out=y)
    index = (y >> 4) * width + (x >> 4)
    right, down = (x & 15).astype(np.uint64), (y & 15).astype(np.uint64)
    left, up = np.uint64(SUBPIXELS) - right, np.uint64(SUBPIXELS) - down
    flat = packed.ravel()
    value = (flat[index] * left + flat[index + 1] * right) * up
    index += width
    value += (flat[index] * left + flat[index + 1] * right) * down
    channels: NDArray[np.uint16] = value.astype("<u8", copy=False).view("<u2").reshape(*value.shape, 4)
    return channels
