"""Workers that may die: processes that do jobs for a fog node or a simulation.

A job is a function and its arguments. It ends in one of three ways: with a value, with an error that it raised, or with
the death of its worker (a crash in native code, no memory, a machine that is gone). A dead worker is replaced; what
becomes of its job is up to whoever submitted it.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rinr_flower.errors import RinrError

log = logging.getLogger("flwr.rinr_flower")

_STARTS = 3  # starts in a row that may fail


class WorkerError(RinrError):
    """No worker can be started."""


class WorkerDiedError(RinrError):
    """A worker has died; the text says how."""


@dataclass(eq=False)
class Job:
    """One call of a function in a worker.

    Attributes
    ----------
    function, args : what is called.
    seconds : the worker is ended when the call takes longer; None: it may take any time.
    done : it has ended: with ``value``, or with ``error``, which is a :class:`WorkerDiedError` if its worker died.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    seconds: float | None = None
    done: bool = False
    value: Any = None
    error: BaseException | None = None

    def end(self, value: Any = None, error: BaseException | None = None) -> None:
        """Note how it ended."""
        self.value, self.error, self.done = value, error, True


@dataclass(eq=False)
class Worker:
    """One worker as its :class:`Workers` see it.

    Attributes
    ----------
    ready : it has said that it is there.
    job : what it is doing.
    deadline : monotonic seconds when the job must have ended.
    """

    ready: bool = False
    job: Job | None = None
    deadline: float = float("inf")


class Workers(ABC):
    """Up to ``size`` workers with one job each; further jobs wait, first come, first served.

    Nothing happens between calls: :meth:`step` hands out jobs and takes in what has ended.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._queue: deque[Job] = deque()
        self._workers: list[Worker] = []
        self._failed_starts = 0

    def submit(self, function: Callable[..., Any], *args: Any, seconds: float | None = None) -> Job:
        """A job that is done as soon as a worker is free, while someone calls :meth:`step`."""
        job = Job(function, args, seconds)
        self._queue.append(job)
        return job

    def step(self, timeout: float) -> None:
        """Hand out jobs and wait until something has ended, at most ``timeout`` seconds.

        Raises
        ------
        WorkerError
            If no worker can be started.
        """
        self._hand_out()
        active = [worker for worker in self._workers if worker.job is not None or not worker.ready]
        if active:
            left = min(worker.deadline for worker in active) - time.monotonic()
            for worker in self._wait(active, max(0.0, min(timeout, left))):
                self._take(worker)
            for worker in self._workers[:]:
                if worker.job is not None and worker.deadline <= time.monotonic():
                    self._bury(worker, f"it took longer than {worker.job.seconds:g} seconds and was ended")
        self._hand_out()

    def cancel(self, jobs: Iterable[Job]) -> None:
        """Let go of jobs; a worker in the middle of one is ended."""
        for job in jobs:
            if job in self._queue:
                self._queue.remove(job)
            for worker in [worker for worker in self._workers if worker.job is job]:
                self._bury(worker, "it was cancelled")

    def close(self) -> None:
        """End all workers; the next job starts new ones."""
        while self._workers:
            self._end(self._workers.pop())

    def _hand_out(self) -> None:
        idle = [worker for worker in self._workers if worker.ready and worker.job is None]
        while self._queue and idle:
            worker, job = idle.pop(), self._queue.popleft()
            worker.job = job
            worker.deadline = float("inf") if job.seconds is None else time.monotonic() + job.seconds
            self._give(worker, job)
        starting = sum(not worker.ready for worker in self._workers)
        for _ in range(min(len(self._queue) - starting, self.size - len(self._workers))):
            self._workers.append(self._start())

    def _take(self, worker: Worker) -> None:
        try:
            value, error = self._receive(worker)
        except WorkerDiedError as death:
            self._bury(worker, str(death))
            return
        if worker.job is not None:
            worker.job.end(value, error)
            worker.job, worker.deadline = None, float("inf")
        elif error is not None:
            self._refuse(worker, error)
        else:
            worker.ready, self._failed_starts = True, 0

    def _bury(self, worker: Worker, how: str) -> None:
        self._workers.remove(worker)
        self._end(worker)
        if worker.job is not None:
            worker.job.end(error=WorkerDiedError(how))
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS:
                self._failed_starts = 0
                if not self._workers:
                    raise WorkerError(f"no worker can be started: {how}")
                self.size = len(self._workers)
                log.warning("%d workers from now on: others cannot be started: %s", self.size, how)

    def _refuse(self, worker: Worker, error: BaseException) -> None:
        """Go on without a worker that cannot be used where it runs."""
        self._workers.remove(worker)
        self._end(worker)
        self.size -= 1
        if self.size == 0:
            raise error
        log.warning("%d workers from now on: %s", self.size, error)

    @abstractmethod
    def _start(self) -> Worker:
        """A worker that will say that it is there. Raises WorkerError."""

    @abstractmethod
    def _give(self, worker: Worker, job: Job) -> None:
        """Hand it a job; if it is not there any more, :meth:`_receive` says so."""

    @abstractmethod
    def _wait(self, workers: Sequence[Worker], timeout: float) -> Iterable[Worker]:
        """Those of ``workers`` that have something to say, after at most ``timeout`` seconds."""

    @abstractmethod
    def _receive(self, worker: Worker) -> tuple[Any, BaseException | None]:
        """Value or error of its job; of its start, None or why it cannot be used. WorkerDiedError if it is gone."""

    @abstractmethod
    def _end(self, worker: Worker) -> None:
        """End it, whatever it is doing."""
