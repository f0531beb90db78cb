"""How a fog node decodes what its devices upload and encodes it again: in its own process, or in workers.

An encoder is called with a codec and uploads, and yields one :class:`Encoded` for every upload, in any order, as soon
as it is there. Decoding is the check of an upload: one that cannot be decoded, cannot be encoded or kills its worker
has a reason in the place of a payload, and costs nothing else. Without a codec uploads are checked only.

All encoders give the same bytes. A codec computes in one thread of torch, because the sums of some (``nerv``) depend
on the number of threads; more cores are used by more workers. Uploads go to it in groups of at most
:data:`FRAMES_AT_ONCE` frames, so that networks of single frames are still fitted together; payloads do not depend on
the grouping (:class:`rinr_flower.codecs.Codec`). Uploads are read as workers become free, so they may come from a
generator that waits for them.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import Codec
from rinr_flower.codecs.base import decode_payload
from rinr_flower.errors import ConfigError, RinrError
from rinr_flower.frames import Clip
from rinr_flower.workers.actors import RayWorkers
from rinr_flower.workers.local import LocalWorkers
from rinr_flower.workers.pool import Job, WorkerDiedError, Workers

log = logging.getLogger("flwr.rinr_flower")

FRAMES_AT_ONCE = 16
"""Frames that one call of a codec gets; a clip that is longer goes alone."""
POLL_S = 0.5


@dataclass(frozen=True, eq=False)
class Upload:
    """One clip as it was uploaded: its name, and its payload, parsed but not decoded."""

    name: str
    payload: Payload

    @classmethod
    def of(cls, clip: Clip) -> Upload:
        """A clip as the upload codec ``jpeg`` sends it: the camera's own files where there are any."""
        from rinr_flower.codecs import codecs

        return cls(clip.name, Payload.from_bytes(codecs.create("jpeg").encode(clip)))


@dataclass(frozen=True)
class Encoded:
    """What became of one upload.

    Attributes
    ----------
    index : its number among the uploads.
    payload : what the codec made of it; None without a codec, and where it failed.
    decode_seconds, encode_seconds : wall time of the work, of a group the clip's share by pixels.
    reason : why it has no payload; empty if nothing failed.
    by_codec : whether it was decoded, and the codec failed.
    """

    index: int
    payload: bytes | None
    decode_seconds: float = 0.0
    encode_seconds: float = 0.0
    reason: str = ""
    by_codec: bool = False


Group = list[tuple[int, Upload]]


class Encoder(Protocol):
    """What a fog node calls; :func:`encode_here` and :class:`WorkerEncoder` are two."""

    def __call__(
        self,
        codec: Codec | None,
        uploads: Iterable[Upload],
        *,
        seed: int,
        device: str,
        tick: Callable[[], None] | None = None,
    ) -> Iterator[Encoded]:
        """``tick`` is called again and again while the encoder waits; what it raises ends the work."""
        ...


def encode_here(
    codec: Codec | None,
    uploads: Iterable[Upload],
    *,
    seed: int,
    device: str,
    tick: Callable[[], None] | None = None,
) -> Iterator[Encoded]:
    """Decode and encode in this process, group after group. An upload that crashes native code ends the process."""
    for group in _groups(uploads):
        if tick is not None:
            tick()
        yield from encode_group(codec, group, seed, device)


@dataclass(frozen=True)
class WorkerEncoder:
    """Decode and encode in worker processes, as many groups at a time as there are workers.

    A group whose worker dies (a crash in native code, no memory) is tried once more, each clip alone; a clip whose
    worker dies then too is given up. No more groups are in flight than there are workers.

    Attributes
    ----------
    workers : do the work; they outlive the call.
    at_once : groups at a time; None: one for each worker.
    device : torch device in the workers; None is the one of the call. Ray shows a worker only its own GPU, as ``cuda``.
    """

    workers: Workers
    at_once: int | None = None
    device: str | None = None

    @property
    def width(self) -> int:
        """Groups that are encoded at the same time."""
        return min(self.at_once or self.workers.size, self.workers.size)

    def __call__(
        self,
        codec: Codec | None,
        uploads: Iterable[Upload],
        *,
        seed: int,
        device: str,
        tick: Callable[[], None] | None = None,
    ) -> Iterator[Encoded]:
        fresh = _groups(uploads)
        again: deque[tuple[int, Upload]] = deque()  # clips of workers that died
        running: dict[Job, Group] = {}
        tried: set[int] = set()

        def fill() -> None:
            while len(running) < self.width:
                group = [again.popleft()] if again else next(fresh, None)
                if group is None:
                    return
                running[self.workers.submit(encode_group, codec, group, seed, self.device or device)] = group
                self.workers.step(0)

        try:
            fill()
            while running:
                self.workers.step(POLL_S)
                if tick is not None:
                    tick()
                for job in [job for job in running if job.done]:
                    group = running.pop(job)
                    done = _rows(job, group, tried, again)
                    fill()  # before the caller does anything with the payloads
                    yield from done
        finally:
            self.workers.cancel(running)


