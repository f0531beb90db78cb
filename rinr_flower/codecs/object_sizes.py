"""Which boxes share a network, and which size it has: both sides work it out from the boxes in the payload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rinr_flower.alignment.tracks import Track, link
from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.weights import MAX_VALUES
from rinr_flower.codecs.rapid_inr import MAX_PARAMETERS
from rinr_flower.codecs.shared_weights import split_evenly
from rinr_flower.errors import PayloadError
from rinr_flower.frames import Window, box_windows
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
class ObjectGroup:
    """Boxes of one object that one network draws.

    Attributes
    ----------
    kind : index of the network's size.
    places : (frame, row among the boxes of that frame) of each.
    windows : whole pixels of each.
    """

    kind: int
    places: tuple[tuple[int, int], ...]
    windows: tuple[Window, ...]


def size_class(area: int, sizes: Sizes) -> int:
    """Index of the first size whose area limit holds ``area`` pixels."""
    return next(i for i, (limit, _, _) in enumerate(sizes) if limit is None or area <= limit)


def object_groups(payload: Payload, sizes: Sizes, shapes: Sequence[SirenShape], shared: int) -> list[ObjectGroup]:
    """The networks of a payload, by size and then in order of their first boxes; each draws at most ``shared`` boxes
    of one object and has the size of the largest of them. A box outside its frame has none.

    Raises PayloadError if there are more than MAX_BOXES boxes, if the networks together hold more than MAX_VALUES
    weights, or if those of one frame take more than MAX_PARAMETERS multiplications for each of its pixels; each is
    evaluated at a multiple of TILE points.
    """
    if (boxes := sum(map(len, payload.boxes))) > MAX_BOXES:
        raise PayloadError(f"{boxes:,} boxes with networks; at most {MAX_BOXES:,} are allowed, split the clip")
    found = []
    for track in _tracks(payload, shared):
        places, windows = [], []
        for frame, row in zip(track.frames, track.rows, strict=True):
            for window in box_windows(payload.boxes[frame][row : row + 1], payload.width, payload.height):
                places.append((frame, row))
                windows.append(window)
        at = 0
        for length in split_evenly(len(places), shared):
            part = slice(at, at + length)
            area = max((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in windows[part])
            found.append(ObjectGroup(size_class(area, sizes), tuple(places[part]), tuple(windows[part])))
            at += length
    _check_cost(found, shapes, payload)
    return sorted(found, key=lambda group: (group.kind, group.places[0]))


def _tracks(payload: Payload, shared: int) -> Sequence[Track]:
    if shared > 1:
        return link(payload.boxes, payload.classes)
    return [Track((f,), (row,)) for f, boxes in enumerate(payload.boxes) for row in range(len(boxes))]


def _check_cost(groups: Sequence[ObjectGroup], shapes: Sequence[SirenShape], payload: Payload) -> None:
    parameters = [shape.parameters for shape in shapes]
    weights = sum(parameters[group.kind] * len(group.places) for group in groups)
    if weights > MAX_VALUES:
        raise PayloadError(f"object networks of {weights:,} weights; at most {MAX_VALUES:,} are allowed")
    allowed = MAX_PARAMETERS * max(payload.width * payload.height, MIN_COUNTED_PX)
    products = [0] * len(payload)
    for group in groups:
        for (frame, _), (x1, y1, x2, y2) in zip(group.places, group.windows, strict=True):
            products[frame] += TILE * -(-(x2 - x1) * (y2 - y1) // TILE) * parameters[group.kind]
    if (most := max(products)) > allowed:
        raise PayloadError(
            f"the object networks of a frame take {most:,} multiplications; "
            f"{payload.width}x{payload.height} pixels allow {allowed:,}"
        )
