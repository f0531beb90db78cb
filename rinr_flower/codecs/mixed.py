"""Payloads of several codecs behind one renderer."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs.base import codecs
from rinr_flower.rendering.opened import Opener
from rinr_flower.rendering.renderer import Renderer, View


@dataclass
class MixedRenderer(Renderer):
    """Dispatches every payload to the renderer of its codec, so that all payloads of a codec are grouped."""

    device: torch.device
    _renderers: dict[str, Renderer] = field(init=False, default_factory=dict)
    _counts: dict[str, int] = field(init=False, default_factory=dict)
    _places: list[tuple[str, int]] = field(init=False, default_factory=list)

    def opener(self, payload: Payload) -> Opener | None:
        return self._renderer(payload.codec).opener(payload)

    def _renderer(self, codec: str) -> Renderer:
        renderer = self._renderers.get(codec)
        return codecs.get(codec).renderer(self.device) if renderer is None else renderer

    def add(self, payload: Payload) -> None:
        renderer = self._renderer(payload.codec)
        renderer.add(payload)
        self._renderers[payload.codec] = renderer
        start = self._counts.get(payload.codec, 0)
        self._counts[payload.codec] = start + len(payload)
        self._places += [(payload.codec, start + i) for i in range(len(payload))]

    def __len__(self) -> int:
        return len(self._places)

    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        places = [self._places[i] for i in frames.tolist()]
        if len(self._renderers) == 1:
            return next(iter(self._renderers.values())).render(torch.tensor([p for _, p in places]), view)
        out = torch.empty(len(places), 3, *view.size, device=self.device)
        for codec, renderer in self._renderers.items():
            rows = torch.tensor([row for row, (name, _) in enumerate(places) if name == codec], dtype=torch.int64)
            if len(rows):
                local = torch.tensor([places[row][1] for row in rows.tolist()])
                out[rows.to(self.device)] = renderer.render(local, view.select(rows))
        return out

    @property
    def resident_bytes(self) -> int:
        return sum(r.resident_bytes for r in self._renderers.values())
