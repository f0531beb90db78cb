"""The data set interface: a specification such as ``otb100:PATH/Crossing`` -> clips, and the registry of data sets."""

from __future__ import annotations

import dataclasses
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

from rinr_flower.datasets.source import Broken, Progress, Source, read_clips, surveyed
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip
from rinr_flower.registry import Registry, build_dataclass

_OPTION = re.compile(r"([A-Za-z_]+)=(.*)")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv")
_BY_SUFFIX = {".yaml": "yolo", ".yml": "yolo", ".json": "coco"} | dict.fromkeys(VIDEO_SUFFIXES, "video")
"""What kind of data set a file alone is."""


class Dataset(ABC):
    """Where pictures come from.

    A data set is a frozen dataclass: its fields are its options, set in a specification as ``,key=value``. One that
    reads files has a field ``path``, which is what the specification says before the options.
    """

    name: ClassVar[str]

    @abstractmethod
    def sources(self, *, seed: int, broken: Broken) -> list[Source]:
        """All sequences and collections in a stable order, their pictures not read yet.

        ``seed`` chooses what is generated; files on disk do not depend on it. What costs one sequence only is raised
        within ``broken.caught()``, so that all of it is told at once. Raises DataError.
        """

    @classmethod
    def parse(cls, location: str) -> Dataset:
        """An instance from what follows the colon of a specification: ``PATH``, ``PATH,key=value`` or ``key=value``."""
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        path, options = _split(location, known)
        where = f"data set {cls.name!r}"
        takes_path = "path" in known
        if takes_path:
            if not path:
                raise ConfigError(f"{where} needs a path: {cls.name}:PATH")
            options = {"path": path, **options}
        elif path:
            raise ConfigError(f"{where} takes options as key=value, comma-separated; {path!r} is not one")
        return build_dataclass(cls, options, where=where)


datasets: Registry[Dataset] = Registry("data set", "rinr_flower.datasets")


def _split(location: str, known: Collection[str] = ()) -> tuple[str, dict[str, str]]:
    """Peel ``key=value`` items off the end; a path that exists as written keeps its commas.

    A value with a slash is an option's only if its key is ``known``: otherwise it is a part of a path.
    """
    if location and Path(location).exists():
        return location, {}
    items = location.split(",") if location else []
    options: dict[str, str] = {}
    while items and (match := _OPTION.fullmatch(items[-1].strip())):
        if match[1] not in known and re.search(r"[/\\]", match[2]):
            break
        options.setdefault(match[1], match[2])
        items.pop()
    return ",".join(items), options


def find(spec: str) -> Dataset:
    """The data set that ``spec`` names: ``KIND``, ``KIND:LOCATION``, or a folder of images or a file with options.

    Raises ConfigError, listing the known kinds, when it is none of these.
    """
    kind, colon, location = spec.partition(":")
    if kind not in datasets.names():
        path = Path(_split(spec)[0]).expanduser()
        if path.is_dir():
            return datasets.get("folder").parse(spec)
        if path.suffix.lower() in _BY_SUFFIX and path.is_file():
            return datasets.get(_BY_SUFFIX[path.suffix.lower()]).parse(spec)
        if not colon:
            what = "a file of no kind that is read" if path.is_file() else "no such folder"
            kinds = ", ".join(datasets.names())
            raise DataError(f"{spec}: {what}; give a folder of images, a data set file, or KIND:PATH (kinds: {kinds})")
    return datasets.get(kind).parse(location)


def sources(
    spec: str,
    *,
    frames: slice | None = None,
    seed: int = 0,
    broken: Broken | None = None,
    progress: Progress | None = None,
) -> list[Source]:
    """Sequences and collections of a data set; headers and labels are checked, pictures not read yet.

    Parameters as for :func:`load`.
    """
    gathered = Broken() if broken is None else broken
    spec, clip = _chosen(spec)
    before = len(gathered.reasons)
    try:
        found = find(spec).sources(seed=seed, broken=gathered)
    except OSError as error:  # a name that is too long, a folder that may not be listed
        raise DataError(
            f"{spec[:200]}: {str(error.filename)[:200]} cannot be read: {error.strerror or error}"
        ) from error
    if clip is not None and found:
        found = [_named(found, clip, spec)]
    if frames is not None:
        found = [source.cut(frames) for source in found]
    if not found:
        gathered.settle(before)
    return surveyed(found, gathered, progress, before=before)


def load(
    spec: str,
    *,
    frames: slice | None = None,
    seed: int = 0,
    broken: Broken | None = None,
    progress: Progress | None = None,
) -> list[Clip]:
    """Clips of a data set, all read into memory.

    Parameters
    ----------
    spec : ``KIND:PATH`` with options as ``,key=value`` (``docs/data.md`` lists the kinds), a folder of images, or a
        data set YAML file. ``#3`` or ``#NAME`` at its end names one of several sequences.
    frames : which frames of every sequence, 0-based; all by default. Files outside it are not read.
    seed : of a generated data set; the same seed gives the same pixels.
    broken : gathers what cannot be read, and leaves it out if it says so; by default it is an error.
    progress : called with the fraction done.

    Raises
    ------
    ConfigError : unknown kind or option, with the known ones.
    DataError : missing path, wrong layout, unreadable images or annotations; the text names all files.
    """
    gathered = Broken() if broken is None else broken
    found = sources(spec, frames=frames, seed=seed, broken=gathered)
    return read_clips([group for source in found for group in source.groups()], gathered, progress)


def _chosen(spec: str) -> tuple[str, str | None]:
    """The specification without ``#CLIP`` at its end, and the clip; a path that exists keeps its ``#``."""
    outer, sign, clip = spec.rpartition("#")
    if not sign or "/" in clip.partition("=")[2]:
        return spec, None
    for location in (spec, spec.partition(":")[2]):
        written, _ = _split(location)
        for path in (written, os.path.dirname(written)):  # data.yaml/val is a file and a part of it
            if sign in path and sign not in location[len(path) :] and Path(path).exists():
                return spec, None
    return outer, clip


def _named(found: list[Source], clip: str, spec: str) -> Source:
    by_name = [source for source in found if source.name == clip]
    if by_name:
        return by_name[0]
    if clip.isdecimal() and 1 <= int(clip) <= len(found):
        return found[int(clip) - 1]
    names = ", ".join(source.name for source in found[:8])
    raise DataError(
        f"{spec} has no clip {clip!r}; it has 1 to {len(found)} ({names}{', ...' if len(found) > 8 else ''})"
    )
