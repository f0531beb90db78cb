"""Two layers of stills: a coarse picture of the whole frame, and a fine crop of each box pasted over it.

The classical counterpart of Residual-INR: the same division into background and object, in the codecs that a device may
already have. Where the crops lie is not sent: both sides work it out from the payload's boxes.

Parts: ``background`` holds one blob a frame, an image file of the frame's size divided by 1 to MAX_REDUCTION (rounded
up), or nothing for the file before; ``object`` one blob a box, an image file of its window's size, or nothing where the
frame's own file is to be seen.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rinr_flower.bitstream.container import MAX_FRAMES, Payload
from rinr_flower.bitstream.stream import pack_blobs, unpack_blobs
from rinr_flower.codecs.base import Codec, Progress, codecs
from rinr_flower.codecs.classical import check_range, read_file, write_avif
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.frames import Clip, Window, box_windows, write_jpeg
from rinr_flower.rendering.pixels import PixelRenderer

MARGIN_PX = 2
"""Pixels around each box that its crop covers too. Fixed by the format: the decoder uses the same."""

MAX_REDUCTION = 8
"""A coarse file has at least an eighth of the frame's width and height, rounded up."""

Boxes = Sequence[NDArray[np.float32]]


def still_windows(boxes: Boxes, width: int, height: int) -> list[list[Window]]:
    """Per frame, the crop of each box as x1, y1, x2, y2: rounded outward, MARGIN_PX wider, cut at the frame's edges.

    A box that lies outside the frame has no crop.
    """
    return [box_windows(rows, width, height, MARGIN_PX) for rows in boxes]


class StillRoi(Codec):
    """Image files: one coarse file a frame in the background part, one fine file a box in the object part.

    Attributes
    ----------
    coarse_reduce : coarse files have the frame's width and height divided by this, 1 to 8.
    coarse_every : of so many consecutive frames the first has a coarse file, and the others repeat it; 1: every frame.
    key_every : the middle one of so many frames of a scene is sent whole and fine, and has no crops; the others borrow
        what is fine about it. It needs a ``coarse_reduce`` above 1 and ``coarse_every`` 1. 0: no such frames.
    """

    coarse_reduce: int
    coarse_every: int
    key_every: int

    def __post_init__(self) -> None:
        check_range(f"{self.name} coarse_reduce", self.coarse_reduce, 1, MAX_REDUCTION)
        check_range(f"{self.name} coarse_every", self.coarse_every, 1, MAX_FRAMES)
        check_range(f"{self.name} key_every", self.key_every, 0, MAX_FRAMES)
        if self.key_every == 1:
            raise ConfigError(f"{self.name} key_every 1 would send every frame whole; take jpeg or avif for that")
        if self.key_every and (self.coarse_reduce == 1 or self.coarse_every > 1):
            raise ConfigError(
                f"{self.name} key_every {self.key_every} needs a coarse_reduce above 1, by which key frames are told "
                f"from others, and coarse_every 1; these are {self.coarse_reduce} and {self.coarse_every}"
            )

    @abstractmethod
    def coarse(self, image: NDArray[np.uint8]) -> bytes:
        """The whole frame, already reduced, as a file."""

    @abstractmethod
    def fine(self, image: NDArray[np.uint8]) -> bytes:
        """A box's crop as a file."""

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        total, done, parts = sum(map(len, clips)), 0, []
        for clip in clips:
            frames, crops = [], []
            boxes = stored_boxes(self.name, clip)
            keys = key_frames(clip, boxes, self.key_every, self.coarse_reduce)
            windows = still_windows(boxes, clip.width, clip.height)
            for number, (frame, here) in enumerate(zip(clip.frames, windows, strict=True)):
                if number in keys:
                    frames.append(self.fine(frame.image))
                    crops += [b""] * len(here)
                else:
                    left_out = number % self.coarse_every
                    frames.append(b"" if left_out else self.coarse(reduced(frame.image, self.coarse_reduce)))
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
    """Coarse image files, enlarged, with fine ones pasted in.

    An empty coarse file stands for the one before, an empty crop for nothing to paste. Where some files have the
    frame's size and others have not, the former are key frames, from which the latter borrow detail.
    """

    def decode(self, payload: Payload) -> list[NDArray[np.uint8]]:
        windows = still_windows(payload.boxes, payload.width, payload.height)
        crops = iter(unpack_blobs(payload.part("object"), sum(map(len, windows)), f"{payload.codec} crops"))
        images = self._backgrounds(payload)
        for index, here in enumerate(windows):
            for window in here:
                if file := next(crops):
                    crop_size = (window[2] - window[0], window[3] - window[1])
                    wanted = f"its box asks for {crop_size[0]}x{crop_size[1]}"
                    name = f"a crop of frame {index} of a {payload.codec} payload ({wanted})"
                    paste(images[index], read_file(file, name, [crop_size]), window, name)
        return images

    def _backgrounds(self, payload: Payload) -> list[NDArray[np.uint8]]:
        """The frames without their crops, each an array of its own."""
        size = (payload.width, payload.height)
        files = unpack_blobs(payload.part("background"), len(payload), f"{payload.codec} payload")
        reductions = {reduced_size(size, k): k for k in range(MAX_REDUCTION, 0, -1)}
        images: list[NDArray[np.uint8]] = []
        whole: set[int] = set()
        coarsest = 1
        for index, file in enumerate(files):
            if not file and index:
                images.append(images[-1].copy())
                continue
            image = read_file(file, f"frame {index} of a {payload.codec} payload", reductions)
            reduction = reductions[image.shape[1], image.shape[0]]
            coarsest = max(coarsest, reduction)
            if reduction == 1:
                whole.add(index)
            images.append(enlarged(image, reduction, size))
        if not whole or coarsest == 1:
            return images
        from rinr_flower.alignment.detail import borrow_detail  # OpenCV, which other payloads are decoded without

        keys = {number: images[number] for number in whole}
        for number, image in keys.items():
            images[number] = enlarged(reduced(image, coarsest), coarsest, size)
        return borrow_detail(images, keys, payload.boxes)


