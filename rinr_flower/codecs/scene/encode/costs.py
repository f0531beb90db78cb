"""What magnitudes cost: the tables that a traversal would code them with, and what their symbols cost in these."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.format.adaptive import Tables
from rinr_flower.codecs.scene.format.ahead import calls_ahead
from rinr_flower.codecs.scene.format.lattice import Ints, Lattice
from rinr_flower.codecs.scene.format.network import shipped


def observe(lattice: Lattice, magnitudes: Ints) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """The table of every one of the ``magnitudes`` (size,), laid out as the ``lattice``, -1 in blocks that are skipped;
    and bits (tables, magnitudes), signs left out, as the tables are after the traversal.

    The lattice's values are those magnitudes afterwards, cut off at the tables' last symbol.
    """
    network = shipped()
    source = np.minimum(magnitudes, network.last).astype(np.uint8)
    lattice.values[:] = 0
    tables, contexts = Tables(network.magnitudes), np.full(lattice.size, -1, np.int16)
    for piece in calls_ahead(lattice, source, network):
        for place, slot, context in piece:
            contexts[place] = context + lattice.slots.kind[slot] * network.table_count
        tables.count([(contexts[place], source[place]) for place, _, _ in piece])
    return contexts, tables.bits()
