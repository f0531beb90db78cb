"""Volumes whose pictures are computed one by one, each when it is first drawn."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.codecs.scene.decode.resident import Planes
from rinr_flower.codecs.scene.decode.volume import dequantised
from rinr_flower.codecs.scene.decode.wavelet import Floats, cosine_basis, synthesise
from rinr_flower.codecs.scene.format.lattice import Ints


class GradualPlanes(Planes):
    """Planes int8 with n = frames, of which :meth:`need` computes a picture unless it is there.

    The transform along time is linear, so that the coefficients of one picture can be had before the wavelet, which is
    nearly all of the work: one picture costs an n-th of the volume, and does not depend on which others are computed.
    Until all are, the coefficients that are not zero are kept.

    Parameters
    ----------
    pyramids, steps : quantised bands (frames, h, w) and quantiser step of every plane.
    sizes : (height, width) of every plane.
    """

    def __init__(
        self, pyramids: list[list[Ints]], steps: list[float], sizes: list[tuple[int, int]], device: torch.device
    ) -> None:
        self._sources = [_Source.of(bands, step) for bands, step in zip(pyramids, steps, strict=True)]
        self._missing = set(range(len(pyramids[0][0])))
        self._basis = cosine_basis(len(self._missing))
        self._lock = threading.Lock()

        def blank(channels: int, size: tuple[int, int]) -> torch.Tensor:
            return torch.zeros(len(self._missing), channels, *size, dtype=torch.int8, device=device)

        super().__init__(blank(1, sizes[0]), blank(2, sizes[1]) if len(sizes) > 1 else None)

    def need(self, k: int) -> None:
        """Compute picture ``k`` unless it is there."""
        if k not in self._missing:
            return
        with self._lock:
            if k not in self._missing:
                return
            luma, *chroma = (torch.from_numpy(source.picture(self._basis[:, k])) for source in self._sources)
            self.luma[k, 0] = luma.to(self.luma.device)
            for channel, picture in enumerate(chroma):
                assert self.chroma is not None
                self.chroma[k, channel] = picture.to(self.luma.device)
            self._missing.discard(k)
            if not self._missing:
                self._sources = []


@dataclass(frozen=True, eq=False)
class _Source:
    """The coefficients of one plane that are not zero.

    Attributes
    ----------
    shapes : (h, w) of the bands of a picture, coarsest first.
    place : position of each in the bands of its picture, one band after the other.
    time : time frequency of each.
    value : dequantised.
    """

    shapes: tuple[tuple[int, int], ...]
    place: NDArray[np.int64]
    time: NDArray[np.int64]
    value: Floats

    @classmethod
    def of(cls, bands: list[Ints], step: float) -> _Source:
        places, times, values, start = [], [], [], 0
        for band in bands:
            area, held = band.shape[1] * band.shape[2], band != 0
            time, rest = np.divmod(np.flatnonzero(held), area)
            places.append(start + rest)
            times.append(time)
            values.append(dequantised(band[held], step))
            start += area
        shapes = tuple((band.shape[1], band.shape[2]) for band in bands)
        return cls(shapes, np.concatenate(places), np.concatenate(times), np.concatenate(values))

    def picture(self, weights: Floats) -> NDArray[np.int8]:
        """The picture (height, width) to which time frequency t contributes ``weights[t]``."""
        *stops, samples = np.cumsum([h * w for h, w in self.shapes]).tolist()
        flat = np.bincount(self.place, self.value * weights[self.time], minlength=samples).astype(np.float32)
        bands = [b.reshape(1, *shape) for b, shape in zip(np.split(flat, stops), self.shapes, strict=True)]
        (found,) = synthesise(bands)
        return np.asarray(np.rint(found, out=found).clip(-128, 127, out=found), np.int8)