@codecs.register("roi_jpeg")
@dataclass(frozen=True)
class RoiJpeg(StillRoi):
    """JPEG in two layers: every frame at ``quality`` and half its size, every box at ``box_quality``.

    At the few bytes of a coarse layer, JPEG at half the size keeps more of the picture, and far more of its colours,
    than at the whole.

    Attributes
    ----------
    quality : of the coarse files, 1 (small) to 95 (fine).
    box_quality : of the boxes' crops and of frames sent whole, 1 (small) to 95 (fine).
    """

    quality: int = 30
    box_quality: int = 85
    coarse_reduce: int = 2
    coarse_every: int = 1
    key_every: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("roi_jpeg quality", self.quality, 1, 95)
        check_range("roi_jpeg box_quality", self.box_quality, 1, 95)

    def coarse(self, image: NDArray[np.uint8]) -> bytes:
        return write_jpeg(image, self.quality)

    def fine(self, image: NDArray[np.uint8]) -> bytes:
        return write_jpeg(image, self.box_quality)


@codecs.register("roi_avif")
@dataclass(frozen=True)
class RoiAvif(StillRoi):
    """AVIF in two layers: every frame at ``quality``, every box at ``box_quality``.

    Attributes
    ----------
    quality : of the coarse files, 0 (small) to 100 (fine).
    box_quality : of the boxes' crops and of frames sent whole, 0 (small) to 100 (fine).
    speed : of both, 0 (small) to 10 (fast).
    """

    quality: int = 15
    box_quality: int = 60
    speed: int = 6
    coarse_reduce: int = 1
    coarse_every: int = 1
    key_every: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("roi_avif quality", self.quality, 0, 100)
        check_range("roi_avif box_quality", self.box_quality, 0, 100)
        check_range("roi_avif speed", self.speed, 0, 10)

    def coarse(self, image: NDArray[np.uint8]) -> bytes:
        return write_avif(image, self.quality, self.speed)

    def fine(self, image: NDArray[np.uint8]) -> bytes:
        return write_avif(image, self.box_quality, self.speed)


def stored_boxes(codec: str, clip: Clip) -> Boxes:
    """The clip's boxes as a decoder will see them, rounded to what the container holds."""
    return Payload.from_bytes(Payload.of_clip(codec, clip, {}).to_bytes()).boxes


def key_frames(clip: Clip, boxes: Boxes, every: int, reduction: int) -> set[int]:
    """The middle one of every ``every`` frames of each scene, and of what is left if that is half as many and more than
    one; none for 0.

    Scenes are told apart on pictures ``reduction`` times smaller.
    """
    if not every:
        return set()
    from rinr_flower.alignment.camera import find_shots  # OpenCV, which a device without key frames does not load

    greys = [np.asarray(Image.fromarray(frame.image).convert("L").reduce(reduction)) for frame in clip.frames]
    shots, _ = find_shots(greys, [rows / np.float32(reduction) for rows in boxes])
    runs = [range(at, min(at + every, shot.stop)) for shot in shots for at in range(shot.start, shot.stop, every)]
    return {run[len(run) // 2] for run in runs if len(run) > 1 and 2 * len(run) >= every}


def reduced_size(size: tuple[int, int], reduction: int) -> tuple[int, int]:
    """Width and height divided by ``reduction``, rounded up."""
    return -(-size[0] // reduction), -(-size[1] // reduction)


def reduced(image: NDArray[np.uint8], reduction: int) -> NDArray[np.uint8]:
    """The means of squares of ``reduction`` pixels a side; of what there is of them at the right and lower edge."""
    return image if reduction == 1 else np.asarray(Image.fromarray(image).reduce(reduction))


def enlarged(image: NDArray[np.uint8], reduction: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A copy of a reduced image, at ``size`` = (width, height) again, bicubic."""
    if reduction == 1:
        return image.copy()
    box = (0.0, 0.0, size[0] / reduction, size[1] / reduction)
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, box=box))


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
