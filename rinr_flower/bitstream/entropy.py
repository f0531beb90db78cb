"""Entropy coding of integer arrays with constriction's ANS coder.

Both models are tables of integers over a common power-of-two total, which float32 holds exactly. constriction divides
2^24 among their symbols with one float32 product for each, see docs/format.md. The writer keeps whichever of three
forms is smallest.
"""

from __future__ import annotations

import functools
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import PayloadError

TOTAL = 1 << 16
_RAW, _GEOMETRIC, _HISTOGRAM = 0, 1, 2
_MAX_ALPHABET = 1 << 14
_REACH = 255  # symbols of the geometric table lie in -_REACH.._REACH; the ends escape to a varint


def encode_ints(values: NDArray[Any]) -> bytes:
    """Code a flat integer array; :func:`decode_ints` needs its length. Values must fit in 32 bits signed."""
    flat = np.asarray(values, np.int64).reshape(-1)
    if flat.size == 0:
        return b""
    candidates = [_write_geometric(flat)]
    if flat.size > 64 and int(flat.max()) - int(flat.min()) < _MAX_ALPHABET:
        candidates.append(_write_histogram(flat))
    if min(map(len, candidates)) > flat.size:  # the raw form takes a byte a value at least, and a slow loop
        candidates.insert(0, _write_raw(flat))
    return min(candidates, key=len)


def decode_ints(data: bytes, count: int, what: str = "entropy-coded block") -> NDArray[np.int64]:
    """The ``count`` integers that :func:`encode_ints` coded. Raises PayloadError on anything else."""
    reader = ByteReader(data, what)
    if count == 0:
        reader.end()
        return np.zeros(0, np.int64)
    form = reader.u8()
    if form == _RAW:
        if count > reader.left:
            raise PayloadError(f"{what} is truncated: {count:,} values wanted, {reader.left:,} bytes left")
        values = np.fromiter((reader.signed() for _ in range(count)), np.int64, count)
        reader.end()
        return values
    if form == _GEOMETRIC:
        table = _geometric(reader.u8(), reader.u8())
        escapes = [reader.signed() for _ in range(reader.varint(count))]
        symbols = _ans_decode(reader, table, count, what) - _REACH
        escaped = np.flatnonzero(np.abs(symbols) == _REACH)
        if len(escaped) != len(escapes):
            raise PayloadError(f"{what} is altered: {len(escapes)} escapes declared, {len(escaped)} found")
        symbols[escaped] = escapes
        return symbols
    if form == _HISTOGRAM:
        low = reader.signed()
        span = reader.varint(_MAX_ALPHABET)
        counts = read_counts(reader, span, what)
        return _ans_decode(reader, counts, count, what) + low
    raise PayloadError(f"{what} is coded in an unknown form {form}")


def _write_raw(flat: NDArray[np.int64]) -> bytes:
    writer = ByteWriter()
    writer.u8(_RAW)
    for value in flat.tolist():
        writer.signed(value)
    return writer.getvalue()


def _write_geometric(flat: NDArray[np.int64]) -> bytes:
    clipped = flat.clip(-_REACH, _REACH)
    zeros = min(255, int(np.count_nonzero(flat == 0) * 256 / len(flat) + 0.5))
    scale = _best_scale(clipped, zeros)
    escapes = flat[np.abs(clipped) == _REACH].tolist()
    writer = ByteWriter()
    writer.u8(_GEOMETRIC)
    writer.u8(scale)
    writer.u8(zeros)
    writer.varint(len(escapes))
    for value in escapes:
        writer.signed(value)
    writer.raw(_ans_encode(clipped + _REACH, _geometric(scale, zeros)))
    return writer.getvalue()


def _write_histogram(flat: NDArray[np.int64]) -> bytes:
    low = int(flat.min())
    counts = normalise(np.bincount(flat - low))
    writer = ByteWriter()
    writer.u8(_HISTOGRAM)
    writer.signed(low)
    writer.varint(len(counts))
    write_counts(writer, counts)
    writer.raw(_ans_encode(flat - low, counts))
    return writer.getvalue()


