"""Video codecs over a whole clip: AV1 (SVT-AV1) and H.264 (x264) through PyAV.

PyAV is an optional dependency (``pip install 'rinr_flower[video]'``) and is imported when the first clip is coded.
A clip is stored as its packets with their lengths and nothing else: no container file, no encoder banner.
"""

from __future__ import annotations

import importlib
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteReader, ByteWriter, pack_blobs, unpack_blobs
from rinr_flower.codecs.base import Codec, Progress, codecs
from rinr_flower.codecs.classical import check_range
from rinr_flower.codecs.scheduling import unchanged_scheduling
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.frames import MAX_SIDE_PX, Clip
from rinr_flower.rendering.pixels import PixelRenderer

Images = Sequence[NDArray[np.uint8]]
X264Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"
]
_MIN_SIDE_PX = 16
_AV1_TEMPORAL_DELIMITER = b"\x12\x00"


@dataclass(frozen=True)
class VideoStream:
    """One encoder with its settings, and how its packets are read back.

    Attributes
    ----------
    encoder, decoder : FFmpeg's names.
    options : the encoder's private options.
    """

    encoder: str
    decoder: str
    options: Mapping[str, str]

    def write(self, images: Images) -> bytes:
        """``images`` (uint8 RGB, all of one size) as packets, in one group of pictures by one thread."""
        av = _pyav()
        width, height = _padded(images[0].shape[1], images[0].shape[0])
        coder = av.CodecContext.create(self.encoder, "w")
        coder.width, coder.height, coder.pix_fmt = width, height, "yuv420p"
        coder.time_base, coder.framerate = Fraction(1, 25), Fraction(25)
        coder.color_range = 2  # full range with JPEG's matrix: the camera's own colours, nothing lost in conversion
        coder.gop_size = max(2, len(images))
        coder.thread_count = 1
        coder.options = dict(self.options)
        with unchanged_scheduling():
            coder.open()
        packets: list[bytes] = []
        for index, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(_to_yuv(image, width, height), "yuv420p")
            picture.pts, picture.color_range = index, 2
            packets += map(bytes, coder.encode(picture))
        packets += map(bytes, coder.encode(None))
        return pack_blobs([_without_banner(p, self.encoder) for p in packets])

    def read(self, data: bytes, frames: int, width: int, height: int, what: str) -> list[NDArray[np.uint8]]:
        """The ``frames`` pictures of ``width`` x ``height`` pixels that :meth:`write` coded.

        Raises PayloadError when the packets are not that: unreadable, of another size (refused before the pixels are
        allocated when larger), or too few or too many.
        """
        av = _pyav()
        coded = _padded(width, height)
        coder = av.CodecContext.create(self.decoder, "r")
        coder.thread_count = 1
        coder.options = {"max_pixels": str(_aligned(coded[0]) * _aligned(coded[1]))}
        images: list[NDArray[np.uint8]] = []
        try:
            for packet in [*unpack_blobs(data, frames, what), None]:
                for picture in coder.decode(None if packet is None else av.Packet(packet)):
                    if (picture.width, picture.height) != coded or picture.format.name not in ("yuv420p", "yuvj420p"):
                        raise PayloadError(
                            f"{what} holds a {picture.width}x{picture.height} {picture.format.name} picture; "
                            f"{coded[0]}x{coded[1]} yuv420p was declared"
                        )
                    if len(images) == frames:
                        raise PayloadError(f"{what} holds more than the {frames} pictures declared")
                    images.append(_to_rgb(picture.to_ndarray(), width, height))
        except av.error.FFmpegError as error:
            raise PayloadError(f"{what} is not a readable {self.decoder} stream: {error.strerror}") from error
        if len(images) != frames:
            raise PayloadError(f"{what} holds {len(images)} pictures where {frames} were declared")
        return images


class VideoCodec(Codec):
    """A whole clip as one video stream, in the background part.

    Attributes
    ----------
    max_width : in pixels; wider frames are coded at this width, and come back at the camera's size. None: no limit.
    """

    max_width: int | None

    @abstractmethod
    def stream(self) -> VideoStream:
        """The encoder that the options describe."""

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        parts = []
        for done, clip in enumerate(clips, start=1):
            size = working_size(clip.width, clip.height, self.max_width)
            video = self.stream().write([resize(f.image, size) for f in clip.frames])
            parts.append({"background": with_width(size, video)})
            if progress is not None:
                progress(done / len(clips))
        return list(parts)

    @classmethod
    def renderer(cls, device: torch.device) -> VideoRenderer:
        return VideoRenderer(device, cls().stream())


class VideoRenderer(PixelRenderer):
    """A video stream in the background part, decoded once."""

    def __init__(self, device: torch.device, stream: VideoStream) -> None:
        super().__init__(device)
        self._stream = stream

    def decode(self, payload: Payload) -> list[NDArray[np.uint8]]:
        what = f"the video of a {payload.codec} payload"
        size, video = split_width(payload, what)
        images = self._stream.read(video, len(payload), *size, what)
        return [resize(image, (payload.width, payload.height)) for image in images]


