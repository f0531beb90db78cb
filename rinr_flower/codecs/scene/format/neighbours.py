"""Inputs of the context network: magnitudes around a coefficient that a decoder already knows.

A block of 8 x 8 coefficients is coded in five passes. A pass has no order inside it, and knows the passes before it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.format.lattice import BLOCK, BORDER, Blocks, Lattice, Places

_Y, _X = (v.reshape(-1) for v in np.meshgrid(np.arange(BLOCK), np.arange(BLOCK), indexing="ij"))
_EVEN = (_Y % 2 == 0) & (_X % 2 == 0)
PASSES = tuple(
    np.flatnonzero(chosen)
    for chosen in (
        _EVEN & ((_Y + _X) % 4 == 0),
        _EVEN & ((_Y + _X) % 4 == 2),
        (_Y % 2 == 1) & (_X % 2 == 1),
        (_Y % 2 == 0) & (_X % 2 == 1),
        (_Y % 2 == 1) & (_X % 2 == 0),
    )
)
"""Positions y * BLOCK + x of each pass in a block."""

_FAR = ((-2, 0), (2, 0), (0, -2), (0, 2))
_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_DIRECT = ((-1, 0), (1, 0), (0, -1), (0, 1))
_KNIGHT = ((-2, -1), (-2, 1), (2, -1), (2, 1), (-1, -2), (-1, 2), (1, -2), (1, 2))
OWN = ((), _FAR, _DIAGONAL, _DIRECT + _KNIGHT, _DIRECT + _KNIGHT + _DIAGONAL)
"""Offsets (y, x) of the neighbours in the same band that each pass knows."""

SOURCES = ("parent", "sibling", "other", "beside", "slower", "slowest")
ACROSS = 4 * len(SOURCES)
"""Inputs from other planes: of each source the place itself, its two neighbours along x, along y, and its diagonals."""

LEVELS = np.rint(8 * np.log2(1 + np.arange(256))).astype(np.uint8)
"""Input for a magnitude: its logarithm. Sums of four stay below 256."""

_SIDE = BLOCK + 2 * BORDER
_CENTRES = (_Y + BORDER) * _SIDE + _X + BORDER
_OWN_PLACES = tuple(
    (p[:, None] // BLOCK + BORDER + np.array([dy for dy, _ in own], int)) * _SIDE
    + p[:, None] % BLOCK
    + BORDER
    + np.array([dx for _, dx in own], int)
    for p, own in zip(PASSES, OWN, strict=True)
)


class Neighbours:
    """The inputs for the coefficients of ``blocks``.

    An encoder that asks about blocks of several waves together gives all magnitudes as ``known``; those of the blocks
    then go into the lattice first, as blocks of later waves look at them.
    """

    def __init__(self, lattice: Lattice, blocks: Blocks, known: NDArray[np.uint8] | None = None) -> None:
        slots = lattice.slots
        slot, t = blocks.slot, blocks.t
        self._values = lattice.values
        self._own = _patches(lattice, slot, t, blocks.by * BLOCK, blocks.bx * BLOCK, BLOCK, BORDER)
        y, x = blocks.by[:, None] * BLOCK + _Y, blocks.bx[:, None] * BLOCK + _X
        self._inside = (y < slots.height[slot][:, None]) & (x < slots.width[slot][:, None])
        if known is not None:
            given = self._own[:, _CENTRES][self._inside]
            self._values[given] = known[given]
        half = t // 2
        looked = (
            (slots.parent[slot], t),
            (slots.sibling[slot], t),
            (slots.other[slot], t),
            (slots.beside[slot], t),
            (np.where(t > 0, slot, 0), half),
            (np.where(t > 0, slot, 0), np.zeros_like(t)),
        )
        across = np.zeros((ACROSS, len(blocks), BLOCK, BLOCK), np.uint8)
        for number, (source, when) in enumerate(looked):
            there = np.flatnonzero(source)
            if len(there) == 0:
                continue
            step = 2 if number == 0 else 1
            side = BLOCK // step
            by, bx = blocks.by[there] * side, blocks.bx[there] * side
            places = _patches(lattice, source[there], when[there], by, bx, side, 1)
            seen = LEVELS[self._values.take(places)].reshape(-1, side + 2, side + 2)
            cross, mid = slice(1, -1), slice(1, -1)
            sums = (
                seen[:, mid, cross],
                seen[:, mid, :-2] + seen[:, mid, 2:],
                seen[:, :-2, cross] + seen[:, 2:, cross],
                seen[:, :-2, :-2] + seen[:, :-2, 2:] + seen[:, 2:, :-2] + seen[:, 2:, 2:],
            )
            for k, total in enumerate(sums):
                spread = total if step == 1 else total.repeat(2, axis=1).repeat(2, axis=2)
                across[4 * number + k, there] = spread
        self._across = np.ascontiguousarray(across.reshape(ACROSS, len(blocks), -1).transpose(1, 2, 0))

    def look(self, number: int) -> tuple[Places, Places, NDArray[np.uint8]]:
        """For pass ``number``: the positions of its coefficients, the block of each, and their inputs (n, inputs)."""
        at = PASSES[number]
        own = LEVELS[self._values.take(self._own[:, _OWN_PLACES[number]])]
        inputs = np.concatenate([self._across[:, at], own], axis=2).reshape(-1, ACROSS + len(OWN[number]))
        places = self._own[:, _CENTRES[at]].reshape(-1)
        block = np.repeat(np.arange(len(self._own)), len(at))
        inside = self._inside[:, at].reshape(-1)
        if inside.all():
            return places, block, inputs
        return places[inside], block[inside], inputs[inside]


def _patches(lattice: Lattice, slot: Places, t: Places, y: Places, x: Places, side: int, margin: int) -> Places:
    """Positions (n, cells) of squares of ``side`` with a ``margin`` around, whose first inner place is (t, y, x)."""
    row = lattice.row[slot]
    start = lattice.base[slot] + t * lattice.area[slot] + (y + BORDER - margin) * row + x + BORDER - margin
    along = np.arange(side + 2 * margin)
    places = start[:, None, None] + along[:, None] * row[:, None, None] + along
    return np.asarray(places.reshape(len(slot), (side + 2 * margin) ** 2), np.int64)
