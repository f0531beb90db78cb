"""Sparse ternary compression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import PayloadError
from rinr_flower.updates.base import Matrices, Parts, UpdateCompressor, updates
from rinr_flower.updates.full import read_floats
from rinr_flower.updates.golomb import read_places, write_places
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.sparse import Scope, element_count, select, unflatten
from rinr_flower.updates.top_k import check_fraction


@updates.register("stc")
@dataclass(frozen=True, kw_only=True)
class SparseTernary(UpdateCompressor):
    """The largest elements, each as one sign times their mean magnitude, at Golomb-coded places.

    Sattler et al. 2019 (STC, arXiv 1903.02891), algorithm 1: keep the ``fraction`` of elements with the largest
    magnitude and replace each by ``mu * sign``, mu the mean magnitude of those kept. Meant for a :class:`Memory`.

    Attributes
    ----------
    fraction : of elements sent, in (0, 1]; the paper uses 1/400 to 1/25.
    scope : ``tensor`` applies the algorithm (mu included) to every weight, ``model`` to all weights as one vector.
    """

    fraction: float = 0.01
    scope: Scope = "tensor"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.name, self.fraction)

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        writer = ByteWriter()
        if not deltas:
            return b""
        vectors = _vectors(deltas, self.scope)
        magnitudes, places, start = [], [], 0
        for vector in vectors:
            chosen = select({"": vector[None]}, self.fraction, "tensor")
            magnitudes.append(np.abs(vector[chosen]).mean(dtype=np.float64) if len(chosen) else 0.0)
            places.append(chosen + start)
            start += vector.size
        sent = np.concatenate(places)
        writer.u8(self.scope == "model")
        writer.raw(np.array(magnitudes, "<f4").tobytes())
        write_places(writer, sent, start)
        writer.raw(np.packbits(np.concatenate(vectors)[sent] > 0).tobytes())
        return writer.getvalue()

    @classmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        reader = ByteReader(data, "stc update")
        if not parts:
            reader.end()
            return {}
        vector = np.zeros(element_count(parts), np.float32)
        together = reader.u8()
        if together > 1:
            raise PayloadError(f"stc update holds the scope {together}; 0 and 1 are known")
        sizes = [vector.size] if together else [p.size for p in parts.values()]
        magnitudes = read_floats(reader.raw(4 * len(sizes)), "<f4", len(sizes))
        places = read_places(reader, vector.size)
        signs = np.unpackbits(np.frombuffer(reader.raw(-(-len(places) // 8)), np.uint8), count=len(places))
        reader.end()
        which = np.searchsorted(np.cumsum(sizes), places, side="right")
        vector[places] = np.where(signs, magnitudes[which], -magnitudes[which])
        return unflatten(vector, parts)


def _vectors(deltas: Matrices, scope: Scope) -> list[NDArray[np.float32]]:
    flat = [d.reshape(-1) for d in deltas.values()]
    return [np.concatenate(flat)] if scope == "model" else flat
