"""The largest elements of the change, with error feedback: deep gradient compression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import ConfigError
from rinr_flower.updates.base import Matrices, Parts, UpdateCompressor, updates
from rinr_flower.updates.full import read_floats
from rinr_flower.updates.golomb import read_places, write_places
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.sparse import Scope, element_count, flatten, select, unflatten


@updates.register("top_k")
@dataclass(frozen=True, kw_only=True)
class TopK(UpdateCompressor):
    """The ``fraction`` of elements with the largest magnitude, as float32; all others wait in the memory.

    Lin et al. 2018 (DGC, arXiv 1712.01887), section 3.1: the threshold is taken per tensor (``scope="tensor"``) and
    what is not sent accumulates locally, which needs a :class:`Memory`. DGC's momentum correction concerns the
    optimiser's gradients and belongs into local training; an update is the sum of its steps. Places are Golomb-coded,
    which is never longer than DGC's 16-bit run lengths at the fractions it uses.

    Attributes
    ----------
    fraction : of elements sent, in (0, 1]; DGC ends at 0.001.
    scope : ``tensor`` chooses in every weight, ``model`` in all weights together.
    """

    fraction: float = 0.01
    scope: Scope = "tensor"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.name, self.fraction)

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        vector = flatten(deltas)
        places = select(deltas, self.fraction, self.scope)
        writer = ByteWriter()
        if vector.size:
            write_places(writer, places, vector.size)
            writer.raw(vector[places].astype("<f4").tobytes())
        return writer.getvalue()

    @classmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        vector = np.zeros(element_count(parts), np.float32)
        reader = ByteReader(data, "top_k update")
        if vector.size:
            places = read_places(reader, vector.size)
            vector[places] = read_floats(reader.raw(reader.left), "<f4", len(places))
        reader.end()
        return unflatten(vector, parts)


def check_fraction(name: str, fraction: float) -> None:
    """ConfigError unless the fraction is in (0, 1]."""
    if not 0 < fraction <= 1:
        raise ConfigError(f"{name} fraction {fraction} is not above 0 and at most 1")
