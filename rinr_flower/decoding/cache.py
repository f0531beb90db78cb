"""Decoded frames kept on the device, within a memory budget."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs.base import codecs
from rinr_flower.rendering.opened import Opener
from rinr_flower.rendering.pixels import PixelRenderer, sample_batch
from rinr_flower.rendering.renderer import Renderer, View

DECODE_BATCH_PX = 4_000_000


def holds_pictures(codec: str, device: torch.device) -> bool:
    """Whether ``codec`` decodes a payload to pixels when it is added, so that there is nothing to cache."""
    return isinstance(codecs.get(codec).renderer(device), PixelRenderer)


class CachedRenderer(Renderer):
    """A renderer that decodes a frame once, at the camera's size, and from then on samples the decoded picture.

    A frame is kept when it is first asked for and there is room, and stays. Training uses every frame equally often, so
    any fixed choice of frames is as good as any other, while replacing the least recently used would drop each frame
    just before its next use. Frames without room are rendered from their payload as ever. Frames of classical codecs
    are pictures already and take nothing from the budget.

    Parameters
    ----------
    inner : renders what is not kept.
    device : where pictures are kept: uint8, 3 bytes a pixel.
    budget_bytes : memory that they may take.
    """

    def __init__(self, inner: Renderer, device: torch.device, budget_bytes: int) -> None:
        self._inner = inner
        self._device = device
        self._room_bytes = budget_bytes
        self._sizes: list[tuple[int, int] | None] = []
        self._pictures: dict[int, torch.Tensor] = {}

    def opener(self, payload: Payload) -> Opener | None:
        return self._inner.opener(payload)

    def add(self, payload: Payload) -> None:
        self._inner.add(payload)
        kept = holds_pictures(payload.codec, self._device)
        self._sizes += [None if kept else (payload.width, payload.height)] * len(payload)

    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        numbers = frames.tolist()
        self._keep(numbers)
        missing = [row for row, frame in enumerate(numbers) if frame not in self._pictures]
        if not missing:
            return sample_batch(self._pictures, numbers, view)
        out = torch.empty(len(numbers), 3, *view.size, device=self._device)
        rows = torch.tensor(missing)
        out[rows.to(self._device)] = self._inner.render(frames[rows], view.select(rows))
        kept = [row for row, frame in enumerate(numbers) if frame in self._pictures]
        if kept:
            rows = torch.tensor(kept)
            out[rows.to(self._device)] = sample_batch(self._pictures, frames[rows].tolist(), view.select(rows))
        return out

    def _keep(self, numbers: Sequence[int]) -> None:
        """Decode those of the frames that are not kept yet and find room."""
        by_size: dict[tuple[int, int], list[int]] = {}
        for frame in dict.fromkeys(numbers):
            size = self._sizes[frame]
            if size is None or frame in self._pictures or size[0] * size[1] * 3 > self._room_bytes:
                continue
            self._room_bytes -= size[0] * size[1] * 3
            by_size.setdefault(size, []).append(frame)
        for (width, height), chosen in by_size.items():
            step = max(1, DECODE_BATCH_PX // (width * height))
            for start in range(0, len(chosen), step):
                part = chosen[start : start + step]
                view = View.resize([(width, height)] * len(part), (height, width), device=self._device)
                pictures = self._inner.render(torch.tensor(part), view).clamp_(0, 1)
                self._pictures.update(zip(part, (pictures * 255 + 0.5).to(torch.uint8), strict=True))

    @property
    def resident_bytes(self) -> int:
        return self._inner.resident_bytes + sum(p.numel() for p in self._pictures.values())
