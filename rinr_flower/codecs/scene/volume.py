"""Pictures and volumes as quantised wavelet coefficients: cosine transform along time, wavelet over y and x."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from rinr_flower.codecs.scene.bands import Ints
from rinr_flower.codecs.scene.model import Planes
from rinr_flower.codecs.scene.quantise import dequantise
from rinr_flower.codecs.scene.wavelet import Floats, analyse, band_shapes, cosine_basis, synthesise

CHROMA_STEP = 0.55  # a chroma sample stands for four pixels, so that its error counts about four times in RGB


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


def forward(planes: list[Floats]) -> list[list[Floats]]:
    """Coefficient pyramids of planes (frames, height, width): luma, and blue and red differences if there are any."""
    return [analyse(_along_time(cosine_basis(len(p)), p)) for p in planes]


def inverse(pyramids: list[list[Ints]], steps: list[float]) -> list[Floats]:
    """The planes that quantised pyramids stand for."""
    planes = []
    for bands, step in zip(pyramids, steps, strict=True):
        frames = len(bands[0])
        # most high time frequencies hold nothing: only the others are worth a wavelet
        live = np.flatnonzero(np.any([b.reshape(frames, -1).any(axis=1) for b in bands], axis=0))
        found = synthesise([dequantise(b if len(live) == frames else b[live], step) for b in bands])
        planes.append(_along_time(np.ascontiguousarray(cosine_basis(frames)[live].T), found))
    return planes


def resident(planes: list[Floats], dtype: torch.dtype, device: torch.device) -> Planes:
    """Planes rounded to integers of ``dtype`` as tensors on ``device``. ``planes`` are used up."""
    info = torch.iinfo(dtype)

    def tensor(stack: list[Floats]) -> torch.Tensor:
        values = np.empty((len(stack[0]), len(stack), *stack[0].shape[1:]), torch.empty(0, dtype=dtype).numpy().dtype)
        for number, plane in enumerate(stack):
            values[:, number] = np.rint(plane, out=plane).clip(info.min, info.max, out=plane)
        return torch.from_numpy(values).to(device)

    return Planes(tensor(planes[:1]), tensor(planes[1:]) if len(planes) > 1 else None)


def _along_time(matrix: Floats, pictures: Floats) -> Floats:
    if matrix.shape == (1, 1):
        return pictures
    size = pictures.shape[1:]
    flat = pictures.reshape(len(pictures), math.prod(size))
    return np.asarray((matrix @ flat).reshape(len(matrix), *size), np.float32)
