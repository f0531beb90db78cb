"""Little-endian byte reader and writer. The reader checks every length before it allocates."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from rinr_flower.errors import PayloadError


class ByteWriter:
    """Appends little-endian fields to a growing buffer."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def raw(self, data: bytes) -> None:
        self._parts.append(data)

    def u8(self, value: int) -> None:
        self.raw(struct.pack("<B", value))

    def u32(self, value: int) -> None:
        self.raw(struct.pack("<I", value))

    def f32(self, value: float) -> None:
        self.raw(struct.pack("<f", value))

    def varint(self, value: int) -> None:
        """Unsigned LEB128: seven bits a byte, least significant first."""
        if value < 0:
            raise ValueError(f"varint takes values from 0, not {value}")
        while value > 0x7F:
            self.u8(value & 0x7F | 0x80)
            value >>= 7
        self.u8(value)

    def signed(self, value: int) -> None:
        """Zigzag varint."""
        self.varint(value << 1 if value >= 0 else (-value << 1) - 1)

    def blob(self, data: bytes) -> None:
        """A varint length, then the bytes."""
        self.varint(len(data))
        self.raw(data)

    def getvalue(self) -> bytes:
        return b"".join(self._parts)


class ByteReader:
    """Reads the fields that ByteWriter wrote; raises PayloadError instead of reading past the end."""

    def __init__(self, data: bytes, what: str = "payload") -> None:
        self._data = memoryview(data)
        self._at = 0
        self._what = what

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._at

    def raw(self, length: int) -> bytes:
        if length > self.left:
            raise PayloadError(f"{self._what} is truncated: {length:,} bytes wanted, {self.left:,} left")
        self._at += length
        return bytes(self._data[self._at - length : self._at])

    def u8(self) -> int:
        return self.raw(1)[0]

    def u32(self) -> int:
        return int.from_bytes(self.raw(4), "little")

    def f32(self) -> float:
        """Read a finite float32."""
        value = float(struct.unpack("<f", self.raw(4))[0])
        if not -3.5e38 < value < 3.5e38:
            raise PayloadError(f"{self._what} holds {value} where a finite number belongs")
        return value

    def varint(self, limit: int = 2**32) -> int:
        """Unsigned LEB128; PayloadError above ``limit``."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value > limit:
                    raise PayloadError(f"{self._what} declares {value:,} where at most {limit:,} is allowed")
                return value
        raise PayloadError(f"{self._what} holds a number that never ends")

    def signed(self, limit: int = 2**32) -> int:
        value = self.varint(2 * limit)
        return value >> 1 if value & 1 == 0 else -((value + 1) >> 1)

    def blob(self) -> bytes:
        return self.raw(self.varint())

    def end(self) -> None:
        """Raise PayloadError if bytes are left."""
        if self.left:
            raise PayloadError(f"{self._what} has {self.left:,} bytes too many")


def pack_blobs(blobs: Sequence[bytes]) -> bytes:
    """Concatenate ``blobs``, each with its length in front. Their number is not stored."""
    writer = ByteWriter()
    for blob in blobs:
        writer.blob(blob)
    return writer.getvalue()


def unpack_blobs(data: bytes, count: int, what: str) -> list[bytes]:
    """Read the ``count`` blobs that ``pack_blobs`` wrote; PayloadError if anything follows them."""
    reader = ByteReader(data, what)
    blobs = [reader.blob() for _ in range(count)]
    reader.end()
    return blobs
