"""Sizes that both ends derive: of wavelet bands, of volumes, of an object's mask, of a shot's bend and residual."""

from __future__ import annotations

from dataclasses import dataclass

# Part of the format, set by hand. To try others: benchmarks/scene_rate.py --constant format.shapes:NAME=VALUE.
CHROMA_STEP = 0.55  # a chroma sample stands for four pixels, so that its error counts about four times in RGB
_MAX_LEVELS = 6  # of the wavelet
_SMALLEST_SIDE = 4  # of the low-pass picture


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes of the low-pass picture after each wavelet level, the full size first."""
    sizes = [(height, width)]
    while len(sizes) <= _MAX_LEVELS and min(sizes[-1]) >= 2 * _SMALLEST_SIDE:
        h, w = sizes[-1]
        sizes.append(((h + 1) // 2, (w + 1) // 2))
    return sizes


def band_shapes(height: int, width: int) -> list[tuple[int, int]]:
    """Shapes of the wavelet bands of a picture, coarsest first: low-pass, then (HL, LH, HH) of each level."""
    sizes = level_sizes(height, width)
    shapes = [sizes[-1]]
    for (h, w), (low_h, low_w) in zip(sizes[-2::-1], sizes[:0:-1], strict=True):
        shapes += [(low_h, w - low_w), (h - low_h, low_w), (h - low_h, w - low_w)]
    return shapes


@dataclass(frozen=True)
class VolumeShape:
    """What a decoder must know to read a volume: pictures (frames, height, width), whether it has chroma, and whether
    that is of full or of half the size."""

    frames: int
    height: int
    width: int
    grey: bool
    full_chroma: bool = False

    def planes(self) -> list[tuple[int, int]]:
        """(height, width) of luma and of both chroma planes."""
        half = ((self.height + 1) // 2, (self.width + 1) // 2)
        if self.full_chroma:
            half = (self.height, self.width)
        return [(self.height, self.width)] + ([] if self.grey else [half, half])

    def bands(self) -> list[list[tuple[int, int, int]]]:
        """Band shapes of every plane."""
        return [[(self.frames, *s) for s in band_shapes(h, w)] for h, w in self.planes()]

    def steps(self, step: float) -> list[float]:
        """Quantiser steps of every plane for luma step ``step``."""
        return [step] + ([] if self.grey else [step * (1.0 if self.full_chroma else CHROMA_STEP)] * 2)


def mask_shape(size: tuple[int, int]) -> tuple[int, int]:
    """Cells of an object's mask: one for about eight pixels, 2 to 8 a side."""
    return (min(max(size[0] // 8, 2), 8), min(max(size[1] // 8, 2), 8))


def bend_shape(size: tuple[int, int]) -> tuple[int, int]:
    """Cells of the bend of a working picture of ``size``: one for about 40 pixels."""
    return (max(size[0] // 40, 2), max(size[1] // 40, 2))


def residual_shape(frames: int, size: tuple[int, int], grey: bool, scale: int) -> VolumeShape:
    """The residual of a shot: the working size reduced by ``scale``."""
    return VolumeShape(frames, -(-size[0] // scale), -(-size[1] // scale), grey)
