"""The integer network that chooses the table of every coefficient.

Three layers in whole numbers: weights of 8 bits, sums that float32 holds exactly whatever the order of addition, and
shifts in place of divisions. So every machine, library and number of threads chooses the same tables. ``priors`` trains
it; the shipped one lies beside this module.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.format.lattice import Blocks, Lattice, Places

FILE = "context.npz"
TOP = 255.0
"""Largest activation."""

SIGN_CONTEXTS = 38 * 12
"""Contexts of a sign: 38 of its neighbours' signs, 4 orientations, 3 planes."""

DESCRIBED = (4, 3, 8, 4, 8)
"""Classes of a block: kind, plane, level, orientation, octave; each has a column of the first layer's weights."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ContextNetwork:
    """Weights, and the counts that adaptive tables start from.

    Attributes
    ----------
    first : int8 (passes, inputs, units), the inputs that a pass lacks at the end and 0.
    classes : int16 (sum of DESCRIBED, units).
    passes : int16 (passes, units).
    second, second_bias : int8 (units, units), int32 (units,).
    third, third_bias : int8 (units,), int32 (1,).
    shifts : int32 (3,), of the sums of the three layers.
    magnitudes, flags, occupied, signs, lengths : int64 (contexts, symbols), see :mod:`.adaptive`; all but the last for
        each kind of volume.
    """

    first: NDArray[np.int8]
    classes: NDArray[np.int16]
    passes: NDArray[np.int16]
    second: NDArray[np.int8]
    second_bias: NDArray[np.int32]
    third: NDArray[np.int8]
    third_bias: NDArray[np.int32]
    shifts: NDArray[np.int32]
    magnitudes: NDArray[np.int64]
    flags: NDArray[np.int64]
    occupied: NDArray[np.int64]
    signs: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @property
    def table_count(self) -> int:
        """Tables of magnitudes of one kind."""
        return len(self.magnitudes) // DESCRIBED[0]

    @property
    def last(self) -> int:
        """The last symbol of those tables: a magnitude of that or more."""
        return int(self.magnitudes.shape[1]) - 1

    @functools.cached_property
    def _weights(self) -> tuple[list[Floats], Floats, Floats, Floats, Floats, Floats, Floats]:
        first = [np.ascontiguousarray(w, np.float32) for w in self.first]
        rest = (self.passes, self.classes, self.second, self.second_bias, self.third, self.third_bias)
        a, b, c, d, e, f = (np.ascontiguousarray(w, np.float32) for w in rest)
        return first, a, b, c, d, e, f

    def describe(self, lattice: Lattice, blocks: Blocks) -> Floats:
        """The first layer's sums (blocks, units) over the classes of ``blocks``."""
        slots = lattice.slots
        classes = self._weights[2]
        found = np.zeros((len(blocks), classes.shape[1]), np.float32)
        columns = (slots.kind, slots.plane, slots.level, slots.orientation)
        start = 0
        for values, count in zip([*(c[blocks.slot] for c in columns), blocks.octave], DESCRIBED, strict=True):
            found += classes[start + np.minimum(values, count - 1)]
            start += count
        return found

    def tables(self, number: int, inputs: NDArray[np.uint8], described: Floats, block: Places) -> Places:
        """Tables (n,) for coefficients of pass ``number``: their ``inputs`` (n, inputs), and their ``block`` (n,) among
        those ``described`` (blocks, units)."""
        first, passes, _, second, second_bias, third, third_bias = self._weights
        one, two, three = (np.float32(2.0**-s) for s in self.shifts)
        hidden = inputs.astype(np.float32) @ first[number][: inputs.shape[1]]
        hidden += (described + passes[number])[block]
        hidden = _activated(hidden, one) @ second
        hidden += second_bias
        out = _activated(hidden, two) @ third
        out += third_bias
        out *= three
        return np.asarray(np.floor(out, out=out).clip(0, self.table_count - 1), np.int64)

    def to_bytes(self) -> bytes:
        """As a file that :meth:`from_bytes` reads."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{f.name: getattr(self, f.name) for f in fields(self)})
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> ContextNetwork:
        """Read what :meth:`to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return cls(**{f.name: found[f.name] for f in fields(cls)})

    @functools.cached_property
    def digest(self) -> int:
        """32 bits that tell this network from others."""
        return content_digest({f.name: getattr(self, f.name) for f in fields(self)})


def content_digest(arrays: Mapping[str, NDArray[np.generic]]) -> int:
    """32 bits of a SHA-256 over the values of integer ``arrays``, by name."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name], "<i8").tobytes())
    return int.from_bytes(digest.digest()[:4], "little")


def _activated(sums: Floats, scale: np.float32) -> Floats:
    """Sums shifted right, cut off at 0 and TOP. Whole numbers below 2^24, which float32 holds exactly."""
    sums *= scale
    return np.floor(sums, out=sums).clip(0, TOP, out=sums)


@functools.cache
def shipped() -> ContextNetwork:
    """The network that payloads of this version are coded with."""
    return ContextNetwork.from_bytes(files(__package__).joinpath(FILE).read_bytes())
