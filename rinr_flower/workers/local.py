"""Workers as processes of this machine: no server, no open port."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

import psutil

from rinr_flower.workers.pool import Job, Worker, WorkerDiedError, WorkerError, Workers

WORKER_BYTES = 600 * 1024 * 1024
"""Memory that one worker is expected to need: PyTorch, OpenCV and a clip."""


class LocalWorkers(Workers):
    """Processes that start with the first jobs, and end with this process however it ends.

    Parameters
    ----------
    size : how many; None takes one per CPU core that this process may use, as far as the memory reaches.
    preload : module that a worker imports before it takes its first job.
    """

    def __init__(self, size: int | None = None, preload: str = "torch") -> None:
        super().__init__(default_size() if size is None else size)
        self._preload = preload

    def _start(self) -> Worker:
        return _Process.start(self._preload)

    def _give(self, worker: Worker, job: Job) -> None:
        assert isinstance(worker, _Process)
        with suppress(OSError):
            worker.pipe.send((job.function, job.args))

    def _wait(self, workers: Sequence[Worker], timeout: float) -> Iterable[Worker]:
        by_pipe = {worker.pipe: worker for worker in workers if isinstance(worker, _Process)}
        return [by_pipe[pipe] for pipe in wait(list(by_pipe), timeout) if isinstance(pipe, Connection)]

    def _receive(self, worker: Worker) -> tuple[Any, BaseException | None]:
        assert isinstance(worker, _Process)
        try:
            value, error = worker.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            raise WorkerDiedError(f"its process died ({worker.end()})") from None
        return value, error

    def _end(self, worker: Worker) -> None:
        assert isinstance(worker, _Process)
        worker.end(patience_s=0.0)


@dataclass(eq=False, kw_only=True)
class _Process(Worker):
    """One process and the pipe to it."""

    child: subprocess.Popen[bytes]
    pipe: Connection

    @classmethod
    def start(cls, preload: str) -> _Process:
        """Start a process by a command of its own: ``multiprocessing`` would run the user's main module once more."""
        ours, theirs = Pipe()
        number = theirs.fileno()
        try:
            child = subprocess.Popen(
                [sys.executable, "-c", f"from rinr_flower.workers.local import serve; serve({number}, {preload!r})"],
                pass_fds=(number,),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal reaches this process only, which decides what ends
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                    "OMP_NUM_THREADS": "1",
                },
            )
        except OSError as error:
            ours.close()
            raise WorkerError(f"no worker process can be started: {error}") from error
        finally:
            theirs.close()
        return cls(child=child, pipe=ours)

    def end(self, patience_s: float = 1.0) -> str:
        """End it, and say how it had ended before: by itself, or by a signal."""
        self.pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self.child.wait(patience_s)
        if self.child.poll() is None:
            self.child.kill()
        code = self.child.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def serve(number: int, preload: str) -> None:
    """Do the jobs that come through a pipe until it is closed: what a worker's process runs."""
    import_module(preload)
    pipe = Connection(number)
    pipe.send((None, None))
    while True:
        try:
            function, args = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        value, error = None, None
        try:
            value = function(*args)
        except Exception as raised:
            error = raised
        try:
            pipe.send((value, error))
        except OSError:
            return
        except Exception as unfit:  # an error that cannot be pickled
            pipe.send((None, WorkerError(f"{type(error).__name__}: {error} ({unfit})")))


def default_size() -> int:
    """CPU cores that this process may use, or fewer where the memory is not enough for a worker each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(max(1, min(cores, psutil.virtual_memory().available // WORKER_BYTES)))
