"""Classical still-image codecs, one file per frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import pack_blobs, unpack_blobs
from rinr_flower.codecs.base import Codec, Progress, codecs
from rinr_flower.decoding.pixels import PixelRenderer
from rinr_flower.errors import ConfigError
from rinr_flower.frames import Clip, read_image, write_jpeg


@codecs.register("jpeg")
@dataclass(frozen=True)
class Jpeg(Codec):
    """JPEG files, one a frame.

    ``quality`` 1..95 re-encodes with Pillow; None passes the camera's own files on unchanged (frames that have no file
    are encoded at quality 95).
    """

    quality: int | None = None

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 95:
            raise ConfigError(f"jpeg quality {self.quality} is not in 1..95")

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        def one(clip: Clip) -> bytes:
            if self.quality is None:
                return pack_blobs([f.file or write_jpeg(f.image, 95) for f in clip.frames])
            return pack_blobs([write_jpeg(f.image, self.quality) for f in clip.frames])

        return [{"background": one(clip)} for clip in clips]

    @classmethod
    def renderer(cls, device: torch.device) -> FileRenderer:
        return FileRenderer(device)


class FileRenderer(PixelRenderer):
    """Image files, one a frame, in the background part."""

    def decode(self, payload: Payload) -> list[NDArray[np.uint8]]:
        files = unpack_blobs(payload.part("background"), len(payload), f"{payload.codec} payload")
        return [read_image(file, name=f"frame {i} of a {payload.codec} payload") for i, file in enumerate(files)]
