"""Which boxes share a network, and which size it has: both sides work it out from the boxes in the payload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.alignment.tracks import link
from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.weights import MAX_VALUES
from rinr_flower.codecs.rapid_inr import MAX_PARAMETERS
from rinr_flower.codecs.shared_weights import split_evenly
from rinr_flower.errors import PayloadError
from rinr_flower.inr.siren import TILE, SirenShape

PAPER_SIZES = ((1_000, 10, 3), (3_000, 15, 3), (10_000, 17, 5), (None, 24, 5))
"""Object networks of the published code: (largest box area in pixels, hidden units, sine layers)."""
SHALLOW_SIZES = ((1_000, 12, 3), (3_000, 16, 3), (10_000, 20, 3), (None, 28, 3))
"""About as large as the published ones, but wider and shallower."""
MAX_SIZES = 16
MAX_BOXES = 1 << 16  # of a payload
MIN_COUNTED_PX = 1 << 12  # the objects of a smaller frame may cost as much as those of one of this size

Sizes = tuple[tuple[int | None, int, int], ...]


@dataclass(frozen=True)
class ObjectGroups:
    """Which boxes the object networks of a payload draw, network after network.

    Attributes
    ----------
    kinds : int64 (networks,): index of each one's size, ascending.
    counts : int64 (networks,): boxes that each draws, all of one object.
    places : int64 (boxes, 2): frame, and row among the boxes of that frame.
    windows : int64 (boxes, 4): x1, y1, x2, y2 in whole pixels.
    """

    kinds: NDArray[np.int64]
    counts: NDArray[np.int64]
    places: NDArray[np.int64]
    windows: NDArray[np.int64]


def size_classes(areas: NDArray[np.int64], sizes: Sizes) -> NDArray[np.int64]:
    """Index of the first size whose area limit holds each of ``areas``, in pixels."""
    limits = np.array([np.inf if limit is None else limit for limit, _, _ in sizes])
    found: NDArray[np.int64] = np.argmax(areas[:, None] <= limits, axis=1)
    return found


def object_groups(payload: Payload, sizes: Sizes, shapes: Sequence[SirenShape], shared: int) -> ObjectGroups:
    """The networks of a payload, by size and then in order of their first boxes; each draws at most ``shared`` boxes
    of one object and has the size of the largest of them. A box outside its frame has none.

    Raises PayloadError if there are more than MAX_BOXES boxes, if the networks together hold more than MAX_VALUES
    weights, or if those of one frame take more than MAX_PARAMETERS multiplications for each of its pixels; each is
    evaluated at a multiple of TILE points. Works on arrays of all boxes, as a hostile payload may hold MAX_BOXES.
    """
    counts = np.array([len(boxes) for boxes in payload.boxes], np.int64)
    if (total := int(counts.sum())) > MAX_BOXES:
        raise PayloadError(f"{total:,} boxes with networks; at most {MAX_BOXES:,} are allowed, split the clip")
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *payload.boxes])
    windows = _pixel_windows(boxes, payload.width, payload.height)
    areas = (windows[:, 2:] - windows[:, :2]).clip(0).prod(1)
    members, lengths = _members(payload, areas > 0, shared)
    starts = np.cumsum(lengths) - lengths
    kinds = size_classes(np.maximum.reduceat(areas[members], starts), sizes) if len(members) else lengths
    frames = np.repeat(np.arange(len(payload)), counts)
    _check_cost(payload, shapes, frames[members], areas[members], np.repeat(kinds, lengths))
    rows = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    order = np.lexsort((members[starts], kinds))
    boxes_in_order = members[np.argsort(np.repeat(np.argsort(order), lengths), kind="stable")]
    places = np.stack([frames, rows], axis=1)[boxes_in_order]
    return ObjectGroups(kinds[order], lengths[order], places, windows[boxes_in_order])


def _pixel_windows(boxes: NDArray[np.float32], width: int, height: int) -> NDArray[np.int64]:
    """Windows (boxes, 4) as ``frames.box_windows`` has them; one without width or height belongs to a box outside."""
    corners = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1).astype(np.int64)
    return np.concatenate([corners[:, :2].clip(0), corners[:, 2:].clip(max=(width, height))], axis=1)


def _members(payload: Payload, visible: NDArray[np.bool_], shared: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers among all boxes of those that networks draw, network after network, and how many each network draws."""
    if shared <= 1:
        alone = np.flatnonzero(visible)
        return alone, np.ones_like(alone)
    first = np.cumsum([0, *map(len, payload.boxes)])
    members, lengths = [np.zeros(0, np.int64)], []
    for track in link(payload.boxes, payload.classes):
        numbers = first[list(track.frames)] + track.rows
        members.append(numbers[visible[numbers]])
        lengths += split_evenly(len(members[-1]), shared)
    return np.concatenate(members), np.array(lengths, np.int64)


def _check_cost(
    payload: Payload,
    shapes: Sequence[SirenShape],
    frames: NDArray[np.int64],
    areas: NDArray[np.int64],
    kinds: NDArray[np.int64],
) -> None:
    """Raise PayloadError if networks of ``kinds`` for boxes of ``areas`` pixels in ``frames`` cost too much."""
    parameters = np.array([shape.parameters for shape in shapes])[kinds]
    if (weights := int(parameters.sum())) > MAX_VALUES:
        raise PayloadError(f"object networks of {weights:,} weights; at most {MAX_VALUES:,} are allowed")
    allowed = MAX_PARAMETERS * max(payload.width * payload.height, MIN_COUNTED_PX)
    products = np.zeros(len(payload), np.int64)
    np.add.at(products, frames, TILE * -(-areas // TILE) * parameters)
    if (most := int(products.max(initial=0))) > allowed:
        raise PayloadError(
            f"the object networks of a frame take {most:,} multiplications; "
            f"{payload.width}x{payload.height} pixels allow {allowed:,}"
        )
