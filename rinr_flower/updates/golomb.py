"""Golomb coding of the places of the few non-zero elements, as in sparse ternary compression.

Sattler et al. 2019 (arXiv 1903.02891), section V-C and algorithm 3: with a fraction p of elements sent, distances
between them are geometric, and the best Golomb parameter is 2^b, b = 1 + floor(log2(log(phi - 1) / log(1 - p))), phi
the golden ratio. Here the unary and the binary parts of all distances stand in two runs, which takes the same number of
bits and is read without a loop.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import PayloadError

_MAX_BITS = 32


def golomb_bits(fraction: float) -> int:
    """b of the best Golomb parameter 2^b when a ``fraction`` in (0, 1] of the elements is sent; 0 for dense ones."""
    if fraction >= 1:
        return 0
    golden = (math.sqrt(5) + 1) / 2
    return min(_MAX_BITS, max(0, 1 + math.floor(math.log2(math.log(golden - 1) / math.log1p(-fraction)))))


def write_places(writer: ByteWriter, places: NDArray[np.int64], total: int) -> None:
    """Append the increasing ``places`` of sent elements among ``total``; their count goes first."""
    writer.varint(len(places))
    if len(places) == 0:
        return
    bits = golomb_bits(len(places) / total)
    gaps = np.diff(places, prepend=-1) - 1
    quotients = gaps >> bits
    unary = np.ones(int(quotients.sum()) + len(places), np.uint8)
    unary[np.cumsum(quotients + 1) - 1] = 0
    binary = (gaps[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    writer.varint(len(unary))
    writer.raw(np.packbits(np.concatenate([unary, binary.astype(np.uint8).reshape(-1)])).tobytes())


def read_places(reader: ByteReader, total: int) -> NDArray[np.int64]:
    """The places that :func:`write_places` wrote. Raises PayloadError if they are not increasing below ``total``."""
    count = reader.varint(total)
    if count == 0:
        return np.zeros(0, np.int64)
    bits = golomb_bits(count / total)
    length = reader.varint((total >> bits) + count)
    size = length + count * bits
    stream = np.unpackbits(np.frombuffer(reader.raw(-(-size // 8)), np.uint8), count=size)
    stops = np.flatnonzero(stream[:length] == 0)
    if len(stops) != count or stops[-1] != length - 1:
        raise PayloadError(f"update holds {len(stops):,} places where {count:,} are declared")
    quotients = np.diff(stops, prepend=-1) - 1
    weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.int64)
    gaps = (quotients << bits) + stream[length:].reshape(count, bits) @ weights
    places = np.cumsum(gaps + 1) - 1
    if places[-1] >= total:
        raise PayloadError(f"update holds the place {int(places[-1]):,} among {total:,} elements")
    return np.asarray(places, np.int64)
