"""Camera motion of a clip: cuts, and one homography a frame to one frame of its shot.

Corners outside the boxes are tracked from frame to frame (Lucas and Kanade, pyramidal) and fitted robustly (RANSAC);
the products of these are then corrected once against that frame itself, so that errors do not add up.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from rinr_flower.alignment.geometry import Matrix
from rinr_flower.frames import box_mask

Grey = NDArray[np.uint8]

# Set by hand, as the thresholds in the functions below; others are tried by a change here and benchmarks/scene_rate.py.
_CORNERS = 500  # tracked at most; more take more time
_MIN_INLIERS = 12  # fewer do not tell a motion: the camera is taken to stand
_SAME_SCENE = 0.55  # normalised correlation of two consecutive frames, aligned, below which a cut is declared
_WINDOW = (21, 21)  # pixels that are tracked around a corner
_SEED = 7  # of RANSAC: any will do, and the same clip gives the same bytes


def find_shots(frames: Sequence[Grey], boxes: Sequence[NDArray[np.float32]]) -> tuple[list[range], list[Matrix]]:
    """Split a clip where consecutive frames do not belong to one scene.

    Parameters
    ----------
    frames : grey pictures uint8 (h, w) of one size.
    boxes : boxes of each frame in their pixels; corners inside are not used.

    Returns
    -------
    The shots as ranges of frame numbers, and for each frame the homography from it to the frame before (the identity
    for the first of a shot).
    """
    starts, steps = [0], [np.eye(3)]
    for i in range(1, len(frames)):
        step = homography(frames[i], frames[i - 1], boxes[i])
        if correlation(frames[i - 1], frames[i], step) < _SAME_SCENE:
            starts.append(i)
            step = np.eye(3)
        steps.append(step)
    return [range(a, b) for a, b in zip(starts, [*starts[1:], len(frames)], strict=True)], steps


def to_target(
    frames: Sequence[Grey], boxes: Sequence[NDArray[np.float32]], steps: Sequence[Matrix], target: int
) -> list[Matrix]:
    """Homographies from every frame of one shot to the one numbered ``target``, from the frame-to-frame ``steps``."""
    chain = [np.eye(3)] * len(frames)
    for i in range(target + 1, len(frames)):
        chain[i] = chain[i - 1] @ steps[i]
    for i in range(target - 1, -1, -1):
        chain[i] = chain[i + 1] @ np.linalg.inv(steps[i + 1])
    chain = [m / m[2, 2] for m in chain]
    for i in range(len(frames)):
        if i != target and not np.array_equal(chain[i], np.eye(3)):
            chain[i] = _corrected(frames[i], frames[target], boxes[i], chain[i])
    return chain


def homography(source: Grey, target: Grey, boxes: NDArray[np.float32]) -> Matrix:
    """The homography from ``source`` to ``target`` pixels; the identity where too little can be tracked."""
    height, width = source.shape
    if min(height, width) < 32:
        return np.eye(3)
    mask = np.where(box_mask(boxes, width, height), 0, 255).astype(np.uint8)
    corners = cv2.goodFeaturesToTrack(source, _CORNERS, 0.01, 6, mask=mask)
    if corners is None or len(corners) < _MIN_INLIERS:
        return np.eye(3)
    found, ok, _ = cv2.calcOpticalFlowPyrLK(source, target, corners, None, winSize=_WINDOW, maxLevel=4)
    back, ok_back, _ = cv2.calcOpticalFlowPyrLK(target, source, found, None, winSize=_WINDOW, maxLevel=4)
    good = (ok[:, 0] > 0) & (ok_back[:, 0] > 0) & (np.abs(back - corners).max(axis=(1, 2)) < 1.0)
    if good.sum() < _MIN_INLIERS:
        return np.eye(3)
    cv2.setRNGSeed(_SEED)
    matrix, inliers = cv2.findHomography(corners[good], found[good], cv2.RANSAC, 1.5, maxIters=1000)
    if matrix is None or inliers.sum() < _MIN_INLIERS or not sensible(matrix, width, height):
        return np.eye(3)
    still = mismatch(target, source, np.eye(3), mask)
    if still <= mismatch(target, source, matrix, mask) * 1.02:
        return np.eye(3)  # most of the picture stands; what moved is an object without a box
    return np.asarray(matrix, np.float64)


def mismatch(target: Grey, source: Grey, matrix: Matrix, mask: Grey) -> float:
    """Mean difference of ``target`` from ``source`` warped onto it, each pixel's cut off at 20 grey levels, over the
    pixels of ``source`` where ``mask`` is not 0."""
    size = target.shape[::-1]
    seen = cv2.warpPerspective(mask, matrix, size) == 255
    difference = cv2.absdiff(cv2.warpPerspective(source, matrix, size), target)[seen]
    return float(np.minimum(difference, 20).mean()) if len(difference) else 20.0


def correlation(target: Grey, source: Grey, matrix: Matrix) -> float:
    """Normalised correlation of ``target`` with ``source`` warped onto it, over the area that both cover."""
    height, width = target.shape
    scale = min(1.0, 160 / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    shrink = np.diag([size[0] / width, size[1] / height, 1.0])
    matrix = shrink @ matrix @ np.linalg.inv(shrink)
    a = cv2.resize(target, size, interpolation=cv2.INTER_AREA)
    b = cv2.warpPerspective(cv2.resize(source, size, interpolation=cv2.INTER_AREA), matrix, size)
    seen = cv2.warpPerspective(np.full(size[::-1], 255, np.uint8), matrix, size) == 255
    if seen.sum() < 0.25 * seen.size:
        return 0.0
    x, y = a[seen].astype(np.float64), b[seen].astype(np.float64)
    x, y = x - x.mean(), y - y.mean()
    power = float((x * x).sum() * (y * y).sum())
    if power < (4.0 * len(x)) ** 2:  # two flat pictures: compare their levels instead
        return 1.0 if abs(float(a.mean()) - float(b.mean())) < 16 else 0.0
    return float((x * y).sum() / np.sqrt(power))


def sensible(matrix: Matrix, width: int, height: int) -> bool:
    """Whether a homography is one that a moving camera can make between near frames: no flip, no extreme scale."""
    points = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], np.float64) @ matrix.T
    if (points[:, 2] < 0.2).any() or not np.isfinite(points).all():
        return False
    x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
    cross = [
        (x[(i + 1) % 4] - x[i]) * (y[(i + 2) % 4] - y[i]) - (y[(i + 1) % 4] - y[i]) * (x[(i + 2) % 4] - x[i])
        for i in range(4)
    ]
    area = 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    return min(cross) > 0 and 0.2 < area / (width * height) < 5


def _corrected(source: Grey, target: Grey, boxes: NDArray[np.float32], matrix: Matrix) -> Matrix:
    height, width = source.shape
    warped = cv2.warpPerspective(source, matrix, (width, height), flags=cv2.INTER_LINEAR)
    seen = cv2.warpPerspective(
        np.where(box_mask(boxes, width, height), 0, 255).astype(np.uint8), matrix, (width, height)
    )
    seen = cv2.erode((seen == 255).astype(np.uint8), np.ones((9, 9), np.uint8))
    corners = cv2.goodFeaturesToTrack(warped, _CORNERS, 0.01, 6, mask=seen)
    if corners is None or len(corners) < 3 * _MIN_INLIERS:
        return matrix
    found, ok, _ = cv2.calcOpticalFlowPyrLK(warped, target, corners, None, winSize=_WINDOW, maxLevel=2)
    good = (ok[:, 0] > 0) & (np.abs(found - corners).max(axis=(1, 2)) < 12)
    if good.sum() < 3 * _MIN_INLIERS:
        return matrix
    cv2.setRNGSeed(_SEED)
    fix, inliers = cv2.findHomography(corners[good], found[good], cv2.RANSAC, 1.5, maxIters=1000)
    if fix is None or inliers.sum() < 0.3 * good.sum() or not sensible(fix, width, height):
        return matrix
    fixed = fix @ matrix
    return np.asarray(fixed / fixed[2, 2])
