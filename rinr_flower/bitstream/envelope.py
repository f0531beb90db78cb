"""The envelope of payloads and updates: magic, format version, length and CRC-32 of the content.

Layout: four bytes of magic, version u8, length of the content u32, CRC-32 of the content u32, then the content.
"""

from __future__ import annotations

import zlib

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import PayloadError


def wrap(magic: bytes, version: int, content: bytes) -> bytes:
    """Put a header in front of ``content``."""
    head = ByteWriter()
    head.raw(magic)
    head.u8(version)
    head.u32(len(content))
    head.u32(zlib.crc32(content))
    return head.getvalue() + content


def unwrap(data: bytes, magic: bytes, version: int, what: str) -> ByteReader:
    """Check header, length and checksum, and return a reader of the content. PayloadError calls the data ``what``."""
    reader = ByteReader(data, what)
    if reader.raw(min(len(magic), reader.left)) != magic:
        raise PayloadError(f"this is no {what}: it starts with {data[: len(magic)]!r}, not {magic!r}")
    found = reader.u8()
    if found != version:
        raise PayloadError(f"{what} format version {found}; this program reads version {version}")
    length, checksum = reader.u32(), reader.u32()
    if length != reader.left:
        raise PayloadError(f"{what} is truncated or padded: {length:,} bytes declared, {reader.left:,} present")
    if zlib.crc32(memoryview(data)[len(data) - length :]) != checksum:
        raise PayloadError(f"{what} is altered: its CRC-32 does not match")
    return reader
