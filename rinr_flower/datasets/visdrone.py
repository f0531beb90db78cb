"""VisDrone (Zhu et al., *Detection and Tracking Meet Drones Challenge*, PAMI 2021): single images and sequences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rinr_flower.datasets.base import Dataset, datasets
from rinr_flower.datasets.images import ImageShot, existing_folder, image_files, natural, read_text, visible
from rinr_flower.datasets.source import Broken, Labels, Source
from rinr_flower.errors import DataError

LAYOUT = "VisDrone-DET with images/ and annotations/, or VisDrone-VID or -MOT with sequences/NAME/ and annotations/"
CLASSES = (
    "pedestrian", "people", "bicycle", "car", "van", "truck", "tricycle", "awning-tricycle", "bus", "motor",
)  # fmt: skip
IGNORED = (0, 11)  # categories of regions that are not evaluated, and of other objects


@datasets.register("visdrone")
@dataclass(frozen=True)
class VisDrone(Dataset):
    """VisDrone-DET's images as a collection, or VisDrone-VID's and -MOT's sequences. Ten classes.

    Ignored regions, others and boxes with score 0 are left out, as in ultralytics' conversion.

    Attributes
    ----------
    path : a part of the data set, for example ``VisDrone2019-DET-train``.
    """

    path: str

    def sources(self, *, seed: int, broken: Broken) -> list[Source]:
        root = existing_folder(self.path, expected=LAYOUT)
        annotations = root / "annotations"
        if (root / "images").is_dir() and annotations.is_dir():
            images = image_files(root / "images")
            shots = [ImageShot(image, partial(_image_labels, annotations / f"{image.stem}.txt")) for image in images]
            found = [Source(root.name, shots, CLASSES, consecutive=False)] if shots else []
        elif (root / "sequences").is_dir() and annotations.is_dir():
            found = []
            for folder in sorted((p for p in visible(root / "sequences") if p.is_dir()), key=natural):
                with broken.caught():
                    found.append(_sequence(folder, annotations / f"{folder.name}.txt"))
        else:
            found = []
        if not found and not broken.reasons:
            raise DataError(f"{root}: no images here; expected {LAYOUT}")
        return found


def _sequence(folder: Path, annotation: Path) -> Source:
    images = image_files(folder)
    if not images:
        raise DataError(f"{folder}: no images here; expected {LAYOUT}")
    by_frame: dict[int, list[list[float]]] = {}
    for frame, _, *row in _rows(annotation, 10):
        if not 1 <= frame <= len(images):
            raise DataError(f"{annotation}: there is no frame {frame:g}; {folder} has 1 to {len(images)}")
        by_frame.setdefault(int(frame), []).append(row)
    labels: list[Callable[[], Labels]] = [
        partial(_labels, by_frame.get(i, []), annotation) for i in range(1, len(images) + 1)
    ]
    return Source(folder.name, [ImageShot(image, read) for image, read in zip(images, labels, strict=True)], CLASSES)


def _image_labels(path: Path) -> Labels:
    return _labels(_rows(path, 8), path)


def _rows(path: Path, columns: int) -> list[list[float]]:
    if not path.is_file():
        raise DataError(f"{path}: no such annotation; expected {LAYOUT}")
    rows = []
    for number, line in enumerate(read_text(path), 1):
        if not line.strip():
            continue
        try:
            rows.append([float(value) for value in line.strip().rstrip(",").split(",")])
        except ValueError:
            rows.append([])
        if len(rows[-1]) != columns:
            names = "left, top, width, height, score, category, truncation, occlusion"
            names = names if columns == 8 else f"frame, target, {names}"
            raise DataError(f"{path}:{number}: {line[:60]!r} is not {columns} numbers: {names}")
    return rows


def _labels(rows: list[list[float]], path: Path) -> Labels:
    """Rows left, top, width, height (0-based), score, category, truncation, occlusion."""
    counted = [row for row in rows if row[4] != 0 and row[5] not in IGNORED]
    unknown = [row[5] for row in counted if not 1 <= row[5] <= len(CLASSES)]
    if unknown:
        raise DataError(f"{path}: category {unknown[0]:g} is not in 0..11")
    boxes = np.array([[x, y, x + width, y + height] for x, y, width, height, *_ in counted], np.float64)
    return Labels(boxes.reshape(-1, 4), np.array([row[5] - 1 for row in counted], np.int64))
