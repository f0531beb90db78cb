"""Motion that no homography describes: a coarse grid of displacements per frame, from dense optical flow.

Parallax and lens distortion move parts of a picture differently. The flow between a frame and the prediction of its
canvas is averaged over cells, weighted by how well the picture shows motion there.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rinr_flower.alignment.flow import dense_flow

Floats = NDArray[np.float32]

# Squared gradient, grey levels a pixel, at which a cell counts half. Set by hand: more bends flat cells less. Others
# are tried by a change here and benchmarks/scene_rate.py.
_LEVEL_PER_PX = 25.0


def cell_flow(frame: NDArray[np.uint8], predicted: NDArray[np.uint8], trust: Floats, cells: tuple[int, int]) -> Floats:
    """Mean displacement (2, rows, columns) in pixels, x then y, such that predicted(p + d) = frame(p).

    Parameters
    ----------
    frame, predicted : grey uint8 (h, w).
    trust : float32 (h, w), 0 where the frame must not be looked at.
    cells : rows and columns of the result.
    """
    flow = dense_flow(frame, predicted)
    smooth = cv2.GaussianBlur(predicted.astype(np.float32), (0, 0), 1.0)
    dx, dy = (np.gradient(smooth, axis=a) if smooth.shape[a] > 1 else np.zeros_like(smooth) for a in (1, 0))
    size = cells[::-1]

    def mean(values: NDArray[np.floating]) -> Floats:
        return np.asarray(cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_AREA))

    # normal equations of a flow that is constant over a cell, drawn to zero where the picture is flat
    xx, yy, xy = dx * dx * trust, dy * dy * trust, dx * dy * trust
    u, v = flow[..., 0], flow[..., 1]
    a, b, c = mean(xx) + _LEVEL_PER_PX, mean(yy) + _LEVEL_PER_PX, mean(xy)
    e, f = mean(xx * u + xy * v), mean(xy * u + yy * v)
    determinant = a * b - c * c
    return np.stack([(b * e - c * f) / determinant, (a * f - c * e) / determinant])
