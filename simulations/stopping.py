"""Ending a run by a signal: the first asks for an end with a report, the second ends at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType, TracebackType

import psutil

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction done, 0 to 1."""


class RunStopped(KeyboardInterrupt):
    """A signal has asked for the end of the run. No error: nothing that handles errors takes it for one."""


def end_at_once(exit_code: int, others: Sequence[psutil.Process] = ()) -> None:
    """End this process, all that it has started and ``others``: some of Ray's can outlive it by minutes."""
    for process in [*psutil.Process().children(recursive=True), *others]:
        with suppress(psutil.Error):
            process.kill()
    os._exit(exit_code)


class StopSignals:
    """Catch SIGINT and SIGTERM while it is entered; does nothing outside a process's main thread.

    Attributes
    ----------
    caught : the signal that has come, if one has.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self._started: list[psutil.Process] = []
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._come) for number in self.SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @property
    def exit_code(self) -> int:
        """Of the process: 0, or what a shell gives for a process that the signal ended (130, 143)."""
        return 0 if self.caught is None else 128 + self.caught

    def check(self) -> None:
        """RunStopped if a signal has come."""
        if self.caught is not None:
            raise RunStopped(self.caught.name)

    def watched(self, progress: Progress) -> Progress:
        """``progress`` that raises RunStopped once a signal has come."""

        def report(what: str, done: float) -> None:
            self.check()
            progress(what, done)

        return report

    def _come(self, number: int, frame: FrameType | None) -> None:
        if self.caught is not None:
            end_at_once(128 + number, self._started)
        self.caught = signal.Signals(number)
        # Ray's end, which this signal begins, can orphan processes, which are then no longer found as ours
        self._started = psutil.Process().children(recursive=True)
