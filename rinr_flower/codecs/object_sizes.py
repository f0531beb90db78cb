"""Which network an object gets: the size class of its window's area."""

from __future__ import annotations

from collections.abc import Sequence

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.weights import MAX_VALUES
from rinr_flower.codecs.rapid_inr import MAX_PARAMETERS
from rinr_flower.errors import PayloadError
from rinr_flower.frames import Window
from rinr_flower.inr.siren import TILE, SirenShape

PAPER_SIZES = ((1_000, 10, 3), (3_000, 15, 3), (10_000, 17, 5), (None, 24, 5))
"""Object networks of the published code: (largest box area in pixels, hidden units, sine layers)."""
SMALL_SIZES = ((1_000, 8, 2), (3_000, 10, 2), (10_000, 14, 3), (None, 20, 3))
"""About a quarter of the bytes of the published sizes; there the residual's lead over direct coding is largest."""
MAX_SIZES = 16
MIN_COUNTED_PX = 1 << 12  # the objects of a smaller frame may cost as much as those of one of this size

Sizes = tuple[tuple[int | None, int, int], ...]


def size_class(area: int, sizes: Sizes) -> int:
    """Index of the first size whose area limit holds ``area`` pixels."""
    return next(i for i, (limit, _, _) in enumerate(sizes) if limit is None or area <= limit)


def size_classes(
    windows: Sequence[Sequence[Window]], sizes: Sizes, shapes: Sequence[SirenShape], payload: Payload
) -> list[list[int]]:
    """The size class of every window.

    Raises PayloadError if the networks together hold more than MAX_VALUES weights, or if those of one frame take more
    than MAX_PARAMETERS multiplications for each of its pixels; each is evaluated at a multiple of TILE points.
    """
    kinds = [[size_class((x2 - x1) * (y2 - y1), sizes) for x1, y1, x2, y2 in ws] for ws in windows]
    parameters = [shape.parameters for shape in shapes]
    weights = sum(parameters[kind] for ks in kinds for kind in ks)
    if weights > MAX_VALUES:
        raise PayloadError(f"object networks of {weights:,} weights; at most {MAX_VALUES:,} are allowed")
    allowed = MAX_PARAMETERS * max(payload.width * payload.height, MIN_COUNTED_PX)
    for ws, ks in zip(windows, kinds, strict=True):
        tiles = (-(-(x2 - x1) * (y2 - y1) // TILE) for x1, y1, x2, y2 in ws)
        products = sum(TILE * n * parameters[kind] for n, kind in zip(tiles, ks, strict=True))
        if products > allowed:
            raise PayloadError(
                f"the object networks of a frame take {products:,} multiplications; "
                f"{payload.width}x{payload.height} pixels allow {allowed:,}"
            )
    return kinds
