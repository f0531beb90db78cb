"""MOTChallenge's sequences (Milan et al., *MOT16: A Benchmark for Multi-Object Tracking*, 2016), and what is written
alike: MOT15, MOT17, MOT20, DanceTrack, SportsMOT, CVAT's "MOT 1.1"."""

from __future__ import annotations

import configparser
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rinr_flower.datasets.base import Dataset, datasets
from rinr_flower.datasets.images import ImageShot, existing_folder, folders_below, image_files, read_text
from rinr_flower.datasets.source import Broken, Labels, Source
from rinr_flower.errors import DataError

LAYOUT = "MOT sequences, each a folder with gt/gt.txt and the images in img1/ (or where seqinfo.ini says)"


@datasets.register("mot")
@dataclass(frozen=True)
class Mot(Dataset):
    """Tracking sequences. Rows that ``gt.txt`` marks as not to be considered are left out: of MOTChallenge's own
    sequences, that leaves the pedestrians.

    Classes are the lines of ``gt/labels.txt``, else there is one, ``pedestrian``.

    Attributes
    ----------
    path : the folder of one sequence, or one that holds sequences at any depth.
    """

    path: str

    def sources(self, *, seed: int, broken: Broken) -> list[Source]:
        root = existing_folder(self.path, expected=LAYOUT)
        folders = [folder.parent for folder in folders_below(root) if folder.name == "gt"]
        folders = [folder for folder in folders if (folder / "gt" / "gt.txt").is_file()]
        if not folders:
            raise DataError(f"{root}: no sequence here; expected {LAYOUT}")
        names = _class_names(folders)
        found = []
        for folder in folders:
            with broken.caught():
                found.append(_sequence(folder, names))
        return found


def _class_names(folders: Iterable[Path]) -> tuple[str, ...]:
    for folder in folders:
        if (folder / "gt" / "labels.txt").is_file():
            return tuple(line.strip() for line in read_text(folder / "gt" / "labels.txt") if line.strip())
    return ("pedestrian",)


def _sequence(folder: Path, names: tuple[str, ...]) -> Source:
    name, place, length = _info(folder)
    images = image_files(place) if place.is_dir() else []
    if not images:
        raise DataError(f"{place}: no images here; expected {LAYOUT}")
    if length is not None and length != len(images):
        raise DataError(
            f"{folder / 'seqinfo.ini'}: seqLength={length}, but {place} holds {len(images)} images; is it complete?"
        )
    numbers = [int(image.stem) for image in images if image.stem.isdecimal()]
    if len(numbers) < len(images):
        numbers = list(range(1, len(images) + 1))
    tracks = read_tracks(folder / "gt" / "gt.txt", len(names), set(numbers))
    shots = [
        ImageShot(image, partial(labels_of, tracks, number)) for image, number in zip(images, numbers, strict=True)
    ]
    return Source(name, shots, names)


def _info(folder: Path) -> tuple[str, Path, int | None]:
    """Name, folder of the images and number of frames of a sequence, from ``seqinfo.ini`` where there is one."""
    file = folder / "seqinfo.ini"
    if not file.is_file():
        return folder.name, folder / "img1", None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string("\n".join(read_text(file)))
        section = parser["Sequence"]
        place = (folder / section.get("imDir", "img1")).resolve()
        if not place.is_relative_to(folder.resolve()):
            raise DataError(f"{file}: imDir={section['imDir']} leads out of {folder}")
        return section.get("name", folder.name), place, section.getint("seqLength")
    except (configparser.Error, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{file}: expected [Sequence] with name, imDir, seqLength ({reason})") from error


def labels_of(tracks: Mapping[int, Labels], number: int) -> Labels:
    """The labels of a frame."""
    return tracks.get(number, Labels())


def read_tracks(path: Path, n_classes: int, frames: Collection[int]) -> dict[int, Labels]:
    """Boxes by frame number: rows ``frame, id, left, top, width, height, considered[, class, visibility]``.

    Corners are 1-based. With one class, every row that counts is of it. Raises DataError (file:line).
    """
    boxes: dict[int, list[list[float]]] = {}
    classes: dict[int, list[int]] = {}
    for number, line in enumerate(read_text(path), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            values = [float(value) for value in line.strip().rstrip(",").split(",")]
            frame, x, y, width, height = int(values[0]), *values[2:6]
            label = int(values[7]) - 1 if n_classes > 1 and len(values) > 7 else 0
        except (ValueError, OverflowError, IndexError):
            raise DataError(
                f"{where}: {line[:60]!r}; expected frame, id, left, top, width, height, ... in numbers"
            ) from None
        if frame not in frames:
            raise DataError(f"{where}: there is no frame {frame}; they are {min(frames)} to {max(frames)}")
        if len(values) > 6 and values[6] == 0:
            continue
        if not 0 <= label < n_classes:
            raise DataError(f"{where}: class {label + 1} is not in 1..{n_classes}")
        boxes.setdefault(frame, []).append([x - 1, y - 1, x - 1 + width, y - 1 + height])
        classes.setdefault(frame, []).append(label)
    return {frame: Labels(np.array(rows), np.array(classes[frame], np.int64)) for frame, rows in boxes.items()}
