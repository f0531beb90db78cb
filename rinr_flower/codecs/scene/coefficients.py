"""Entropy coding of quantised wavelet coefficients over (time frequency, y, x).

Every magnitude is coded with an adaptive table chosen by what is known around it: the parent in the coarser band, the
lower time frequency, the sibling orientation, and its neighbours. Neighbours are coded in three interleaved passes, so
that a pass has no order inside it and is coded as one array. Blocks of zeros are skipped by a flag. Contexts, tables
and counts are integers throughout: every machine reads the same symbols.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.adaptive import Coder, Observer, Reader, Tables, Writer, prior_counts
from rinr_flower.errors import PayloadError

Ints = NDArray[np.int32]
Places = NDArray[np.int64]

BLOCK = 8
ESCAPE = 20  # magnitudes from here on are coded as ESCAPE and an Elias-gamma remainder
_MAX_GAMMA = 20  # bits of that remainder
_OFFSETS = np.stack(np.meshgrid(np.arange(BLOCK), np.arange(BLOCK), indexing="ij"), axis=-1).reshape(-1, 2)
_PARITY = _OFFSETS % 2
_PASSES = (
    _OFFSETS[(_PARITY == 0).all(axis=1)],
    _OFFSETS[(_PARITY == 1).all(axis=1)],
    _OFFSETS[_PARITY.sum(axis=1) == 1],
)
# what a pass knows of its neighbours: nothing, the four diagonal ones, the four direct ones
_NEIGHBOURS = ((), ((-1, -1), (-1, 1), (1, -1), (1, 1)), ((-1, 0), (1, 0), (0, -1), (0, 1)))
_EDGES = np.array([1, 3, 5, 8, 12, 18, 27, 40, 64, 100])
_CONTEXTS = len(_EDGES) + 1
_CONTEXT_OF = np.searchsorted(_EDGES, np.arange(_EDGES[-1] + 1), side="right")
_PER_SET = 3 * _CONTEXTS
_BLOCKS_AT_ONCE = 1 << 12  # whose contexts are looked up together: bounds the memory that takes
_SIGNS_AT_ONCE = 1 << 20
_SETS = 4  # luma and chroma, at time frequency 0 and above
# where the tables start, in 1/1024: counted once over canvases, residuals and objects of ten clips. Rows: time
# frequency 0 and above, each the first, the second and the later passes; columns: contexts.
_ZERO = np.repeat(
    np.array(
        [
            [931, 766, 766, 833, 671, 655, 514, 405, 304, 186, 94],
            [1003, 893, 903, 790, 668, 531, 417, 309, 207, 125, 65],
            [1013, 970, 951, 842, 707, 571, 436, 296, 200, 122, 55],
            [973, 815, 815, 840, 686, 605, 499, 383, 295, 200, 125],
            [1005, 914, 867, 774, 636, 511, 411, 293, 216, 129, 118],
            [1013, 948, 910, 779, 656, 523, 395, 293, 198, 136, 73],
        ]
    ).reshape(2, 1, -1),
    2,
    axis=1,
).reshape(-1)
_RATIO = np.repeat(
    np.array(
        [
            [739, 469, 469, 340, 450, 431, 476, 588, 672, 754, 867],
            [258, 217, 244, 237, 298, 406, 529, 632, 746, 817, 900],
            [126, 90, 99, 128, 164, 246, 378, 531, 680, 788, 901],
            [211, 183, 183, 133, 230, 250, 314, 422, 575, 705, 812],
            [76, 78, 106, 117, 168, 273, 422, 544, 679, 784, 864],
            [64, 64, 52, 66, 95, 173, 324, 487, 637, 758, 866],
        ]
    ).reshape(2, 1, -1),
    2,
    axis=1,
).reshape(-1)
_MAGNITUDES = prior_counts(_ZERO, _RATIO, ESCAPE + 1, 128)
_FLAGS = prior_counts(
    np.array([973, 379, 771, 283, 720, 291, 445, 167, 274, 130, 377, 176]), np.zeros(12, np.int64), 2, 128
)
_OCCUPIED = prior_counts(np.array([644, 1001, 342, 204, 687, 87]), np.zeros(6, np.int64), 2, 8)
_LENGTHS = prior_counts(np.full(_MAX_GAMMA + 1, 512), np.zeros(_MAX_GAMMA + 1, np.int64), 2, 8)


class Walk:
    """One traversal of sets of band pyramids, the same for writing, reading and costing.

    With ``observe`` it keeps the context of every coefficient in ``kinds``: one array a band, pyramid by pyramid, for
    each call of :meth:`levels`.
    """

    def __init__(self, coder: Coder, *, observe: bool = False) -> None:
        self._coder = coder
        self.kinds: list[list[NDArray[np.int16]]] = []
        self._observe = observe
        self.magnitudes = Tables(_MAGNITUDES)
        self._flags = Tables(_FLAGS)
        self._occupied = Tables(_OCCUPIED)
        self._lengths = Tables(_LENGTHS)
        self._bits = np.array([[0.5, 0.5]], np.float32)

    def levels(self, pyramids: list[list[Ints]], fold: int) -> None:
        """Code the magnitudes, cut off at ESCAPE, of ``pyramids`` in place; when reading, they are zero and are filled.

        All pyramids are walked together, band by band. Bands are (frames x fold, h, w), coarsest first, then triples,
        as the wavelet has them; with ``fold`` 2, the blue and the red plane of each time frequency follow each other.
        """
        found: list[_Band] = []
        for index in range(max(map(len, pyramids), default=0)):
            band = _Band([p[index] if index < len(p) else None for p in pyramids], fold, self._observe)
            parent = found[index - 3] if index > 3 else None
            siblings = found[index - (index - 1) % 3 :] if index else []
            found.append(band)
            for start, stop in _octaves(int(band.frames.max())):
                span = _Span(start, stop, fold)
                live = self._any(band, parent, span)
                if len(live):
                    blocks = self._blocks(band, parent, siblings, span, live)
                    if len(blocks.owner):
                        self._values(band, parent, siblings, span, blocks)
        for number, pyramid in enumerate(pyramids):
            for band, given in zip(found, pyramid, strict=False):
                if band.alive[number].any():
                    given[...] = band.inner(band.values, number)
        if self._observe:
            self.kinds = [[b.inner(b.kinds, n) for b in found[: len(p)]] for n, p in enumerate(pyramids)]

    def _any(self, band: _Band, parent: _Band | None, span: _Span) -> NDArray[np.int64]:
        """The pyramids whose band holds anything at these time frequencies."""
        asked = np.flatnonzero(band.frames > span.start)
        rows = slice(span.start * span.fold, span.stop * span.fold)
        context = np.zeros(len(asked), np.int64)
        if parent is not None:
            context += 1 + parent.alive[asked, rows].any(axis=1)
        if span.start:
            first = span.start // 2
            below = band.alive[asked, first * span.fold : span.start * span.fold]
            if below.any():  # only up to the half of the last time frequency that there is
                reach = (np.minimum(span.stop, band.frames[asked]) - 1) // 2 + 1 - first
                context += 3 * (below & (np.arange(below.shape[1]) < span.fold * reach[:, None])).any(axis=1)
        here = np.asarray(band.alive[asked, rows].any(axis=1), np.int64)
        held = self._occupied.code(self._coder, context, here)
        return np.asarray(asked[held == 1], np.int64)

    def _blocks(
        self, band: _Band, parent: _Band | None, siblings: list[_Band], span: _Span, live: NDArray[np.int64]
    ) -> _Blocks:
        """The blocks that hold anything, of the pyramids ``live``."""
        size = band.flag_plane[live]
        counts = (np.minimum(span.stop, band.frames[live]) - span.start) * span.fold * size
        owner = np.repeat(live, counts)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        t, rest = np.divmod(number, np.repeat(size, counts))
        by, bx = np.divmod(rest, band.flag_row[owner])
        t += span.start * span.fold
        blocks = _Blocks(owner, t, by, bx)
        context = np.zeros(len(owner), np.int64)
        if span.start:
            context += band.flags[band.flag_base[owner] + span.parents(t) * band.flag_plane[owner] + rest]
        if parent is not None:
            context += 2 * parent.flag(owner, t, by // 2, bx // 2)
        for sibling in siblings:
            context += 4 * sibling.flag(owner, t, by, bx)
        place = band.flag_base[owner] + t * band.flag_plane[owner] + rest
        coded = self._flags.code(self._coder, context, band.flags[place])
        band.flags[place] = coded
        held = np.flatnonzero(coded)
        band.alive[owner[held], t[held]] = True
        return blocks.only(held)

    def _values(self, band: _Band, parent: _Band | None, siblings: list[_Band], span: _Span, blocks: _Blocks) -> None:
        """The magnitudes in ``blocks``."""
        pieces = [slice(at, at + _BLOCKS_AT_ONCE) for at in range(0, len(blocks.owner), _BLOCKS_AT_ONCE)]
        around = [_Around(band, parent, siblings, span, blocks.only(piece)) for piece in pieces]
        for number in range(len(_PASSES)):
            looked = [piece.look(number) for piece in around]
            place, kinds = (np.concatenate(arrays) for arrays in zip(*looked, strict=True))
            if len(place) == 0:
                continue
            if self._observe:
                band.kinds[place] = kinds
            band.values[place] = self.magnitudes.code(self._coder, kinds, band.values[place])

    def finish(self, levels: list[Ints], given: list[Ints]) -> None:
        """Code what :meth:`levels` leaves: the magnitudes from ESCAPE on and all signs. ``levels`` become the values;
        ``given`` are those to write."""
        large = [np.flatnonzero(band == ESCAPE) for band in levels]
        if any(len(at) for at in large):
            rest = [np.abs(band.reshape(-1)[at].astype(np.int64)) for band, at in zip(given, large, strict=True)]
            found = ESCAPE - 1 + self._gamma(np.concatenate(rest) - ESCAPE + 1)
            stops = np.cumsum([len(at) for at in large])
            for band, at, stop in zip(levels, large, stops.tolist(), strict=True):
                band.reshape(-1)[at] = found[stop - len(at) : stop]
        group = np.cumsum([band.size for band in levels]) // _SIGNS_AT_ONCE
        for bands in np.split(np.arange(len(levels)), np.flatnonzero(np.diff(group)) + 1):
            self._signs([levels[i] for i in bands], [given[i] for i in bands])

    def _signs(self, levels: list[Ints], given: list[Ints]) -> None:
        """Give the magnitudes ``levels`` the signs of ``given``."""
        places = [np.flatnonzero(band != 0) for band in levels]
        negative = np.concatenate([band.reshape(-1)[at] < 0 for band, at in zip(given, places, strict=True)])
        if len(negative) == 0:
            return
        sign = 1 - 2 * self._coder.code(negative, self._bits)
        stops = np.cumsum([len(at) for at in places])
        for band, at, stop in zip(levels, places, stops.tolist(), strict=True):
            band.reshape(-1)[at] *= sign[stop - len(at) : stop].astype(np.int32)

    def _gamma(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Elias-gamma code of values from 1, bit plane by bit plane."""
        lengths = np.zeros(len(values), np.int64)
        growing = np.arange(len(values))
        wanted = np.floor(np.log2(np.maximum(values, 1))).astype(np.int64)
        while len(growing):
            place = min(int(lengths[growing[0]]), _MAX_GAMMA)
            longer = (wanted[growing] > lengths[growing]).astype(np.int64)
            more = self._lengths.code(self._coder, np.full(len(growing), place), longer)
            growing = growing[more == 1]
            lengths[growing] += 1
            if len(growing) and lengths[growing[0]] > _MAX_GAMMA:
                raise PayloadError("coefficients are altered: a magnitude never ends")
        out = np.ones(len(values), np.int64)
        for bit in range(int(lengths.max(initial=0))):
            live = np.flatnonzero(lengths > bit)
            source = values[live] >> (lengths[live] - bit - 1) & 1
            out[live] = out[live] * 2 + self._coder.code(source, self._bits)
        return out


