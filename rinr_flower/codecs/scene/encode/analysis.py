"""What is known of a clip before a bit is spent: working pictures, shots, camera motion, tracks and poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rinr_flower.alignment import camera, geometry
from rinr_flower.alignment.tracks import Track
from rinr_flower.bitstream.entropy import encode_ints
from rinr_flower.codecs.scene.decode.build import runs
from rinr_flower.codecs.scene.decode.wavelet import Floats
from rinr_flower.codecs.scene.encode.canvas import cost_of, with_bend
from rinr_flower.codecs.scene.encode.effort import Effort
from rinr_flower.codecs.scene.encode.objects import cut_run
from rinr_flower.codecs.scene.encode.quantise import coded_bytes
from rinr_flower.codecs.scene.format.code import CORNER_UNIT_PX, LayerCode, ShotCode
from rinr_flower.codecs.scene.format.lattice import Kind
from rinr_flower.codecs.scene.format.stream import MAX_WORKING_SIDE
from rinr_flower.frames import Clip

_MAX_CANVAS = 2.5  # times the area of a frame; a shot that needs more is split
_LONGEST_SHOT = 128  # frames; a longer one is split, so that memory is bounded
_STANDS_STILL_PX = 0.35  # a camera whose corners move less is taken to stand


@dataclass(eq=False)
class Analysis:
    """A clip ready to be coded.

    Attributes
    ----------
    size : (height, width) of the working pictures.
    images : the working pictures, RGB uint8.
    planes : luma less 128 (frames, h, w) and, unless grey, blue and red differences (frames, h/2, w/2), float32.
    boxes : of each frame, in working pixels.
    shots, layers : codes with motion and poses in place, coefficients still missing.
    parts : into how many volumes each run of an object is cut.
    tracks : the appearances of each layer.
    canvases : of shots, by their first frame; filled on first use.
    """

    size: tuple[int, int]
    images: list[NDArray[np.uint8]]
    planes: list[Floats]
    boxes: list[NDArray[np.float32]]
    shots: list[ShotCode]
    parts: list[int] = field(default_factory=list)
    layers: list[LayerCode] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)
    canvases: dict[int, list[Floats]] = field(default_factory=dict)

    @property
    def grey(self) -> bool:
        return len(self.planes) == 1


def working_size(width: int, height: int, max_width: int) -> tuple[int, int]:
    """(height, width) of the working pictures of a clip."""
    scale = min(1.0, max_width / width, MAX_WORKING_SIDE / height)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def analyse_clip(clip: Clip, boxes: Sequence[NDArray[np.float32]], max_width: int, effort: Effort) -> Analysis:
    """Analyse ``clip``; ``boxes`` are those of its frames as the payload's container will hand them back."""
    size = working_size(clip.width, clip.height, max_width)
    images = [_scaled(f.image, size) for f in clip.frames]
    planes = _planes(images)
    grey = [np.clip(y + 128.5, 0, 255).astype(np.uint8) for y in planes[0]]
    ratio = np.array([size[1] / clip.width, size[0] / clip.height] * 2, np.float32)
    scaled = [b * ratio for b in boxes]
    ranges, steps = camera.find_shots(grey, scaled)
    seen = _Seen(grey, scaled, steps, size)
    shots: list[ShotCode] = []
    for frames in ranges:
        for code in _shots(frames, seen):
            start = sum(s.frames for s in shots)
            pick = slice(start, start + code.frames)
            shots.append(_cheapest(code, planes[0][pick], scaled[pick], size, effort))
    found = Analysis(size, images, planes, scaled, shots)
    for run in runs(boxes, [f.classes for f in clip.frames], [s.frames for s in shots]):
        tracks, layers = cut_run(run, planes[0], scaled, effort)
        found.parts.append(len(tracks))
        found.tracks += tracks
        found.layers += layers
    return found


