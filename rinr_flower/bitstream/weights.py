"""Write quantised tensors: symmetric uniform quantisation with stored scales, entropy-coded.

Scales are kept as the upper half of a float32 (bfloat16), rounded up so that nothing clips: two bytes each and exact on
every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import decode_ints, encode_ints
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import ConfigError, PayloadError

FLOAT_BITS = 32
"""A bit width that stands for 'not quantised': values are stored as raw float32."""

MAX_VALUES = 1 << 24
"""Weights that one run of tensors may hold: entropy coding can declare any number of them in a few bytes."""


@dataclass(frozen=True, eq=False)
class Quantised:
    """A quantised tensor: ``values * scale``.

    Attributes
    ----------
    values : int32 of the tensor's shape (float32 where the bit width is 32).
    scale : float32, broadcastable to ``values``; ones where the bit width is 32.
    """

    values: NDArray[Any]
    scale: NDArray[np.float32]

    def dequantise(self) -> NDArray[np.float32]:
        return np.asarray(self.values * self.scale, np.float32)

    def rows(self, start: int, stop: int) -> Quantised:
        """Return the networks ``start`` to ``stop`` of a bank whose scale has one entry per network."""
        return Quantised(self.values[start:stop], self.scale[start:stop])


def check_bits(bits: int, what: str) -> None:
    """Raise ConfigError unless ``bits`` is 2..16, or 32 for raw float32."""
    if not (2 <= bits <= 16 or bits == FLOAT_BITS):
        raise ConfigError(f"{what} of {bits} bits: 2 to 16 are quantised, 32 is raw float32")


def round_up_bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round values >= 0 up to bfloat16, returned as float32."""
    raw = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((raw + 0xFFFF) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def quantise(array: NDArray[np.floating[Any]], bits: int, axes: tuple[int, ...] = ()) -> Quantised:
    """Quantise symmetrically to ``bits``; ``axes`` are those along which every slice has a scale of its own.

    ``axes=()`` is one scale per tensor; ``axes=(0,)`` on a bank (networks, in, out) is one per network; ``axes=(0, 2)``
    one per network and output channel.
    """
    values = np.asarray(array, np.float32)
    reduce = tuple(i for i in range(values.ndim) if i not in axes)
    if bits == FLOAT_BITS:
        return Quantised(values, np.ones([n if i in axes else 1 for i, n in enumerate(values.shape)], np.float32))
    levels = 2 ** (bits - 1) - 1
    scale = round_up_bfloat16(np.abs(values).max(axis=reduce, keepdims=True, initial=0) / np.float32(levels))
    safe = np.where(scale > 0, scale, 1).astype(np.float32)
    return Quantised(np.rint(values / safe).clip(-levels, levels).astype(np.int32), scale)


def fake_quantise(tensor: torch.Tensor, bits: int) -> torch.Tensor:
    """Quantise and dequantise ``tensor`` with one scale; the gradient passes straight through."""
    if bits == FLOAT_BITS:
        return tensor
    detached = tensor.detach()
    scale = detached.abs().amax() / (2 ** (bits - 1) - 1)
    scale = scale.clamp_min(1e-12)
    rounded: torch.Tensor = torch.round(detached / scale) * scale
    return tensor + (rounded - detached)


def pack_tensors(tensors: Sequence[Quantised], bits: int) -> bytes:
    """Serialise tensors one after the other: scales, then values. Shapes, axes and bits are not stored."""
    writer = ByteWriter()
    total = sum(tensor.values.size for tensor in tensors)
    if total > MAX_VALUES:
        raise ConfigError(f"{total:,} weights in one payload; at most {MAX_VALUES:,} are allowed, split the clip")
    for tensor in tensors:
        if bits == FLOAT_BITS:
            writer.raw(tensor.values.astype("<f4").tobytes())
            continue
        write_scales(writer, tensor.scale)
        write_values(writer, tensor.values, bits)
    return writer.getvalue()


def write_scales(writer: ByteWriter, scales: NDArray[np.float32]) -> None:
    """Scales that :func:`quantise` gave, two bytes each."""
    writer.raw((scales.reshape(-1).view(np.uint32) >> 16).astype("<u2").tobytes())


def write_values(writer: ByteWriter, values: NDArray[Any], bits: int) -> None:
    """Integers of ``bits`` bits: the top eight entropy-coded, the rest, which are noise, as they are."""
    shift = max(0, bits - 8)
    flat = values.reshape(-1).astype(np.int64)
    writer.blob(encode_ints(flat >> shift))
    if shift:
        writer.raw(_pack_low(flat, shift))


def unpack_tensors(
    reader: ByteReader, shapes: Sequence[tuple[int, ...]], bits: int, axes: tuple[int, ...] = (), what: str = "weights"
) -> list[Quantised]:
    """Read tensors that :func:`pack_tensors` wrote. Raises PayloadError on truncated or out-of-range data."""
    tensors = []
    total = sum(math.prod(shape) for shape in shapes)
    if total > MAX_VALUES:
        raise PayloadError(f"{what} declare {total:,} values; at most {MAX_VALUES:,} are allowed")
    for shape in shapes:
        count = int(np.prod(shape))
        scale_shape = [n if i in axes else 1 for i, n in enumerate(shape)]
        if bits == FLOAT_BITS:
            values = read_floats(reader, count, what).reshape(shape)
            tensors.append(Quantised(values, np.ones(scale_shape, np.float32)))
            continue
        scale = read_scales(reader, int(np.prod(scale_shape)), what).reshape(scale_shape)
        tensors.append(Quantised(read_values(reader, count, bits, what).reshape(shape), scale))
    return tensors


def read_floats(reader: ByteReader, count: int, what: str) -> NDArray[np.float32]:
    """Read float32 values. PayloadError on values that are not finite."""
    values = np.frombuffer(reader.raw(4 * count), "<f4").astype(np.float32)
    if not np.isfinite(values).all():
        raise PayloadError(f"{what} hold values that are not finite")
    return values


def read_scales(reader: ByteReader, count: int, what: str) -> NDArray[np.float32]:
    """Read what :func:`write_scales` wrote. PayloadError on scales that are negative or not finite."""
    raw = np.frombuffer(reader.raw(2 * count), "<u2").astype(np.uint32) << np.uint32(16)
    scales = raw.view(np.float32)
    if not (np.isfinite(scales).all() and (scales >= 0).all()):
        raise PayloadError(f"{what} hold a scale that is not a finite positive number")
    return scales


def read_values(
    reader: ByteReader, count: int, bits: int, what: str, *, differences: bool = False
) -> NDArray[np.int32]:
    """Read what :func:`write_values` wrote. PayloadError on values of more than ``bits`` bits; ``differences`` of two
    such values may have one more."""
    shift = max(0, bits - 8)
    flat = decode_ints(reader.blob(), count, what) << shift
    if shift:
        flat |= _unpack_low(reader.raw((count * shift + 7) // 8), count, shift)
    if np.abs(flat).max(initial=0) >= 2 ** (bits - 1 + differences):
        raise PayloadError(f"{what} hold a value of more than {bits + differences} bits")
    return flat.astype(np.int32)


def _pack_low(flat: NDArray[np.int64], shift: int) -> bytes:
    bits = (flat[:, None] >> np.arange(shift)) & 1
    return np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def _unpack_low(data: bytes, count: int, shift: int) -> NDArray[np.int64]:
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * shift, bitorder="little")
    return np.asarray((bits.reshape(count, shift).astype(np.int64) << np.arange(shift)).sum(axis=1), np.int64)
