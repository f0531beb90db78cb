"""Entropy coding of quantised wavelet coefficients over (time frequency, y, x).

Every magnitude is coded with an adaptive table chosen by what is known around it: the parent in the coarser band, the
lower time frequency, the sibling orientation, and its neighbours. Neighbours are coded in three interleaved passes, so
that a pass has no order inside it and is coded as one array. Blocks of zeros are skipped by a flag. Contexts, tables
and counts are integers throughout: every machine reads the same symbols.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.format.adaptive import Coder, Observer, Reader, Tables, Writer, prior_counts
from rinr_flower.codecs.scene.format.lattice import BLOCK, Band, Blocks, Ints, Places, Span
from rinr_flower.errors import PayloadError

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

    With ``observe`` bands keep the context of every coefficient in their ``kinds``.
    """

    def __init__(self, coder: Coder, *, observe: bool = False) -> None:
        self._coder = coder
        self._observe = observe
        self.magnitudes = Tables(_MAGNITUDES)
        self._flags = Tables(_FLAGS)
        self._occupied = Tables(_OCCUPIED)
        self._lengths = Tables(_LENGTHS)
        self._bits = np.array([[0.5, 0.5]], np.float32)

    def levels(self, pyramids: list[list[Ints]], fold: int) -> list[Band]:
        """Code the magnitudes, cut off at ESCAPE, of ``pyramids``, and return them; when reading, those given are zero.

        All pyramids are walked together, band by band. Bands are (frames x fold, h, w), coarsest first, then triples,
        as the wavelet has them; with ``fold`` 2, the blue and the red plane of each time frequency follow each other.
        """
        found: list[Band] = []
        unseen = 2 * _CONTEXTS if self._observe else None
        for index in range(max(map(len, pyramids), default=0)):
            band = Band([p[index] if index < len(p) else None for p in pyramids], fold, unseen)
            parent = found[index - 3] if index > 3 else None
            siblings = found[index - (index - 1) % 3 :] if index else []
            found.append(band)
            for start, stop in _octaves(int(band.frames.max())):
                span = Span(start, stop, fold)
                live = self._any(band, parent, span)
                if len(live):
                    blocks = self._blocks(band, parent, siblings, span, live)
                    if len(blocks.owner):
                        self._values(band, parent, siblings, span, blocks)
        return found

    def _any(self, band: Band, parent: Band | None, span: Span) -> Places:
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

    def _blocks(self, band: Band, parent: Band | None, siblings: list[Band], span: Span, live: Places) -> Blocks:
        """The blocks that hold anything, of the pyramids ``live``."""
        size = band.flag_plane[live]
        counts = (np.minimum(span.stop, band.frames[live]) - span.start) * span.fold * size
        owner = np.repeat(live, counts)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        t, rest = np.divmod(number, np.repeat(size, counts))
        by, bx = np.divmod(rest, band.flag_row[owner])
        t += span.start * span.fold
        blocks = Blocks(owner, t, by, bx)
        plane = band.flag_plane[owner]
        place = band.flag_base[owner] + t * plane + rest
        context = np.zeros(len(owner), np.int64)
        if span.start:
            context += band.flags[place + (span.parents(t) - t) * plane]
        if parent is not None:
            context += 2 * parent.flag(owner, t, by // 2, bx // 2)
        for sibling in siblings:
            context += 4 * sibling.flag(owner, t, by, bx)
        coded = self._flags.code(self._coder, context, band.flags[place])
        band.flags[place] = coded
        held = np.flatnonzero(coded)
        band.alive[owner[held], t[held]] = True
        return blocks.only(held)

    def _values(self, band: Band, parent: Band | None, siblings: list[Band], span: Span, blocks: Blocks) -> None:
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
            for band, at, part in zip(levels, large, _split_like(found, large), strict=True):
                band.reshape(-1)[at] = part
        group = np.cumsum([band.size for band in levels]) // _SIGNS_AT_ONCE
        for bands in np.split(np.arange(len(levels)), np.flatnonzero(np.diff(group)) + 1):
            self._signs([levels[i] for i in bands], [given[i] for i in bands])

    def _signs(self, levels: list[Ints], given: list[Ints]) -> None:
        """Give the magnitudes ``levels`` the signs of ``given``."""
        places = [np.flatnonzero(band != 0) for band in levels]
        negative = np.concatenate([band.reshape(-1)[at] < 0 for band, at in zip(given, places, strict=True)])
        if len(negative) == 0:
            return
        sign = (1 - 2 * self._coder.code(negative, self._bits)).astype(np.int32)
        for band, at, part in zip(levels, places, _split_like(sign, places), strict=True):
            band.reshape(-1)[at] *= part

    def _gamma(self, values: Places) -> Places:
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
    given, levels = [], []
    for folded, fold in _folded(pyramids, planes):
        cut = [[np.minimum(np.abs(b), ESCAPE) for b in bands] for bands in folded]
        walk.levels(cut, fold)
        given += [band for bands in folded for band in bands]
        levels += [band for bands in cut for band in bands]
    walk.finish(levels, given)
    return coder.getvalue()


def observe(pyramids: list[list[Ints]], planes: int) -> tuple[list[list[NDArray[np.int16]]], NDArray[np.float64]]:
    """What coding magnitudes would cost: the context of every coefficient, and bits (contexts, magnitudes), signs left
    out, at the end of the traversal."""
    walk = Walk(Observer(), observe=True)
    kinds: list[list[NDArray[np.int16]]] = [[] for _ in pyramids]
    for folded, fold in _folded(pyramids, planes):
        found = walk.levels([[np.minimum(b, ESCAPE) for b in bands] for bands in folded], fold)
        for picture, bands in enumerate(folded):
            inner = [band.inner(band.kinds, picture) for band in found[: len(bands)]]
            for plane in range(fold):
                kinds[picture * planes + fold - 1 + plane] = [k[plane::fold] for k in inner]
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
        found = walk.levels([levels[key] for key in group], group[0][1])
        for number, key in enumerate(group):
            for band, level in zip(found, levels[key], strict=False):
                if band.alive[number].any():
                    level[...] = band.inner(band.values, number)
    flat = [band for group in order for key in group for band in levels[key]]
    walk.finish(flat, flat)
    return [[b[plane::fold] for b in levels[p, fold]] for p in pictures for fold in folds for plane in range(fold)]


class _Around:
    """What is known around the values of ``blocks`` when they are coded."""

    def __init__(self, band: Band, parent: Band | None, siblings: list[Band], span: Span, blocks: Blocks) -> None:
        self._band, self._parent, self._sibling = band, parent, siblings[-1] if siblings else None
        self._here = band.at(blocks)
        self._above = None if parent is None else parent.at(blocks)
        self._beside = None if self._sibling is None else self._sibling.at(blocks)
        self._lower = self._here.plane * (span.parents(blocks.t) - blocks.t)[:, None] if span.start else None
        self._top, self._left = blocks.by[:, None] * BLOCK, blocks.bx[:, None] * BLOCK
        self._first = _PER_SET * (2 * (span.start > 0) + (span.fold - 1))

    def look(self, number: int) -> tuple[Places, Places]:
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


def _split_like(values: NDArray[Any], places: list[Places]) -> list[NDArray[Any]]:
    """``values`` cut into one piece for each of ``places``, as long as it is."""
    return np.split(values, np.cumsum([len(at) for at in places])[:-1])
