"""Entropy coding of quantised wavelet coefficients over (time frequency, y, x).

Every magnitude is coded with an adaptive table chosen by what is known around it: the parent in the coarser band, the
lower time frequency, the sibling orientation, and its neighbours. Neighbours are coded in four interleaved passes, so
that a pass has no order inside it and is coded as one array. Blocks of zeros are skipped by a flag. Contexts, tables
and counts are integers throughout: every machine reads the same symbols.
"""

from __future__ import annotations

from typing import Any, Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import TOTAL, normalise
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import PayloadError

Ints = NDArray[np.int32]

BLOCK = 8
ESCAPE = 14  # magnitudes from here on are coded as ESCAPE and an Elias-gamma remainder
MAX_MAGNITUDE = 1 << 20
_PASSES = ((0, 0), (1, 1), (0, 1), (1, 0))
_EDGES = np.array([1, 3, 5, 8, 12, 18, 27, 40, 64, 100])
_CONTEXTS = len(_EDGES) + 1
_PRIOR_WEIGHT = 24
_FORGET_AT = 4096


class _Coder(Protocol):
    def code(self, symbols: NDArray[Any], table: NDArray[np.int64]) -> NDArray[np.int64]:
        """Write ``symbols``, or ignore their values, read as many and return them."""
        ...


class _Writer:
    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def code(self, symbols: NDArray[Any], table: NDArray[np.int64]) -> NDArray[np.int64]:
        self._coder.encode(symbols.astype(np.int32), _model(table))
        return symbols.astype(np.int64)

    def getvalue(self) -> bytes:
        return bytes(self._coder.get_compressed().astype("<u4").tobytes())


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))

    def code(self, symbols: NDArray[Any], table: NDArray[np.int64]) -> NDArray[np.int64]:
        try:
            return np.asarray(self._coder.decode(_model(table), len(symbols)), np.int64)
        except (ValueError, AssertionError) as error:
            raise PayloadError(f"coefficients are altered: {error}") from error


def _model(table: NDArray[np.int64]) -> Any:
    return constriction.stream.model.Categorical(table.astype(np.float32) / np.float32(TOTAL), perfect=False)


