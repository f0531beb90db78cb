"""Decoded frames as the accuracy benchmark trains and tests on them: rendered once, then only looked up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from rinr_flower.decoding import FrameStore
from rinr_flower.detection.batches import input_size, letterbox
from rinr_flower.errors import ConfigError


class RenderedOnce(FrameStore):
    """A FrameStore whose frames are rendered when it is made, at a network's input size, and kept as uint8.

    The pictures are those that a device's FrameStore gives, rounded to 8 bits, so that a long training is not slowed
    down by codecs that render slowly.

    Parameters
    ----------
    payloads : payload bytes.
    longer_side_px : of the network's input, see :func:`rinr_flower.detection.batches.input_size`.
    device : where frames are rendered and kept.
    """

    def __init__(self, payloads: Iterable[bytes], longer_side_px: int, *, device: torch.device | str = "cpu") -> None:
        super().__init__(payloads, device=device)
        sizes = [self.frame_size(i) for i in range(len(self))]
        self.shape = input_size(sizes, longer_side_px)
        self._matrices = torch.tensor(np.stack([letterbox(s, self.shape) for s in sizes]), dtype=torch.float32)
        self._pictures = torch.empty(len(self), 3, *self.shape, dtype=torch.uint8, device=self.device)
        for i in range(len(self)):
            picture = super().render([i], self.shape, matrix=self._matrices[[i]])
            self._pictures[i] = (picture[0] * 255 + 0.5).to(torch.uint8)

    def render(
        self,
        indices: Sequence[int] | torch.Tensor,
        size: tuple[int, int],
        *,
        matrix: torch.Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Frames letterboxed to ``shape``; ConfigError for any other view."""
        chosen = torch.as_tensor(indices, dtype=torch.int64).reshape(-1)
        if size != self.shape or matrix is None or not torch.equal(matrix.cpu(), self._matrices[chosen]):
            raise ConfigError(f"frames rendered once are letterboxed to {self.shape}; another view was asked for")
        return self._pictures[chosen.to(self.device)].to(dtype) / 255

    def digest(self) -> str:
        """Hash of all pictures, boxes and classes: of everything that a detector gets to see."""
        digest = hashlib.sha256(self._pictures.cpu().numpy().tobytes())
        for i in range(len(self)):
            boxes, classes = self.labels(i)
            digest.update(boxes.tobytes() + classes.tobytes())
        return digest.hexdigest()[:32]
