"""Boxes of consecutive frames linked to tracks, one track an object.

The decoder links the same boxes by the same integers, so that a payload carries no links.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_UNITS = 16  # boxes are compared in sixteenths of a pixel, which is what a payload stores at the finest


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
    throughout.
    """
    open_tracks: list[tuple[list[int], list[int], NDArray[np.int64], int]] = []
    for frame, (found, labels) in enumerate(zip(boxes, classes, strict=True)):
        corners = np.rint(found.astype(np.float64) * _UNITS).astype(np.int64)
        pairs = []
        for number, (frames, _, last, label) in enumerate(open_tracks):
            if frame - frames[-1] > max_gap:
                continue
            for row in range(len(corners)):
                if labels[row] != label:
                    continue
                distance = int(np.abs(corners[row, :2] + corners[row, 2:] - last[:2] - last[2:]).max())
                reach = int((corners[row, 2:] - corners[row, :2]).max() + (last[2:] - last[:2]).max())
                if distance <= 2 * reach:
                    pairs.append((distance, number, row))
        taken_tracks: set[int] = set()
        taken_rows: set[int] = set()
        for _, number, row in sorted(pairs):
            if number in taken_tracks or row in taken_rows:
                continue
            taken_tracks.add(number)
            taken_rows.add(row)
            frames, rows, _, label = open_tracks[number]
            frames.append(frame)
            rows.append(row)
            open_tracks[number] = (frames, rows, corners[row], label)
        for row in range(len(corners)):
            if row not in taken_rows:
                open_tracks.append(([frame], [row], corners[row], int(labels[row])))
    return [Track(tuple(frames), tuple(rows)) for frames, rows, _, _ in open_tracks]
