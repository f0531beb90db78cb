"""Video files as sequences, decoded by PyAV (the extra ``video``)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rinr_flower.datasets.base import VIDEO_SUFFIXES, Dataset, datasets
from rinr_flower.datasets.images import natural, read_names, visible
from rinr_flower.datasets.mot import NUMBER, labels_of, read_tracks
from rinr_flower.datasets.source import Broken, FileShot, Labels, Shot, Source, class_names
from rinr_flower.datasets.yolo_labels import read_labels
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import MAX_FRAME_PX

log = logging.getLogger(__name__)

EXPECTED = "a video file, or a folder of them"


@datasets.register("video")
@dataclass(frozen=True)
class Video(Dataset):
    """Every video file is a sequence. Frames are decoded when they are needed.

    Labels are YOLO files, one a frame, whose names end in the frame's number: from 1 (``clip_1.txt``, as ultralytics
    writes them), or from 0 if there is a number 0 (``frame_000000.txt``, as CVAT writes them); or one MOT file whose
    rows begin with the frame's number, from 1. If there is neither 0 nor 1, nor the number of the last frame, a warning
    says that they are taken to begin with 1. Class names are the lines of ``classes.txt`` or ``labels.txt`` beside.

    Attributes
    ----------
    path : the video file, or a folder of them.
    labels : a folder of YOLO files or a MOT file; by default ``CLIP.txt`` beside ``CLIP.mp4``, or ``labels/`` or
        ``CLIP/`` beside it. A video without any has no boxes.
    every : of so many frames, the first one is taken.
    """

    path: str
    labels: str = ""
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"video: every={self.every} must be at least 1")

    def sources(self, *, seed: int, broken: Broken) -> list[Source]:
        place = Path(self.path).expanduser()
        files = [place]
        if place.is_dir():
            files = sorted((p for p in visible(place) if p.suffix.lower() in VIDEO_SUFFIXES), key=natural)
        if not files or not files[0].is_file():
            raise DataError(f"{self.path}: no video here; expected {EXPECTED}")
        found: list[Source] = []
        names: list[str] = []
        unnamed: list[Shot] = []
        for file in files:
            with broken.caught():
                source, own = self._source(file)
                if any(one != other for one, other in zip(names, own, strict=False)):
                    raise DataError(
                        f"{file}: its classes are {', '.join(own)[:80]}, and those of the videos before it are "
                        f"{', '.join(names)[:80]}; read videos of other classes as a data set of their own"
                    )
                found.append(source)
                names = max(names, own, key=len)
                unnamed += [] if own else source.shots
        all_names = class_names(unnamed, names)
        return [replace(source, class_names=all_names) for source in found]

    def _source(self, file: Path) -> tuple[Source, list[str]]:
        """A video's frames, and the names of its classes; none if no file gives them."""
        reader = VideoReader(file)
        labels, names = self._labels(file, len(reader))
        shots = [VideoShot(reader, i, labels(i)) for i in range(0, len(reader), self.every)]
        return Source(file.stem, shots), names

    def _labels(self, file: Path, frames: int) -> tuple[Callable[[int], Callable[[], Labels]], list[str]]:
        """How the labels of each frame are read, and the class names."""
        beside = [file.with_suffix(".txt"), file.with_suffix(""), file.parent / "labels"]
        if self.labels:
            place: Path | None = Path(self.labels).expanduser()
            if place is not None and not place.exists():
                raise DataError(f"{self.labels}: no such file or folder; expected the labels of {file.name}")
        else:
            place = next((p for p in beside if p.exists()), None)
        if place is None:
            return lambda index: Labels, []
        names = _names(place if place.is_dir() else place.parent)
        if place.is_file():
            tracks = read_tracks(place, max(len(names), 1), range(1, frames + 1))
            return lambda index: partial(labels_of, tracks, index + 1), names
        by_number = _numbered(place, file)
        first = 0 if 0 in by_number else 1
        if 1 not in by_number and first and max(by_number) < frames:
            log.warning(
                "%s: no label file has the number 0, so 1 is taken for the first frame of %s; if it is the second, "
                "add an empty file %s",
                place, file.name, place / f"{NUMBER.sub('', next(iter(by_number.values())).stem)}0.txt",
            )  # fmt: skip
        beyond = [path for number, path in by_number.items() if number - first >= frames]
        if beyond:
            raise DataError(f"{beyond[0]}: labels of a frame that {file} does not have; it has {frames} frames")
        n_classes = len(names) or None
        return lambda index: cache(partial(read_labels, by_number.get(index + first), n_classes)), names


