"""Storage of what a fog node must not lose: an interface, and a variant that lasts as long as the process."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rinr_flower.errors import PayloadError
from rinr_flower.messages.protocol import Capture

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Blob:
    """Bytes, in memory or in a file, by the name that stands for them.

    Attributes
    ----------
    name : SHA-256 of the bytes, 64 hex digits.
    size : how many there are.
    read : gives them.
    """

    name: str
    size: int
    read: Callable[[], bytes] = field(repr=False)

    @classmethod
    def of(cls, data: bytes) -> Blob:
        """Bytes in memory."""
        return cls(hashlib.sha256(data).hexdigest(), len(data), lambda: data)

    @property
    def data(self) -> bytes:
        """The bytes; DataError if they were in a file that is gone or altered."""
        return self.read()


@dataclass(frozen=True, eq=False)
class Captured:
    """One capture that the fog keeps.

    Attributes
    ----------
    device, clip : names.
    camera_bytes : bytes of the camera's own files for these frames.
    upload : bytes that the device uploaded: a payload of the upload codec.
    class_names : the clip's class names; empty if the payload's header cannot be read.
    """

    device: str
    clip: str
    camera_bytes: int
    upload: Blob
    class_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, capture: Capture, keep: Keep) -> Captured:
        """Keep what was uploaded."""
        names: tuple[str, ...] = ()
        with suppress(PayloadError):  # encoding says what is wrong with it
            names = capture.payload.class_names
        return cls(capture.device, capture.clip, capture.camera_bytes, keep.put("captures", capture.data), names)


@dataclass(frozen=True)
class Kept:
    """What was kept of a run that is taken up again.

    Attributes
    ----------
    rounds : what :meth:`Keep.save_round` was given, for round 0 and every whole round after it, in order.
    first, last : arrays of round 0 and of the last whole round.
    """

    rounds: list[Mapping[str, Any]]
    first: Arrays
    last: Arrays


class Keep(Protocol):
    """What a fog node calls; ``rinr_flower.simulations.run_folder.RunFolder`` keeps everything on the disk.

    Whatever has been handed over is safe when the call returns. Errors are a DataError that names the file.
    """

    @property
    def job(self) -> str:
        """16 hex digits that name the run on all devices, also when it is resumed."""
        ...

    @property
    def ledger(self) -> Path | None:
        """The file of the run's ledger; None keeps the ledger in memory."""
        ...

    def put(self, kind: str, data: bytes) -> Blob:
        """Keep bytes; ``kind`` is ``captures``, ``payloads`` or ``updates``."""
        ...

    def get(self, kind: str, name: str, size: int) -> Blob:
        """What :meth:`put` kept in this run or before it was taken up again."""
        ...

    def encoded(self, key: str) -> tuple[Blob, float] | None:
        """The payload that was made before under ``key`` and the seconds that took, if there is one."""
        ...

    def note_encoded(self, key: str, payload: Blob, seconds: float) -> None:
        """Remember which payload was made under ``key``: a text that says of which capture and how."""
        ...

    def save_round(self, number: int, state: Mapping[str, Any], arrays: Arrays) -> None:
        """Keep what :meth:`load` gives back: JSON values and arrays after a round; 0 is before the first."""
        ...

    def load(self) -> Kept | None:
        """Read back what was kept, up to the last whole round; None if not even a round 0 was.

        DataError if it is damaged so that rounds would be lost that devices take for over.
        """
        ...


class InMemory:
    """Keeps nothing beyond the process: a run that is killed is lost."""

    ledger: Path | None = None

    def __init__(self) -> None:
        self.job = secrets.token_hex(8)

    def put(self, kind: str, data: bytes) -> Blob:
        return Blob.of(data)

    def get(self, kind: str, name: str, size: int) -> Blob:
        raise KeyError(name)

    def encoded(self, key: str) -> tuple[Blob, float] | None:
        return None

    def note_encoded(self, key: str, payload: Blob, seconds: float) -> None:
        pass

    def save_round(self, number: int, state: Mapping[str, Any], arrays: Arrays) -> None:
        pass

    def load(self) -> Kept | None:
        return None
