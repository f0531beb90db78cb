"""Networks that serve several pictures, as bytes: what all share once, their own first layers as differences.

Scales first, then all values of all tensors in as few entropy-coded blocks as there are kinds of them: a table for
every tensor would cost more than it saves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.bitstream.weights import (
    FLOAT_BITS,
    MAX_VALUES,
    Quantised,
    read_floats,
    read_scales,
    read_values,
    write_scales,
    write_values,
)
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.inr.shared_siren import RESIDENT_BITS, SharedWeights
from rinr_flower.inr.siren import SirenShape

_WHOLE, _TO_FIRST, _TO_PREVIOUS = 0, 1, 2
"""How the first layers of a network's later pictures are coded: whole, less the first one's, less the one before."""


def split_evenly(length: int, most: int) -> list[int]:
    """``length`` pictures in as few parts as hold at most ``most`` each, as equal as they can be."""
    parts = -(-length // most)
    return [length * (k + 1) // parts - length * k // parts for k in range(parts)]


def pack_shared(networks: Sequence[SharedWeights], bits: int) -> bytes:
    """Networks of one shape, each with as many pictures as its own tensors have. The reader knows shape, numbers of
    pictures and bits."""
    own = [np.concatenate([t.values[0].reshape(t.values.shape[1], -1) for t in n.own], axis=1) for n in networks]
    common = [np.concatenate([t.values.reshape(-1) for t in n.common]) for n in networks]
    total = sum(len(o) * (o.shape[1] + c.size) for o, c in zip(own, common, strict=True))
    if total > MAX_VALUES:
        raise ConfigError(f"{total:,} weights in one payload; at most {MAX_VALUES:,} are allowed, split the clip")
    writer = ByteWriter()
    if bits == FLOAT_BITS:
        for values in (*own, *common):
            writer.raw(values.astype("<f4").tobytes())
        return writer.getvalue()
    write_scales(writer, np.array([[t.scale.item() for t in (*n.own, *n.common)] for n in networks], np.float32))
    write_values(writer, np.concatenate(common), bits)
    write_values(writer, np.concatenate([o[0] for o in own]), bits)
    if any(len(o) > 1 for o in own):
        writer.raw(min((_later(own, mode, bits) for mode in (_WHOLE, _TO_FIRST, _TO_PREVIOUS)), key=len))
    return writer.getvalue()


def _later(own: Sequence[NDArray[np.int64]], mode: int, bits: int) -> bytes:
    """The first layers of all pictures but the first of each network."""
    writer = ByteWriter()
    writer.u8(mode)
    start = {_WHOLE: slice(0), _TO_FIRST: slice(1), _TO_PREVIOUS: slice(-1)}[mode]
    less = [o[start] if mode else 0 for o in own]
    write_values(writer, np.concatenate([(o[1:] - e).reshape(-1) for o, e in zip(own, less, strict=True)]), bits)
    return writer.getvalue()


def unpack_shared(
    reader: ByteReader, shape: SirenShape, pictures: Sequence[int], bits: int, what: str
) -> list[Quantised]:
    """Read what :func:`pack_shared` wrote as one whole network for every picture: tensors as
    :meth:`rinr_flower.inr.siren.SirenShape.shapes` has them.

    Raises PayloadError on truncated or out-of-range data.
    """
    count, total = len(pictures), sum(pictures)
    if total * shape.parameters > MAX_VALUES:
        raise PayloadError(f"{what} declare {total * shape.parameters:,} values; at most {MAX_VALUES:,} are allowed")
    shapes = [s[1:] for s in shape.shapes(1)]
    sizes = [math.prod(s) for s in shapes]
    own_size, common_size = sum(sizes[:2]), sum(sizes[2:])
    own: NDArray[Any]
    common: NDArray[Any]
    if bits == FLOAT_BITS:
        scales = np.ones((count, len(shapes)), np.float32)
        own = read_floats(reader, total * own_size, what).reshape(total, own_size)
        common = read_floats(reader, count * common_size, what).reshape(count, common_size)
    else:
        scales = read_scales(reader, count * len(shapes), what).reshape(count, len(shapes))
        common = read_values(reader, count * common_size, max(bits, RESIDENT_BITS), what).reshape(count, common_size)
        own = _read_own(reader, pictures, own_size, max(bits, RESIDENT_BITS), what)
    network = np.repeat(np.arange(count), pictures)
    values = np.concatenate([own, common[network]], axis=1)
    tensors = np.split(values, np.cumsum(sizes)[:-1], axis=1)
    return [
        Quantised(np.ascontiguousarray(t.reshape(total, *s)), scales[network, i].reshape(-1, *[1] * len(s)))
        for i, (t, s) in enumerate(zip(tensors, shapes, strict=True))
    ]


def _read_own(reader: ByteReader, pictures: Sequence[int], size: int, bits: int, what: str) -> NDArray[np.int32]:
    """First layers, int32 (all pictures, size)."""
    firsts = read_values(reader, len(pictures) * size, bits, what).reshape(-1, size)
    later = sum(pictures) - len(pictures)
    if not later:
        return firsts
    mode = reader.u8()
    if mode > _TO_PREVIOUS:
        raise PayloadError(f"{what} are coded in an unknown mode {mode}")
    found = read_values(reader, later * size, bits, what, differences=True).astype(np.int64).reshape(later, size)
    own, at = [], 0
    for first, n in zip(firsts.astype(np.int64), pictures, strict=True):
        block = np.concatenate([first[None], found[at : at + n - 1]])
        at += n - 1
        if mode == _TO_PREVIOUS:
            block = np.cumsum(block, axis=0)
        elif mode == _TO_FIRST:
            block[1:] += first
        own.append(block)
    values = np.concatenate(own)
    if np.abs(values).max(initial=0) >= 2 ** (bits - 1):
        raise PayloadError(f"{what} hold a value of more than {bits} bits")
    return values.astype(np.int32)
