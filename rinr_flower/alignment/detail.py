"""Fine structure for coarse frames, borrowed from the nearest frame of the same scene that was sent whole.

A coarse frame is aligned with the coarse version of such a key frame, by camera motion and then dense flow. Where both
show the same, the coarse frame's fine structure is replaced by the key frame's; its local means stay its own, so that
light may change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rinr_flower.alignment.camera import find_shots, to_target
from rinr_flower.alignment.flow import dense_flow
from rinr_flower.alignment.geometry import Matrix

Picture = NDArray[np.uint8]
Grey = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Set by hand, for key frames of roi_jpeg; others are tried by a change here and benchmarks/sharing.py.
_WINDOW = (9, 9)  # pixels over which pictures are compared, and local means are taken
_SAME, _DIFFERENT = 6.0, 14.0  # grey levels of mean difference up to which, and from which, two windows (do not) agree
_FLOW_GAIN = 0.93  # flow counts where it lowers the difference to less than this
_SOFT = (5, 5)  # pixels over which the change from one to the other is spread


def borrow_detail(
    coarse: Sequence[Picture], keys: Mapping[int, Picture], boxes: Sequence[NDArray[np.float32]]
) -> list[Picture]:
    """The frames (h, w, 3) of a clip: ``keys`` where there is one, ``coarse`` with their fine structure elsewhere.

    Parameters
    ----------
    coarse : every frame as it looks without its fine structure, key frames too.
    keys : whole frames by their number.
    boxes : of each frame; what lies inside them says nothing about the camera.
    """
    greys = [np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8) for picture in coarse]
    shots, steps = find_shots(greys, boxes)
    found = [keys.get(number, picture) for number, picture in enumerate(coarse)]
    for shot in shots:
        for key, near in _nearest(shot, sorted(keys.keys() & set(shot))):
            part = slice(near.start, near.stop)
            maps = to_target(greys[part], boxes[part], steps[part], key - near.start)
            for number, matrix in zip(near, maps, strict=True):
                if number != key:
                    points = _points(greys[number], greys[key], matrix)
                    found[number] = _detailed(coarse[number], coarse[key], keys[key], points)
    return found


def _nearest(shot: range, keys: list[int]) -> list[tuple[int, range]]:
    """Each key frame of a shot with the frames that are nearest to it."""
    cuts = [shot.start, *((a + b + 1) // 2 for a, b in pairwise(keys)), shot.stop]
    return [(key, range(*near)) for key, near in zip(keys, pairwise(cuts), strict=False)]


def _points(grey: Grey, key: Grey, matrix: Matrix) -> Floats:
    """Where the key frame shows what ``grey`` shows: pixel positions (h, w, 2), x then y."""
    height, width = grey.shape
    inverse = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    here = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    moved = cv2.warpPerspective(key, matrix, (width, height), flags=inverse, borderMode=cv2.BORDER_REPLICATE)
    flow = dense_flow(grey, moved)
    flowed = _looked_up(moved, here + flow, cv2.INTER_LINEAR)
    helps = _mean(cv2.absdiff(grey, flowed)) < _FLOW_GAIN * _mean(cv2.absdiff(grey, moved))
    at = here + flow * _mean(helps.astype(np.float32))[..., None]
    return np.asarray(cv2.perspectiveTransform(at.reshape(1, -1, 2), matrix).reshape(height, width, 2), np.float32)


def _detailed(coarse: Picture, coarse_key: Picture, key: Picture, points: Floats) -> Picture:
    """``coarse`` with the fine structure that ``key`` has at ``points``, where its coarse version looks the same."""
    low = _looked_up(coarse_key.astype(np.float32), points, cv2.INTER_CUBIC)
    fine = _looked_up(key.astype(np.float32), points, cv2.INTER_CUBIC)
    here = coarse.astype(np.float32)
    agree = (_DIFFERENT - _mean(np.abs(here - low).mean(axis=2))) / (_DIFFERENT - _SAME)
    seen = cv2.remap(np.ones(coarse.shape[:2], np.float32), points, None, cv2.INTER_LINEAR) > 0.99
    share = cv2.blur(np.clip(agree, 0, 1) * seen, _SOFT)[..., None]
    lacking = fine - here - _mean(low - here)
    return np.asarray(np.clip(np.rint(here + share * lacking), 0, 255), np.uint8)


def _looked_up(picture: NDArray[Any], points: Floats, method: int) -> NDArray[Any]:
    return np.asarray(cv2.remap(picture, points, None, method, borderMode=cv2.BORDER_REPLICATE))


def _mean(values: NDArray[Any]) -> Floats:
    return np.asarray(cv2.blur(values.astype(np.float32), _WINDOW))
