"""The outside of an update payload: fixed header, checksum, base, compressor.

Layout: ``RUPD``, version u8, body length u32, CRC-32 of the body u32, then the body: fingerprint of the base (8 bytes),
compressor name (varint length, ASCII), seed varint, and the sections that :mod:`rinr_flower.updates.base` writes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import PayloadError
from rinr_flower.updates.layout import HASH_BYTES

MAGIC = b"RUPD"
VERSION = 1
MAX_SEED = 2**63 - 1
_MAX_NAME = 64


@dataclass(frozen=True)
class Envelope:
    """A parsed header and the unparsed sections.

    Attributes
    ----------
    compressor : registered name.
    base : fingerprint of the state that the update applies to.
    seed : seed of the compressor's random parts.
    content : the sections.
    """

    compressor: str
    base: bytes
    seed: int
    content: bytes

    def to_bytes(self) -> bytes:
        """Serialise with length and CRC-32."""
        body = ByteWriter()
        body.raw(self.base)
        body.blob(self.compressor.encode("ascii"))
        body.varint(self.seed)
        body.raw(self.content)
        data = body.getvalue()
        head = ByteWriter()
        head.raw(MAGIC)
        head.u8(VERSION)
        head.u32(len(data))
        head.u32(zlib.crc32(data))
        return head.getvalue() + data

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Parse and check. Raises PayloadError on anything that :meth:`to_bytes` did not write."""
        reader = ByteReader(data, "update")
        if reader.raw(min(4, reader.left)) != MAGIC:
            raise PayloadError(f"not an update: it starts with {data[:4]!r}, not {MAGIC!r}")
        version = reader.u8()
        if version != VERSION:
            raise PayloadError(f"update format version {version}; this program reads version {VERSION}")
        length, checksum = reader.u32(), reader.u32()
        if length != reader.left:
            raise PayloadError(f"update is truncated or padded: {length:,} bytes declared, {reader.left:,} present")
        if zlib.crc32(memoryview(data)[len(data) - length :]) != checksum:
            raise PayloadError("update is altered: its CRC-32 does not match")
        base = reader.raw(HASH_BYTES)
        name = reader.raw(reader.varint(_MAX_NAME))
        if not name.isascii():
            raise PayloadError(f"update holds a compressor name that is not ASCII: {name!r}")
        seed = reader.varint(MAX_SEED)
        return cls(name.decode("ascii"), base, seed, reader.raw(reader.left))
