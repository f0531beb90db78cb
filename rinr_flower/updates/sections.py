"""Which tensors an update sends, which of them follow another one, and which rows of each change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import PayloadError
from rinr_flower.updates.golomb import read_places, write_places
from rinr_flower.updates.layout import Part


def write_flags(writer: ByteWriter, flags: Sequence[bool]) -> None:
    """One bit a flag, padded to a byte."""
    writer.raw(np.packbits(np.array(flags, bool)).tobytes())


def read_flags(reader: ByteReader, count: int) -> NDArray[np.bool_]:
    """``count`` flags; PayloadError if a padding bit is set."""
    bits = np.unpackbits(np.frombuffer(reader.raw(-(-count // 8)), np.uint8))
    if bits[count:].any():
        raise PayloadError("update has flags beyond its tensors")
    return bits[:count].astype(bool)


def twins(digests: Mapping[str, bytes], names: Iterable[str]) -> dict[str, str]:
    """Those of ``names`` whose tensor holds the same as an earlier one's, with the first that holds it.

    Tied weights appear under several names of a ``state_dict``; both ends find them in the base.
    """
    first: dict[bytes, str] = {}
    found = {}
    for name in names:
        if first.setdefault(digests[name], name) != name:
            found[name] = first[digests[name]]
    return found


def write_parts(writer: ByteWriter, parts: Iterable[Part]) -> None:
    """A flag for every part, set if only some rows change, then the indices of the rows of those."""
    parts = list(parts)
    partial = [len(p.rows) < p.height for p in parts]
    write_flags(writer, partial)
    for part, some in zip(parts, partial, strict=True):
        if some:
            write_places(writer, part.rows, part.height)


def read_parts(reader: ByteReader, shapes: Mapping[str, tuple[int, int]]) -> dict[str, Part]:
    """The parts that :func:`write_parts` wrote. Raises PayloadError on a part without rows."""
    parts = {}
    for (name, (height, columns)), some in zip(shapes.items(), read_flags(reader, len(shapes)), strict=True):
        rows = read_places(reader, height) if some else np.arange(height)
        if len(rows) == 0:
            raise PayloadError(f"update changes no row of {name!r}")
        parts[name] = Part(rows, height, columns)
    return parts