def to_ycc(image: NDArray[np.uint8]) -> Floats:
    """Luma less 128, blue and red difference (3, h, w) of an RGB picture (BT.601, full range)."""
    r, g, b = (image[..., c].astype(np.float32) for c in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([y - 128, (b - y) / 1.772, (r - y) / 1.402])


def _scaled(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))


def _planes(images: list[NDArray[np.uint8]]) -> list[Floats]:
    height, width = images[0].shape[:2]
    half = ((height + 1) // 2, (width + 1) // 2)
    luma = np.empty((len(images), height, width), np.float32)
    chroma = np.empty((2, len(images), *half), np.float32)
    for i, image in enumerate(images):
        ycc = to_ycc(image)
        luma[i] = ycc[0]
        for plane in range(2):
            chroma[plane, i] = cv2.resize(ycc[plane + 1], half[::-1], interpolation=cv2.INTER_AREA)
    if np.abs(chroma).max() < 3:
        return [luma]
    return [luma, chroma[0], chroma[1]]


@dataclass(frozen=True, eq=False)
class _Seen:
    """What shots are cut from: luma and boxes of all frames, the camera's step into each, and their (height, width)."""

    grey: list[NDArray[np.uint8]]
    boxes: list[NDArray[np.float32]]
    steps: list[NDArray[np.float64]]
    size: tuple[int, int]


def _shots(found: range, seen: _Seen) -> list[ShotCode]:
    """The codes of one shot, which is halved until its canvas is not too large."""
    height, width = seen.size
    if len(found) > _LONGEST_SHOT:
        return _halves(found, seen)
    part = slice(found.start, found.stop)
    maps = camera.to_target(seen.grey[part], seen.boxes[part], seen.steps[part], len(found) // 2)
    half = np.eye(3)
    half[:2, 2] = 0.5  # pixel centres at +0.5 instead of 0
    moved = np.stack([geometry.moved_corners(half @ m @ np.linalg.inv(half), width, height) for m in maps])
    if np.abs(moved).max() < _STANDS_STILL_PX:
        return [ShotCode(len(found), seen.size, (0, 0), None)]
    corners = moved + np.array([[0, 0], [width, 0], [0, height], [width, height]])
    low = np.floor(corners.min(axis=(0, 1))).astype(int)
    high = np.ceil(corners.max(axis=(0, 1))).astype(int)
    canvas = (int(high[1] - low[1]), int(high[0] - low[0]))
    folded = not all(camera.sensible(m, width, height) for m in maps)
    if len(found) > 1 and (folded or canvas[0] * canvas[1] > _MAX_CANVAS * height * width):
        return _halves(found, seen)
    motion = np.rint(moved / CORNER_UNIT_PX).astype(np.int64).reshape(len(found), 8)
    return [ShotCode(len(found), canvas, (int(-low[0]), int(-low[1])), motion)]


def _cheapest(
    shot: ShotCode, luma: Floats, boxes: list[NDArray[np.float32]], size: tuple[int, int], effort: Effort
) -> ShotCode:
    """The shot as tracked, with a bend, or with a camera that stands, whichever costs least."""
    if shot.frames == 1:
        return shot
    candidates = [shot]
    if shot.motion is not None:
        candidates.append(ShotCode(shot.frames, size, (0, 0), None))
    if effort.bend_rounds:
        candidates.append(with_bend(shot, luma, boxes, size, effort.bend_rounds))
    if len(candidates) == 1:
        return shot
    return min(candidates, key=lambda c: cost_of(c, luma, boxes, size) + _motion_bits(c))


def _motion_bits(shot: ShotCode) -> float:
    moves = b"" if shot.motion is None else encode_ints(np.diff(shot.motion, axis=0, prepend=0).T)
    return 8.0 * (len(moves) + (coded_bytes(Kind.BEND, [shot.bend_bands]) if shot.bend_bands else 0))


def _halves(found: range, seen: _Seen) -> list[ShotCode]:
    middle = found.start + len(found) // 2
    return _shots(range(found.start, middle), seen) + _shots(range(middle, found.stop), seen)