class _Tables:
    """Adaptive counts of one kind of symbol, one table for each context, all integers."""

    def __init__(self, contexts: int, symbols: int, ratios: NDArray[np.int64]) -> None:
        # prior of context i: geometric with ratio ratios[i] / 1024
        self._counts = np.zeros((contexts, symbols), np.int64)
        for i in range(contexts):
            weight = 1 << 20
            for s in range(symbols):
                self._counts[i, s] = weight
                weight = max(weight * int(ratios[i]) >> 10, 1 << 8)
            self._counts[i] = np.maximum(self._counts[i] * _PRIOR_WEIGHT * 16 // self._counts[i].sum(), 1)

    def table(self, context: int) -> NDArray[np.int64]:
        return normalise(self._counts[context])

    def update(self, context: int, symbols: NDArray[np.int64]) -> None:
        row = self._counts[context]
        row += 16 * np.bincount(symbols, minlength=len(row))
        while row.sum() > 16 * _FORGET_AT:
            row[:] = np.maximum(row // 2, 1)

    def bits(self) -> NDArray[np.float64]:
        """Cost in bits of every symbol in every context, as the counts stand."""
        return np.log2(self._counts.sum(axis=1, keepdims=True)) - np.log2(self._counts)


def _ratios(count: int, low: int, high: int) -> NDArray[np.int64]:
    return low + (high - low) * np.arange(count) // max(count - 1, 1)


class _Observer:
    """Writes nothing: for the costs that a traversal leaves behind."""

    def code(self, symbols: NDArray[Any], table: NDArray[np.int64]) -> NDArray[np.int64]:
        return symbols.astype(np.int64)


class Walk:
    """One traversal of a set of band pyramids, the same for writing, reading and costing.

    With ``observe`` it keeps the context of every coefficient in ``kinds``, one array a band, in order.
    """

    def __init__(self, coder: _Coder, *, observe: bool = False) -> None:
        self._coder = coder
        self.kinds: list[NDArray[np.int8]] = []
        self._observe = observe
        ratios = _ratios(_CONTEXTS, 60, 900)
        self.magnitudes = _Tables(3 * _CONTEXTS, ESCAPE + 1, np.tile(ratios, 3))
        self.flags = _Tables(3 * 8, 2, np.tile(_ratios(8, 40, 3000), 3))
        self._bits = normalise(np.array([1, 1]))

    def bands(self, bands: list[Ints]) -> None:
        """Code one pyramid in place: arrays (time frequency, h, w), coarsest first, then triples, as the wavelet has
        them. When reading, the arrays are zero and are filled."""
        flags: list[Ints] = []
        for index, band in enumerate(bands):
            parent = bands[index - 3] if index > 3 else None
            sibling = bands[index - 1] if index > 0 and (index - 1) % 3 else None
            flags.append(_blocks(band))
            if self._observe:
                self.kinds.append(np.zeros(band.shape, np.int8))
            parent_flags = flags[index - 3] if index > 3 else None
            for start, stop in _octaves(band.shape[0]):
                self._flags(flags[index], parent_flags, start, stop)
                self._band(band, flags[index], parent, sibling, start, stop)

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
        self, band: Ints, flags: Ints, parent: Ints | None, sibling: Ints | None, start: int, stop: int
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
            kinds = np.searchsorted(_EDGES, mean, side="right") + _CONTEXTS * min(number, 2)
            if self._observe:
                self.kinds[-1][start:stop, py::2, px::2] = kinds
            mask = active[:, py::2, px::2]
            values = self._code(self.magnitudes, kinds, np.minimum(np.abs(here), ESCAPE), mask)
            here[...] = self._finish(here, values)
            padded[:, 1 + py : 1 + h : 2, 1 + px : 1 + w : 2] = np.abs(here)

    def _code(self, tables: _Tables, kinds: NDArray[Any], symbols: Ints, mask: NDArray[np.bool_]) -> Ints:
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
            more = self._coder.code((wanted[growing] > lengths[growing]).astype(np.int64), self._bits)
            growing = growing[more == 1]
            lengths[growing] += 1
            if len(growing) and lengths[growing[0]] > 20:
                raise PayloadError("coefficients are altered: a magnitude never ends")
        out = np.ones(len(values), np.int64)
        for bit in range(int(lengths.max(initial=0))):
            live = np.flatnonzero(lengths > bit)
            source = values[live] >> (lengths[live] - bit - 1) & 1
            out[live] = out[live] * 2 + self._coder.code(source, self._bits)
        return out


def encode_bands(pyramids: list[list[Ints]]) -> bytes:
    """Code quantised pyramids (luma, chroma, ...), each a list of arrays (time frequency, h, w) in wavelet order."""
    if not any(band.any() for bands in pyramids for band in bands):
        return b""
    coder = _Writer()
    walk = Walk(coder)
    for bands in pyramids:
        walk.bands([b.copy() for b in bands])
    writer = ByteWriter()
    writer.raw(coder.getvalue())
    return writer.getvalue()


def observe(pyramids: list[list[Ints]]) -> tuple[list[list[NDArray[np.int8]]], NDArray[np.float64]]:
    """What coding ``pyramids`` would cost: the context of every coefficient, and bits (contexts, magnitudes), signs
    left out, at the end of the traversal."""
    walk = Walk(_Observer(), observe=True)
    kinds = []
    for bands in pyramids:
        walk.bands([b.copy() for b in bands])
        kinds.append(walk.kinds)
        walk.kinds = []
    return kinds, walk.magnitudes.bits()


def decode_bands(data: bytes, shapes: list[list[tuple[int, int, int]]]) -> list[list[Ints]]:
    """The pyramids of the given band shapes that :func:`encode_bands` coded."""
    pyramids = [[np.zeros(shape, np.int32) for shape in bands] for bands in shapes]
    if not data:
        return pyramids
    if len(data) % 4:
        raise PayloadError(f"coefficients are truncated: {len(data)} bytes are no whole number of 32-bit words")
    walk = Walk(_Reader(ByteReader(data, "coefficients").raw(len(data))))
    for bands in pyramids:
        walk.bands(bands)
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
