"""How a fog node encodes the clips of a round: in its own process, or as Ray tasks over many cores or accelerators.

An encoder is called with a codec and clips, and yields ``(index, payload, seconds)`` for every clip as soon as it is
encoded, in any order: ``index`` counts in ``clips``, ``seconds`` is the wall time that the clip took. A clip that
cannot be encoded costs only itself: all others are yielded, and then :class:`EncodingError` names those that failed.

Both encoders give the same bytes. A codec computes in one thread of torch, because the sums of some (``nerv``) depend
on the number of threads; more cores are used by more workers. Clips go to it in groups of at most
:data:`FRAMES_AT_ONCE` frames, so that networks of single frames are still fitted together; payloads do not depend on
the grouping (:class:`rinr_flower.codecs.Codec`). ``clips`` is read one group at a time, so it may be a sequence that
decodes a clip when it is asked for it.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch

from rinr_flower.codecs import Codec
from rinr_flower.codecs.base import Progress
from rinr_flower.errors import ConfigError, RinrError
from rinr_flower.frames import Clip

log = logging.getLogger("flwr.rinr_flower")

FRAMES_AT_ONCE = 16
"""Frames that one call of a codec gets; a clip that is longer goes alone."""
OBJECT_STORE_BYTES = 1 << 30  # of a Ray that is started here: clips in flight
_RAY_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

Encoded = tuple[int, bytes, float]
Group = list[tuple[int, Clip]]


class Encoder(Protocol):
    """What a fog node calls; :func:`encode_here` and :class:`RayEncoder` are two."""

    def __call__(
        self, codec: Codec, clips: Sequence[Clip], *, seed: int, device: str, progress: Progress | None
    ) -> Iterator[Encoded]: ...


class EncodingError(RinrError):
    """Clips that could not be encoded, after all others were.

    Attributes
    ----------
    reasons : why, by the clip's index.
    """

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = dict(sorted(reasons.items()))
        super().__init__("; ".join(f"clip {index}: {reason}" for index, reason in self.reasons.items()))


def encode_here(
    codec: Codec, clips: Sequence[Clip], *, seed: int, device: str, progress: Progress | None
) -> Iterator[Encoded]:
    """Encode in this process, group after group."""
    reasons: dict[int, str] = {}
    for group in _groups(clips, reasons):
        part = None if progress is None else partial(_within, progress, group[0][0], len(group), len(clips))
        yield from _sound(_encode(codec, group, seed, device, part), reasons)
    if reasons:
        raise EncodingError(reasons)


@dataclass(frozen=True)
class RayEncoder:
    """Encode as Ray tasks, ``workers`` at a time, with one thread each.

    At most ``workers`` groups are in flight: Ray's object store never holds more, however many clips there are. A
    worker that dies (out of memory, a crash in native code) has the clips of its group tried once more, each alone.
    Uses the Ray that is running in this process, as in Flower's simulations; else starts a local one.

    Attributes
    ----------
    workers : tasks at a time.
    cpus, gpus : what a task reserves of Ray's resources. In Flower's simulation the clients hold all of them for the
        whole run, though they are idle while the fog encodes: reserve nothing there, or the tasks wait for ever.
    """

    workers: int
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"an encoder of {self.workers} workers; give at least 1")
        if self.cpus < 0 or self.gpus < 0:
            raise ConfigError(f"an encoder that reserves {self.cpus} CPUs and {self.gpus} GPUs; give at least 0")

    def __call__(
        self, codec: Codec, clips: Sequence[Clip], *, seed: int, device: str, progress: Progress | None
    ) -> Iterator[Encoded]:
        import ray

        self._start(ray)
        task = ray.remote(_encode_as_task).options(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)
        reasons: dict[int, str] = {}
        fresh = _groups(clips, reasons)
        again: deque[int] = deque()  # clips of workers that died
        tried: set[int] = set()
        running: dict[Any, list[int]] = {}
        finished = 0

        def fill() -> None:
            while len(running) < self.workers:
                group = [(again[0], clips[again.popleft()])] if again else next(fresh, None)
                if group is None:
                    return
                running[task.remote(codec, group, seed, device)] = [index for index, _ in group]

        try:
            fill()
            while running:
                (ready,), _ = ray.wait(list(running), num_returns=1)
                indices = running.pop(ready)
                try:
                    done = ray.get(ready)
                except ray.exceptions.RayError as error:
                    log.warning("an encoder's worker died with clips %s: %s", indices, _line(error))
                    done = [(i, f"its worker died twice: {_line(error)}", 0.0) for i in indices if i in tried]
                    again.extend(i for i in indices if i not in tried)
                    tried.update(indices)
                fill()  # before the caller does anything with the payloads
                finished += len(done)
                if progress is not None:
                    progress(finished / len(clips))
                yield from _sound(done, reasons)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
        if reasons:
            raise EncodingError(reasons)

    def _start(self, ray: Any) -> None:
        if not ray.is_initialized():
            for name, value in _RAY_SETTINGS.items():
                os.environ.setdefault(name, value)
            ray.init(
                num_cpus=max(1, math.ceil(self.workers * self.cpus)),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
            )


def _groups(clips: Sequence[Clip], reasons: dict[int, str]) -> Iterator[Group]:
    """Clips in order, with their numbers, as many as FRAMES_AT_ONCE allows; why one cannot be read goes to reasons."""
    group: Group = []
    frames = 0
    for index in range(len(clips)):
        try:
            clip = clips[index]
        except RinrError as error:
            reasons[index] = _line(error)
            continue
        if group and frames + len(clip) > FRAMES_AT_ONCE:
            yield group
            group, frames = [], 0
        group.append((index, clip))
        frames += len(clip)
    if group:
        yield group


def _encode(
    codec: Codec, group: Group, seed: int, device: str, progress: Progress | None
) -> list[tuple[int, bytes | str, float]]:
    """Payload or reason of every clip of a group, and its share of the seconds by pixels."""
    start = time.perf_counter()
    try:
        with _one_thread():
            payloads = codec.encode_many([clip for _, clip in group], seed=seed, device=device, progress=progress)
    except Exception as error:  # whatever a codec raises on a clip, the other clips go on
        if len(group) == 1:
            return [(group[0][0], _line(error), 0.0)]
        return [row for member in group for row in _encode(codec, [member], seed, device, None)]
    seconds = time.perf_counter() - start
    pixels = [len(clip) * clip.width * clip.height for _, clip in group]
    return [
        (index, payload, seconds * count / sum(pixels))
        for (index, _), payload, count in zip(group, payloads, pixels, strict=True)
    ]


def _encode_as_task(codec: Codec, group: Group, seed: int, device: str) -> list[tuple[int, bytes | str, float]]:
    """:func:`_encode` in a worker process, where OpenCV too keeps to one thread."""
    import cv2

    cv2.setNumThreads(1)
    return _encode(codec, group, seed, device, None)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _sound(done: list[tuple[int, bytes | str, float]], reasons: dict[int, str]) -> Iterator[Encoded]:
    """The clips that were encoded; the reasons of the others go into ``reasons``."""
    for index, result, seconds in done:
        if isinstance(result, bytes):
            yield index, result, seconds
        else:
            reasons[index] = result


def _within(progress: Progress, before: int, count: int, total: int, done: float) -> None:
    progress((before + count * done) / total)


def _line(error: BaseException) -> str:
    """An error's text as one line."""
    text = str(error).strip().splitlines()
    return text[0] if isinstance(error, RinrError) and text else f"{type(error).__name__}: {text[0] if text else ''}"
