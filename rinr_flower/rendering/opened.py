"""Opened payloads: a cache for the process, and opening several at once.

A process that simulates several devices opens the same payload for each of them, and that is most of its work. An
opened payload shows the same to all, so frame stores can share it.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch

from rinr_flower.bitstream.container import Payload


class Resident(Protocol):
    """An opened payload."""

    @property
    def resident_bytes(self) -> int: ...


T = TypeVar("T", bound=Resident)
Opener = Callable[[], Resident]


class OpenedPayloads:
    """An LRU cache of opened payloads, keyed by content and device. The limit is 0 bytes until :meth:`keep`."""

    def __init__(self) -> None:
        self._limit_bytes = 0
        self._kept: OrderedDict[tuple[bytes, str], Any] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self._ahead: dict[int, Future[Any]] = {}

    def keep(self, limit_bytes: int) -> None:
        """Set the limit of the cache in bytes."""
        with self._lock:
            self._limit_bytes = limit_bytes
            self._drop()

    def get(self, payload: Payload, device: torch.device, open_it: Callable[[], T]) -> T:
        """Return ``payload`` opened on ``device``, from the cache or by ``open_it``. Errors are not cached."""
        future: Future[T] | None = self._ahead.pop(id(payload), None)
        return self._get(payload, device, open_it) if future is None else future.result()

    @contextmanager
    def ahead(self, jobs: Sequence[tuple[Payload, Opener]], device: torch.device) -> Iterator[None]:
        """Open the payloads of ``jobs`` in their order, as many at once as torch has threads.

        Inside the block :meth:`get` returns what was opened, or raises the error; it is called once for each payload,
        with the same object. What is not asked for until the end of the block is let go.
        """
        threads = min(len(jobs), torch.get_num_threads())
        if threads < 2:
            yield
            return
        pool = ThreadPoolExecutor(threads)
        try:
            for payload, open_it in jobs:
                self._ahead[id(payload)] = pool.submit(self._get, payload, device, open_it)
            yield
        finally:
            pool.shutdown(cancel_futures=True)
            for payload, _ in jobs:
                self._ahead.pop(id(payload), None)

    def _get(self, payload: Payload, device: torch.device, open_it: Callable[[], T]) -> T:
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
