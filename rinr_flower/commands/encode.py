"""``rinr encode``: one clip to a payload file, or a data set to a folder of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rinr_flower.errors import ConfigError, DataError, RinrError
from rinr_flower.files import write_file
from rinr_flower.terminal import check_target, new_folder, parse_frames, parse_yaml_settings, progress_bar

if TYPE_CHECKING:
    from rinr_flower.codecs import Codec
    from rinr_flower.datasets import Broken, Source
    from rinr_flower.frames import Clip
    from rinr_flower.workers.pool import Job

SUFFIX = ".rinr"
POLL_S = 0.5
BUDGET_TOLERANCE = 0.05  # of bytes_per_frame, that a codec may miss


def encode(
    source: Annotated[
        str,
        typer.Argument(help="KIND:PATH, a folder of images, or a data set file; #3 or #NAME at its end names a clip"),
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", help="payload file to write, or a folder for a payload of each clip")
    ],
    codec: Annotated[str, typer.Option(help="registered codec, see: rinr codecs")] = "scene",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="codec option, key=value (YAML); repeatable; see: rinr codecs NAME"),
    ] = None,
    frames: Annotated[str, typer.Option(help="A:B, frames A (from 0) up to but not including B of every clip")] = "",
    seed: Annotated[int, typer.Option(min=0, help="seed of everything random")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps")] = "auto",
    jobs: Annotated[int, typer.Option(min=0, help="clips encoded at the same time; 0: one for each core")] = 0,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="leave out files that cannot be read, and name them")
    ] = False,
) -> None:
    """Encode one clip to a payload file, or every clip of a data set to a folder of payload files."""
    from rinr_flower.codecs import codecs
    from rinr_flower.datasets import Broken, sources
    from rinr_flower.datasets.source import read_clips
    from rinr_flower.devices import pick_device

    chosen = codecs.create(
        codec, **{key.removeprefix("codec."): v for key, v in parse_yaml_settings(settings or []).items()}
    )
    target = str(pick_device(device))
    broken = Broken(skip_broken, quiet=True)
    folder = output.endswith("/") or Path(output).is_dir()
    check_target(Path(output))
    found = sources(source, frames=parse_frames(frames), seed=seed, broken=broken)
    groups = [group for one in found for group in one.groups()]
    if len(groups) > 1 and not folder and Path(output).suffix:
        names = ", ".join(group.name for group in groups[:8])
        one = f"name one of them ({source}#1), or " if len(found) > 1 else ""
        why = "" if one else ", because its pictures have several sizes or are a collection"
        raise DataError(
            f"{source!r} holds {len(groups)} clips ({names}){why}; {one}give a folder for all "
            f"(-o {Path(output).with_suffix('')}/)"
        )
    total = Encoded()
    if len(groups) == 1 and not folder:
        with progress_bar(f"encoding {groups[0].name}") as report:
            (clip,) = read_clips(groups, broken)
            payload = chosen.encode(clip, seed=seed, device=target, progress=report)
        write_file(Path(output), payload)
        total += Encoded.of(clip, payload)
    else:
        if new_folder(Path(output)) and any(Path(output).glob(f"*{SUFFIX}")):
            raise ConfigError(f"{output} holds payloads already; give a new folder")
        with progress_bar(f"encoding {len(groups)} clips") as report:
            for number, made, payload in encoded(chosen, groups, broken, seed=seed, device=target, jobs=jobs):
                write_file(Path(output) / f"{number + 1:04d}-{_slug(groups[number].name)}{SUFFIX}", payload)
                total += made
                report(total.frames / sum(map(len, groups)))
    for reason in broken.reasons:
        sys.stderr.write(f"left out: {reason}\n")
    Console().print(f"{output}: {total}", highlight=False, soft_wrap=True)
    budget = getattr(chosen, "bytes_per_frame", None)
    if budget is not None and total.payload_bytes < (1 - BUDGET_TOLERANCE) * budget * total.frames:
        sys.stderr.write(
            f"bytes_per_frame={budget} is more than {codec} can spend here: its finest payload is smaller\n"
        )


@dataclass(frozen=True)
class Encoded:
    """What became of clips: their payloads' and the camera's bytes, and how many frames have a file of the camera's."""

    payloads: int = 0
    frames: int = 0
    payload_bytes: int = 0
    camera_bytes: int = 0
    camera_files: int = 0

    @classmethod
    def of(cls, clip: Clip, payload: bytes) -> Encoded:
        """Count one clip."""
        files = sum(1 for frame in clip.frames if frame.file)
        return cls(1, len(clip), len(payload), clip.file_bytes(), files)

    def __add__(self, other: Encoded) -> Encoded:
        return Encoded(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        text = f"{self.payload_bytes:,} bytes, {self.payload_bytes / max(self.frames, 1):,.0f} a frame"
        if self.payloads != 1:
            text = f"{self.payloads} payloads, {text}"
        if 0 < self.camera_files < self.frames:
            text += (
                f"; no ratio: only {self.camera_files} of {self.frames} frames have a JPEG file as the camera wrote it"
            )
        elif self.camera_files:
            text += f", 1/{self.camera_bytes / self.payload_bytes:.1f} of the camera's {self.camera_bytes:,}"
        return text


def encoded(
    codec: Codec, groups: Sequence[Source], broken: Broken, *, seed: int, device: str, jobs: int
) -> Iterator[tuple[int, Encoded, bytes]]:
    """Number, count and payload of each group as it is made, in worker processes that read the pictures themselves.

    A group that fails costs itself, a worker that dies its whole batch: DataError names all of them when the others are
    there.
    """
    from rinr_flower.workers.local import LocalWorkers

    waiting = _batches(groups)
    workers = LocalWorkers(min(jobs or LocalWorkers().size, len(waiting)))
    running: dict[Job, list[int]] = {}
    failed: list[str] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers.size:
                batch = waiting.pop(0)
                job = workers.submit(encode_batch, codec, [groups[i] for i in batch], seed, device, broken.skip)
                running[job] = batch
            workers.step(POLL_S)
            for job in [job for job in running if job.done]:
                batch = running.pop(job)
                if job.error is not None:
                    failed += [f"{groups[i].name}: {job.error}" for i in batch]
                    continue
                for number, done in zip(batch, job.value, strict=True):
                    broken.reasons += done.left_out
                    failed += [done.failed] if done.failed else []
                    if done.payload is not None:
                        yield number, done.count, done.payload
    finally:
        workers.cancel(running)
        workers.close()
    if failed:
        raise DataError("\n  ".join([f"{len(failed)} errors; all other clips are encoded:", *failed]))


@dataclass(eq=False)
class Done:
    """What became of a group: its payload and the count of it, files left out, and why there is no payload."""

    payload: bytes | None = None
    count: Encoded = field(default_factory=Encoded)
    left_out: list[str] = field(default_factory=list)
    failed: str = ""


def encode_batch(codec: Codec, groups: Sequence[Source], seed: int, device: str, skip_broken: bool) -> list[Done]:
    """Read groups and encode them together; if that fails, each alone. Runs in a worker process."""
    import torch

    from rinr_flower.datasets import Broken
    from rinr_flower.datasets.source import read_clips

    torch.set_num_threads(1)
    done = []
    clips: list[tuple[Done, Clip]] = []
    for group in groups:
        broken, row = Broken(skip_broken, quiet=True), Done()
        done.append(row)
        try:
            clips += [(row, clip) for clip in read_clips([group], broken)]
        except DataError as error:
            row.failed = "" if skip_broken else str(error)
        row.left_out = broken.reasons if skip_broken else []
    try:
        payloads: list[bytes | str] = list(codec.encode_many([clip for _, clip in clips], seed=seed, device=device))
    except Exception:  # whatever a codec raises on a clip, the others go on
        payloads = [_alone(codec, clip, seed, device) for _, clip in clips]
    for (row, clip), payload in zip(clips, payloads, strict=True):
        if isinstance(payload, bytes):
            row.payload, row.count = payload, Encoded.of(clip, payload)
        else:
            row.failed = payload
    return done


def _alone(codec: Codec, clip: Clip, seed: int, device: str) -> bytes | str:
    """The payload of a clip, or why there is none."""
    try:
        return codec.encode(clip, seed=seed, device=device)
    except Exception as error:
        return f"{clip.name}: {error if isinstance(error, RinrError) else repr(error)}"


def _batches(groups: Sequence[Source]) -> list[list[int]]:
    """Numbers of groups that go to a worker together, GROUP frames at most: networks of single frames are fitted at
    once."""
    from rinr_flower.datasets.source import GROUP

    batches: list[list[int]] = []
    frames = 0
    for number, group in enumerate(groups):
        if not batches or frames + len(group) > GROUP:
            batches.append([])
            frames = 0
        batches[-1].append(number)
        frames += len(group)
    return batches


def _slug(name: str) -> str:
    """``name`` as a file name."""
    return re.sub(r"[^0-9A-Za-z._-]+", "_", name).strip("._")[:80] or "clip"
