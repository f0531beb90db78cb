"""Which frames of a clip share a network, and how the camera moved between them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.alignment.camera import find_shots, to_target
from rinr_flower.alignment.geometry import Matrix
from rinr_flower.codecs.shared_weights import split_evenly
from rinr_flower.frames import Clip

_GRID = 9  # points along each side of the frame that an affine map is fitted to
_MAX_WIDTH = 640  # motion is found in frames of at most this width


@dataclass(frozen=True, eq=False)
class FrameGroup:
    """Consecutive frames of one shot.

    Attributes
    ----------
    frames : their numbers in the clip.
    motions : float32 (frames, 2, 3), from a frame's coordinates (x, y, 1) in -1..1 to those of the middle one.
    """

    frames: range
    motions: torch.Tensor


def frame_groups(clip: Clip, most: int) -> list[FrameGroup]:
    """Split a clip at its cuts and then into parts of at most ``most`` frames."""
    if most == 1:
        return [FrameGroup(range(i, i + 1), torch.eye(2, 3)[None]) for i in range(len(clip))]
    scale = min(1.0, _MAX_WIDTH / clip.width)
    size = (max(1, round(clip.width * scale)), max(1, round(clip.height * scale)))
    greys = [
        cv2.resize(cv2.cvtColor(f.image, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA) for f in clip.frames
    ]
    boxes = [f.boxes * np.float32(scale) for f in clip.frames]
    shots, steps = find_shots([np.asarray(g, np.uint8) for g in greys], boxes)
    groups = []
    for shot in shots:
        at = shot.start
        for length in split_evenly(len(shot), most):
            part = slice(at, at + length)
            maps = to_target(greys[part], boxes[part], steps[part], length // 2)
            motions = torch.from_numpy(np.stack([_affine(m, *size) for m in maps])).float()
            groups.append(FrameGroup(range(at, at + length), motions))
            at += length
    return groups


def _affine(homography: Matrix, width: int, height: int) -> NDArray[np.float64]:
    """The affine map (2, 3) of coordinates in -1..1 that is nearest to a homography of pixels within the frame."""
    to_unit = np.array([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]])
    side = np.linspace(-1, 1, _GRID)
    points = np.array([[x, y, 1] for y in side for x in side])
    moved = points @ (to_unit @ homography @ np.linalg.inv(to_unit)).T
    return np.asarray(np.linalg.lstsq(points, moved[:, :2] / moved[:, 2:], rcond=None)[0].T)