def write_counts(writer: ByteWriter, counts: NDArray[np.int64]) -> None:
    """Append a table of :func:`normalise`; the reader knows its length. A run of zeros is 0 and its length less one."""
    zeros = 0
    for count in [*counts.tolist(), -1]:
        if count == 0:
            zeros += 1
            continue
        if zeros:
            writer.u8(0)
            writer.varint(zeros - 1)
            zeros = 0
        if count > 0:
            writer.varint(count)


def read_counts(reader: ByteReader, span: int, what: str) -> NDArray[np.int64]:
    """The table of ``span`` counts that :func:`write_counts` wrote. Raises PayloadError unless it adds up to TOTAL."""
    counts: list[int] = []
    while len(counts) < span:
        count = reader.varint(TOTAL)
        if count == 0:
            counts.extend([0] * (reader.varint(span - len(counts) - 1) + 1))
        else:
            counts.append(count)
    if sum(counts) != TOTAL:
        raise PayloadError(f"{what} has a probability table that adds up to {sum(counts)}, not {TOTAL}")
    return np.array(counts, np.int64)


def normalise(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Scale symbol counts to integers that add up to TOTAL, every symbol that occurs keeping at least one."""
    counts = np.asarray(counts, np.int64)
    scaled: NDArray[np.int64] = counts * TOTAL // counts.sum()
    scaled[(counts > 0) & (scaled == 0)] = 1
    excess = int(scaled.sum()) - TOTAL
    order = np.argsort(-scaled, kind="stable")
    for index in order if excess > 0 else order[:1]:
        take = min(excess, int(scaled[index]) - 1) if excess > 0 else excess
        scaled[index] -= take
        excess -= take
        if excess == 0:
            break
    return scaled


@functools.lru_cache(maxsize=1024)
def _geometric(scale: int, zeros: int) -> NDArray[np.int64]:
    """Two-sided geometric table over -_REACH.._REACH in pure integer arithmetic.

    The ratio of neighbours is min(1016, 16 + 8 * scale) / 1024; zero has the share ``zeros`` / 256.
    """
    ratio = min(1016, 16 + scale * 8)
    weight, half = 1 << 30, []
    for _ in range(_REACH):
        half.append(max(weight, 1 << 12))
        weight = weight * ratio >> 10
    centre = max(1, 2 * sum(half) * zeros // (256 - zeros))
    return normalise(np.array([*half[::-1], centre, *half], np.int64))


def _best_scale(clipped: NDArray[np.int64], zeros: int) -> int:
    histogram = np.bincount(clipped + _REACH, minlength=2 * _REACH + 1)
    used = np.flatnonzero(histogram)
    costs = [-(histogram[used] * np.log2(_geometric(s, zeros)[used])).sum() for s in range(126)]
    return int(np.argmin(costs))


def model_of(counts: NDArray[np.int64]) -> tuple[Any, NDArray[np.int64]]:
    """constriction's model of a table, and the symbols that occur in it."""
    used = np.flatnonzero(counts)
    probabilities = counts[used].astype(np.float32) / np.float32(TOTAL)
    return constriction.stream.model.Categorical(probabilities, perfect=False), used


def _ans_encode(symbols: NDArray[np.int64], counts: NDArray[np.int64]) -> bytes:
    if np.count_nonzero(counts) == 1:
        return b""
    model, used = model_of(counts)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(np.searchsorted(used, symbols).astype(np.int32), model)
    return bytes(coder.get_compressed().astype("<u4").tobytes())


def _ans_decode(reader: ByteReader, counts: NDArray[np.int64], count: int, what: str) -> NDArray[np.int64]:
    data = reader.raw(reader.left)
    if np.count_nonzero(counts) == 1:
        if data:
            raise PayloadError(f"{what} has {len(data)} bytes too many")
        return np.full(count, np.flatnonzero(counts)[0], np.int64)
    model, used = model_of(counts)
    if len(data) % 4:
        raise PayloadError(f"{what} is truncated: {len(data)} bytes are no whole number of 32-bit words")
    words = np.frombuffer(data, "<u4").astype(np.uint32)
    try:
        coder = constriction.stream.stack.AnsCoder(words)
        indices = np.asarray(coder.decode(model, count))
    except (ValueError, AssertionError) as error:
        raise PayloadError(f"{what} is altered: {error}") from error
    return np.asarray(used[indices], np.int64)
