"""The outside of an update payload: fixed header, checksum, base, compressor.

Layout: the header of :mod:`rinr_flower.bitstream.envelope` with magic ``RUPD``, then the fingerprint of the base (8
bytes), compressor name (varint length, ASCII), seed varint, and the sections that :mod:`rinr_flower.updates.base`
writes.
"""

from __future__ import annotations

from dataclasses import dataclass

from rinr_flower.bitstream.envelope import unwrap, wrap
from rinr_flower.bitstream.stream import ByteWriter
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
        return wrap(MAGIC, VERSION, body.getvalue())

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Parse and check. Raises PayloadError on anything that :meth:`to_bytes` did not write."""
        reader = unwrap(data, MAGIC, VERSION, "update")
        base = reader.raw(HASH_BYTES)
        name = reader.raw(reader.varint(_MAX_NAME))
        if not name.isascii():
            raise PayloadError(f"update holds a compressor name that is not ASCII: {name!r}")
        seed = reader.varint(MAX_SEED)
        return cls(name.decode("ascii"), base, seed, reader.raw(reader.left))