@cache
def local_encoder(workers: int | None = None) -> WorkerEncoder:
    """An encoder over processes of this machine, by default one per CPU core: the same one for all who ask for it."""
    return WorkerEncoder(LocalWorkers(workers, __name__))


def ray_encoder(workers: int, *, cpus: float = 1.0, gpus: float = 0.0, address: str = "") -> WorkerEncoder:
    """An encoder over Ray actors, on this machine or the nodes of a cluster.

    Parameters
    ----------
    workers : actors; they start with the first upload and keep their resources until the process ends.
    cpus, gpus : what each reserves; ``gpus=0.25`` lets four share an accelerator.
    address : the cluster, see :func:`rinr_flower.workers.ray_cluster.connect`.

    Raises
    ------
    ConfigError
        If a number is too small.
    """
    if workers < 1:
        raise ConfigError(f"an encoder of {workers} workers; give at least 1")
    if cpus < 0 or gpus < 0:
        raise ConfigError(f"an encoder that reserves {cpus} CPUs and {gpus} GPUs; give at least 0")
    return WorkerEncoder(RayWorkers(workers, cpus=cpus, gpus=gpus, address=address), device="cuda" if gpus else None)


def encode_group(codec: Codec | None, group: Group, seed: int, device: str) -> list[Encoded]:
    """Decode the uploads of a group, encode those that could be decoded."""
    with _one_thread():
        clips: list[tuple[int, Clip, float]] = []
        rows = []
        for index, upload in group:
            start = time.perf_counter()
            try:
                clips.append((index, decode_payload(upload.payload, device=device, name=upload.name), 0.0))
            except Exception as error:  # whatever a decoder raises, the other clips go on
                rows.append(Encoded(index, None, time.perf_counter() - start, reason=_line(error)))
                continue
            clips[-1] = (*clips[-1][:2], time.perf_counter() - start)
        if codec is None:
            return rows + [Encoded(index, None, seconds) for index, _, seconds in clips]
        return rows + _encode(codec, clips, seed, device)


def _encode(codec: Codec, clips: list[tuple[int, Clip, float]], seed: int, device: str) -> list[Encoded]:
    if not clips:
        return []
    start = time.perf_counter()
    try:
        payloads = codec.encode_many([clip for _, clip, _ in clips], seed=seed, device=device)
    except Exception as error:  # whatever a codec raises on a clip, the other clips go on
        if len(clips) == 1:
            index, _, decoded = clips[0]
            return [Encoded(index, None, decoded, reason=_line(error), by_codec=True)]
        return [row for clip in clips for row in _encode(codec, [clip], seed, device)]
    seconds = time.perf_counter() - start
    pixels = [len(clip) * clip.width * clip.height for _, clip, _ in clips]
    return [
        Encoded(index, payload, decoded, seconds * count / sum(pixels))
        for (index, _, decoded), payload, count in zip(clips, payloads, pixels, strict=True)
    ]


def _rows(job: Job, group: Group, tried: set[int], again: deque[tuple[int, Upload]]) -> list[Encoded]:
    """What became of a group; clips that are tried once more go into ``again``."""
    if job.error is None:
        rows: list[Encoded] = job.value
        return rows
    if not isinstance(job.error, WorkerDiedError):
        raise job.error
    log.warning("an encoder's worker died with %s: %s", [upload.name for _, upload in group], job.error)
    given_up = [index for index, _ in group if index in tried]
    again.extend((index, upload) for index, upload in group if index not in tried)
    tried.update(index for index, _ in group)
    return [Encoded(index, None, reason=f"twice its worker died: {job.error}") for index in given_up]


def _groups(uploads: Iterable[Upload]) -> Iterator[Group]:
    """Uploads in order, with their numbers, as many as FRAMES_AT_ONCE allows."""
    group: Group = []
    frames = 0
    for index, upload in enumerate(uploads):
        if group and frames + len(upload.payload) > FRAMES_AT_ONCE:
            yield group
            group, frames = [], 0
        group.append((index, upload))
        frames += len(upload.payload)
        if frames >= FRAMES_AT_ONCE:  # at once: the next upload may be long in coming
            yield group
            group, frames = [], 0
    if group:
        yield group


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _line(error: BaseException) -> str:
    """An error's text as one line."""
    text = str(error).strip().splitlines()
    return text[0] if isinstance(error, RinrError) and text else f"{type(error).__name__}: {text[0] if text else ''}"
