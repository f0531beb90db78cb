"""A folder of payload files as training and validation frames, checked before any training starts."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.decoding import FrameStore
from rinr_flower.decoding.cache import holds_pictures
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.files import payload_in, read_file

SUFFIX = ".rinr"
HELD_BACK = 0.2  # of the frames of every payload, the last ones, where no folder holds frames for validation


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of a store, each with a name."""

    store: FrameStore
    indices: tuple[int, ...]
    names: tuple[str, ...]

    def class_names(self) -> list[str]:
        """All class names of the frames' clips, in order of appearance."""
        return list(dict.fromkeys(name for i in self.indices for name in self.store.class_names(i)))


@dataclass(frozen=True, eq=False)
class Split:
    """Frames to train on and frames to validate with."""

    train: Frames
    val: Frames


def split_of(source: FrameStore | Mapping[str, FrameStore] | Path, *, device: torch.device, cache: bool) -> Split:
    """Split ``source`` into training and validation frames.

    Parameters
    ----------
    source : a store (its last frames are held back for validation), a mapping of ``train`` and ``val`` to stores, or a
        folder of payload files. If the folder has the folders ``train`` and ``val``, they are the two parts; otherwise
        the last frames of every payload are held back.
    device : where the folder's payloads become resident.
    cache : keep the folder's frames decoded, see :class:`rinr_flower.decoding.cache.CachedRenderer`.

    Raises DataError for a folder that is missing or empty, a file that cannot be opened, a part without frames, and
    training frames without a box; PayloadError, naming the file, for a payload that is damaged or of another version;
    ConfigError for more than memory holds.
    """
    if isinstance(source, FrameStore):
        held = _held_back(len(source))
        names = [f"frame-{i:06d}" for i in range(len(source))]
        split = Split(_part(source, range(held), names), _part(source, range(held, len(source)), names))
    elif isinstance(source, Mapping):
        if set(source) != {"train", "val"}:
            raise ConfigError(f"stores are given as 'train' and 'val'; got {', '.join(map(repr, source))}")
        parts = {k: _part(s, range(len(s)), [f"{k}-{i:06d}" for i in range(len(s))]) for k, s in source.items()}
        split = Split(parts["train"], parts["val"])
    else:
        split = _split_folder(source, device, cache)
    for part, what in ((split.train, "training"), (split.val, "validation")):
        if not part.indices:
            raise DataError(f"{_name(source)} leaves no frame for {what}; put payloads into its folders train and val")
    if not any(len(split.train.store.labels(i)[0]) for i in split.train.indices):
        raise DataError(f"{_name(source)}: no training frame has a box; there is nothing to learn")
    return split


def _name(source: FrameStore | Mapping[str, FrameStore] | Path) -> str:
    return str(source) if isinstance(source, Path) else "the store"


def _part(store: FrameStore, indices: range, names: Sequence[str]) -> Frames:
    return Frames(store, tuple(indices), tuple(names[i] for i in indices))


def _held_back(frames: int) -> int:
    """Number of the first frame held back."""
    return frames - max(1, round(frames * HELD_BACK)) if frames > 1 else frames


def _split_folder(folder: Path, device: torch.device, cache: bool) -> Split:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of payloads (*{SUFFIX})")
    parts = [folder / "train", folder / "val"]
    if all(part.is_dir() for part in parts):
        train, val = (_open(part, device, cache) for part in parts)
        return Split(*(Frames(s, tuple(i for r in runs for i in r), names) for s, runs, names in (train, val)))
    store, runs, names = _open(folder, device, cache)
    first: list[int] = []
    last: list[int] = []
    for run in runs:
        held = run.start + _held_back(len(run))
        first += range(run.start, held)
        last += range(held, run.stop)
    return Split(*(Frames(store, tuple(chosen), tuple(names[i] for i in chosen)) for chosen in (first, last)))


def _open(folder: Path, device: torch.device, cache: bool) -> tuple[FrameStore, list[range], tuple[str, ...]]:
    """The folder's payloads in one store, the frames of each, and a name for every frame."""
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if not files:
        raise DataError(f"{folder} holds no payloads (*{SUFFIX})")
    needed = 0
    for file in files:
        with payload_in(file):
            payload = Payload.from_bytes(read_file(file))
        if cache or holds_pictures(payload.codec, device):
            needed += len(payload) * payload.width * payload.height * 3
    free = _free_bytes(device)
    if needed > free:
        raise ConfigError(
            f"{folder}: {needed:,} bytes of decoded frames do not fit the {free:,} bytes of free memory on {device}; "
            + ("train without cache" if cache else "train on fewer payloads")
        )
    store = FrameStore(device=device, cache_bytes=needed if cache else 0)
    runs, names = [], []
    for file in files:
        try:
            with payload_in(file):
                run = store.add(read_file(file))
        except torch.OutOfMemoryError as error:
            raise ConfigError(f"{file} does not fit into the memory of {device}; train on fewer payloads") from error
        if store.resident_bytes > free:  # what networks and scenes take is known only once they are read
            raise ConfigError(
                f"{folder}: the payloads up to {file.name} take {store.resident_bytes:,} bytes; {device} had {free:,} "
                "bytes of free memory; train on fewer payloads"
            )
        runs.append(run)
        names += [f"{file.stem}-{i:06d}" for i in range(len(run))]
    return store, runs, tuple(names)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(importlib.import_module("psutil").virtual_memory().available)  # ultralytics brings it
