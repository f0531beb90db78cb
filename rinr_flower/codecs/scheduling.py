"""Keeping an encoder from changing how the operating system schedules this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_THREADS = Path("/proc/self/task")


@contextmanager
def unchanged_scheduling() -> Iterator[None]:
    """Give this thread, and all threads started inside the block, the policy and priority that this thread has now.

    SVT-AV1 in a process of root puts its threads and the thread that opens it under SCHED_FIFO at priority 99. That
    starves all other work while it encodes, and the opening thread, with every process it starts, stays there for
    good. Does nothing on systems other than Linux, where SVT-AV1 does not do this.
    """
    if sys.platform != "linux":
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    before = _threads()
    try:
        yield
    finally:
        for thread in (0, *(_threads() - before)):
            with suppress(ProcessLookupError):  # the thread has ended
                os.sched_setscheduler(thread, policy, parameters)


def _threads() -> set[int]:
    """Thread ids of this process."""
    return {int(entry.name) for entry in _THREADS.iterdir()}
