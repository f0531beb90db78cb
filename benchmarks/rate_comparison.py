"""Bytes at equal quality: each codec's cheapest setting that reaches a given object PSNR over a floor of frame PSNR.

Between two operating points of a series that differ in one option, bytes are interpolated in their logarithm and PSNR
linearly, as Bjontegaard's comparison does (VCEG-M33); nothing is extrapolated.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FLOOR_DB = 28.0
_LEVELS = 21


@dataclass(frozen=True)
class Point:
    """One measured setting."""

    bytes_per_frame: float
    frame_db: float
    object_db: float
    options: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """A codec against a rival on one clip.

    Attributes
    ----------
    ratio : the codec's bytes over the rival's, geometric mean over the object PSNR that both reach; None if the codec
        does not reach the frame PSNR asked for, or neither reaches what the other starts at.
    low_db, high_db : that range of object PSNR. Where the rival starts above the codec's best, both are the codec's
        best, and the rival gives more than it is asked for.
    floor_db : least frame PSNR asked of both.
    """

    ratio: float | None
    low_db: float | None = None
    high_db: float | None = None
    floor_db: float | None = None


def neighbours(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """Pairs of points that differ in one option and have no third between them; a point alone pairs with itself."""
    pairs = [(p, p) for p in points]
    for option in sorted({key for p in points for key in p.options}):
        lines: dict[str, list[Point]] = {}
        for p in points:
            rest = {k: v for k, v in p.options.items() if k != option}
            lines.setdefault(json.dumps(rest, sort_keys=True), []).append(p)
        for line in lines.values():
            line.sort(key=lambda p: p.bytes_per_frame)
            pairs += itertools.pairwise(line)
    if len(pairs) == len(points):  # settings that change several options together
        line = sorted(points, key=lambda p: p.bytes_per_frame)
        pairs += itertools.pairwise(line)
    return pairs


def fewest_bytes(points: Sequence[Point], object_db: float, floor_db: float) -> float | None:
    """Bytes a frame of the cheapest setting with ``object_db`` or more in the boxes and ``floor_db`` over the frame."""
    best: float | None = None
    for a, b in neighbours(points):
        low, high = 0.0, 1.0
        for start, end, asked in ((a.object_db, b.object_db, object_db), (a.frame_db, b.frame_db, floor_db)):
            least = asked - 1e-9
            if start < least and end < least:
                low, high = 1.0, 0.0
            elif start < least:
                low = max(low, (least - start) / (end - start))
            elif end < least:
                high = min(high, (start - least) / (start - end))
        if low > high:
            continue
        for share in (low, high):
            size = math.exp((1 - share) * math.log(a.bytes_per_frame) + share * math.log(b.bytes_per_frame))
            best = size if best is None else min(best, size)
    return best


def reach(points: Sequence[Point], floor_db: float) -> tuple[float, float] | None:
    """Object PSNR of the cheapest setting over the floor, and the highest of any."""
    over = [p for p in points if p.frame_db >= floor_db - 1e-9]
    if not over:
        return None
    return min(over, key=lambda p: p.bytes_per_frame).object_db, max(p.object_db for p in over)


def compare(ours: Sequence[Point], rival: Sequence[Point]) -> Comparison:
    """Bytes of ``ours`` over bytes of ``rival`` at equal object PSNR and at least FLOOR_DB (or the rival's best) over
    the frame."""
    floor = min(FLOOR_DB, max(p.frame_db for p in rival))
    mine, theirs = reach(ours, floor), reach(rival, floor)
    if mine is None or theirs is None:
        return Comparison(None, floor_db=floor)
    high = min(mine[1], theirs[1])
    low = min(max(mine[0], theirs[0]), high)
    logs = []
    for level in range(_LEVELS):
        target = low + (high - low) * level / (_LEVELS - 1)
        a, b = fewest_bytes(ours, target, floor), fewest_bytes(rival, target, floor)
        if a is not None and b is not None:
            logs.append(math.log(a / b))
    ratio = math.exp(sum(logs) / len(logs)) if logs else None
    return Comparison(ratio, low, high, floor)
