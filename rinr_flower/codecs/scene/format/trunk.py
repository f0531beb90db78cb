"""The trunk of the synthesis: its weights, which are shipped with the program."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass, fields
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.format.network import content_digest

FILE = "trunk.npz"
WEIGHT_UNIT = 1 / 64


@dataclass(frozen=True, eq=False)
class Trunk:
    """Two layers, weights in WEIGHT_UNIT.

    Attributes
    ----------
    first : int8 (units, 5, 5), over luma around a sample, in quantiser steps.
    first_bias : int8 (units,).
    second, second_bias : int8 (features, units), int8 (features,).
    """

    first: NDArray[np.int8]
    first_bias: NDArray[np.int8]
    second: NDArray[np.int8]
    second_bias: NDArray[np.int8]

    def to_bytes(self) -> bytes:
        """As a file that :meth:`from_bytes` reads."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{f.name: getattr(self, f.name) for f in fields(self)})
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Trunk:
        """Read what :meth:`to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return cls(**{f.name: found[f.name] for f in fields(cls)})

    @functools.cached_property
    def digest(self) -> int:
        """32 bits that tell this trunk from others."""
        return content_digest({f.name: getattr(self, f.name) for f in fields(self)})


@functools.cache
def shipped_trunk() -> Trunk:
    """The trunk of this version."""
    return Trunk.from_bytes(files(__package__).joinpath(FILE).read_bytes())
