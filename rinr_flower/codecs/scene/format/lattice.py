"""All wavelet bands of a payload in one array, and a table of where each of them lies.

A payload may hold hundreds of small volumes. Bands that can be coded at the same time are looked up together, by flat
positions, so that the number of calls depends neither on the number of volumes nor on that of their bands.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Places = NDArray[np.int64]
Shape = tuple[int, int, int]
T = TypeVar("T", bound=np.generic)

BLOCK = 8  # part of the format: the passes of neighbours.py and the shipped network are made for it
BLOCKS_AT_ONCE = 1 << 11  # after which tables adapt: part of the format; bounds the memory of the network's inputs
BORDER = 2  # of zeros around every plane: neighbours are looked up without asking where a plane ends
LOW_PASS = 3


class Kind(IntEnum):
    """The purpose of a volume. Each kind has a range coder and adaptive tables of its own."""

    CANVAS = 0
    RESIDUAL = 1
    OBJECT = 2
    BEND = 3


@dataclass(frozen=True)
class Layout:
    """A volume as the lattice sees it: its kind and the band shapes (frames, h, w) of its planes, coarsest first."""

    kind: Kind
    planes: tuple[tuple[Shape, ...], ...]


@dataclass(frozen=True, eq=False)
class Slots:
    """One row for each band of each plane. Slot 0 is an empty one: it stands for a band that does not exist.

    Attributes
    ----------
    kind, plane : the volume's kind; 0 for luma, 1 for blue, 2 for red.
    level : 0 for the finest bands of a plane, one more for each coarser level, and for the low-pass band.
    orientation : 0 for HL, 1 for LH, 2 for HH, LOW_PASS for the low-pass band.
    wave : bands plus planes that come before it; a band waits for those of lower ``wave`` only.
    frames, height, width : shape of the band.
    parent : the band of the same orientation and half the size.
    sibling, other : up to two bands of the same level that come before it.
    beside : the band of the same place and size in the plane before.
    """

    kind: Places
    plane: Places
    level: Places
    orientation: Places
    wave: Places
    frames: Places
    height: Places
    width: Places
    parent: Places
    sibling: Places
    other: Places
    beside: Places


_FIELDS = tuple(Slots.__dataclass_fields__)
_LINKS = slice(_FIELDS.index("parent"), None)


@functools.lru_cache(maxsize=256)
def _template(layout: Layout) -> Places:
    """Rows of Slots (fields, bands) of one volume; links count from the volume's first band, -1 for none."""
    rows: list[tuple[int, ...]] = []
    before: dict[tuple[int, int, int], int] = {}
    for plane, shapes in enumerate(layout.planes):
        first, deepest, found = len(rows), (len(shapes) - 1) // 3, {}
        for band, (frames, height, width) in enumerate(shapes):
            orientation = (band - 1) % 3 if band else LOW_PASS
            level = deepest - 1 - (band - 1) // 3 if band else deepest
            beside = before.get((orientation, height, width), -1)
            here = first + band
            rows.append(
                (
                    *(layout.kind, plane, level, orientation, band + plane, frames, height, width),
                    here - 3 if band > 3 else -1,
                    here - 1 if orientation in (1, 2) else -1,
                    here - 2 if orientation == 2 else -1,
                    beside if beside >= 0 and rows[beside][4] < band + plane else -1,
                )
            )
            found[orientation, height, width] = here
        before = found
    return np.array(rows, np.int64).T


