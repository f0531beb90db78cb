"""Entropy coding of quantised wavelet coefficients over (time frequency, y, x).

Every magnitude is coded with an adaptive table chosen by what is known around it: the parent in the coarser band, the
lower time frequency, the sibling orientation, and its neighbours. Neighbours are coded in four interleaved passes, so
that a pass has no order inside it and is coded as one array. Blocks of zeros are skipped by a flag. Contexts, tables
and counts are integers throughout: every machine reads the same symbols.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import normalise
from rinr_flower.codecs.scene.adaptive import Coder, Observer, Reader, Tables, Writer
from rinr_flower.errors import PayloadError

Ints = NDArray[np.int32]

BLOCK = 8
ESCAPE = 14  # magnitudes from here on are coded as ESCAPE and an Elias-gamma remainder
_MAX_GAMMA = 20  # bits of that remainder
_PASSES = ((0, 0), (1, 1), (0, 1), (1, 0))
_EDGES = np.array([1, 3, 5, 8, 12, 18, 27, 40, 64, 100])
_CONTEXTS = len(_EDGES) + 1
_PER_SET = 3 * _CONTEXTS
_SETS = 4  # luma and chroma, at time frequency 0 and above
_PRIOR_WEIGHT = 128
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
_FLAG_ZERO = np.array(
    [
        [1014, 747, 449, 236, 512, 512, 512, 512],
        [1020, 966, 846, 546, 983, 604, 584, 268],
        [1020, 990, 870, 696, 922, 533, 491, 225],
    ]
).reshape(-1)


class Walk:
    """One traversal of a set of band pyramids, the same for writing, reading and costing.

    With ``observe`` it keeps the context of every coefficient in ``kinds``, one array a band, in order.
    """

    def __init__(self, coder: Coder, *, observe: bool = False) -> None:
        self._coder = coder
        self.kinds: list[NDArray[np.int16]] = []
        self._observe = observe
        self.magnitudes = Tables(_ZERO, _RATIO, ESCAPE + 1, _PRIOR_WEIGHT)
        self.flags = Tables(_FLAG_ZERO, np.zeros_like(_FLAG_ZERO), 2, _PRIOR_WEIGHT)
        self.lengths = Tables(np.full(_MAX_GAMMA + 1, 512), np.zeros(_MAX_GAMMA + 1, np.int64), 2, 8)
        self._bits = normalise(np.array([1, 1]))

    def bands(self, bands: list[Ints], *, chroma: bool = False) -> None:
        """Code one pyramid in place: arrays (time frequency, h, w), coarsest first, then triples, as the wavelet has
        them. When reading, the arrays are zero and are filled."""
        flags: list[Ints] = []
        for index, band in enumerate(bands):
            parent = bands[index - 3] if index > 3 else None
            sibling = bands[index - 1] if index > 0 and (index - 1) % 3 else None
            flags.append(_blocks(band))
            if self._observe:
                self.kinds.append(np.zeros(band.shape, np.int16))
            parent_flags = flags[index - 3] if index > 3 else None
            for start, stop in _octaves(band.shape[0]):
                self._flags(flags[index], parent_flags, start, stop)
                kind = _PER_SET * (2 * (start > 0) + chroma)
                self._band(band, flags[index], parent, sibling, start, stop, kind)

    def _flags(self, flags: Ints, parent: Ints | None, start: int, stop: int) -> None:
        context = _time_parent(flags, start, stop) * 2
        if parent is not None:
            context = context + _enlarged(parent[start:stop], flags.shape[1:])
        padded = np.zeros((stop - start, flags.shape[1] + 2, flags.shape[2] + 2), np.int32)
        for number, (py, px) in enumerate(_PASSES):
            here = flags[start:stop, py::2, px::2]
            if here.size == 0:
                continue
            around = (_around(padded, py, px, here.shape) > 0).astype(np.int32) if number else 0
            kinds = context[:, py::2, px::2] + 4 * around + 8 * min(number, 2)
            here[...] = self._code(self.flags, kinds, here, np.ones(here.shape, bool))
            padded[:, 1 + py : 1 + flags.shape[1] : 2, 1 + px : 1 + flags.shape[2] : 2] = here

    def _band(
        self, band: Ints, flags: Ints, parent: Ints | None, sibling: Ints | None, start: int, stop: int, first: int
    ) -> None:
        if not flags[start:stop].any():
            return
        h, w = band.shape[1:]
        active = np.repeat(np.repeat(flags[start:stop], BLOCK, 1), BLOCK, 2)[:, :h, :w] > 0
        base = 4 * np.abs(_time_parent(band, start, stop))
        if parent is not None:
            base = base + 3 * np.abs(_enlarged(parent[start:stop], (h, w)))
        if sibling is not None:
            base = base + 2 * np.abs(_fitted(sibling[start:stop], (h, w)))
        padded = np.zeros((stop - start, h + 2, w + 2), np.int32)
        for number, (py, px) in enumerate(_PASSES):
            here = band[start:stop, py::2, px::2]
            if here.size == 0:
                continue
            near = base[:, py::2, px::2]
            mean = 2 * near if number == 0 else near + (3 if number > 1 else 2) * _around(padded, py, px, here.shape)
            kinds = np.searchsorted(_EDGES, mean, side="right") + _CONTEXTS * min(number, 2) + first
            if self._observe:
                self.kinds[-1][start:stop, py::2, px::2] = kinds
            mask = active[:, py::2, px::2]
            values = self._code(self.magnitudes, kinds, np.minimum(np.abs(here), ESCAPE), mask)
            here[...] = self._finish(here, values)
            padded[:, 1 + py : 1 + h : 2, 1 + px : 1 + w : 2] = np.abs(here)

    def _code(self, tables: Tables, kinds: NDArray[Any], symbols: Ints, mask: NDArray[np.bool_]) -> Ints:
        out = np.zeros(symbols.shape, np.int32)
        chosen, source = kinds[mask], np.asarray(symbols[mask])
        found = np.zeros(len(chosen), np.int64)
        for context in np.unique(chosen).tolist():
            where = np.flatnonzero(chosen == context)
            found[where] = self._coder.code(source[where], tables.table(context))
            tables.update(context, found[where])
        out[mask] = found
        return out

    def _finish(self, given: Ints, magnitudes: Ints) -> Ints:
        """Escapes and signs of the magnitudes just coded."""
        flat = magnitudes.reshape(-1).astype(np.int64)
        source = given.reshape(-1).astype(np.int64)
        large = np.flatnonzero(flat == ESCAPE)
        if len(large):
            flat[large] = ESCAPE - 1 + self._gamma(np.abs(source[large]) - ESCAPE + 1)
        nonzero = np.flatnonzero(flat)
        if len(nonzero):
            negative = self._coder.code((source[nonzero] < 0).astype(np.int64), self._bits)
            flat[nonzero] *= 1 - 2 * negative
        return flat.reshape(magnitudes.shape).astype(np.int32)

    def _gamma(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Elias-gamma code of values from 1, bit plane by bit plane."""
        lengths = np.zeros(len(values), np.int64)
        growing = np.arange(len(values))
        wanted = np.floor(np.log2(np.maximum(values, 1))).astype(np.int64)
        while len(growing):
            place = min(int(lengths[growing[0]]), _MAX_GAMMA)
            more = self._coder.code((wanted[growing] > lengths[growing]).astype(np.int64), self.lengths.table(place))
            self.lengths.update(place, more)
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

    Every ``planes`` pyramids belong to one picture: luma first, then chroma.
    """
    if not any(band.any() for bands in pyramids for band in bands):
        return b""
    coder = Writer()
    walk = Walk(coder)
    for number, bands in enumerate(pyramids):
        walk.bands([b.copy() for b in bands], chroma=number % planes > 0)
    return coder.getvalue()


def observe(pyramids: list[list[Ints]], planes: int) -> tuple[list[list[NDArray[np.int16]]], NDArray[np.float64]]:
    """What coding ``pyramids`` would cost: the context of every coefficient, and bits (contexts, magnitudes), signs
    left out, at the end of the traversal."""
    walk = Walk(Observer(), observe=True)
    kinds = []
    for number, bands in enumerate(pyramids):
        walk.bands([b.copy() for b in bands], chroma=number % planes > 0)
        kinds.append(walk.kinds)
        walk.kinds = []
    return kinds, walk.magnitudes.bits()


def decode_bands(data: bytes, shapes: list[list[tuple[int, int, int]]], planes: int) -> list[list[Ints]]:
    """The pyramids of the given band shapes that :func:`encode_bands` coded."""
    pyramids = [[np.zeros(shape, np.int32) for shape in bands] for bands in shapes]
    if not data:
        return pyramids
    if len(data) % 4:
        raise PayloadError(f"coefficients are truncated: {len(data)} bytes are no whole number of 32-bit words")
    walk = Walk(Reader(data))
    for number, bands in enumerate(pyramids):
        walk.bands(bands, chroma=number % planes > 0)
    return pyramids


def _octaves(frames: int) -> list[tuple[int, int]]:
    """Ranges of time frequencies that are coded together: 0, 1, 2-3, 4-7, ..."""
    starts = [0, *(1 << k for k in range(20) if 1 << k < frames)]
    return list(zip(starts, [*starts[1:], frames], strict=True))


def _time_parent(band: Ints, start: int, stop: int) -> Ints:
    if start == 0:
        return np.zeros_like(band[start:stop])
    return band[np.arange(start, stop) // 2]


def _blocks(band: Ints) -> Ints:
    """Flags (time, blocks, blocks): 1 where a block of BLOCK x BLOCK coefficients holds any value."""
    t, h, w = band.shape
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


def _around(padded: Ints, py: int, px: int, shape: tuple[int, ...]) -> Ints:
    """Sum of the neighbours known so far of every position of a pass: four diagonal ones in the second pass, four
    direct ones in the third and fourth (what is not yet coded counts as zero)."""
    _, h, w = shape
    total = np.zeros(shape, np.int32)
    offsets = ((-1, -1), (-1, 1), (1, -1), (1, 1)) if (py, px) == (1, 1) else ((-1, 0), (1, 0), (0, -1), (0, 1))
    for dy, dx in offsets:
        y, x = 1 + py + dy, 1 + px + dx
        total += padded[:, y : y + 2 * h - 1 : 2, x : x + 2 * w - 1 : 2]
    return total
