"""Classical still-image codecs, one file per frame."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import pack_blobs, unpack_blobs
from rinr_flower.codecs.base import Codec, Progress, codecs
from rinr_flower.errors import ConfigError, DataError, PayloadError
from rinr_flower.frames import PAYLOAD_FORMATS, Clip, Frame, read_image, write_jpeg
from rinr_flower.rendering.pixels import PixelRenderer


class StillCodec(Codec):
    """Every frame as an image file of its own, in the background part."""

    @abstractmethod
    def file_of(self, frame: Frame) -> bytes:
        """The frame as an image file."""

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        total, done, parts = sum(map(len, clips)), 0, []
        for clip in clips:
            files = []
            for frame in clip.frames:
                files.append(self.file_of(frame))
                done += 1
                if progress is not None:
                    progress(done / total)
            parts.append({"background": pack_blobs(files)})
        return list(parts)

    @classmethod
    def renderer(cls, device: torch.device) -> FileRenderer:
        return FileRenderer(device)


@codecs.register("jpeg")
@dataclass(frozen=True)
class Jpeg(StillCodec):
    """JPEG files, one a frame.

    Attributes
    ----------
    quality : 1 (small) to 95 (fine), of Pillow; None passes the camera's own files on unchanged (frames that have no
        file are encoded at quality 95).
    """

    quality: int | None = None

    def __post_init__(self) -> None:
        if self.quality is not None:
            check_range("jpeg quality", self.quality, 1, 95)

    def file_of(self, frame: Frame) -> bytes:
        if self.quality is None:
            return frame.file or write_jpeg(frame.image, 95)
        return write_jpeg(frame.image, self.quality)


@codecs.register("webp")
@dataclass(frozen=True)
class Webp(StillCodec):
    """Lossy WebP files, one a frame.

    Attributes
    ----------
    quality : 0 (small) to 100 (fine).
    method : 0 (fast) to 6 (small).
    """

    quality: int = 50
    method: int = 6

    def __post_init__(self) -> None:
        check_range("webp quality", self.quality, 0, 100)
        check_range("webp method", self.method, 0, 6)

    def file_of(self, frame: Frame) -> bytes:
        return _file(frame.image, "WEBP", quality=self.quality, method=self.method)


@codecs.register("avif")
@dataclass(frozen=True)
class Avif(StillCodec):
    """AVIF (AV1 still) files, one a frame.

    Attributes
    ----------
    quality : 0 (small) to 100 (fine).
    speed : 0 (small) to 10 (fast).
    """

    quality: int = 30
    speed: int = 6

    def __post_init__(self) -> None:
        check_range("avif quality", self.quality, 0, 100)
        check_range("avif speed", self.speed, 0, 10)

    def file_of(self, frame: Frame) -> bytes:
        return write_avif(frame.image, self.quality, self.speed)


class FileRenderer(PixelRenderer):
    """Image files, one a frame, in the background part."""

    def decode(self, payload: Payload) -> list[NDArray[np.uint8]]:
        files = unpack_blobs(payload.part("background"), len(payload), f"{payload.codec} payload")
        size = (payload.width, payload.height)
        return [read_file(file, f"frame {i} of a {payload.codec} payload", [size]) for i, file in enumerate(files)]


def read_file(data: bytes, name: str, sizes: Collection[tuple[int, int]]) -> NDArray[np.uint8]:
    """An image file out of a payload as RGB uint8 (height, width, 3).

    PayloadError, naming ``name``, if it is none, or of none of ``sizes``, each (width, height), which is checked first.
    """
    try:
        return read_image(data, name=name, sizes=sizes, formats=PAYLOAD_FORMATS)
    except DataError as error:
        raise PayloadError(str(error)) from error


def write_avif(image: NDArray[np.uint8], quality: int, speed: int) -> bytes:
    """``image`` (height, width, 3) as an AVIF file, 4:2:0, written by one thread: always the same bytes."""
    return _file(image, "AVIF", quality=quality, speed=speed, max_threads=1)


def check_range(what: str, value: int, low: int, high: int) -> None:
    """ConfigError unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ConfigError(f"{what} {value} is not in {low}..{high}")


def _file(image: NDArray[np.uint8], kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()
