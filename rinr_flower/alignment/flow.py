"""Dense optical flow (DIS, Kroeger et al. 2016) of two pictures of any size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_LEAST_SIDE = 32
"""OpenCV chooses the levels of DIS by the width alone where a side is shorter, and then reads outside the picture."""


def dense_flow(frame: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Displacement (h, w, 2) in pixels, x then y, such that other(p + d) = frame(p); grey uint8 pictures (h, w).

    A picture with a side of less than 32 px is continued to that by its border.
    """
    height, width = frame.shape
    below, right = max(_LEAST_SIDE - height, 0), max(_LEAST_SIDE - width, 0)
    if below or right:
        frame, other = (np.pad(picture, ((0, below), (0, right)), mode="edge") for picture in (frame, other))
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(frame, other, None)
    return np.asarray(flow[:height, :width], np.float32)
