"""Entropy coding of the levels of many tensors, adapted to how their spread varies.

All levels stand in one row, cut into blocks. Blocks of a similar spread form a class, and every class is a stream with
statistics of its own; the class of each block goes first. That follows tensors, factors and rows of different scale
without a table for each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import decode_ints, encode_ints
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import PayloadError
from rinr_flower.updates.steps import MAX_LEVEL

BLOCKS = (16, 32, 64, 128, 256, 512, 1_024)
MAX_CLASSES = 16
_COUNTS = (2, 3, 4, 6, 8, 12, 16)
_STREAM_BITS = 64  # about what a stream costs besides its symbols
_SAMPLE, _RUN = 2**17, 2**12  # levels that decide about blocks and classes, and how many in a row


def write_levels(writer: ByteWriter, arrays: Sequence[NDArray[np.integer]]) -> None:
    """Append the entropy-coded ``arrays``; :func:`read_levels` needs their sizes."""
    flat = np.concatenate([np.zeros(0, np.int64), *(a.reshape(-1) for a in arrays)])
    if flat.size == 0:
        return
    block, classes = best_classes(np.abs(flat))
    write_classes(writer, block, classes)
    which = np.repeat(classes, block)[: flat.size]
    for number in range(int(classes.max()) + 1):
        writer.blob(encode_ints(flat[which == number]))


def read_levels(reader: ByteReader, sizes: Sequence[int], what: str, limit: int = MAX_LEVEL) -> list[NDArray[np.int64]]:
    """The flat arrays that :func:`write_levels` wrote. Raises PayloadError on levels beyond ``limit``."""
    flat = np.zeros(sum(sizes), np.int64)
    if flat.size:
        count, which = read_classes(reader, flat.size, what)
        for number in range(count):
            mine = which == number
            flat[mine] = decode_ints(reader.blob(), int(mine.sum()), what)
        largest = max(-int(flat.min()), int(flat.max()))
        if largest > limit:
            raise PayloadError(f"{what} holds the level {largest:,}; at most {limit:,} are allowed")
    return np.split(flat, np.cumsum(sizes)[:-1]) if sizes else []


def best_classes(sizes: NDArray[np.integer], blocks: Sequence[int] = BLOCKS) -> tuple[int, NDArray[np.int64]]:
    """The best block length, and the class of each block by its mean magnitude; classes hold equally many blocks.

    The choice is the one of the fewest estimated bits: the entropy of the levels in their classes, and what a stream
    and the class of a block cost. Of many levels a sample is looked at.
    """
    sample = sizes
    if sizes.size > _SAMPLE:
        runs = np.linspace(0, sizes.size - _RUN, _SAMPLE // _RUN).astype(np.int64)
        sample = np.concatenate([sizes[at : at + _RUN] for at in runs])
    scale = sizes.size / sample.size
    best = (_bits(sample, np.zeros(sample.size, np.int64), 1, scale), blocks[-1], 1)
    for block in blocks:
        for count in (n for n in _COUNTS if 1 < n <= -(-sample.size // block)):
            which = np.repeat(_classes(sample, block, count), block)[: sample.size]
            bits = _bits(sample, which, count, scale) + sizes.size / block * np.log2(count)
            best = min(best, (bits, block, count))
    return best[1], _classes(sizes, best[1], best[2])


def _classes(sizes: NDArray[np.integer], block: int, count: int) -> NDArray[np.int64]:
    starts = np.arange(0, sizes.size, block)
    lengths = np.diff(starts, append=sizes.size)
    means = np.add.reduceat(sizes.astype(np.float64), starts) / lengths
    ranks = np.argsort(np.argsort(means, kind="stable"), kind="stable")
    return ranks * count // len(starts)


def write_classes(writer: ByteWriter, block: int, classes: NDArray[np.int64]) -> None:
    """Append what :func:`best_classes` found: the number of classes and, of several, which block has which."""
    count = int(classes.max()) + 1
    writer.u8(count)
    if count > 1:
        writer.u8(BLOCKS.index(block))
        writer.blob(encode_ints(classes))


def read_classes(reader: ByteReader, size: int, what: str) -> tuple[int, NDArray[np.int64]]:
    """The number of classes, and for each of ``size`` levels its class. Raises PayloadError on what cannot be."""
    count = reader.u8()
    if not 1 <= count <= MAX_CLASSES:
        raise PayloadError(f"{what} declares {count} classes; 1 to {MAX_CLASSES} are allowed")
    if count == 1:
        return 1, np.zeros(size, np.int64)
    block = reader.u8()
    if block >= len(BLOCKS):
        raise PayloadError(f"{what} has blocks of the unknown length {block}")
    classes = decode_ints(reader.blob(), -(-size // BLOCKS[block]), what)
    if classes.min() < 0 or classes.max() >= count:
        raise PayloadError(f"{what} has a block of a class that is not in 0..{count - 1}")
    return count, np.repeat(classes, BLOCKS[block])[:size]


def _bits(sizes: NDArray[np.integer], which: NDArray[np.int64], count: int, scale: float) -> float:
    """Estimated bits of ``scale`` times as many such magnitudes, and signs, in ``count`` streams."""
    top = int(sizes.max(initial=0)) + 1
    table = np.bincount(which * top + sizes, minlength=count * top).reshape(count, top).astype(np.float64)
    total = table.sum(axis=1)
    entropy = float((total * np.log2(total, out=np.zeros_like(total), where=total > 0)).sum())
    entropy -= float((table * np.log2(table, out=np.zeros_like(table), where=table > 0)).sum())
    return scale * (entropy + np.count_nonzero(sizes)) + count * _STREAM_BITS + 8.0 * float((table > 0).sum())
