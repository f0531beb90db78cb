"""Entropy coding of quantised wavelet coefficients over (time frequency, y, x).

Every magnitude is coded with an adaptive table chosen by what is known around it: the parent in the coarser band, the
lower time frequency, the sibling orientation, and its neighbours. Neighbours are coded in three interleaved passes, so
that a pass has no order inside it and is coded as one array. Blocks of zeros are skipped by a flag. Contexts, tables
and counts are integers throughout: every machine reads the same symbols.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.adaptive import Coder, Observer, Reader, Tables, Writer, prior_counts
from rinr_flower.errors import PayloadError

Ints = NDArray[np.int32]

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

    With ``observe`` it keeps the context of every coefficient in ``kinds``, one array a band, in order.
    """

    def __init__(self, coder: Coder, *, observe: bool = False) -> None:
        self._coder = coder
        self.kinds: list[NDArray[np.int16]] = []
        self._observe = observe
        self.magnitudes = Tables(_MAGNITUDES)
        self._flags = Tables(_FLAGS)
        self._occupied = Tables(_OCCUPIED)
        self._lengths = Tables(_LENGTHS)
        self._bits = np.array([[0.5, 0.5]], np.float32)

    def levels(self, bands: list[Ints], fold: int) -> None:
        """Code the magnitudes, cut off at ESCAPE, of one pyramid in place; when reading, they are zero and are filled.

        Bands are (frames x fold, h, w), coarsest first, then triples, as the wavelet has them; with ``fold`` 2, the
        blue and the red plane of each time frequency follow each other.
        """
        flags: list[Ints] = []
        borders: list[Ints] = []  # the bands within a border of zeros
        for index, band in enumerate(bands):
            parent = index - 3 if index > 3 else None
            siblings = list(range(index - (index - 1) % 3, index)) if index else []
            flags.append(_blocks(band))
            borders.append(np.zeros((band.shape[0], band.shape[1] + 2, band.shape[2] + 2), np.int32))
            if self._observe:
                self.kinds.append(np.full(band.shape, 2 * _CONTEXTS, np.int16))
            for start, stop in _octaves(band.shape[0] // fold):
                span = _Span(start * fold, stop * fold, fold)
                if self._any(flags, parent, span):
                    self._blocks(flags, parent, siblings, span)
                    self._band(band, flags[-1], borders, parent, siblings, span)

    def _any(self, flags: list[Ints], parent: int | None, span: _Span) -> bool:
        """Whether a band holds anything at these time frequencies."""
        context = 0 if parent is None else 1 + int(flags[parent][span.start : span.stop].any())
        if span.start:
            first, last = span.parents(np.array([span.start, span.stop - 1]) // span.fold * span.fold).tolist()
            context += 3 * int(flags[-1][first : last + span.fold].any())
        here = int(flags[-1][span.start : span.stop].any())
        return bool(self._occupied.code_one(self._coder, context, here))

    def _blocks(self, flags: list[Ints], parent: int | None, siblings: list[int], span: _Span) -> None:
        """Which blocks hold anything."""
        here = flags[-1][span.start : span.stop]
        context = np.zeros(here.shape, np.int32)
        if span.start:
            context += flags[-1][span.parents(np.arange(span.start, span.stop))]
        if parent is not None:
            context += 2 * _enlarged(flags[parent][span.start : span.stop], here.shape[1:])
        for sibling in siblings:
            context += 4 * _fitted(flags[sibling][span.start : span.stop], here.shape[1:])
        found = self._flags.code(self._coder, context.reshape(-1), here.reshape(-1))
        here[...] = found.reshape(here.shape)

    def _band(
        self, band: Ints, flags: Ints, borders: list[Ints], parent: int | None, siblings: list[int], span: _Span
    ) -> None:
        """The magnitudes in the blocks that hold anything."""
        h, w = band.shape[1:]
        t, by, bx = np.nonzero(flags[span.start : span.stop])
        t += span.start
        lower = span.parents(t)
        first = _PER_SET * (2 * (span.start > 0) + (span.fold - 1))
        row, plane = w + 2, (h + 2) * (w + 2)  # of the band within its border, which is looked up by flat positions
        border = borders[-1].reshape(-1)
        for number, offsets in enumerate(_PASSES):
            y = (by[:, None] * BLOCK + offsets[:, 0]).reshape(-1)
            x = (bx[:, None] * BLOCK + offsets[:, 1]).reshape(-1)
            inside = np.flatnonzero((y < h) & (x < w))
            if len(inside) == 0:
                continue
            block = inside // len(offsets)
            y, x, at = y[inside], x[inside], t[block]
            place = (y + 1) * row + x + 1
            mean = np.zeros(len(y), np.int32)
            if span.start:
                mean += 4 * border[lower[block] * plane + place]
            place += at * plane
            if parent is not None:
                mean += 3 * _clamped(borders[parent], at, y // 2, x // 2)
            if siblings:
                mean += 2 * _clamped(borders[siblings[-1]], at, y, x)
            if number == 0:
                mean *= 2
            for dy, dx in _NEIGHBOURS[number]:
                mean += (3 if number == 2 else 2) * border[place + (dy * row + dx)]
            kinds = _CONTEXT_OF[np.minimum(mean, _EDGES[-1])] + (_CONTEXTS * number + first)
            if self._observe:
                self.kinds[-1][at, y, x] = kinds
            found = self.magnitudes.code(self._coder, kinds, band[at, y, x])
            band[at, y, x] = found
            border[place] = found

    def finish(self, levels: list[Ints], given: list[Ints]) -> None:
        """Code what :meth:`levels` leaves: the magnitudes from ESCAPE on and all signs. ``levels`` become the values;
        ``given`` are those to write."""
        places = [np.flatnonzero(band != 0) for band in levels]
        flat = np.concatenate([band.reshape(-1)[at] for band, at in zip(levels, places, strict=True)]).astype(np.int64)
        if len(flat) == 0:
            return
        source = np.concatenate([band.reshape(-1)[at] for band, at in zip(given, places, strict=True)]).astype(np.int64)
        large = np.flatnonzero(flat == ESCAPE)
        if len(large):
            flat[large] = ESCAPE - 1 + self._gamma(np.abs(source[large]) - ESCAPE + 1)
        flat *= 1 - 2 * self._coder.code((source < 0).astype(np.int64), self._bits)
        stops = np.cumsum([len(at) for at in places])
        for band, at, stop in zip(levels, places, stops.tolist(), strict=True):
            band.reshape(-1)[at] = flat[stop - len(at) : stop]

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
    folded = _folded(pyramids, planes)
    levels = [[np.minimum(np.abs(b), ESCAPE) for b in bands] for bands, _ in folded]
    for bands, (_, fold) in zip(levels, folded, strict=True):
        walk.levels(bands, fold)
    walk.finish([b for bands in levels for b in bands], [b for bands, _ in folded for b in bands])
    return coder.getvalue()


def observe(pyramids: list[list[Ints]], planes: int) -> tuple[list[list[NDArray[np.int16]]], NDArray[np.float64]]:
    """What coding magnitudes would cost: the context of every coefficient, and bits (contexts, magnitudes), signs left
    out, at the end of the traversal."""
    walk = Walk(Observer(), observe=True)
    kinds: list[list[NDArray[np.int16]]] = []
    for bands, fold in _folded(pyramids, planes):
        walk.levels([np.minimum(b, ESCAPE) for b in bands], fold)
        kinds += [[k[plane::fold] for k in walk.kinds] for plane in range(fold)]
        walk.kinds = []
    return kinds, walk.magnitudes.bits()


def decode_bands(data: bytes, shapes: list[list[tuple[int, int, int]]], planes: int) -> list[list[Ints]]:
    """The pyramids of the given band shapes that :func:`encode_bands` coded."""
    if not data:
        return [[np.zeros(shape, np.int32) for shape in bands] for bands in shapes]
    if not shapes:
        raise PayloadError(f"{len(data)} bytes of coefficients where nothing is coded")
    if len(data) % 4:
        raise PayloadError(f"coefficients are truncated: {len(data)} bytes are no whole number of 32-bit words")
    walk = Walk(Reader(data))
    folds = [1] if planes == 1 else [1, 2]
    levels, out = [], []
    for picture in range(len(shapes) // planes):
        for fold in folds:
            levels.append([np.zeros((t * fold, h, w), np.int32) for t, h, w in shapes[picture * planes + fold - 1]])
            walk.levels(levels[-1], fold)
    flat = [b for bands in levels for b in bands]
    walk.finish(flat, flat)
    for number, bands in enumerate(levels):
        fold = folds[number % len(folds)]
        out += [[b[plane::fold] for b in bands] for plane in range(fold)]
    return out


@dataclass(frozen=True)
class _Span:
    """Time frequencies that are coded together; ``fold`` planes of each follow each other."""

    start: int
    stop: int
    fold: int

    def parents(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the same plane of half the time frequency is."""
        return np.asarray(at // self.fold // 2 * self.fold + at % self.fold, np.int64)


def _folded(pyramids: list[list[Ints]], planes: int) -> list[tuple[list[Ints], int]]:
    """Luma as it is, blue and red interleaved along the first axis, each with its fold."""
    out: list[tuple[list[Ints], int]] = []
    for picture in range(0, len(pyramids), planes):
        out.append((pyramids[picture], 1))
        if planes == 3:
            pairs = zip(pyramids[picture + 1], pyramids[picture + 2], strict=True)
            out.append(([np.stack(pair, axis=1).reshape(-1, *pair[0].shape[1:]) for pair in pairs], 2))
    return out


def _octaves(frames: int) -> list[tuple[int, int]]:
    """Ranges of time frequencies that are coded together: 0, 1, 2-3, 4-7, ..."""
    starts = [0, *(1 << k for k in range(20) if 1 << k < frames)]
    return list(zip(starts, [*starts[1:], frames], strict=True))


def _clamped(bordered: Ints, t: NDArray[np.int64], y: NDArray[np.int64], x: NDArray[np.int64]) -> Ints:
    """Values of a band within a border at (t, y, x), the last row and column repeated."""
    rows, columns = np.minimum(y + 1, bordered.shape[1] - 2), np.minimum(x + 1, bordered.shape[2] - 2)
    place = (t * bordered.shape[1] + rows) * bordered.shape[2] + columns
    return np.asarray(bordered.reshape(-1)[place], np.int32)


def _blocks(band: Ints) -> Ints:
    """Flags (time, blocks, blocks): 1 where a block of BLOCK x BLOCK coefficients holds any value."""
    t, h, w = band.shape
    if not band.any():
        return np.zeros((t, -(-h // BLOCK), -(-w // BLOCK)), np.int32)
    padded = np.zeros((t, -(-h // BLOCK) * BLOCK, -(-w // BLOCK) * BLOCK), bool)
    padded[:, :h, :w] = band != 0
    blocks = padded.reshape(t, padded.shape[1] // BLOCK, BLOCK, padded.shape[2] // BLOCK, BLOCK)
    return np.asarray(blocks.any(axis=(2, 4)), np.int32)


def _fitted(array: Ints, shape: tuple[int, ...]) -> Ints:
    """Cut or repeat the border so that the last two axes have ``shape``."""
    h, w = shape
    rows = np.minimum(np.arange(h), array.shape[1] - 1)
    columns = np.minimum(np.arange(w), array.shape[2] - 1)
    return array[:, rows[:, None], columns]


def _enlarged(array: Ints, shape: tuple[int, ...]) -> Ints:
    h, w = shape
    rows = np.minimum(np.arange(h) // 2, array.shape[1] - 1)
    columns = np.minimum(np.arange(w) // 2, array.shape[2] - 1)
    return array[:, rows[:, None], columns]