def encode_bands(pyramids: list[list[Ints]], planes: int) -> bytes:
    """Code quantised pyramids, each a list of arrays (time frequency, h, w) in wavelet order.

    Every ``planes`` pyramids belong to one picture: luma first, then blue and red if ``planes`` is 3.
    """
    if not any(band.any() for bands in pyramids for band in bands):
        return b""
    coder = Writer()
    walk = Walk(coder)
    given = [band for folded, _ in _folded(pyramids, planes) for bands in folded for band in bands]
    levels = []
    for folded, fold in _folded(pyramids, planes):
        cut = [[np.minimum(np.abs(b), ESCAPE) for b in bands] for bands in folded]
        walk.levels(cut, fold)
        levels += [band for bands in cut for band in bands]
    walk.finish(levels, given)
    return coder.getvalue()


def observe(pyramids: list[list[Ints]], planes: int) -> tuple[list[list[NDArray[np.int16]]], NDArray[np.float64]]:
    """What coding magnitudes would cost: the context of every coefficient, and bits (contexts, magnitudes), signs left
    out, at the end of the traversal."""
    walk = Walk(Observer(), observe=True)
    kinds: list[list[NDArray[np.int16]]] = [[] for _ in pyramids]
    for folded, fold in _folded(pyramids, planes):
        walk.levels([[np.minimum(b, ESCAPE) for b in bands] for bands in folded], fold)
        for picture, bands in enumerate(walk.kinds):
            for plane in range(fold):
                kinds[picture * planes + fold - 1 + plane] = [k[plane::fold] for k in bands]
    return kinds, walk.magnitudes.bits()


