"""Time spent in parts of a loop, on a CPU or an accelerator, without making the loop wait."""

from __future__ import annotations

import time
from types import TracebackType

import torch


class Stopwatch:
    """Sums the time of ``with`` blocks. On CUDA the device's own time is taken, from events read at the end."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._total_s = 0.0
        self._start_s = 0.0

    def __enter__(self) -> None:
        if self._cuda:
            pair = (
                torch.cuda.Event(enable_timing=True),  # type: ignore[no-untyped-call]
                torch.cuda.Event(enable_timing=True),  # type: ignore[no-untyped-call]
            )
            self._events.append(pair)
            pair[0].record()
        self._start_s = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._total_s += time.perf_counter() - self._start_s
        if self._cuda:
            self._events[-1][1].record()

    def seconds(self) -> float:
        """The sum so far; waits for the device."""
        if not self._cuda:
            return self._total_s
        torch.cuda.synchronize()
        return float(sum(start.elapsed_time(end) for start, end in self._events)) / 1000
