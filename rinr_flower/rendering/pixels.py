"""The renderer of codecs that decode a payload to pixels once: JPEG, WebP, AVIF, video."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from rinr_flower.bitstream.container import Payload
from rinr_flower.errors import PayloadError
from rinr_flower.rendering.renderer import Renderer, View, items_by_frame

MAX_RESIDENT_PX = 1 << 29
"""Pixels, in all frames together, that a payload which is kept decoded may declare."""


class PixelRenderer(Renderer):
    """Decodes each payload once, keeps uint8 pictures on the device, and samples them bilinearly."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pictures: list[torch.Tensor] = []

    @abstractmethod
    def decode(self, payload: Payload) -> list[NDArray[np.uint8]]:
        """Decode all frames of ``payload``: uint8 (height, width, 3) each, of the payload's size."""

    def add(self, payload: Payload) -> None:
        declared = len(payload) * payload.width * payload.height
        if declared > MAX_RESIDENT_PX:
            raise PayloadError(
                f"a {payload.codec!r} payload declares {declared:,} pixels; "
                f"at most {MAX_RESIDENT_PX:,} are kept decoded, split the clip"
            )
        try:
            self._pictures += self._decoded(payload)
        except MemoryError as error:
            raise PayloadError(f"{declared:,} pixels of a {payload.codec!r} payload do not fit in memory") from error

    def _decoded(self, payload: Payload) -> list[torch.Tensor]:
        images = self.decode(payload)
        for index, image in enumerate(images):
            if image.shape != (payload.height, payload.width, 3):
                raise PayloadError(
                    f"frame {index} of a {payload.codec!r} payload is {image.shape[1]}x{image.shape[0]} pixels; "
                    f"the header says {payload.width}x{payload.height}"
                )
        return [torch.from_numpy(np.array(i.transpose(2, 0, 1))).to(self.device) for i in images]

    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        return sample_batch(self._pictures, frames.tolist(), view)

    @property
    def resident_bytes(self) -> int:
        return sum(p.numel() for p in self._pictures)


def sample_batch(
    pictures: Sequence[torch.Tensor] | Mapping[int, torch.Tensor], frames: Sequence[int], view: View
) -> torch.Tensor:
    """Sample pictures, uint8 (3, height, width) by frame number, through ``view``.

    Returns float32 (batch, 3, height, width), 0..1.
    All items that look at the same frame are sampled in one call.
    """
    out = torch.empty(len(frames), 3, *view.size, device=view.matrix.device)
    for frame, rows in items_by_frame(frames).items():
        picture = pictures[frame].float()
        if view.size == tuple(picture.shape[1:]):
            for row in rows:
                out[row] = sample(picture, view, row) / 255
            continue
        chosen = torch.tensor(rows)
        seen = _look(picture, view.select(chosen).points().reshape(1, -1, view.size[1], 2))
        out[chosen.to(out.device)] = seen.div_(255).reshape(3, len(rows), *view.size).transpose(0, 1)
    return out


def sample(picture: torch.Tensor, view: View, row: int) -> torch.Tensor:
    """Sample a float picture (3, height, width) through item ``row`` of ``view``: bilinear, border repeated outside."""
    height, width = picture.shape[1:]
    if view.size == (height, width) and bool((view.matrix[row].cpu() == torch.eye(3)).all()):
        return picture
    points = view.select(torch.tensor([row])).points()
    return _look(picture, points.reshape(1, *view.size, 2))


def _look(picture: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    scale = torch.tensor([2 / picture.shape[2], 2 / picture.shape[1]], device=points.device)
    return F.grid_sample(picture[None], (points * scale).sub_(1), "bilinear", "border", False)[0]