def _names(folder: Path) -> list[str]:
    for name in ("classes.txt", "labels.txt"):
        for place in (folder, folder.parent):
            if (place / name).is_file():
                return list(read_names(place / name))
    return []


def _numbered(folder: Path, file: Path) -> dict[int, Path]:
    """The label files of a video by the number at the end of their names; those of other videos are left out."""
    labels = (path for path in visible(folder) if path.suffix == ".txt")
    numbers = {path: int(match[1]) for path in labels if (match := NUMBER.search(path.stem))}
    others = [p.stem for p in visible(file.parent) if p.suffix.lower() in VIDEO_SUFFIXES and p.stem != file.stem]
    own = [path for path in numbers if _is_of(path, file.stem)]
    unclaimed = [path for path in numbers if not any(_is_of(path, other) for other in others)]
    found = {numbers[path]: path for path in own or unclaimed}
    if not found:
        raise DataError(f"{folder}: no label files of {file.name}, expected {file.stem}_1.txt, {file.stem}_2.txt, ...")
    return found


def _is_of(path: Path, video: str) -> bool:
    return NUMBER.sub("", path.stem) in (f"{video}_", f"{video}-", video)


class VideoReader:
    """The frames of a video file, by number. Reading them in order decodes each once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors(), _av().open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise DataError(f"{path}: a file without video")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise DataError(
                    f"{path}: a video in a format that the installed PyAV does not decode, or it is cut off"
                )
            width, height = stream.codec_context.width, stream.codec_context.height
            if not 0 < width * height <= MAX_FRAME_PX:
                raise DataError(f"{path}: {width}x{height} pixels; a frame has at most {MAX_FRAME_PX:,}")
            self._count = sum(1 for packet in container.demux(stream) if packet.size and not packet.is_discard)
        with self._errors():
            first = next(self._decoded(), None)
        if first is None or not self._count:
            raise DataError(f"{path}: no frame can be decoded; is it cut off?")
        self.size = (first.shape[1], first.shape[0])
        self._frames: Iterator[NDArray[np.uint8]] = iter(())
        self._next = self._count  # number of the frame that comes next

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, object]:
        """For another process, which decodes from the beginning."""
        return {**vars(self), "_frames": iter(()), "_next": self._count}

    def read(self, index: int) -> NDArray[np.uint8]:
        """Frame ``index``, RGB uint8 (height, width, 3)."""
        if index < self._next:
            self._frames, self._next = self._decoded(), 0
        picture = None
        with self._errors():
            for picture in self._frames:
                self._next += 1
                if self._next == index + 1:
                    return picture
        raise DataError(f"{self.path}: it ends after frame {self._next} of {self._count}; is it cut off?")

    def _decoded(self) -> Iterator[NDArray[np.uint8]]:
        with _av().open(str(self.path), metadata_errors="replace") as container:
            for frame in container.decode(container.streams.video[0]):
                picture = frame.to_ndarray(format="rgb24")
                yield np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except _av().FFmpegError as error:
            raise DataError(f"{self.path}: not readable as video: {error.strerror or error}") from error


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise ConfigError("video files need PyAV: pip install 'rinr_flower[video]'") from None
    return av


class VideoShot(FileShot):
    """One frame of a video."""

    def __init__(self, reader: VideoReader, index: int, labels: Callable[[], Labels]) -> None:
        super().__init__(f"{reader.path} frame {index}", labels)
        self._reader = reader
        self._index = index

    @cached_property
    def size(self) -> tuple[int, int]:
        return self._reader.size

    def picture(self) -> tuple[NDArray[np.uint8], bytes]:
        """Decode the frame; there is no camera's JPEG file."""
        return self._reader.read(self._index), b""
