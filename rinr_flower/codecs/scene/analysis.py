"""What is known of a clip before a bit is spent: working pictures, shots, camera motion, tracks and poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rinr_flower.alignment import camera, poses
from rinr_flower.alignment.tracks import Track
from rinr_flower.codecs.scene.build import base_pose, margin_px, quantised_correction, segments, track_boxes
from rinr_flower.codecs.scene.stream import CORNER_UNIT_PX, LayerCode, ShotCode
from rinr_flower.codecs.scene.wavelet import Floats
from rinr_flower.frames import Clip

_MAX_CANVAS = 2.5  # times the area of a frame; a shot that needs more is split
_MAX_LAYER_SIDE = 192
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
    tracks : the appearances of each layer.
    """

    size: tuple[int, int]
    images: list[NDArray[np.uint8]]
    planes: list[Floats]
    boxes: list[NDArray[np.float32]]
    shots: list[ShotCode]
    layers: list[LayerCode]
    tracks: list[Track]

    @property
    def grey(self) -> bool:
        return len(self.planes) == 1


def working_size(width: int, height: int, max_width: int) -> tuple[int, int]:
    """(height, width) of the working pictures of a clip."""
    scale = min(1.0, max_width / width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def analyse_clip(clip: Clip, boxes: Sequence[NDArray[np.float32]], max_width: int, align_rounds: int) -> Analysis:
    """Analyse ``clip``; ``boxes`` are those of its frames as the payload's container will hand them back."""
    size = working_size(clip.width, clip.height, max_width)
    images = [_scaled(f.image, size) for f in clip.frames]
    planes = _planes(images)
    grey = [np.clip(y + 128.5, 0, 255).astype(np.uint8) for y in planes[0]]
    ratio = np.array([size[1] / clip.width, size[0] / clip.height] * 2, np.float32)
    scaled = [b * ratio for b in boxes]
    ranges, steps = camera.find_shots(grey, scaled)
    shots = []
    for found in ranges:
        shots += _shots(found, grey, scaled, steps, size)
    tracks = segments(boxes, [f.classes for f in clip.frames], [s.frames for s in shots])
    layers = [_layer(track, planes[0], track_boxes(track, scaled), align_rounds) for track in tracks]
    return Analysis(size, images, planes, scaled, shots, layers, tracks)


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


def _shots(
    found: range,
    grey: list[NDArray[np.uint8]],
    boxes: list[NDArray[np.float32]],
    steps: list[NDArray[np.float64]],
    size: tuple[int, int],
) -> list[ShotCode]:
    """The codes of one shot, which is halved until its canvas is not too large."""
    height, width = size
    pick = list(found)
    maps = camera.to_middle([grey[i] for i in pick], [boxes[i] for i in pick], [steps[i] for i in pick])
    half = np.eye(3)
    half[:2, 2] = 0.5  # pixel centres at +0.5 instead of 0
    moved = np.stack([camera.moved_corners(half @ m @ np.linalg.inv(half), width, height) for m in maps])
    if np.abs(moved).max() < _STANDS_STILL_PX:
        return [ShotCode(len(pick), size, (0, 0), None)]
    corners = moved + np.array([[0, 0], [width, 0], [0, height], [width, height]])
    low = np.floor(corners.min(axis=(0, 1))).astype(int)
    high = np.ceil(corners.max(axis=(0, 1))).astype(int)
    canvas = (int(high[1] - low[1]), int(high[0] - low[0]))
    if canvas[0] * canvas[1] > _MAX_CANVAS * height * width:
        middle = found.start + len(found) // 2
        return _shots(range(found.start, middle), grey, boxes, _restarted(steps, found.start), size) + _shots(
            range(middle, found.stop), grey, boxes, _restarted(steps, middle), size
        )
    motion = np.rint(moved / CORNER_UNIT_PX).astype(np.int64).reshape(len(pick), 8)
    return [ShotCode(len(pick), canvas, (int(-low[0]), int(-low[1])), motion)]


def _restarted(steps: list[NDArray[np.float64]], start: int) -> list[NDArray[np.float64]]:
    return [np.eye(3) if i == start else s for i, s in enumerate(steps)]


def _layer(track: Track, luma: Floats, boxes: NDArray[np.float32], align_rounds: int) -> LayerCode:
    """Size and poses of one object: from its boxes, or from their centres alone if that lies stiller, then aligned."""
    sides = boxes[:, 2:] - boxes[:, :2]
    wanted = np.median(sides, axis=0)
    size = tuple(int(min(np.ceil(s + 2 * margin_px(int(s))), _MAX_LAYER_SIDE)) for s in (wanted[1], wanted[0]))
    size = (max(size[0], 8), max(size[1], 8))
    frames = [luma[f] for f in track.frames]
    base = [base_pose(b, size) for b in boxes]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    fixed = [base_pose(np.concatenate([c - wanted / 2, c + wanted / 2]), size) for c in centre]
    candidates = [poses.align(frames, start, size, align_rounds) for start in (base, fixed)]
    best = min(candidates, key=lambda found: poses.spread(frames, found, size))
    code = np.stack([quantised_correction(m @ np.linalg.inv(b), size) for m, b in zip(best, base, strict=True)])
    return LayerCode(size, code, np.zeros((2, 2), np.int64))
