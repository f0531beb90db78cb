"""Poses of an object: affine maps from frame pixels to the object's own frame of reference.

Annotated boxes jitter by pixels, so that the pixels of a rigid object do not lie still in box coordinates. Every crop
is aligned to the running mean of all crops by ECC (Evangelidis and Psarakis 2008), for a few rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from rinr_flower.alignment.geometry import Matrix

Floats = NDArray[np.float32]


def align(frames: Sequence[Floats], poses: Sequence[Matrix], size: tuple[int, int], rounds: int) -> list[Matrix]:
    """Refine ``poses`` so that the crops of ``frames`` (grey float32) lie on one another.

    A refinement is kept only where it lowers the crop's squared difference from the mean of the others, and where no
    corner strays further than a third of the picture from where it was given.
    """
    given = [np.linalg.inv(p) for p in poses]
    poses = list(poses)
    if len(frames) < 2 or min(size) < 10:
        return poses
    for _ in range(rounds):
        crops = np.stack([crop(f, p, size) for f, p in zip(frames, poses, strict=True)])
        total = crops.sum(axis=0)
        for k, frame in enumerate(frames):
            template = (total - crops[k]) / (len(frames) - 1)
            fix = _ecc(template, crops[k])
            if fix is None:
                continue
            candidate = fix @ poses[k]
            if _strays(candidate @ given[k], size):
                continue
            moved = crop(frame, candidate, size)
            # 0.98, set by hand: less moves fewer appearances, and poses take fewer bits
            if _difference(moved, template) < 0.98 * _difference(crops[k], template):
                total += moved - crops[k]
                crops[k], poses[k] = moved, candidate
    return poses


def spread(frames: Sequence[Floats], poses: Sequence[Matrix], size: tuple[int, int]) -> float:
    """Mean squared difference of all crops from their mean."""
    crops = np.stack([crop(f, p, size) for f, p in zip(frames, poses, strict=True)])
    return float(((crops - crops.mean(axis=0)) ** 2).mean())


def crop(frame: Floats, pose: Matrix, size: tuple[int, int]) -> Floats:
    """``frame`` resampled to object pixels (height, width), pixel centres at +0.5."""
    shift, back = np.eye(3), np.eye(3)
    shift[:2, 2], back[:2, 2] = -0.5, 0.5
    warp: Callable[..., Floats] = cv2.warpAffine
    return warp(
        frame, (shift @ pose @ back)[:2], (size[1], size[0]), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _ecc(template: Floats, picture: Floats) -> Matrix | None:
    warp = np.eye(2, 3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
    try:
        _, warp = cv2.findTransformECC(template, picture, warp, cv2.MOTION_AFFINE, criteria, None, 5)
    except cv2.error:  # no convergence: flat or unrelated pictures
        return None
    if (
        not np.isfinite(warp).all()
        or abs(np.linalg.det(warp[:, :2]) - 1) > 0.5
        or np.abs(warp[:, 2]).max() > 0.5 * min(template.shape)
    ):
        return None
    forward = np.eye(3)
    forward[:2] = warp  # template to picture
    shift, back = np.eye(3), np.eye(3)
    shift[:2, 2], back[:2, 2] = 0.5, -0.5
    return np.asarray(np.linalg.inv(shift @ forward @ back))


def _strays(change: Matrix, size: tuple[int, int]) -> bool:
    height, width = size
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64)
    shift = np.abs((corners @ change.T - corners)[:, :2]).max(axis=0)
    return bool(shift[0] > width / 3 or shift[1] > height / 3)


def _difference(a: Floats, b: Floats) -> float:
    return float(((a - b) ** 2).mean())
