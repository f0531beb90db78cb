"""Pictures and volumes as quantised wavelet coefficients: cosine transform along time, wavelet over y and x."""

from __future__ import annotations

import math

import numpy as np
import torch

from rinr_flower.codecs.scene.decode.resident import Planes
from rinr_flower.codecs.scene.decode.wavelet import Floats, analyse, cosine_basis, synthesise
from rinr_flower.codecs.scene.format.lattice import Ints

# How far the value of magnitude 1 is pulled to zero: the centre of mass of its interval. Set by hand; part of the
# format. To try others: benchmarks/scene_rate.py --constant decode.volume:SHRINK=VALUE.
SHRINK = 0.04


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


def dequantise(values: Ints, step: float) -> Floats:
    """The reconstruction of quantised coefficients."""
    out = np.zeros(values.size, np.float32)
    flat = values.reshape(-1)
    places = np.flatnonzero(flat != 0)  # truth values are searched many times faster than integers
    out[places] = dequantised(flat[places], step)
    return out.reshape(values.shape)


def dequantised(values: Ints, step: float) -> Floats:
    """As :func:`dequantise` for values none of which is 0."""
    magnitude = np.abs(values)
    found = np.sign(values) * (magnitude - np.float32(SHRINK) * (magnitude == 1)) * np.float32(step)
    return np.asarray(found, np.float32)


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
