"""MOTChallenge's sequences (Milan et al., *MOT16: A Benchmark for Multi-Object Tracking*, 2016), and what is written
alike: MOT15, MOT17, MOT20, DanceTrack, SportsMOT, CVAT's "MOT 1.1"."""

from __future__ import annotations

import configparser
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from rinr_flower.datasets.base import Dataset, datasets
from rinr_flower.datasets.images import ImageShot, existing_folder, folders_below, image_files, read_names, read_text
from rinr_flower.datasets.source import Broken, Labels, Source
from rinr_flower.errors import DataError

LAYOUT = "MOT sequences, each a folder with gt/gt.txt and the images in img1/ (or where seqinfo.ini says)"
NUMBER = re.compile(r"(\d+)$")
"""A frame's number at the end of its file's name, without the suffix."""


@datasets.register("mot")
@dataclass(frozen=True)
class Mot(Dataset):
    """Tracking sequences. Rows that ``gt.txt`` marks as not to be considered are left out: of MOTChallenge's own
    sequences, that leaves the pedestrians.

    Classes are the lines of each sequence's ``gt/labels.txt``, and the same by their names in all; a sequence without
    the file has those of the others, if these agree. Without any there is one class, ``pedestrian``. The frames'
    numbers are the images' names or what stands at the end of these, if they begin with 1 (or 0, which is then frame
    1); else their order.

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
        files = {folder: folder / "gt" / "labels.txt" for folder in folders}
        named = {folder: own for folder, file in files.items() if file.is_file() and (own := read_names(file))}
        lists = list(dict.fromkeys(named.values())) or [("pedestrian",)]
        names = tuple(dict.fromkeys(name for own in lists for name in own))
        found = []
        for folder in folders:
            with broken.caught():
                if folder not in named and len(lists) > 1:
                    raise DataError(f"{files[folder]}: no such file, and other sequences' differ; write one")
                found.append(_sequence(folder, named.get(folder, lists[0]), names))
        return found


def _sequence(folder: Path, own: tuple[str, ...], names: tuple[str, ...]) -> Source:
    """A sequence whose classes are called ``own``, numbered as in ``names``."""
    name, place, length = _info(folder)
    images = image_files(place) if place.is_dir() else []
    if not images:
        raise DataError(f"{place}: no images here; expected {LAYOUT}")
    if length is not None and length != len(images):
        raise DataError(
            f"{folder / 'seqinfo.ini'}: seqLength={length}, but {place} holds {len(images)} images; is it complete?"
        )
    numbers = _numbers([image.stem for image in images])
    classes = np.array([names.index(one) for one in own], np.int64)
    tracks = {
        number: replace(labels, classes=classes[labels.classes])
        for number, labels in read_tracks(folder / "gt" / "gt.txt", len(own), set(numbers)).items()
    }
    shots = [
        ImageShot(image, partial(labels_of, tracks, number)) for image, number in zip(images, numbers, strict=True)
    ]
    return Source(name, shots, names)


def _numbers(stems: Sequence[str]) -> list[int]:
    """The number by which ``gt.txt`` calls each frame, see :class:`Mot`."""
    if all(stem.isdecimal() for stem in stems):
        return [int(stem) for stem in stems]
    found = [int(match[1]) for stem in stems if (match := NUMBER.search(stem))]
    if len(set(found)) == len(stems) and min(found) < 2:
        return [number + 1 - min(found) for number in found]
    return list(range(1, len(stems) + 1))


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
