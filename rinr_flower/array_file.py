"""Serialise named arrays to bytes: a length, a JSON table of names, types and shapes, then the raw numbers. No pickle.

The layout is that of safetensors: eight bytes, little-endian, with the length of the table; the table; the arrays one
after the other, each in its own type, little-endian, row by row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rinr_flower.errors import DataError

Arrays = Mapping[str, NDArray[np.generic]]
"""Arrays of numbers by name, in the order in which they were made."""

_TYPES = {
    np.dtype(code).name: np.dtype(code)
    for code in ("?", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
}


def pack_arrays(arrays: Arrays) -> bytes:
    """Serialise ``arrays``; DataError names an array of another type than booleans, integers and floats."""
    table, blobs = {}, []
    for name, array in arrays.items():
        kind = array.dtype.name
        if kind not in _TYPES:
            raise DataError(f"array {name!r} is of type {kind}; a device keeps {', '.join(_TYPES)}")
        table[name] = [kind, list(array.shape)]
        blobs.append(np.ascontiguousarray(array, _TYPES[kind]).tobytes())
    head = json.dumps(table).encode()
    return b"".join((len(head).to_bytes(8, "little"), head, *blobs))


def unpack_arrays(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Read the arrays that :func:`pack_arrays` wrote, as copies; DataError if ``data`` is anything else."""
    try:
        start = 8 + int.from_bytes(data[:8], "little")
        table = json.loads(data[8:start])
        arrays: dict[str, NDArray[np.generic]] = {}
        for name, (kind, shape) in table.items():
            end = start + _TYPES[kind].itemsize * math.prod(shape)
            arrays[name] = np.frombuffer(data[start:end], _TYPES[kind]).reshape(shape).copy()
            start = end
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"not a file of arrays: {type(error).__name__} {error}") from error
    if start != len(data):
        raise DataError(f"a file of arrays has {len(data):,} bytes; its table says {start:,}")
    return arrays