def decode_bands(
    data: bytes, shapes: list[list[tuple[int, int, int]]], planes: int, *, together: bool = True
) -> list[list[Ints]]:
    """The pyramids of the given band shapes that :func:`encode_bands` coded.

    Not ``together``, they were walked one after the other, as the first payloads have it.
    """
    if not data:
        return [[np.zeros(shape, np.int32) for shape in bands] for bands in shapes]
    if not shapes:
        raise PayloadError(f"{len(data)} bytes of coefficients where nothing is coded")
    if len(data) % 4:
        raise PayloadError(f"coefficients are truncated: {len(data)} bytes are no whole number of 32-bit words")
    pictures = range(len(shapes) // planes)
    folds = [1] if planes == 1 else [1, 2]
    levels = {
        (picture, fold): [np.zeros((t * fold, h, w), np.int32) for t, h, w in shapes[picture * planes + fold - 1]]
        for picture in pictures
        for fold in folds
    }
    order = [[(p, f) for p in pictures] for f in folds] if together else [[(p, f)] for p in pictures for f in folds]
    walk = Walk(Reader(data))
    for group in order:
        walk.levels([levels[key] for key in group], group[0][1])
    flat = [band for group in order for key in group for band in levels[key]]
    walk.finish(flat, flat)
    return [[b[plane::fold] for b in levels[p, fold]] for p in pictures for fold in folds for plane in range(fold)]


class _Band:
    """One band of several pyramids, one after the other in memory, each within a border of zeros.

    Looked up by flat positions: with hundreds of small volumes in a payload, a lookup must not take a call for each.
    ``frames`` is 0 for a pyramid that has no such band. ``flags`` says which blocks hold any value, ``alive``
    (pyramids, frames x fold) which time frequencies.
    """

    def __init__(self, bands: list[Ints | None], fold: int, observe: bool) -> None:
        shapes = np.array([(0, 0, 0) if b is None else b.shape for b in bands], np.int64)
        self.frames, self.height, self.width = shapes[:, 0] // fold, shapes[:, 1], shapes[:, 2]
        self.row, self.plane = self.width + 2, (self.height + 2) * (self.width + 2)
        self.base = _starts(shapes[:, 0] * self.plane)
        self.values = np.zeros(self.base[-1], np.int32)
        self.kinds = np.full(len(self.values) if observe else 0, 2 * _CONTEXTS, np.int16)
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

    def at(self, blocks: _Blocks) -> _Origins:
        """Where the values lie that belong to ``blocks``."""
        owner = blocks.owner[:, None]
        start = self.base[owner] + blocks.t[:, None] * self.plane[owner]
        return _Origins(start, self.row[owner], self.plane[owner], self.height[owner], self.width[owner])


@dataclass(frozen=True)
class _Origins:
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
class _Blocks:
    """Blocks of a band: the pyramid, the row along time and the place of each."""

    owner: Places
    t: Places
    by: Places
    bx: Places

    def only(self, which: Places | slice) -> _Blocks:
        return _Blocks(self.owner[which], self.t[which], self.by[which], self.bx[which])


class _Around:
    """What is known around the values of ``blocks`` when they are coded."""

    def __init__(self, band: _Band, parent: _Band | None, siblings: list[_Band], span: _Span, blocks: _Blocks) -> None:
        self._band, self._parent, self._sibling = band, parent, siblings[-1] if siblings else None
        self._here = band.at(blocks)
        self._above = None if parent is None else parent.at(blocks)
        self._beside = None if self._sibling is None else self._sibling.at(blocks)
        self._lower = self._here.plane * (span.parents(blocks.t) - blocks.t)[:, None] if span.start else None
        self._top, self._left = blocks.by[:, None] * BLOCK, blocks.bx[:, None] * BLOCK
        self._first = _PER_SET * (2 * (span.start > 0) + (span.fold - 1))

    def look(self, number: int) -> tuple[Places, NDArray[np.int64]]:
        """Places and contexts of the values of pass ``number``."""
        y, x = self._top + _PASSES[number][:, 0], self._left + _PASSES[number][:, 1]
        values, here = self._band.values, self._here
        inside = (y < here.height) & (x < here.width)
        coded = slice(None) if inside.all() else np.flatnonzero(inside)
        at = here.start + (y + 1) * here.row + (x + 1)
        place = at.reshape(-1)[coded]
        mean = np.zeros(len(place), np.int32)
        if self._lower is not None:
            mean += 4 * values[(at + self._lower).reshape(-1)[coded]]
        if self._parent is not None and self._above is not None:
            mean += 3 * self._parent.values[self._above.nearest(y // 2, x // 2).reshape(-1)[coded]]
        if self._sibling is not None and self._beside is not None:
            mean += 2 * self._sibling.values[self._beside.nearest(y, x).reshape(-1)[coded]]
        if number == 0:
            mean *= 2
        for dy, dx in _NEIGHBOURS[number]:
            mean += (3 if number == 2 else 2) * values[(at + (dy * here.row + dx)).reshape(-1)[coded]]
        return place, _CONTEXT_OF[np.minimum(mean, _EDGES[-1])] + (_CONTEXTS * number + self._first)


@dataclass(frozen=True)
class _Span:
    """Time frequencies that are coded together; ``fold`` planes of each follow each other."""

    start: int
    stop: int
    fold: int

    def parents(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the same plane of half the time frequency is."""
        return np.asarray(at // self.fold // 2 * self.fold + at % self.fold, np.int64)


def _folded(pyramids: list[list[Ints]], planes: int) -> list[tuple[list[list[Ints]], int]]:
    """What is walked together, with its fold: luma as it is, then blue and red interleaved along the first axis."""
    out = [(pyramids[::planes], 1)]
    if planes == 3:
        pairs = [zip(b, r, strict=True) for b, r in zip(pyramids[1::3], pyramids[2::3], strict=True)]
        out.append(([[np.stack(p, axis=1).reshape(-1, *p[0].shape[1:]) for p in bands] for bands in pairs], 2))
    return out


def _octaves(frames: int) -> list[tuple[int, int]]:
    """Ranges of time frequencies that are coded together: 0, 1, 2-3, 4-7, ..."""
    starts = [0, *(1 << k for k in range(20) if 1 << k < frames)]
    return list(zip(starts, [*starts[1:], frames], strict=True))


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