def working_size(width: int, height: int, max_width: int | None) -> tuple[int, int]:
    """The size that frames are coded at: the camera's, or ``max_width`` wide where the camera's is wider."""
    if max_width is None or max_width >= width:
        return width, height
    return max_width, max(1, (2 * height * max_width + width) // (2 * width))


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """``image`` (height, width, 3) at ``size`` = (width, height): area means downward, Lanczos upward."""
    if image.shape[1::-1] == size:
        return image
    kind = Image.Resampling.BOX if size[0] < image.shape[1] else Image.Resampling.LANCZOS
    return np.array(Image.fromarray(image).resize(size, kind))


def with_width(size: tuple[int, int], video: bytes) -> bytes:
    """The background part: the coded width, then the packets."""
    writer = ByteWriter()
    writer.varint(size[0])
    writer.raw(video)
    return writer.getvalue()


def split_width(payload: Payload, what: str) -> tuple[tuple[int, int], bytes]:
    """The size that the payload's frames are coded at, and the packets."""
    reader = ByteReader(payload.part("background"), what)
    width = reader.varint(MAX_SIDE_PX)
    if not 1 <= width <= payload.width:
        raise PayloadError(f"{what} is declared {width} pixels wide; the frames are {payload.width}")
    return working_size(payload.width, payload.height, width), reader.raw(reader.left)


def check_max_width(what: str, max_width: int | None) -> None:
    """ConfigError unless ``max_width`` is None or a width that frames may have."""
    if max_width is not None:
        check_range(f"{what} max_width", max_width, 16, MAX_SIDE_PX)


def av1_stream(crf: int, preset: int) -> VideoStream:
    """SVT-AV1 at constant quality ``crf`` 1..63, ``preset`` 0 (small) to 13 (fast)."""
    check_range("av1 crf", crf, 1, 63)
    check_range("av1 preset", preset, 0, 13)
    return VideoStream(
        "libsvtav1", "libdav1d", {"crf": str(crf), "preset": str(preset), "svtav1-params": "lp=1:keyint=-1"}
    )


def x264_stream(crf: int, preset: str) -> VideoStream:
    """x264 at constant quality ``crf`` 0..51 and one of its named presets."""
    check_range("x264 crf", crf, 0, 51)
    if preset not in get_args(X264Preset):
        raise ConfigError(f"x264 preset {preset!r} is not one of {', '.join(get_args(X264Preset))}")
    options = {"crf": str(crf), "preset": preset}
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        # x264's macroblock tree in AVX-512 code gives other bytes on every run; with AVX2 it does not
        options["x264-params"] = "asm=avx2"
    return VideoStream("libx264", "h264", options)


@codecs.register("av1")
@dataclass(frozen=True)
class Av1(VideoCodec):
    """AV1 over the clip by SVT-AV1.

    Attributes
    ----------
    crf : 1 (fine) to 63 (coarse).
    preset : 0 (small) to 13 (fast).
    """

    crf: int = 40
    preset: int = 4
    max_width: int | None = None

    def __post_init__(self) -> None:
        av1_stream(self.crf, self.preset)
        check_max_width("av1", self.max_width)

    def stream(self) -> VideoStream:
        return av1_stream(self.crf, self.preset)


@codecs.register("x264")
@dataclass(frozen=True)
class X264(VideoCodec):
    """H.264 over the clip by x264.

    Attributes
    ----------
    crf : 0 (fine) to 51 (coarse).
    preset : ultrafast, superfast, veryfast, faster, fast, medium, slow, slower, veryslow or placebo.
    """

    crf: int = 28
    preset: X264Preset = "medium"
    max_width: int | None = None

    def __post_init__(self) -> None:
        x264_stream(self.crf, self.preset)
        check_max_width("x264", self.max_width)

    def stream(self) -> VideoStream:
        return x264_stream(self.crf, self.preset)


def _pyav() -> Any:
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints its settings on stderr for every clip; keep its errors
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise ConfigError("video codecs need PyAV: pip install 'rinr_flower[video]'") from error


def _padded(width: int, height: int) -> tuple[int, int]:
    """The coded size: even, as 4:2:0 wants it, and no smaller than every encoder takes."""
    return max(_MIN_SIDE_PX, width + width % 2), max(_MIN_SIDE_PX, height + height % 2)


def _aligned(side_px: int) -> int:
    """A side as FFmpeg's decoders allocate it, in whole blocks."""
    return -(-side_px // 64) * 64


def _to_yuv(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """RGB to planar 4:2:0 in the layout (height * 3 / 2, width), edges repeated up to the coded size."""
    padding = ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))
    planes = Image.fromarray(np.pad(image, padding, "edge")).convert("YCbCr").split()
    half = (width // 2, height // 2)
    chroma = [np.asarray(p.resize(half, Image.Resampling.BOX)).reshape(-1) for p in planes[1:]]
    return np.concatenate([np.asarray(planes[0]).reshape(-1), *chroma]).reshape(height * 3 // 2, width)


def _to_rgb(yuv: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Inverse of :func:`_to_yuv`, chroma interpolated linearly, cropped to ``width`` x ``height``."""
    coded_height, coded_width = yuv.shape[0] * 2 // 3, yuv.shape[1]
    flat, pixels = yuv.reshape(-1), coded_height * coded_width
    planes = [Image.fromarray(flat[:pixels].reshape(coded_height, coded_width))]
    for start in (pixels, pixels + pixels // 4):
        half = flat[start : start + pixels // 4].reshape(coded_height // 2, coded_width // 2)
        planes.append(Image.fromarray(half).resize((coded_width, coded_height), Image.Resampling.BILINEAR))
    return np.array(Image.merge("YCbCr", planes).convert("RGB"))[:height, :width].copy()


def _without_banner(packet: bytes, encoder: str) -> bytes:
    """The packet without what no decoder needs: AV1's temporal delimiter, x264's settings as text (SEI)."""
    if encoder == "libsvtav1":
        return packet.removeprefix(_AV1_TEMPORAL_DELIMITER)
    units = packet.replace(b"\x00\x00\x00\x01", b"\x00\x00\x01").split(b"\x00\x00\x01")[1:]
    return b"".join(b"\x00\x00\x01" + u for u in units if u[0] & 0x1F != 6)
