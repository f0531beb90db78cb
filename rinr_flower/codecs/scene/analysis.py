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
from rinr_flower.codecs.scene.build import base_pose, quantised_correction, segments, track_boxes
from rinr_flower.codecs.scene.canvas import fit_bend
from rinr_flower.codecs.scene.coefficients import encode_bands
from rinr_flower.codecs.scene.stream import CORNER_UNIT_PX, LayerCode, ShotCode
from rinr_flower.codecs.scene.wavelet import Floats
from rinr_flower.frames import Clip

_MAX_CANVAS = 2.5  # times the area of a frame; a shot that needs more is split
_MAX_LAYER_SIDE = 192
_EDGE = 1  # pixels of a volume beyond the furthest corner of a box
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
    bends : for each shot by how much its bend lowers the squared error, and what it costs in bits.
    tracks : the appearances of each layer.
    """

    size: tuple[int, int]
    images: list[NDArray[np.uint8]]
    planes: list[Floats]
    boxes: list[NDArray[np.float32]]
    shots: list[ShotCode]
    bends: list[tuple[float, float]]
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
    bends, start = [], 0
    for shot in shots:
        pick = slice(start, start + shot.frames)
        start += shot.frames
        gain = fit_bend(shot, planes[0][pick], scaled[pick], size) if shot.frames > 1 else 0.0
        bends.append((gain, 8.0 * len(encode_bands(shot.bend_bands or [], 1))))
    tracks = segments(boxes, [f.classes for f in clip.frames], [s.frames for s in shots])
    layers = [_layer(track, planes[0], track_boxes(track, scaled), align_rounds) for track in tracks]
    return Analysis(size, images, planes, scaled, shots, bends, layers, tracks)


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
    wanted = np.median(boxes[:, 2:] - boxes[:, :2], axis=0)
    height, width = (int(np.clip(np.ceil(s), 4, _MAX_LAYER_SIDE)) for s in wanted[::-1])
    size, none = (height, width), (0, 0, 0, 0)
    frames = [luma[f] for f in track.frames]
    base = [base_pose(b, size, none) for b in boxes]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    fixed = [base_pose(np.concatenate([c - wanted / 2, c + wanted / 2]), size, none) for c in centre]
    candidates = [poses.align(frames, start, size, align_rounds) for start in (base, fixed)]
    best = min(candidates, key=lambda found: poses.spread(frames, found, size))
    # the volume must reach as far as the boxes do once their pixels are aligned
    corners = np.concatenate([_corners(b) @ m.T for b, m in zip(boxes, best, strict=True)])[:, :2]
    over = np.concatenate([-corners.min(axis=0), corners.max(axis=0) - (width, height)])
    left, top, right, bottom = (
        int(np.clip(np.ceil(v), 0, side // 3)) + _EDGE for v, side in zip(over, (width, height) * 2, strict=True)
    )
    size = (height + top + bottom, width + left + right)
    shift = np.eye(3)
    shift[:2, 2] = left, top
    margins = (left, top, right, bottom)
    code = [
        quantised_correction(shift @ m @ np.linalg.inv(base_pose(b, size, margins)), size)
        for m, b in zip(best, boxes, strict=True)
    ]
    return LayerCode(size, margins, np.stack(code), np.zeros((2, 2), np.int64))


def _corners(box: NDArray[np.float32]) -> NDArray[np.float64]:
    x1, y1, x2, y2 = box.tolist()
    return np.array([[x1, y1, 1], [x2, y1, 1], [x1, y2, 1], [x2, y2, 1]], np.float64)
