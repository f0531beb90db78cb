"""Maps between frames, objects and canvases as 3 x 3 matrices. Plain arithmetic: the decoding side needs no more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def moved_corners(matrix: Matrix, width: int, height: int) -> NDArray[np.float64]:
    """Displacement (4, 2) in pixels of the picture's corners under ``matrix``."""
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    points = np.c_[corners, np.ones(4)] @ matrix.T
    return np.asarray(points[:, :2] / points[:, 2:] - corners)


def from_corners(moved: NDArray[np.float64], width: int, height: int) -> Matrix:
    """The homography that displaces the picture's corners by ``moved`` (4, 2): the inverse of :func:`moved_corners`."""
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    targets = corners + moved
    rows, values = [], []
    for (x, y), (u, v) in zip(corners, targets, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    solution = np.linalg.solve(np.array(rows), np.array(values))
    return np.append(solution, 1.0).reshape(3, 3)


def box_pose(box: NDArray[np.float32], size: tuple[int, int], margin: float) -> Matrix:
    """The map (3, 3) from frame pixels to object pixels that stretches ``box`` over the picture (height, width) less
    ``margin`` pixels at each side."""
    x1, y1, x2, y2 = (float(v) for v in box)
    height, width = size
    sx, sy = (width - 2 * margin) / max(x2 - x1, 1e-3), (height - 2 * margin) / max(y2 - y1, 1e-3)
    return np.array([[sx, 0, margin - sx * x1], [0, sy, margin - sy * y1], [0, 0, 1]])
