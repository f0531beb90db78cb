"""What an encoder asks the context network before the traversal.

A reader learns magnitudes wave after wave (:mod:`.walk`). An encoder knows them all, so it asks about as many blocks
together as a wave may hold, of any number of waves: for small volumes a tenth of the calls, and the same answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.format.lattice import BLOCKS_AT_ONCE, Blocks, Lattice, Places
from rinr_flower.codecs.scene.format.neighbours import PASSES, Neighbours
from rinr_flower.codecs.scene.format.network import ContextNetwork

Call = tuple[Places, Places, Places]
"""Positions, bands and tables (n,) of magnitudes that are coded by one call."""


def calls_ahead(lattice: Lattice, source: NDArray[np.uint8], network: ContextNetwork) -> Iterator[list[Call]]:
    """The calls of the traversal of magnitudes ``source``, laid out as the ``lattice``: for each piece of a wave that
    is coded at once, one for each pass that has coefficients. Fills the lattice's values, which are 0 before."""
    for blocks, stops in _batches(lattice, lattice.held(source)):
        around = Neighbours(lattice, blocks, known=source)
        described = network.describe(lattice, blocks)
        passes = []
        for number in range(len(PASSES)):
            place, block, inputs = around.look(number)
            context, slot = network.tables(number, inputs, described, block), blocks.slot[block]
            ends = [0, *np.searchsorted(block, stops).tolist()]
            passes.append([(place[a:b], slot[a:b], context[a:b]) for a, b in itertools.pairwise(ends)])
        for piece in zip(*passes, strict=True):
            yield [call for call in piece if len(call[0])]


def _batches(lattice: Lattice, held: NDArray[np.uint8]) -> Iterator[tuple[Blocks, Places]]:
    """All blocks that hold anything in the order of the traversal, at most BLOCKS_AT_ONCE together; and where among
    them each piece of a wave ends that is coded at once."""
    if not (waves := lattice.waves()):
        return
    every, counts = lattice.blocks(*(np.concatenate(column) for column in zip(*waves, strict=True)))
    which = np.flatnonzero(held[lattice.flag_places(every)])
    cells = np.cumsum([len(slot) for slot, _ in waves])
    ends = np.searchsorted(which, np.cumsum(counts)[cells - 1])
    starts = [np.arange(a, b, BLOCKS_AT_ONCE) for a, b in itertools.pairwise([0, *ends.tolist()])]
    stops = np.concatenate([*starts, [len(which)]])[1:]
    start = 0
    while start < len(which):
        stop = stops[np.searchsorted(stops, start + BLOCKS_AT_ONCE, side="right") - 1]
        yield every.only(which[start:stop]), stops[(stops > start) & (stops <= stop)] - start
        start = stop
