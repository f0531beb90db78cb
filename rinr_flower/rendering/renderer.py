"""Renderers: payloads resident on a device, sampled at any coordinates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.rendering.opened import Opener


@dataclass(frozen=True)
class View:
    """Where each output pixel of a batch looks at its frame.

    Attributes
    ----------
    size : (height, width) of the output in pixels.
    matrix : float32 (batch, 3, 3), from homogeneous output pixel coordinates to frame pixel coordinates (of the
        camera's frame size, before any resizing). Both are continuous with pixel centres at +0.5. Resize, flip, crop,
        rotation and perspective are all such matrices, and they compose by multiplication.
    """

    size: tuple[int, int]
    matrix: torch.Tensor

    @classmethod
    def resize(cls, frame_sizes: Sequence[tuple[int, int]], size: tuple[int, int], *, device: torch.device) -> View:
        """Return the view that stretches every frame (width, height) over the whole output (height, width)."""
        scales = torch.tensor([[w / size[1], h / size[0], 1.0] for w, h in frame_sizes], dtype=torch.float32)
        return cls(size, torch.diag_embed(scales).to(device))

    def points(self) -> torch.Tensor:
        """Return the frame coordinates of every output pixel: float32 (batch, height * width, 2), x then y."""
        height, width = self.size
        m = self.matrix[:, :, :, None]
        across = torch.arange(width, dtype=torch.float32, device=m.device) + 0.5
        down = torch.arange(height, dtype=torch.float32, device=m.device) + 0.5

        def coordinate(row: int) -> torch.Tensor:
            """(batch, height, width); sums in an order that does not depend on the batch."""
            return (across * m[:, row, 0])[:, None] + (down * m[:, row, 1] + m[:, row, 2])[:, :, None]

        out = torch.empty(len(m), height, width, 2, device=m.device)
        out[..., 0], out[..., 1] = coordinate(0), coordinate(1)
        if not self.is_affine:
            out /= coordinate(2)[..., None]
        return out.reshape(len(m), -1, 2)

    @property
    def is_affine(self) -> bool:
        """Whether no item of the batch has a perspective term."""
        return bool((self.matrix[:, 2, :2] == 0).all() and (self.matrix[:, 2, 2] == 1).all())

    def select(self, items: torch.Tensor) -> View:
        """Return the view of some items of the batch."""
        return View(self.size, self.matrix[items.to(self.matrix.device)])


def items_by_frame(frames: Sequence[int]) -> dict[int, list[int]]:
    """Group the items of a batch by frame, such as the tiles of a mosaic, so that each frame is sampled once."""
    items: dict[int, list[int]] = {}
    for item, frame in enumerate(frames):
        items.setdefault(frame, []).append(item)
    return items


class Renderer(ABC):
    """Payloads of one codec, resident on a device. Frames are numbered in the order in which payloads were added.

    Weights stay resident in their quantised form. Networks of equal shape are grouped across frames, clips and objects
    and evaluated as one batched product; the result must not depend on the grouping.
    """

    device: torch.device

    def opener(self, payload: Payload) -> Opener | None:
        """Return the part of :meth:`add` that threads may do at once for several payloads, which it then takes from
        :data:`rinr_flower.rendering.opened.OPENED`; None if there is none."""
        return None

    @abstractmethod
    def add(self, payload: Payload) -> None:
        """Check and add one payload. Raises PayloadError and changes nothing if its parts are invalid."""

    @abstractmethod
    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        """Render frames (int64, shape (batch,)) through ``view``: float32 (batch, 3, height, width), RGB, 0..1.

        Points outside the frame may have any finite colour; the caller fills them.
        """

    @property
    @abstractmethod
    def resident_bytes(self) -> int:
        """Bytes of device memory that the payloads take."""
