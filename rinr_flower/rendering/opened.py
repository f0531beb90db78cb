"""A per-process cache of opened payloads.

A process that simulates several devices opens the same payload for each of them, and that is most of its work. An
opened payload is immutable, so frame stores can share it.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch

from rinr_flower.bitstream.container import Payload


class Resident(Protocol):
    """An opened payload."""

    @property
    def resident_bytes(self) -> int: ...


T = TypeVar("T", bound=Resident)


class OpenedPayloads:
    """An LRU cache of opened payloads, keyed by content and device. The limit is 0 bytes until :meth:`keep`."""

    def __init__(self) -> None:
        self._limit_bytes = 0
        self._kept: OrderedDict[tuple[bytes, str], Any] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def keep(self, limit_bytes: int) -> None:
        """Set the limit of the cache in bytes."""
        with self._lock:
            self._limit_bytes = limit_bytes
            self._drop()

    def get(self, payload: Payload, device: torch.device, open_it: Callable[[], T]) -> T:
        """Return ``payload`` opened on ``device``, from the cache or by ``open_it``. Errors are not cached."""
        if not self._limit_bytes:
            return open_it()
        key = (_digest(payload), str(device))
        with self._lock:
            found: T | None = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        opened = open_it()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = opened
                self._kept_bytes += opened.resident_bytes
                self._drop()
        return opened

    @property
    def resident_bytes(self) -> int:
        """Bytes that the cached payloads take."""
        return self._kept_bytes

    def _drop(self) -> None:
        while self._kept_bytes > self._limit_bytes:
            _, opened = self._kept.popitem(last=False)
            self._kept_bytes -= opened.resident_bytes


OPENED = OpenedPayloads()
"""The cache of this process."""


def _digest(payload: Payload) -> bytes:
    """Hash everything that a renderer reads of a payload."""
    sizes = {name: len(data) for name, data in payload.parts.items()}
    head = (payload.codec, payload.width, payload.height, [len(b) for b in payload.boxes], sizes)
    digest = hashlib.sha256(repr(head).encode())
    for data in payload.parts.values():
        digest.update(data)
    for boxes, classes in zip(payload.boxes, payload.classes, strict=True):
        digest.update(boxes.tobytes() + classes.tobytes())
    return digest.digest()
