"""Entropy coding of the levels of many tensors: large tensors alone, small ones in common streams.

A stream of its own costs a few bytes of state and perhaps a table, a shared one mixes statistics. The grouping follows
from the sizes alone, which both ends know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import decode_ints, encode_ints
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import PayloadError
from rinr_flower.updates.steps import MAX_LEVEL

_ALONE = 4_096


def _groups(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Indices of arrays that share a stream: an array of 4,096 or more stands alone, the others share one."""
    small = [i for i, size in enumerate(sizes) if 0 < size < _ALONE]
    if small:
        yield small
    yield from ([i] for i, size in enumerate(sizes) if size >= _ALONE)


def write_levels(writer: ByteWriter, arrays: Sequence[NDArray[np.integer]]) -> None:
    """Append the entropy-coded ``arrays``; :func:`read_levels` needs their sizes."""
    for group in _groups([a.size for a in arrays]):
        writer.blob(encode_ints(np.concatenate([arrays[i].reshape(-1) for i in group])))


def read_levels(reader: ByteReader, sizes: Sequence[int], what: str, limit: int = MAX_LEVEL) -> list[NDArray[np.int64]]:
    """The flat arrays that :func:`write_levels` wrote. Raises PayloadError on levels beyond ``limit``."""
    arrays: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(sizes)
    for group in _groups(sizes):
        values = decode_ints(reader.blob(), sum(sizes[i] for i in group), what)
        if max(-int(values.min()), int(values.max())) > limit:
            raise PayloadError(f"{what} holds the level {int(np.abs(values).max()):,}; at most {limit:,} are allowed")
        start = 0
        for i in group:
            arrays[i] = values[start : start + sizes[i]]
            start += sizes[i]
    return arrays
