"""The data set interface: a specification such as ``otb100:PATH/Crossing`` -> clips, and the registry of data sets."""

from __future__ import annotations

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip
from rinr_flower.registry import Registry, build_dataclass

Progress = Callable[[float], None]
"""Called with the fraction done, 0 to 1."""

_OPTION = re.compile(r"([A-Za-z_]+)=([^/\\]*)")


class Dataset(ABC):
    """Where clips come from.

    A data set is a frozen dataclass: its fields are its options, set in a specification as ``,key=value``. One that
    reads files has a field ``path``, which is what the specification says before the options.
    """

    name: ClassVar[str]

    @abstractmethod
    def clips(self, *, frames: slice, seed: int, progress: Progress | None) -> list[Clip]:
        """All clips in a stable order, each cut to ``frames`` (of every sequence) before its files are read.

        ``seed`` chooses what is generated; files on disk do not depend on it. Raises DataError.
        """

    @classmethod
    def parse(cls, location: str) -> Dataset:
        """An instance from what follows the colon of a specification: ``PATH``, ``PATH,key=value`` or ``key=value``."""
        path, options = _split(location)
        where = f"data set {cls.name!r}"
        takes_path = "path" in {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if takes_path:
            if not path:
                raise ConfigError(f"{where} needs a path: {cls.name}:PATH")
            options = {"path": path, **options}
        elif path:
            raise ConfigError(f"{where} takes options as key=value, comma-separated; {path!r} is not one")
        return build_dataclass(cls, options, where=where)


datasets: Registry[Dataset] = Registry("data set", "rinr_flower.datasets")


def _split(location: str) -> tuple[str, dict[str, str]]:
    """Peel ``key=value`` items off the end; a path that exists as written keeps its commas."""
    if location and Path(location).exists():
        return location, {}
    items = location.split(",") if location else []
    options: dict[str, str] = {}
    while items and (match := _OPTION.fullmatch(items[-1].strip())):
        options.setdefault(match[1], match[2])
        items.pop()
    return ",".join(items), options


def find(spec: str) -> Dataset:
    """The data set that ``spec`` names: ``KIND``, ``KIND:LOCATION``, a folder of images, or a data set YAML file.

    Raises ConfigError, listing the known kinds, when it is none of these.
    """
    kind, _, location = spec.partition(":")
    if kind not in datasets.names():
        path = Path(spec)
        if path.is_dir():
            return datasets.get("folder").parse(spec)
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return datasets.get("yolo").parse(spec)
        if "/" in kind:
            raise DataError(f"{spec}: no such folder; give a folder of images, or KIND:PATH")
    return datasets.get(kind).parse(location)


def load(spec: str, *, frames: slice | None = None, seed: int = 0, progress: Progress | None = None) -> list[Clip]:
    """Clips of a data set.

    Parameters
    ----------
    spec : ``otb100:PATH``, ``uav123:PATH``, ``dac_sdc:PATH`` (each down to one sequence, ``otb100:PATH/Crossing``),
        ``yolo:PATH/data.yaml``, ``folder:PATH``, ``sample``, or a kind that another distribution registered. Options
        follow as ``,key=value``: ``sample:sequences=4,frames=16``.
    frames : which frames of every sequence, 0-based; all by default. Files outside it are not read.
    seed : of a generated data set; the same seed gives the same pixels.
    progress : called with the fraction done.

    Raises
    ------
    ConfigError : unknown kind or option, with the known ones.
    DataError : missing path, wrong layout, unreadable image or annotation; the text names the file.
    """
    return find(spec).clips(frames=frames or slice(None), seed=seed, progress=progress)


def cut(count: int, frames: slice, *, name: str) -> range:
    """The frame numbers that ``frames`` selects out of ``count``; DataError when that is none."""
    chosen = range(count)[frames]
    if not chosen:
        first = "" if frames.start is None else frames.start
        last = "" if frames.stop is None else frames.stop
        raise DataError(
            f"{name} has {count} frames; frames {first}:{last} selects none of them, choose within 0:{count}"
        )
    return chosen
