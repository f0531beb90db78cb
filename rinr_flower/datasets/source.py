"""Pictures that have been found but not read: what every reader gives, and how clips are made of them.

Only headers and labels are read before it is known which pictures are needed, so that a few hundred pictures can be
dealt out of a data set of any size.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rinr_flower.errors import DataError
from rinr_flower.frames import Clip, Frame, clean_boxes

log = logging.getLogger(__name__)

Progress = Callable[[float], None]
"""Called with the fraction done, 0 to 1."""

GROUP = 16
"""Unrelated pictures of one size that are encoded together."""
_SHOWN = 30  # errors of a data set that its message lists


@dataclass(frozen=True, eq=False)
class Labels:
    """Boxes (n, 4) x1, y1, x2, y2 in pixels, or in fractions of the image's size, and their classes (n,).

    ``drawn_on`` is the picture's width and height as the annotations say them, and where they do (:func:`drawn_on`).
    """

    boxes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    classes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    normalised: bool = False
    drawn_on: tuple[float, float, str] | None = None


def drawn_on(width: Any, height: Any, origin: str) -> tuple[float, float, str] | None:
    """The size that annotations give for a picture; None unless both are positive numbers."""
    with suppress(TypeError, ValueError, OverflowError):
        if 0 < float(width) < math.inf and 0 < float(height) < math.inf:
            return float(width), float(height), origin
    return None


class Shot(ABC):
    """One picture and its labels. ``name`` is what errors call it."""

    name: str

    @cached_property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, upright, without decoding the picture. Raises DataError."""

    @cached_property
    @abstractmethod
    def labels(self) -> Labels:
        """Raises DataError."""

    @abstractmethod
    def picture(self) -> tuple[NDArray[np.uint8], bytes]:
        """The picture, RGB uint8 (height, width, 3), and the camera's own JPEG file or nothing. Raises DataError."""

    def check(self) -> None:
        """Raise DataError for whatever can be found wrong without decoding the picture."""
        _ = self.size, self.labels

    def frame(self) -> tuple[Frame, int]:
        """Read the picture; also how many boxes were dropped: not finite, empty or outside the image."""
        image, file = self.picture()
        height, width = image.shape[:2]
        boxes, classes, dropped = self.boxes(width, height)
        return Frame(image, boxes, classes, file), dropped

    def boxes(self, width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
        """The boxes in pixels and their classes for a picture of this size, and how many were dropped."""
        scale = np.array([width, height, width, height]) if self.labels.normalised else np.ones(4)
        return clean_boxes(self.labels.boxes * scale, self.labels.classes, width, height)


class FileShot(Shot):
    """A picture in a file; ``labels`` are read when they are needed first."""

    def __init__(self, name: str, labels: Callable[[], Labels]) -> None:
        self.name = name
        self._labels = labels

    def __getstate__(self) -> dict[str, object]:
        """For another process: the labels themselves, if they have been read, instead of how to read them."""
        return {**vars(self), "_labels": None} if "labels" in vars(self) else vars(self)

    @cached_property
    def labels(self) -> Labels:
        return self._labels()


@dataclass(frozen=True, eq=False)
class Source:
    """Pictures of one origin, in order.

    Attributes
    ----------
    name : of the sequence, folder or file.
    shots : the pictures.
    class_names : what their classes are called.
    consecutive : whether they are consecutive frames of one camera. None: they are if all have one size, as in a folder
        of which nothing else is known.
    group : how many pictures of one size make a clip if they are not consecutive.
    """

    name: str
    shots: Sequence[Shot]
    class_names: tuple[str, ...] = ("object",)
    consecutive: bool | None = True
    group: int = GROUP

    def __len__(self) -> int:
        return len(self.shots)

    def cut(self, frames: slice) -> Source:
        """The shots that ``frames`` selects; DataError when that is none."""
        chosen = range(len(self.shots))[frames]
        if not chosen:
            first = "" if frames.start is None else frames.start
            last = "" if frames.stop is None else frames.stop
            raise DataError(
                f"{self.name} has {len(self.shots)} frames; frames {first}:{last} selects none of them, choose within "
                f"0:{len(self.shots)}"
            )
        return self.of([self.shots[i] for i in chosen])

    def of(self, shots: Sequence[Shot]) -> Source:
        """The same origin with other shots."""
        return replace(self, shots=shots)

    @cached_property
    def is_sequence(self) -> bool:
        """Whether the pictures are consecutive frames. Reads their sizes if nothing else says so."""
        return len({shot.size for shot in self.shots}) < 2 if self.consecutive is None else self.consecutive

    def groups(self) -> list[Source]:
        """The pictures in the groups that become clips, each of one size.

        A sequence is one group, or one for every size; unrelated pictures are grouped by size, ``group`` at a time.
        """
        sizes = by_size(self.shots)
        if self.is_sequence:
            several = len(sizes) > 1
            return [
                replace(self, shots=shots, name=f"{self.name} {w}x{h}" if several else self.name)
                for (w, h), shots in sizes.items()
            ]
        parts = [shots[i : i + self.group] for shots in sizes.values() for i in range(0, len(shots), self.group)]
        return [replace(self, shots=shots, name=f"{self.name}-{i:03d}") for i, shots in enumerate(parts)]


class Broken:
    """Gathers the errors of a data set, so that all are told at once, or leaves the broken files out.

    Parameters
    ----------
    skip : leave broken files out; otherwise :meth:`settle` raises.
    quiet : do not log what is left out: the caller tells it.

    Attributes
    ----------
    reasons : one sentence for each error.
    names : of the shots that are broken.
    """

    def __init__(self, skip: bool = False, *, quiet: bool = False) -> None:
        self.skip = skip
        self._quiet = quiet
        self.reasons: list[str] = []
        self.names: set[str] = set()

    @contextmanager
    def caught(self, shot: Shot | None = None) -> Iterator[None]:
        """A DataError, about a shot or about something else, is gathered."""
        try:
            yield
        except DataError as error:
            if str(error) not in self.reasons:
                self.reasons.append(str(error))
            if shot is not None:
                self.names.add(shot.name)

    def settle(self, before: int = 0) -> None:
        """Raise one DataError that lists what was gathered after the first ``before``, or log it if it is skipped."""
        new = self.reasons[before:]
        if self.skip:
            for reason in new if not self._quiet else []:
                log.warning("left out: %s", reason)
        elif len(new) == 1:
            raise DataError(new[0])
        elif new:
            rest = [f"and {len(new) - _SHOWN} more"] if len(new) > _SHOWN else []
            raise DataError(
                "\n  ".join(
                    [f"{len(new)} errors; mend these, or leave them out (--skip-broken):", *new[:_SHOWN], *rest]
                )
            )


class ReadShot(Shot):
    """A frame that is in memory already."""

    def __init__(self, name: str, frame: Frame) -> None:
        self.name = name
        self._frame = frame

    @cached_property
    def size(self) -> tuple[int, int]:
        return self._frame.width, self._frame.height

    @cached_property
    def labels(self) -> Labels:
        return Labels(self._frame.boxes.astype(np.float64), self._frame.classes)

    def picture(self) -> tuple[NDArray[np.uint8], bytes]:
        """What was read before."""
        return self._frame.image, self._frame.file

    def frame(self) -> tuple[Frame, int]:
        """What was read before."""
        return self._frame, 0


def of_clip(clip: Clip) -> Source:
    """A source whose frames are in memory already."""
    shots = [ReadShot(f"frame {i} of {clip.name}", frame) for i, frame in enumerate(clip.frames)]
    return Source(clip.name, shots, clip.class_names)


def by_size(shots: Iterable[Shot]) -> dict[tuple[int, int], list[Shot]]:
    """Shots by (width, height), in the order in which the sizes come."""
    sizes: dict[tuple[int, int], list[Shot]] = {}
    for shot in shots:
        sizes.setdefault(shot.size, []).append(shot)
    return sizes


def class_names(shots: Iterable[Shot], given: Sequence[str] = ()) -> tuple[str, ...]:
    """The names ``given``, then ``class 3``, ... for classes of the shots beyond them; ``object`` for a single one."""
    highest = 0
    for shot in shots:
        with suppress(DataError):  # told when all labels are checked
            highest = max([highest, *shot.labels.classes.tolist()])
    if not given and highest == 0:
        return ("object",)
    return (*given, *(f"class {i}" for i in range(len(given), highest + 1)))


def surveyed(
    sources: Sequence[Source], broken: Broken, progress: Progress | None = None, *, before: int | None = None
) -> list[Source]:
    """Check headers and labels of all shots; sources without those that are broken.

    Raises DataError that lists all errors gathered after the first ``before``, unless ``broken`` skips them and any
    picture is left.
    """
    total, done, before = sum(map(len, sources)), 0, len(broken.reasons) if before is None else before
    left = []
    for source in sources:
        shots = []
        for shot in source.shots:
            with broken.caught(shot):
                shot.check()
                shots.append(shot)
            done += 1
            if progress is not None:
                progress(done / total)
        if shots:
            left.append(source if len(shots) == len(source) else source.of(shots))
    broken.settle(before)
    if not left:
        raise DataError("no picture is left: " + "; ".join(broken.reasons[:_SHOWN] or ["the data set is empty"]))
    return left


def read_clips(groups: Sequence[Source], broken: Broken, progress: Progress | None = None) -> list[Clip]:
    """Read the pictures of groups that are each of one size, and make clips of them.

    Raises DataError that lists all errors, unless ``broken`` skips them and any picture is left.
    """
    clips = [clip for clip in read_groups(groups, broken, progress) if clip is not None]
    if not clips:
        raise DataError("no picture is left: " + "; ".join(broken.reasons[:_SHOWN] or ["the data set is empty"]))
    return clips


def read_groups(groups: Sequence[Source], broken: Broken, progress: Progress | None = None) -> list[Clip | None]:
    """Read the clip of each group; None where no picture of it can be read. Raises DataError as :func:`read_clips`."""
    total, done, before = sum(map(len, groups)), 0, len(broken.reasons)
    clips: list[Clip | None] = []
    for group in groups:
        frames = []
        dropped = 0
        for shot in group.shots:
            with broken.caught(shot):
                frame, bad = shot.frame()
                frames.append(frame)
                dropped += bad
            done += 1
            if progress is not None:
                progress(done / total)
        if dropped:
            log.warning("%s: skipped %d boxes that are not finite, empty or outside the image", group.name, dropped)
        clips.append(Clip(group.name, tuple(frames), group.class_names) if frames else None)
    broken.settle(before)
    return clips
