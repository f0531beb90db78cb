"""Threads of the libraries below numpy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _BlasLimit:
    """The limit of all who are inside: the first sets it, the last puts back what was before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._controller: Any = None
        self._limit: Any = None

    def enter(self) -> None:
        with self._lock:
            if self._users == 0:
                if self._controller is None:
                    from threadpoolctl import ThreadpoolController

                    self._controller = ThreadpoolController()
                self._limit = self._controller.limit(limits=1, user_api="blas")
            self._users += 1

    def leave(self) -> None:
        from threadpoolctl import OpenBLASController

        with self._lock:
            self._users -= 1
            if self._users == 0:
                # threadpoolctl lets one thread alone set OpenBLAS' pool: the one that entered first, perhaps another
                OpenBLASController.clear_controlling_thread(force=True)
                self._limit.restore_original_limits()
                OpenBLASController.clear_controlling_thread(force=True)


_LIMIT = _BlasLimit()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, the BLAS libraries that were loaded at the first call use one thread.

    For many small products: the threads of BLAS wait for one another longer than they work, each at a whole core. The
    limit is the process's and holds until the last that asked for it has left. Threads of torch's and OpenCV's own
    loops are not limited.
    """
    _LIMIT.enter()
    try:
        yield
    finally:
        _LIMIT.leave()
