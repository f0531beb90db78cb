"""The codec interface: clip -> bytes -> frames, and the registry of codecs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.frames import Clip, Frame
from rinr_flower.registry import Registry
from rinr_flower.rendering.exact import exact_float32
from rinr_flower.rendering.renderer import Renderer, View

Progress = Callable[[float], None]
"""Called with the fraction done, 0 to 1."""


class Codec(ABC):
    """A codec: encodes clips to payloads, and creates the renderer that draws them.

    A codec is a frozen dataclass: its fields are its options, its registered ``name`` is stored in every payload.
    Subclasses implement :meth:`encode_parts` and :meth:`renderer`; everything a payload needs to be decoded, options
    included, must be in the parts, because the decoding side builds a renderer from the class alone.
    """

    name: ClassVar[str]

    @abstractmethod
    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        """Encode each clip to payload parts (see :data:`rinr_flower.bitstream.container.PARTS`), in order.

        Several clips come at once so that networks of different clips can be fitted as one batched product; the parts
        of a clip must not depend on which other clips came with it. The same seed on the same machine gives the same
        bytes.
        """

    @classmethod
    @abstractmethod
    def renderer(cls, device: torch.device) -> Renderer:
        """Create an empty renderer for payloads of this codec."""

    def encode(
        self,
        clip: Clip,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
    ) -> bytes:
        """Encode one clip to payload bytes."""
        return self.encode_many([clip], seed=seed, device=device, progress=progress)[0]

    def encode_many(
        self,
        clips: Sequence[Clip],
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
    ) -> list[bytes]:
        """Encode several clips to payload bytes, in order."""
        parts = self.encode_parts(clips, seed=seed, device=torch.device(device), progress=progress)
        return [Payload.of_clip(self.name, clip, p).to_bytes() for clip, p in zip(clips, parts, strict=True)]


codecs: Registry[Codec] = Registry("codec", "rinr_flower.codecs")


def decode(data: bytes, *, device: torch.device | str = "cpu", name: str = "payload") -> Clip:
    """Decode a payload to a clip: frames at the camera's size, uint8, with boxes. Raises PayloadError on bad bytes."""
    return decode_payload(Payload.from_bytes(data), device=device, name=name)


def decode_payload(payload: Payload, *, device: torch.device | str = "cpu", name: str = "payload") -> Clip:
    """:func:`decode` for a payload that is parsed already."""
    renderer = codecs.get(payload.codec).renderer(torch.device(device))
    renderer.add(payload)
    frames = []
    for i, (boxes, classes) in enumerate(zip(payload.boxes, payload.classes, strict=True)):
        image = to_uint8(native_frame(renderer, i, payload)).permute(1, 2, 0).cpu().numpy()
        frames.append(Frame(np.ascontiguousarray(image), boxes, classes))
    return Clip(name, tuple(frames), payload.class_names)


@torch.no_grad()
def native_frame(renderer: Renderer, index: int, payload: Payload) -> torch.Tensor:
    """Render frame ``index`` at the camera's size: float32 (3, height, width)."""
    view = View.resize([(payload.width, payload.height)], (payload.height, payload.width), device=renderer.device)
    with exact_float32(renderer.device):
        return renderer.render(torch.tensor([index]), view)[0]


def to_uint8(picture: torch.Tensor) -> torch.Tensor:
    """Convert float RGB in 0..1 to uint8, rounded to nearest."""
    return (picture.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
