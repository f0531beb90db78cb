"""Two layers of stills: a coarse picture of the whole frame, and a fine crop of each box pasted over it.

The classical counterpart of Residual-INR: the same division into background and object, in the codecs that a device may
already have. Where the crops lie is not sent: both sides work it out from the payload's boxes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.bitstream.container import MAX_FRAMES, Payload
from rinr_flower.bitstream.stream import pack_blobs, unpack_blobs
from rinr_flower.codecs.base import Codec, Progress, codecs
from rinr_flower.codecs.classical import check_range, read_file, write_avif
from rinr_flower.decoding.pixels import PixelRenderer
from rinr_flower.errors import PayloadError
from rinr_flower.frames import Clip, write_jpeg

MARGIN_PX = 2
"""Pixels around each box that its crop covers too. Fixed by the format: the decoder uses the same."""

Boxes = Sequence[NDArray[np.float32]]
Window = tuple[int, int, int, int]


def still_windows(boxes: Boxes, width: int, height: int) -> list[list[Window]]:
    """Per frame, the crop of each box as x1, y1, x2, y2: rounded outward, MARGIN_PX wider, cut at the frame's edges.

    A box that lies outside the frame has no crop.
    """
    windows = []
    for rows in boxes:
        here = []
        for box in rows.astype(np.float64):
            x1, y1 = (max(0, int(v) - MARGIN_PX) for v in np.floor(box[:2]))
            x2, y2 = (min(s, int(v) + MARGIN_PX) for v, s in zip(np.ceil(box[2:]), (width, height), strict=True))
            if x1 < x2 and y1 < y2:
                here.append((x1, y1, x2, y2))
        windows.append(here)
    return windows


class StillRoi(Codec):
    """Image files: one coarse file a frame in the background part, one fine file a box in the object part.

    With ``coarse_every`` k only every k-th frame has a coarse file; the others repeat the one before.
    """

    coarse_every: int

    @abstractmethod
    def coarse(self, image: NDArray[np.uint8]) -> bytes:
        """The whole frame as a file."""

    @abstractmethod
    def fine(self, image: NDArray[np.uint8]) -> bytes:
        """A box's crop as a file."""

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        total, done, parts = sum(map(len, clips)), 0, []
        for clip in clips:
            frames, crops = [], []
            windows = still_windows(stored_boxes(self.name, clip), clip.width, clip.height)
            for number, (frame, here) in enumerate(zip(clip.frames, windows, strict=True)):
                frames.append(b"" if number % self.coarse_every else self.coarse(frame.image))
                crops += [self.fine(crop(frame.image, w)) for w in here]
                done += 1
                if progress is not None:
                    progress(done / total)
            parts.append({"background": pack_blobs(frames), "object": pack_blobs(crops)})
        return list(parts)

    @classmethod
    def renderer(cls, device: torch.device) -> StillRoiRenderer:
        return StillRoiRenderer(device)


class StillRoiRenderer(PixelRenderer):
    """Coarse image files with fine ones pasted in; an empty coarse file stands for the one before."""

    def decode(self, payload: Payload) -> list[NDArray[np.uint8]]:
        size = (payload.width, payload.height)
        frames = unpack_blobs(payload.part("background"), len(payload), f"{payload.codec} payload")
        windows = still_windows(payload.boxes, *size)
        crops = iter(unpack_blobs(payload.part("object"), sum(map(len, windows)), f"{payload.codec} crops"))
        images = []
        coarse = np.zeros(0, np.uint8)
        for index, (file, here) in enumerate(zip(frames, windows, strict=True)):
            if file or index == 0:
                coarse = read_file(file, f"frame {index} of a {payload.codec} payload", size)
            image = coarse.copy()
            for window in here:
                crop_size = (window[2] - window[0], window[3] - window[1])
                wanted = f"its box asks for {crop_size[0]}x{crop_size[1]}"
                name = f"a crop of frame {index} of a {payload.codec} payload ({wanted})"
                paste(image, read_file(next(crops), name, crop_size), window, name)
            images.append(image)
        return images


@codecs.register("roi_jpeg")
@dataclass(frozen=True)
class RoiJpeg(StillRoi):
    """JPEG in two layers: every frame at ``quality``, every box at ``box_quality`` (1..95).

    ``coarse_every`` k sends every k-th frame only, and every box.
    """

    quality: int = 10
    box_quality: int = 85
    coarse_every: int = 1

    def __post_init__(self) -> None:
        check_range("roi_jpeg quality", self.quality, 1, 95)
        check_range("roi_jpeg box_quality", self.box_quality, 1, 95)
        check_range("roi_jpeg coarse_every", self.coarse_every, 1, MAX_FRAMES)

    def coarse(self, image: NDArray[np.uint8]) -> bytes:
        return write_jpeg(image, self.quality)

    def fine(self, image: NDArray[np.uint8]) -> bytes:
        return write_jpeg(image, self.box_quality)


@codecs.register("roi_avif")
@dataclass(frozen=True)
class RoiAvif(StillRoi):
    """AVIF in two layers: every frame at ``quality``, every box at ``box_quality`` (0..100); ``speed`` 0..10.

    ``coarse_every`` k sends every k-th frame only, and every box.
    """

    quality: int = 15
    box_quality: int = 60
    speed: int = 6
    coarse_every: int = 1

    def __post_init__(self) -> None:
        check_range("roi_avif quality", self.quality, 0, 100)
        check_range("roi_avif box_quality", self.box_quality, 0, 100)
        check_range("roi_avif speed", self.speed, 0, 10)
        check_range("roi_avif coarse_every", self.coarse_every, 1, MAX_FRAMES)

    def coarse(self, image: NDArray[np.uint8]) -> bytes:
        return write_avif(image, self.quality, self.speed)

    def fine(self, image: NDArray[np.uint8]) -> bytes:
        return write_avif(image, self.box_quality, self.speed)


def stored_boxes(codec: str, clip: Clip) -> Boxes:
    """The clip's boxes as a decoder will see them, rounded to what the container holds."""
    return Payload.from_bytes(Payload.of_clip(codec, clip, {}).to_bytes()).boxes


def crop(image: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    """A copy of a window."""
    x1, y1, x2, y2 = window
    return np.ascontiguousarray(image[y1:y2, x1:x2])


def paste(image: NDArray[np.uint8], crop: NDArray[np.uint8], window: Window, name: str) -> None:
    """Put a crop into its window; PayloadError, naming ``name``, if it has another size."""
    x1, y1, x2, y2 = window
    if crop.shape[:2] != (y2 - y1, x2 - x1) or image[y1:y2, x1:x2].shape != crop.shape:
        raise PayloadError(f"{name} is {crop.shape[1]}x{crop.shape[0]} pixels; its box asks for {x2 - x1}x{y2 - y1}")
    image[y1:y2, x1:x2] = crop
