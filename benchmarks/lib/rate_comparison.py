"""Bytes at equal quality, by one rule for all codecs.

The rule: each codec over the points of its own curve, which is its defaults but for one quality knob. For each point of
a codec, the rival is taken at the fewest bytes on its own curve with at least the same object PSNR *and* at least the
same frame PSNR. Between two points bytes are interpolated in their logarithm and PSNR linearly; nothing is
extrapolated. Two kinds of points are left out: those that the rival does not reach, and those below its curve, where
its cheapest setting is better both in the boxes and over the frame, since a coarser one might do. The ratio of a clip
is the geometric mean over the points that are left. It is given both ways round, since neither codec should be judged
at the other's points alone.

Beside it stand Bjontegaard's difference of rate at equal object PSNR (VCEG-M33, by the package ``bjontegaard``), and
the envelope: each codec's cheapest setting of all, whatever its knobs, at equal object PSNR over a floor of frame PSNR.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bjontegaard import bd_rate

FLOOR_DB = 28.0
_LEVELS = 21
_POINTS_OF_A_CURVE = 4  # Bjontegaard's comparison needs as many


@dataclass(frozen=True)
class Point:
    """One measured setting."""

    bytes_per_frame: float
    frame_db: float
    object_db: float
    options: dict[str, Any]


@dataclass(frozen=True)
class Matched:
    """A codec's points against the cheapest of a rival's curve that are at least as good.

    Attributes
    ----------
    ratio : the codec's bytes over the rival's, geometric mean; None if no point is within the rival's curve.
    points : points of the codec within the rival's curve, of ``of``.
    """

    ratio: float | None
    points: int
    of: int


Pairs = Sequence[tuple[Point, Point]]
"""Points that bytes and PSNR are interpolated between; a point paired with itself stands for itself."""


def fewest_bytes(pairs: Pairs, object_db: float, frame_db: float) -> float | None:
    """Bytes a frame of the cheapest setting with ``object_db`` or more in the boxes and ``frame_db`` over the frame."""
    best: float | None = None
    for a, b in pairs:
        low, high = 0.0, 1.0
        for start, end, asked in ((a.object_db, b.object_db, object_db), (a.frame_db, b.frame_db, frame_db)):
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


def chain(points: Sequence[Point]) -> Pairs:
    """The points of a curve, each with the next dearer one."""
    line = sorted(points, key=lambda p: p.bytes_per_frame)
    return [*((p, p) for p in line), *itertools.pairwise(line)]


def neighbours(points: Sequence[Point]) -> Pairs:
    """The points of a grid, each with those that differ in one option and have no third between them."""
    pairs = [(p, p) for p in points]
    for option in sorted({key for p in points for key in p.options}):
        lines: dict[str, list[Point]] = {}
        for p in points:
            rest = {k: v for k, v in p.options.items() if k != option}
            lines.setdefault(json.dumps(rest, sort_keys=True), []).append(p)
        for line in lines.values():
            line.sort(key=lambda p: p.bytes_per_frame)
            pairs += itertools.pairwise(line)
    return pairs


def matched(curve: Sequence[Point], rival: Sequence[Point]) -> Matched:
    """Bytes of ``curve`` over those of ``rival`` where it is at least as good in the boxes and over the frame."""
    logs, pairs = [], chain(rival)
    cheapest = min(rival, key=lambda p: p.bytes_per_frame)
    for point in curve:
        if cheapest.object_db > point.object_db and cheapest.frame_db > point.frame_db:
            continue
        size = fewest_bytes(pairs, point.object_db, point.frame_db)
        if size is not None:
            logs.append(math.log(point.bytes_per_frame / size))
    return Matched(math.exp(math.fsum(logs) / len(logs)) if logs else None, len(logs), len(curve))


def bd_rate_percent(curve: Sequence[Point], rival: Sequence[Point]) -> float | None:
    """Bjontegaard's mean difference of bytes at equal object PSNR, in per cent: below 0, ``curve`` takes fewer.

    None where a curve has fewer than four points that rise, or the two have no PSNR in common.
    """
    ours, theirs = _rising(curve), _rising(rival)
    if min(len(ours), len(theirs)) < _POINTS_OF_A_CURVE:
        return None
    if min(ours[-1].object_db, theirs[-1].object_db) <= max(ours[0].object_db, theirs[0].object_db):
        return None
    columns = [[getattr(p, k) for p in c] for c in (theirs, ours) for k in ("bytes_per_frame", "object_db")]
    return float(bd_rate(*columns, method="pchip", require_matching_points=False, min_overlap=0))


def _rising(points: Sequence[Point]) -> list[Point]:
    """The points that no cheaper one equals in the boxes, cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: p.bytes_per_frame):
        if not front or point.object_db > front[-1].object_db:
            front.append(point)
    return front


def envelope_ratio(ours: Sequence[Point], rival: Sequence[Point]) -> float | None:
    """Bytes of ``ours`` over those of ``rival``, each at its cheapest setting, at equal object PSNR.

    Both have at least FLOOR_DB over the frame, or the rival's best where that is less. Geometric mean over the object
    PSNR that both reach; where the rival starts above the best of ``ours``, it is taken there and gives more than it is
    asked for. None if ``ours`` does not reach the frame PSNR.
    """
    floor = min(FLOOR_DB, max(p.frame_db for p in rival))
    mine, theirs = _reach(ours, floor), _reach(rival, floor)
    if mine is None or theirs is None:
        return None
    high = min(mine[1], theirs[1])
    low = min(max(mine[0], theirs[0]), high)
    logs, our_pairs, its_pairs = [], neighbours(ours), neighbours(rival)
    for level in range(_LEVELS):
        target = low + (high - low) * level / (_LEVELS - 1)
        a, b = fewest_bytes(our_pairs, target, floor), fewest_bytes(its_pairs, target, floor)
        if a is not None and b is not None:
            logs.append(math.log(a / b))
    return math.exp(math.fsum(logs) / len(logs)) if logs else None


def _reach(points: Sequence[Point], floor_db: float) -> tuple[float, float] | None:
    """Object PSNR of the cheapest setting over the floor, and the highest of any."""
    over = [p for p in points if p.frame_db >= floor_db - 1e-9]
    if not over:
        return None
    return min(over, key=lambda p: p.bytes_per_frame).object_db, max(p.object_db for p in over)
