"""What a person sees while a command works: each stage with its time, notes between them, and never silence."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn

NOTES = "flwr.rinr_flower.notes"
"""The logger of what a person at the terminal should read."""
QUIET_S = 4.0
"""Off a terminal a line appears at least so often, in seconds."""
WORTH_A_LINE_S = 0.5  # shorter stages leave no line on a terminal


@dataclass
class _Stage:
    began: float = field(default_factory=time.monotonic)
    done: float = 0.0
    task: TaskID | None = None


class Terminal(logging.Handler):
    """Progress on standard error: bars on a terminal, else lines; also a handler that prints log records as notes.

    Call it with the name of a stage and the fraction done, 0 to 1; a stage begins with its first call. Other threads
    keep it alive while nobody calls it.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.console = Console(stderr=True)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeLeftColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._stages: dict[str, _Stage] = {}
        self._guard = threading.RLock()
        self._last_line = time.monotonic()
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Terminal:
        self._bars.start()
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._watcher.join()
        self._bars.stop()

    def __call__(self, what: str, done: float) -> None:
        with self._guard:
            fresh = what not in self._stages
            if fresh and done >= 1:
                return  # it has ended before
            if fresh:
                task = self._bars.add_task(what, total=1.0) if self.console.is_terminal else None
                self._stages[what] = _Stage(task=task)
            stage = self._stages[what]
            stage.done = done
            if stage.task is not None:
                self._bars.update(stage.task, completed=done)
            if done >= 1:
                self._end(what)
            elif fresh and stage.task is None:
                self.note(f"{what} ...")

    def note(self, text: str) -> None:
        """Print a line."""
        with self._guard:
            self._last_line = time.monotonic()
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def emit(self, record: logging.LogRecord) -> None:
        self.note(record.getMessage() if record.levelno < logging.WARNING else f"warning: {record.getMessage()}")

    @contextmanager
    def shows_log(self) -> Iterator[None]:
        """Print what our strategies warn about and note, in the place of Flower's own terminal output."""
        flower, ours = logging.getLogger("flwr"), logging.getLogger("flwr.rinr_flower")
        silenced = list(flower.handlers)
        for handler in silenced:
            handler.addFilter(_nothing)
        ours.addHandler(self)
        self.addFilter(for_people)
        try:
            yield
        finally:
            ours.removeHandler(self)
            for handler in silenced:
                handler.removeFilter(_nothing)

    def _end(self, what: str) -> None:
        stage = self._stages.pop(what)
        seconds = time.monotonic() - stage.began
        if stage.task is not None:
            self._bars.remove_task(stage.task)
        if stage.task is None or seconds >= WORTH_A_LINE_S:
            self.note(f"{what}: {_clock(seconds)}")

    def _watch(self) -> None:
        """Off a terminal, say from time to time what is going on."""
        while not self._closing.wait(0.25):
            with self._guard:
                if self.console.is_terminal or time.monotonic() - self._last_line < QUIET_S:
                    continue
                lines = [_state(what, stage) for what, stage in self._stages.items()]
                self.note("  " + "; ".join(lines) if lines else "  working")


def for_people(record: logging.LogRecord) -> bool:
    """Whether a log record is for the terminal: warnings and notes of this package."""
    ours = record.name.startswith("flwr.rinr_flower")
    return ours and (record.levelno >= logging.WARNING or record.name == NOTES)


def _nothing(record: logging.LogRecord) -> bool:
    return False


def _state(what: str, stage: _Stage) -> str:
    spent = time.monotonic() - stage.began
    left = f", about {_clock(spent * (1 - stage.done) / stage.done)} left" if stage.done > 0.02 else ""
    return f"{what}: {100 * stage.done:.0f} % after {_clock(spent)}{left}"


def _clock(seconds: float) -> str:
    """Seconds as 3 s or 1:05 min."""
    whole = round(seconds)
    return (
        f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02d} min"
    )
