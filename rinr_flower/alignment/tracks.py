"""Boxes of consecutive frames linked to tracks, one track an object.

The decoder links the same boxes by the same integers, so that a payload carries no links.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.errors import PayloadError

_UNITS = 16  # boxes are compared in sixteenths of a pixel, which is what a payload stores at the finest
MAX_PAIRS, MAX_PAIRS_IN_CLIP = 1 << 20, 1 << 24
"""Pairs of boxes that linking may compare for one frame, and for all frames of a clip."""


@dataclass(frozen=True)
class Track:
    """One object: ``rows[k]`` is its row among the boxes of frame ``frames[k]``; frames ascend, gaps are allowed."""

    frames: tuple[int, ...]
    rows: tuple[int, ...]


def link(
    boxes: Sequence[NDArray[np.float32]], classes: Sequence[NDArray[np.int64]], *, max_gap: int = 3
) -> list[Track]:
    """Link the boxes of consecutive frames.

    A box continues the track of its class whose last box is nearest by centre, if no further than the sum of both
    boxes' longer sides and no more than ``max_gap`` frames back; the nearest pairs are linked first. Integers
    throughout. PayloadError if there are more boxes at a time than MAX_PAIRS and MAX_PAIRS_IN_CLIP allow to compare.
    """
    tracks: list[tuple[list[int], list[int]]] = []
    live = np.zeros((0, 7), np.int64)  # of every track that may go on: its number, last frame, class, and last box
    compared = 0
    for frame, (found, labels) in enumerate(zip(boxes, classes, strict=True)):
        if not len(found):
            continue
        corners = np.rint(found.astype(np.float64) * _UNITS).astype(np.int64)
        live = live[frame - live[:, 1] <= max_gap]
        compared += len(live) * len(corners)
        if len(live) * len(corners) > MAX_PAIRS or compared > MAX_PAIRS_IN_CLIP:
            raise PayloadError(f"too many boxes to link: {len(corners):,} in frame {frame}, {len(live):,} before it")
        distance, near = _compare(live, corners, labels)
        before, rows = np.nonzero(near)
        order = np.lexsort((rows, before, distance[before, rows]))
        continued: dict[int, int] = {}
        taken: set[int] = set()
        for i, row in zip(before[order].tolist(), rows[order].tolist(), strict=True):
            if i not in taken and row not in continued:
                taken.add(i)
                continued[row] = i
                if len(continued) == len(corners):
                    break
        fresh = [row for row in range(len(corners)) if row not in continued]
        for row, i in continued.items():
            frames, at = tracks[int(live[i, 0])]
            frames.append(frame)
            at.append(row)
            live[i, 1], live[i, 3:] = frame, corners[row]
        begun = np.empty((len(fresh), 7), np.int64)
        begun[:, 0] = np.arange(len(tracks), len(tracks) + len(fresh))
        begun[:, 1], begun[:, 2], begun[:, 3:] = frame, labels[fresh], corners[fresh]
        live = np.concatenate([live, begun])
        tracks += [([frame], [row]) for row in fresh]
    return [Track(tuple(frames), tuple(rows)) for frames, rows in tracks]


def _compare(
    live: NDArray[np.int64], corners: NDArray[np.int64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Twice the distance of the centres of every track's last box and every box, and which are near enough to link."""
    last = live[:, 3:]
    centres, last_centres = corners[:, :2] + corners[:, 2:], last[:, :2] + last[:, 2:]
    distance = np.abs(last_centres[:, None] - centres).max(axis=2)
    sides, last_sides = ((c[:, 2:] - c[:, :2]).max(axis=1) for c in (corners, last))
    return distance, (distance <= 2 * (last_sides[:, None] + sides)) & (live[:, 2, None] == labels)
