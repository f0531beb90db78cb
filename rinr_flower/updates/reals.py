"""Real-valued arrays in an update: float32 as the papers send them, or quantised and entropy-coded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import encode_ints
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.updates.exact import MAX_VECTOR_BITS, RAW_BITS, read_qps
from rinr_flower.updates.full import read_floats
from rinr_flower.updates.levels import read_levels, write_levels
from rinr_flower.updates.steps import dequantise, qp_for_bits, quantise

MAX_BITS = MAX_VECTOR_BITS


def check_bits(name: str, bits: int) -> None:
    """ConfigError unless ``bits`` is 32 or 2 to 14."""
    if bits != RAW_BITS and not 2 <= bits <= MAX_BITS:
        raise ConfigError(f"{name} bits {bits} is neither 32 nor in 2..{MAX_BITS}")


def write_reals(writer: ByteWriter, arrays: Sequence[NDArray[np.float32]], bits: int) -> None:
    """Append arrays as float32 (``bits`` 32) or as levels of at most ``bits`` bits with a step each."""
    writer.u8(bits)
    if bits == RAW_BITS:
        for array in arrays:
            writer.raw(array.astype("<f4").tobytes())
        return
    qps = [qp_for_bits(float(np.abs(a).max(initial=0)), bits) for a in arrays]
    writer.blob(encode_ints(np.diff(np.array(qps, np.int64), prepend=0)))
    write_levels(writer, [quantise(a, qp) for a, qp in zip(arrays, qps, strict=True)])


def read_reals(reader: ByteReader, sizes: Sequence[int], what: str) -> list[NDArray[np.float32]]:
    """The flat arrays that :func:`write_reals` wrote."""
    bits = reader.u8()
    if bits == RAW_BITS:
        return [read_floats(reader.raw(4 * size), "<f4", size) for size in sizes]
    if not 2 <= bits <= MAX_BITS:
        raise PayloadError(f"{what} has values of {bits} bits; 32 and 2..{MAX_BITS} are known")
    qps = read_qps(reader, len(sizes))
    return [dequantise(v, qp) for v, qp in zip(read_levels(reader, sizes, what), qps, strict=True)]
