"""Bands of wavelet pyramids as the entropy coder looks at them: several in one array, by flat positions.

With hundreds of small volumes in a payload, a lookup must not take a call for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Places = NDArray[np.int64]

BLOCK = 8


@dataclass(frozen=True)
class Span:
    """Time frequencies that are coded together; ``fold`` planes of each follow each other."""

    start: int
    stop: int
    fold: int

    def parents(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the same plane of half the time frequency is."""
        return np.asarray(at // self.fold // 2 * self.fold + at % self.fold, np.int64)


class Band:
    """One band of several pyramids, one after the other in memory, each within a border of zeros.

    ``frames`` is 0 for a pyramid that has no such band. ``flags`` says which blocks hold any value, ``alive``
    (pyramids, frames x fold) which time frequencies. ``kinds`` is kept if a ``kind`` to start from is given.
    """

    def __init__(self, bands: list[Ints | None], fold: int, kind: int | None) -> None:
        shapes = np.array([(0, 0, 0) if b is None else b.shape for b in bands], np.int64)
        self.frames, self.height, self.width = shapes[:, 0] // fold, shapes[:, 1], shapes[:, 2]
        self.row, self.plane = self.width + 2, (self.height + 2) * (self.width + 2)
        self.base = _starts(shapes[:, 0] * self.plane)
        self.values = np.zeros(self.base[-1], np.int32)
        self.kinds = np.full(0 if kind is None else len(self.values), kind or 0, np.int16)
        self.flag_row = -(-self.width // BLOCK)
        self._flag_rows = -(-self.height // BLOCK)
        self.flag_plane = self.flag_row * self._flag_rows
        self.flag_base = _starts(shapes[:, 0] * self.flag_plane)
        self.flags = np.zeros(self.flag_base[-1], np.int32)
        self.alive = np.zeros((len(bands), int(shapes[:, 0].max())), bool)
        for number, band in enumerate(bands):
            if band is not None and band.any():
                self.inner(self.values, number)[...] = band
                held = _blocks(band)
                self.flags[self.flag_base[number] : self.flag_base[number + 1]] = held.reshape(-1)
                self.alive[number, : len(band)] = held.any(axis=(1, 2))

    def inner(self, array: NDArray[Any], number: int) -> NDArray[Any]:
        """What a flat array holds of one pyramid, without the border."""
        bordered = array[self.base[number] : self.base[number + 1]]
        shape = (-1, int(self.height[number]) + 2, int(self.width[number]) + 2)
        return bordered.reshape(shape)[:, 1:-1, 1:-1]

    def flag(self, owner: Places, t: Places, by: Places, bx: Places) -> Ints:
        """Flags of blocks (by, bx), the last row and column repeated."""
        rows, columns = np.minimum(by, self._flag_rows[owner] - 1), np.minimum(bx, self.flag_row[owner] - 1)
        place = self.flag_base[owner] + t * self.flag_plane[owner] + rows * self.flag_row[owner] + columns
        return np.asarray(self.flags[place], np.int32)

    def at(self, blocks: Blocks) -> Origins:
        """Where the values lie that belong to ``blocks``."""
        owner = blocks.owner[:, None]
        start = self.base[owner] + blocks.t[:, None] * self.plane[owner]
        return Origins(start, self.row[owner], self.plane[owner], self.height[owner], self.width[owner])


@dataclass(frozen=True)
class Origins:
    """For each block (blocks, 1): where the values of its time frequency start, and their layout."""

    start: Places
    row: Places
    plane: Places
    height: Places
    width: Places

    def nearest(self, y: Places, x: Places) -> Places:
        """Where the values at (y, x) (blocks, n) lie, the last row and column repeated."""
        rows, columns = np.minimum(y + 1, self.height), np.minimum(x + 1, self.width)
        return np.asarray(self.start + rows * self.row + columns, np.int64)


@dataclass(frozen=True)
class Blocks:
    """Blocks of a band: the pyramid, the row along time and the place of each."""

    owner: Places
    t: Places
    by: Places
    bx: Places

    def only(self, which: Places | slice) -> Blocks:
        return Blocks(self.owner[which], self.t[which], self.by[which], self.bx[which])


def _starts(sizes: Places) -> Places:
    """Where arrays of ``sizes`` start that lie one after the other, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def _blocks(band: Ints) -> Ints:
    """Flags (time, blocks, blocks): 1 where a block of BLOCK x BLOCK coefficients holds any value."""
    t, h, w = band.shape
    padded = np.zeros((t, -(-h // BLOCK) * BLOCK, -(-w // BLOCK) * BLOCK), bool)
    padded[:, :h, :w] = band != 0
    blocks = padded.reshape(t, padded.shape[1] // BLOCK, BLOCK, padded.shape[2] // BLOCK, BLOCK)
    return np.asarray(blocks.any(axis=(2, 4)), np.int32)