class Lattice:
    """Magnitudes of all bands of several volumes, which come in the order of their kinds.

    ``values`` (uint8) are the magnitudes known so far, cut off at the tables' last symbol. Position of (t, y, x) of a
    band: base + t * area + (y + BORDER) * row + x + BORDER. Blocks of BLOCK x BLOCK have flags in ``flags`` and each
    octave of time frequencies of a band one in ``alive``.
    """

    def __init__(self, layouts: Sequence[Layout]) -> None:
        if any(a.kind > b.kind for a, b in itertools.pairwise(layouts)):
            raise ValueError("volumes come in the order of their kinds")
        table = np.concatenate([np.zeros((len(_FIELDS), 1), np.int64), *(_template(v) for v in layouts)], axis=1)
        counts = [sum(map(len, v.planes)) for v in layouts]
        firsts = 1 + np.cumsum([0, *counts])[:-1]
        links = table[_LINKS, 1:]
        links[...] = np.where(links < 0, 0, links + np.repeat(firsts, counts))
        self.slots = s = Slots(*table)
        self.row = s.width + 2 * BORDER
        self.area = (s.height + 2 * BORDER) * self.row
        self.base = np.concatenate([[0], np.cumsum(s.frames * self.area)])
        self.base[1:] += 1  # position 0 is a zero of no band
        tail = (BLOCK + BORDER + 1) * int(self.row.max()) + BLOCK + BORDER  # a block may reach beyond the last band
        self.size = int(self.base[-1])
        self.values = np.zeros(self.size + tail, np.uint8)
        self.flag_columns, self.flag_rows = -(-s.width // BLOCK), -(-s.height // BLOCK)
        self.flag_area = self.flag_columns * self.flag_rows
        self.flag_base = np.concatenate([[0], np.cumsum(s.frames * self.flag_area)])
        self.flags = np.zeros(int(self.flag_base[-1]) + 1, np.uint8)
        self.octaves = max(int(s.frames.max(initial=0)) - 1, 0).bit_length() + 1
        self.alive = np.zeros((len(s.kind), self.octaves), np.uint8)

    def __len__(self) -> int:
        return len(self.slots.kind)

    def bands(self, flat: NDArray[T]) -> list[NDArray[T]]:
        """Views (frames, h, w) of every band, in order, in an array laid out as the lattice is."""
        stops = self.base.tolist()
        return [self.inner(slot, flat[stops[slot] : stops[slot + 1]]) for slot in range(1, len(self))]

    def inner(self, slot: int, part: NDArray[T]) -> NDArray[T]:
        """A view (frames, h, w) of a band in the part of an array that belongs to it."""
        row = int(self.row[slot])
        whole = part.reshape(int(self.slots.frames[slot]), -1, row)
        return whole[:, BORDER:-BORDER, BORDER:-BORDER]

    def range_of(self, kind: Kind) -> slice:
        """The positions of all bands of one kind."""
        first, stop = np.searchsorted(self.slots.kind[1:], [kind, kind + 1]) + 1
        return slice(int(self.base[first]), int(self.base[stop]))

    def waves(self) -> list[tuple[Places, Places]]:
        """Steps of a traversal: bands and octaves (n,) that are coded together, and wait for earlier steps only."""
        octaves = np.where(self.slots.frames[1:] > 1, 1 + _log2(self.slots.frames[1:] - 1), 0) + 1
        slot = np.repeat(np.arange(1, len(self)), octaves)
        octave = np.arange(len(slot)) - np.repeat(np.cumsum(octaves) - octaves, octaves)
        wave = self.slots.wave[slot] + octave
        order = np.argsort(wave, kind="stable")
        stops = np.flatnonzero(np.diff(wave[order])) + 1
        return [(slot[part], octave[part]) for part in np.split(order, stops) if len(part)]

    def span(self, slot: Places, octave: Places) -> tuple[Places, Places]:
        """First and end of the time frequencies of octaves: 0, 1, 2-3, 4-7, ..."""
        start = np.where(octave > 0, 1 << np.maximum(octave - 1, 0), 0)
        return start, np.minimum(np.where(octave > 0, 1 << octave, 1), self.slots.frames[slot])

    def blocks(self, slot: Places, octave: Places) -> tuple[Blocks, Places]:
        """All blocks of cells (bands and octaves), in order, and how many each cell has."""
        start, stop = self.span(slot, octave)
        area = self.flag_area[slot]
        counts = (stop - start) * area
        cell = np.repeat(np.arange(len(slot)), counts)
        number = np.arange(len(cell)) - np.repeat(np.cumsum(counts) - counts, counts)
        t, rest = np.divmod(number, area[cell])
        by, bx = np.divmod(rest, self.flag_columns[slot[cell]])
        return Blocks(slot[cell], octave[cell], t + start[cell], by, bx), counts

    def flag_places(self, blocks: Blocks) -> Places:
        """The positions of blocks in :attr:`flags`."""
        slot = blocks.slot
        row = blocks.t * self.flag_rows[slot] + blocks.by
        return np.asarray(self.flag_base[slot] + row * self.flag_columns[slot] + blocks.bx, np.int64)

    def fill(self, bands: Sequence[NDArray[np.generic]], dtype: type[T]) -> NDArray[T]:
        """An array (size,) that holds ``bands`` in order, each broadcast to the shape it has there."""
        flat = np.zeros(self.size, dtype)
        for view, band in zip(self.bands(flat), bands, strict=True):
            view[...] = band
        return flat

    def places(self, flat: Places) -> tuple[Places, Places, Places, Places]:
        """The band, time frequency, row and column of positions of coefficients."""
        slot = np.searchsorted(self.base, flat, side="right") - 1
        t, rest = np.divmod(flat - self.base[slot], self.area[slot])
        y, x = np.divmod(rest, self.row[slot])
        return slot, t, y - BORDER, x - BORDER

    def held(self, flat: NDArray[np.generic]) -> NDArray[np.uint8]:
        """What :attr:`flags` are for the values in ``flat``: 1 for a block that holds any."""
        flags = np.zeros_like(self.flags)
        slot, t, y, x = self.places(np.flatnonzero(flat != 0))
        flags[self.flag_places(Blocks(slot, slot, t, y // BLOCK, x // BLOCK))] = 1
        return flags


@dataclass(frozen=True)
class Blocks:
    """Blocks of bands: the slot, its octave, the time frequency and the place of each."""

    slot: Places
    octave: Places
    t: Places
    by: Places
    bx: Places

    def __len__(self) -> int:
        return len(self.slot)

    def only(self, which: Places | slice) -> Blocks:
        return Blocks(self.slot[which], self.octave[which], self.t[which], self.by[which], self.bx[which])


def _log2(values: Places) -> Places:
    """The whole part of the logarithm of values from 1; 0 for smaller ones."""
    return np.asarray(np.frexp(np.maximum(values, 1).astype(np.float64))[1] - 1, np.int64)
