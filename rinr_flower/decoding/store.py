"""FrameStore: any number of payloads of any codec as one random-access set of frames on one device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs.mixed import MixedRenderer
from rinr_flower.decoding.cache import CachedRenderer
from rinr_flower.rendering.exact import exact_float32
from rinr_flower.rendering.opened import OPENED
from rinr_flower.rendering.renderer import Renderer, View

FILL = 114 / 255  # the grey that YOLO pads with, for output pixels that look outside their frame


class FrameStore:
    """Payloads resident on a device; frames are numbered in the order in which payloads were added.

    Parameters
    ----------
    payloads : payload bytes to start with; as many are opened at once as torch has threads.
    device : where weights live and pictures are rendered.
    max_batch_px : output pixels rendered at once; a larger batch is rendered in chunks, so memory is bounded.
    cache_bytes : device memory for decoded frames, see :class:`rinr_flower.decoding.cache.CachedRenderer`.
    """

    def __init__(
        self,
        payloads: Iterable[bytes] = (),
        *,
        device: torch.device | str = "cpu",
        max_batch_px: int = 8_000_000,
        cache_bytes: int = 0,
    ) -> None:
        self.device = torch.device(device)
        self._max_batch_px = max_batch_px
        self._renderer: Renderer = MixedRenderer(self.device)
        if cache_bytes:
            self._renderer = CachedRenderer(self._renderer, self.device, cache_bytes)
        self._sizes: list[tuple[int, int]] = []
        self._boxes: list[NDArray[np.float32]] = []
        self._classes: list[NDArray[np.int64]] = []
        self._class_names: list[tuple[str, ...]] = []
        self.payload_bytes = 0
        given = [(Payload.from_bytes(data), len(data)) for data in payloads]
        jobs = [(p, opener) for p, _ in given if (opener := self._renderer.opener(p)) is not None]
        with OPENED.ahead(jobs, self.device):
            for payload, size in given:
                self._add(payload, size)

    def add(self, data: bytes) -> range:
        """Add one payload; returns the numbers of its frames. Raises PayloadError and changes nothing on bad bytes."""
        return self._add(Payload.from_bytes(data), len(data))

    def _add(self, payload: Payload, size_bytes: int) -> range:
        self._renderer.add(payload)
        start = len(self)
        self._sizes += [(payload.width, payload.height)] * len(payload)
        self._boxes += payload.boxes
        self._classes += payload.classes
        self._class_names += [payload.class_names] * len(payload)
        self.payload_bytes += size_bytes
        return range(start, len(self))

    def __len__(self) -> int:
        return len(self._sizes)

    def frame_size(self, index: int) -> tuple[int, int]:
        """(width, height) in pixels of the camera's frame."""
        return self._sizes[index]

    def labels(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Boxes (n, 4) x1 y1 x2 y2 in the camera's pixels, and classes (n,)."""
        return self._boxes[index], self._classes[index]

    def class_names(self, index: int) -> tuple[str, ...]:
        """Class names of the frame's clip, in the order of their indices."""
        return self._class_names[index]

    @property
    def resident_bytes(self) -> int:
        """Device memory that the payloads and the frames kept decoded take, in bytes."""
        return self._renderer.resident_bytes

    @torch.no_grad()
    def render(
        self,
        indices: Sequence[int] | torch.Tensor,
        size: tuple[int, int],
        *,
        matrix: torch.Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Render a batch of frames at ``size`` = (height, width): (batch, 3, height, width), RGB, 0..1.

        ``matrix`` (batch, 3, 3) maps output pixels to frame pixels (see :class:`View`); by default every frame is
        stretched over the output. Output pixels that look outside their frame are grey (114).
        """
        chosen = torch.as_tensor(indices, dtype=torch.int64).reshape(-1)
        if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(self):
            raise IndexError(f"frame {int(chosen.max())} of a store of {len(self)}")
        sizes = [self._sizes[i] for i in chosen.tolist()]
        view = View.resize(sizes, size, device=self.device)
        if matrix is not None:
            view = View(size, matrix.to(self.device, torch.float32))
        step = max(1, self._max_batch_px // (size[0] * size[1]))
        if 0 < len(chosen) <= step:
            return self._render(chosen, view, sizes if matrix is not None else None).to(dtype)
        out = torch.empty(len(chosen), 3, *size, device=self.device, dtype=dtype)
        for start in range(0, len(chosen), step):
            rows = torch.arange(start, min(start + step, len(chosen)))
            limits = [sizes[r] for r in rows.tolist()] if matrix is not None else None
            out[start : start + step] = self._render(chosen[rows], view.select(rows), limits)
        return out

    def _render(self, frames: torch.Tensor, view: View, limits: Sequence[tuple[int, int]] | None) -> torch.Tensor:
        """Frames clamped to 0..1, grey outside ``limits`` (width, height) where these are given."""
        with exact_float32(self.device):
            picture = self._renderer.render(frames, view).clamp_(0, 1)
        if limits is not None:
            _fill_outside(picture, view, limits)
        return picture


def _fill_outside(picture: torch.Tensor, view: View, sizes: Sequence[tuple[int, int]]) -> None:
    limit = torch.tensor(sizes, dtype=torch.float32, device=picture.device)[:, None]
    rows = torch.arange(len(sizes), device=picture.device)
    if picture.device.type == "cpu":  # elsewhere the host would wait for the answer
        rows = _leaving(view, limit)
    if len(rows):
        points = view.select(rows).points()
        outside = ((points < 0) | (points > limit[rows])).any(dim=-1).reshape(len(rows), 1, *view.size)
        picture[rows] = picture[rows].masked_fill_(outside, FILL)


def _leaving(view: View, limit: torch.Tensor) -> torch.Tensor:
    """Which items look outside their frame, or nearly so: those with a corner outside. ``limit`` (batch, 1, 2)."""
    height, width = view.size
    x, y = torch.tensor([0, width]), torch.tensor([0, height])
    corners = torch.stack([*torch.meshgrid(x, y, indexing="ij"), torch.ones(2, 2)], dim=-1).reshape(4, 3)
    seen = corners.to(view.matrix) @ view.matrix.transpose(1, 2)
    depth = seen[..., 2:]
    at = seen[..., :2] / depth
    inside = (at >= 0) & (at <= limit) & (depth > 0)
    return torch.nonzero(~inside.all(dim=-1).all(dim=-1))[:, 0]
