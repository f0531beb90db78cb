"""Trellis-quantised levels in bytes: magnitudes with a table for each class of lanes and each quantiser, then signs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import TOTAL, model_of, normalise, read_counts, write_counts
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import PayloadError
from rinr_flower.updates.levels import best_classes, read_classes, write_classes
from rinr_flower.updates.steps import MAX_LEVEL
from rinr_flower.updates.trellis import NEXT, QUANTISER, Levels, States, lanes, states_of

_REACH = 64  # magnitudes that a geometric table covers

Visit = Callable[[int, int, NDArray[np.intp]], NDArray[np.int32]]
"""From a place in the lanes, the number of a table and the lanes that use it there, to the magnitudes there."""


def write_trellis(writer: ByteWriter, levels: Levels, size: int) -> None:
    """Append ``size`` levels (length, lanes) that :func:`trellis_levels` chose."""
    length, number = levels.shape
    flat = np.ascontiguousarray(levels.T).reshape(-1)
    flat[size:] = 0  # the end of the last lane stands for no element
    magnitudes = np.abs(flat).reshape(number, length).T
    states = states_of(magnitudes)
    classes = best_classes(np.abs(flat), [length])[1] if number > 1 else np.zeros(1, np.int64)
    count = int(classes.max()) + 1
    write_classes(writer, length, classes)
    tables = 2 * classes + QUANTISER[states]
    models = []
    for table in range(2 * count):
        mine = magnitudes[tables == table]
        models.append(_symbols(_write_table(writer, np.bincount(mine))))
    coder = constriction.stream.queue.RangeEncoder()

    def put(at: int, table: int, which: NDArray[np.intp]) -> NDArray[np.int32]:
        model, used = models[table]
        symbols: NDArray[np.int32] = magnitudes[at, which]
        if model is not None:
            coder.encode(np.searchsorted(used, symbols).astype(np.int32), model)
        return symbols

    _walk(length, classes, count, put)
    writer.blob(coder.get_compressed().astype("<u4").tobytes())
    writer.raw(np.packbits(flat[flat != 0] < 0).tobytes())


def read_trellis(reader: ByteReader, size: int, what: str) -> tuple[Levels, States]:
    """The levels that :func:`write_trellis` wrote, (length, lanes), and their states. Raises PayloadError on others."""
    length, number = lanes(size)
    count, which = read_classes(reader, size, what)
    classes = which[::length]
    models = []
    for _ in range(2 * count):
        models.append(_symbols(_read_table(reader, what)))
    data = reader.blob()
    if len(data) % 4:
        raise PayloadError(f"{what} is truncated: {len(data)} bytes are no whole number of 32-bit words")
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
    levels = np.zeros((length, number), np.int32)

    def get(at: int, table: int, which: NDArray[np.intp]) -> NDArray[np.int32]:
        model, used = models[table]
        if len(used) == 0:
            raise PayloadError(f"{what} uses a table that it does not hold")
        try:
            indices = np.zeros(len(which), np.int64) if model is None else decoder.decode(model, len(which))
        except (ValueError, AssertionError) as error:
            raise PayloadError(f"{what} is altered: {error}") from error
        symbols: NDArray[np.int32] = used[indices].astype(np.int32)
        levels[at, which] = symbols
        return symbols

    states = _walk(length, classes, count, get)
    if not decoder.maybe_exhausted():
        raise PayloadError(f"{what} has bytes left over")
    flat = np.ascontiguousarray(levels.T).reshape(-1)
    if flat[size:].any():
        raise PayloadError(f"{what} has levels beyond its elements")
    places = np.flatnonzero(flat)
    signs = np.unpackbits(np.frombuffer(reader.raw(-(-len(places) // 8)), np.uint8), count=len(places))
    flat[places[signs == 1]] *= -1
    return flat.reshape(number, length).T, states


def _walk(length: int, classes: NDArray[np.int64], count: int, visit: Visit) -> States:
    """Visit every place of all lanes, class by class and quantiser by quantiser, in the one order of both ends."""
    lanes_of = [np.flatnonzero(classes == number) for number in range(count)]
    states = np.zeros((length, len(classes)), np.uint8)
    state = states[0].copy()
    for at in range(length):
        states[at] = state
        for number, members in enumerate(lanes_of):
            second = QUANTISER[state[members]] == 1
            for quantiser, which in ((0, members[~second]), (1, members[second])):
                if len(which):
                    state[which] = NEXT[state[which], visit(at, 2 * number + quantiser, which) & 1]
    return states


def _write_table(writer: ByteWriter, histogram: NDArray[np.int64]) -> NDArray[np.int64]:
    """Append the table for magnitudes of that histogram, in the shorter of two forms; the table.

    The first byte is 0 for no magnitudes, 1 for a table of their shares, else 2: a geometric one.
    """
    total = int(histogram.sum())
    if total == 0:
        writer.u8(0)
        return np.zeros(0, np.int64)
    exact = ByteWriter()
    shares = normalise(histogram)
    exact.varint(len(shares))
    write_counts(exact, shares)
    best, ratio, zeros = np.inf, 0, min(255, round(256 * int(histogram[0]) / total))
    for trial in range(256) if len(histogram) <= _REACH else ():
        bits = _bits(histogram, _geometric(zeros, trial))
        if bits < best:
            best, ratio = bits, trial
    if best + 16 < _bits(histogram, shares) + 8 * len(exact.getvalue()):
        writer.raw(bytes((2, zeros, ratio)))
        return _geometric(zeros, ratio)
    writer.u8(1)
    writer.raw(exact.getvalue())
    return shares


def _read_table(reader: ByteReader, what: str) -> NDArray[np.int64]:
    form = reader.u8()
    if form == 0:
        return np.zeros(0, np.int64)
    if form == 1:
        return read_counts(reader, reader.varint(MAX_LEVEL + 1), what)
    if form != 2:
        raise PayloadError(f"{what} has a table of the unknown form {form}")
    return _geometric(reader.u8(), reader.u8())


def _bits(histogram: NDArray[np.int64], table: NDArray[np.int64]) -> float:
    used = np.flatnonzero(histogram)
    return float((histogram[used] * (np.log2(TOTAL) - np.log2(table[used]))).sum())


@functools.lru_cache(maxsize=1_024)
def _geometric(zeros: int, ratio: int) -> NDArray[np.int64]:
    """Shares of the magnitudes 0 to 63: ``zeros`` / 256 for 0, from 1 on falling by (ratio + 1) / 257."""
    weights = [1 << 40]
    for _ in range(_REACH - 2):
        weights.append(weights[-1] * (ratio + 1) // 257)
    rest = sum(weights)
    first = max(1, rest * zeros // (256 - zeros))
    scale = (first + rest).bit_length() - 32
    return normalise(np.array([max(1, w >> scale) for w in (first, *weights)], np.int64))


def _symbols(counts: NDArray[np.int64]) -> tuple[Any, NDArray[np.int64]]:
    """constriction's model of a table, None if it holds one symbol or none, and its symbols."""
    used = np.flatnonzero(counts)
    return (model_of(counts)[0] if len(used) > 1 else None), used
