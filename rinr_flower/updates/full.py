"""Everything that changed, without a method: the new tensors themselves, or their change as float16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader
from rinr_flower.errors import ConfigError, DataError, PayloadError
from rinr_flower.updates.base import Matrices, Parts, UpdateCompressor, updates
from rinr_flower.updates.exact import RAW_BITS
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.sparse import element_count, flatten, unflatten


@updates.register("full")
@dataclass(frozen=True, kw_only=True)
class Full(UpdateCompressor):
    """Every changed tensor as it is, in its own dtype: the reference that the others are judged against.

    The receiver ends with exactly the new state.
    """

    lossless = True

    def __post_init__(self) -> None:
        if self.vector_bits != RAW_BITS:
            raise ConfigError("full has no vector_bits to choose: it sends every tensor raw")

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        return b""

    @classmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        ByteReader(data, "full update").end()
        return {}


@updates.register("float16")
@dataclass(frozen=True, kw_only=True)
class Float16(UpdateCompressor):
    """Every element of the change as float16; raises DataError on a change beyond 65,504."""

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        for name, delta in deltas.items():
            if float(np.abs(delta).max()) >= 65_520:
                raise DataError(f"the change of tensor {name!r} exceeds what float16 holds; use the compressor 'full'")
        return flatten(deltas).astype("<f2").tobytes()

    @classmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        return unflatten(read_floats(data, "<f2", element_count(parts)), parts)


def read_floats(data: bytes, dtype: str, count: int) -> NDArray[np.float32]:
    """``count`` little-endian floats as finite float32. Raises PayloadError on another length or other values."""
    expected = count * np.dtype(dtype).itemsize
    if len(data) != expected:
        raise PayloadError(f"update has {len(data):,} bytes of elements; this model needs {expected:,}")
    values = np.frombuffer(data, dtype).astype(np.float32)
    if not np.isfinite(values).all():
        raise PayloadError("update holds NaN or infinity where a finite element belongs")
    return values
