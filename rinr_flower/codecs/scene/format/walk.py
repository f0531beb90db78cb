"""Entropy coding of quantised wavelet coefficients over (time frequency, y, x).

Bands are visited in waves: a band and an octave of time frequencies wait for the coarser band, the bands of the same
level before it, the lower octave and the plane before; all that wait for nothing more are coded together. Blocks of
zeros are skipped by flags. For every other coefficient an integer network (:mod:`.network`) chooses an adaptive table
for its magnitude. All is done in integers: every machine reads the same symbols.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.format.adaptive import Coder, Reader, Tables, Writer
from rinr_flower.codecs.scene.format.ahead import Call, calls_ahead
from rinr_flower.codecs.scene.format.lattice import BLOCKS_AT_ONCE, Blocks, Ints, Kind, Lattice, Layout, Places
from rinr_flower.codecs.scene.format.neighbours import PASSES, Neighbours
from rinr_flower.codecs.scene.format.network import ContextNetwork, shipped
from rinr_flower.errors import PayloadError

_MAX_GAMMA = 20  # bits of the remainder of a magnitude beyond the tables
_SIGNS_AT_ONCE = 1 << 11  # after which their tables adapt; set by hand, part of the format: fewer take more calls
_HALF = np.array([[0.5, 0.5]], np.float32)


class Walk:
    """One traversal of a lattice, the same for writing and reading.

    Parameters
    ----------
    coders : of every kind that the lattice holds.
    source : magnitudes to write, cut off at the last symbol, laid out as the lattice; None when reading.
    calls : their calls, where the network was asked ahead.
    """

    def __init__(
        self,
        lattice: Lattice,
        coders: Mapping[Kind, Coder],
        source: NDArray[np.uint8] | None = None,
        network: ContextNetwork | None = None,
        calls: Iterator[list[Call]] | None = None,
    ) -> None:
        self._lattice, self._coders, self._source = lattice, coders, source
        self._network, self._calls = network or shipped(), calls
        self.magnitudes = Tables(self._network.magnitudes)
        self._flags = Tables(self._network.flags)
        self._occupied = Tables(self._network.occupied)
        self._signs = Tables(self._network.signs)
        self._given = np.zeros(0, np.uint8) if source is None else lattice.held(source)
        self._held = np.concatenate([[0], np.cumsum(self._given, dtype=np.int64)])

    @property
    def last(self) -> int:
        """The last symbol of the tables: a magnitude of that or more."""
        return self._network.last

    def levels(self) -> None:
        """Code all magnitudes, cut off at the last symbol, into the lattice's values."""
        for slot, octave in self._lattice.waves():
            held = self._any(slot, octave)
            if len(held):
                blocks = self._blocks(slot[held], octave[held])
                for start in range(0, len(blocks), BLOCKS_AT_ONCE):
                    self._values(blocks.only(slice(start, start + BLOCKS_AT_ONCE)))

    def _any(self, slot: Places, octave: Places) -> Places:
        """Which of the cells (bands and octaves) hold anything."""
        lattice, parent = self._lattice, self._lattice.slots.parent[slot]
        context = np.where(parent > 0, 1 + lattice.alive[parent, octave], 0)
        context += 3 * np.where(octave > 0, lattice.alive[slot, np.maximum(octave - 1, 0)], 0)
        symbols = self._here(slot, octave) if self._source is not None else np.zeros(len(slot), np.int64)
        found = self._code(self._occupied, slot, context, symbols)
        lattice.alive[slot, octave] = found
        return np.flatnonzero(found)

    def _here(self, slot: Places, octave: Places) -> Places:
        lattice = self._lattice
        start, stop = lattice.span(slot, octave)
        base, area = lattice.flag_base[slot], lattice.flag_area[slot]
        return np.asarray(self._held[base + stop * area] > self._held[base + start * area], np.int64)

    def _blocks(self, slot: Places, octave: Places) -> Blocks:
        """The blocks of cells that hold anything."""
        lattice, slots = self._lattice, self._lattice.slots
        blocks, _ = lattice.blocks(slot, octave)
        by, bx, place = blocks.by, blocks.bx, lattice.flag_places(blocks)
        context = np.where(blocks.t > 0, self._flag(blocks.slot, blocks.t // 2, by, bx), 0).astype(np.int64)
        context += 2 * self._flag(slots.parent[blocks.slot], blocks.t, by // 2, bx // 2)
        for sibling in (slots.sibling, slots.other):
            context += 4 * self._flag(sibling[blocks.slot], blocks.t, by, bx)
        context += 12 * self._flag(slots.beside[blocks.slot], blocks.t, by, bx)
        symbols = np.asarray(self._given[place], np.int64) if self._source is not None else np.zeros(len(place), int)
        found = self._code(self._flags, blocks.slot, context, symbols)
        lattice.flags[place] = found
        return blocks.only(np.flatnonzero(found))

    def _flag(self, slot: Places, t: Places, by: Places, bx: Places) -> NDArray[np.uint8]:
        """Flags of blocks (by, bx), the last row and column repeated; 0 for a band that does not exist."""
        lattice = self._lattice
        rows, columns = np.minimum(by, lattice.flag_rows[slot] - 1), np.minimum(bx, lattice.flag_columns[slot] - 1)
        place = lattice.flag_base[slot] + t * lattice.flag_area[slot] + rows * lattice.flag_columns[slot] + columns
        return np.where(slot > 0, lattice.flags[np.where(slot > 0, place, 0)], 0)

    def _values(self, blocks: Blocks) -> None:
        """The magnitudes in ``blocks``."""
        lattice = self._lattice
        for place, slot, context in self._asked(blocks) if self._calls is None else next(self._calls):
            symbols = self._source[place] if self._source is not None else np.zeros(len(place), np.int64)
            lattice.values[place] = self._code(self.magnitudes, slot, context, symbols)

    def _asked(self, blocks: Blocks) -> Iterator[Call]:
        """The calls for ``blocks``, each once the magnitudes of those before are known."""
        around = Neighbours(self._lattice, blocks)
        described = self._network.describe(self._lattice, blocks)
        for number in range(len(PASSES)):
            place, block, inputs = around.look(number)
            if len(place):
                yield place, blocks.slot[block], self._network.tables(number, inputs, described, block)

    def _code(self, tables: Tables, slot: Places, context: Places, symbols: NDArray[Any]) -> Places:
        """Code ``symbols`` of bands ``slot``, kind by kind, each with the coder and the tables of its kind."""
        kinds = self._lattice.slots.kind[slot]
        count = len(tables) // len(Kind)
        out = np.zeros(len(slot), np.int64)
        for kind in np.flatnonzero(np.bincount(kinds, minlength=len(Kind))).tolist():
            which = np.flatnonzero(kinds == kind)
            if len(which) == len(slot):
                return tables.code(self._coders[Kind(kind)], context + kind * count, symbols)
            out[which] = tables.code(self._coders[Kind(kind)], context[which] + kind * count, symbols[which])
        return out

    def finish(self, given: Ints | None) -> Ints:
        """Code what :meth:`levels` leaves: remainders of large magnitudes, and signs. Returns the values, laid out as
        the lattice; ``given`` are those to write."""
        out = np.zeros(self._lattice.size, np.int32)
        for kind, coder in self._coders.items():
            part = self._lattice.range_of(kind)
            levels, values = self._lattice.values[part], out[part]
            source = values if given is None else given[part]
            places = np.flatnonzero(levels != 0)  # truth values are searched many times faster than integers
            values[places] = levels[places]  # memory that stays zero is never touched
            large = places[levels[places] == self.last]
            if len(large):
                remainder = np.abs(source[large].astype(np.int64)) - self.last + 1
                values[large] = self.last - 1 + _gamma(coder, Tables(self._network.lengths), remainder)
            self._give_signs(out, places + part.start, given)
        return out

    def _give_signs(self, out: Ints, places: Places, given: Ints | None) -> None:
        """Code the signs at ``places`` of one kind into ``out``, which holds their magnitudes: plane by plane, on every
        second coefficient as on a chessboard first. A sign's context is that of its neighbours."""
        lattice, slots = self._lattice, self._lattice.slots
        slot, _, y, x = lattice.places(places)
        turn = 2 * slots.plane[slot] + (y + x) % 2
        for number in range(6):
            chosen = np.flatnonzero(turn == number)
            for start in range(0, len(chosen), _SIGNS_AT_ONCE):
                which = chosen[start : start + _SIGNS_AT_ONCE]
                at, band = places[which], slot[which]
                beside, row = slots.beside[band], lattice.row[band]
                seen = 25 * np.sign(out[np.where(beside, at - lattice.base[band] + lattice.base[beside], 0)])
                if number % 2:
                    seen += 5 * (np.sign(out[at - row]) + np.sign(out[at + row]))
                    seen += np.sign(out[at - 1]) + np.sign(out[at + 1])
                context = 12 * np.abs(seen) + 3 * slots.orientation[band] + slots.plane[band]
                turned = seen < 0
                symbols = np.zeros(len(at), bool) if given is None else (given[at] < 0) ^ turned
                negative = self._code(self._signs, band, context, symbols) ^ turned
                out[at] *= (1 - 2 * negative).astype(np.int32)


def _gamma(coder: Coder, tables: Tables, values: Places) -> Places:
    """Elias-gamma code of values from 1: lengths in unary with adaptive bits, then the bits below the first."""
    lengths = np.zeros(len(values), np.int64)
    growing = np.arange(len(values))
    wanted = np.floor(np.log2(np.maximum(values, 1))).astype(np.int64)
    while len(growing):
        place = min(int(lengths[growing[0]]), _MAX_GAMMA)
        longer = (wanted[growing] > lengths[growing]).astype(np.int64)
        more = tables.code(coder, np.full(len(growing), place), longer)
        growing = growing[more == 1]
        lengths[growing] += 1
        if len(growing) and lengths[growing[0]] > _MAX_GAMMA:
            raise PayloadError("coefficients are altered: a magnitude never ends")
    out = np.ones(len(values), np.int64)
    for bit in range(int(lengths.max(initial=0))):
        live = np.flatnonzero(lengths > bit)
        source = values[live] >> (lengths[live] - bit - 1) & 1
        out[live] = out[live] * 2 + coder.code(source, _HALF)
    return out


def write(layouts: Sequence[Layout], bands: Sequence[Ints]) -> dict[Kind, bytes]:
    """Code the bands of volumes, each kind as one string of bytes; an empty one for a kind that is all zero.

    ``bands`` are those of all planes of all volumes, in order.
    """
    out = dict.fromkeys({v.kind for v in layouts}, b"")
    live = {Kind(v.kind) for v, found in zip(layouts, _grouped(layouts, bands), strict=True) if any(map(np.any, found))}
    kept = [(v, found) for v, found in zip(layouts, _grouped(layouts, bands), strict=True) if v.kind in live]
    if kept:
        lattice = Lattice([v for v, _ in kept])
        given = lattice.fill([band for _, found in kept for band in found], np.int32)
        coders = {kind: Writer() for kind in sorted(live)}
        source = np.minimum(np.abs(given), shipped().last).astype(np.uint8)
        walk = Walk(lattice, coders, source, calls=calls_ahead(lattice, source, shipped()))
        walk.levels()
        walk.finish(given)
        out |= {kind: coder.getvalue() for kind, coder in coders.items()}
    return out


def read(layouts: Sequence[Layout], data: Mapping[Kind, bytes]) -> list[Ints]:
    """The bands that :func:`write` coded. PayloadError if the bytes are no whole number of words, or too few."""
    for kind, found in data.items():
        if found and not any(v.kind == kind for v in layouts):
            raise PayloadError(f"{len(found)} bytes of coefficients where nothing is coded")
        if len(found) % 4:
            raise PayloadError(f"coefficients are truncated: {len(found)} bytes are no whole number of 32-bit words")
    kept = [v for v in layouts if data.get(v.kind)]
    found_bands: list[Ints] = []
    if kept:
        lattice = Lattice(kept)
        walk = Walk(lattice, {kind: Reader(data[kind]) for kind in sorted({v.kind for v in kept})})
        walk.levels()
        found_bands = lattice.bands(walk.finish(None))
    rest = iter(found_bands)
    return [
        next(rest) if data.get(v.kind) else np.zeros(shape, np.int32)
        for v in layouts
        for plane in v.planes
        for shape in plane
    ]


def _grouped(layouts: Sequence[Layout], bands: Sequence[Ints]) -> list[Sequence[Ints]]:
    """The bands of each volume."""
    stops = np.cumsum([0, *(sum(map(len, v.planes)) for v in layouts)])
    return [bands[a:b] for a, b in itertools.pairwise(stops)]
