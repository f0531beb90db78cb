"""A device's own frames, whatever folder they lie in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import unpack_blobs


@dataclass(frozen=True, eq=False)
class OwnClip:
    """A clip that the device took itself: the camera's JPEG files and boxes, as a ``jpeg`` payload."""

    name: str
    data: bytes

    @property
    def camera_bytes(self) -> int:
        """Bytes of the camera's files alone."""
        payload = Payload.from_bytes(self.data)
        return sum(map(len, unpack_blobs(payload.part("background"), len(payload), "a device's own clip")))


class CapturedFrames(Protocol):
    """A device's frames in one job."""

    def captures(self, server_round: int) -> list[OwnClip]:
        """What the device captured in a round, from 1: the same whenever it is asked."""

    def captured_until(self, server_round: int) -> list[OwnClip]:
        """All captures of the rounds up to and with ``server_round``."""

    def held_back(self) -> list[OwnClip]:
        """Frames that are never captured, for evaluation: a clip for each of their sizes."""


class OwnFrames(Protocol):
    """A folder of frames, and the name of the device that owns them."""

    name: str
    path: Path

    def in_job(self, memory: Path) -> CapturedFrames:
        """The frames in a job; ``memory`` is a folder of that job for what has to be remembered about them."""
