"""OTB100 (Wu, Lim, Yang, *Object Tracking Benchmark*, PAMI 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rinr_flower.datasets.base import Dataset, datasets
from rinr_flower.datasets.images import existing_folder, image_files, labelled, visible
from rinr_flower.datasets.rectangles import present, read_rectangles
from rinr_flower.datasets.source import Broken, Source
from rinr_flower.errors import DataError

LAYOUT = "OTB sequences, each a folder with img/ and groundtruth_rect*.txt"
ANNOTATED = {"David": (300, 770), "Diving": (1, 215), "Football1": (1, 74), "Freeman3": (1, 460), "Freeman4": (1, 283)}
"""First and last image, 1-based, of the sequences whose folder holds more images than were annotated."""


@datasets.register("otb100")
@dataclass(frozen=True)
class Otb100(Dataset):
    """Tracking sequences; every ``groundtruth_rect*.txt`` is one object (Jogging has two). One class.

    Attributes
    ----------
    path : the folder of all sequences, or of one.
    """

    path: str

    def sources(self, *, seed: int, broken: Broken) -> list[Source]:
        root = existing_folder(self.path, expected=LAYOUT)
        folders = [root] if _is_sequence(root) else sorted(p for p in visible(root) if _is_sequence(p))
        if not folders:
            raise DataError(f"{root}: no sequence here; expected {LAYOUT}")
        found = []
        for folder in folders:
            with broken.caught():
                found.append(_sequence(folder))
        return found


def _is_sequence(folder: Path) -> bool:
    return (folder / "img").is_dir() or bool(folder.is_dir() and list(folder.glob("groundtruth_rect*.txt")))


def _sequence(folder: Path) -> Source:
    folder = folder.resolve()
    files = sorted(folder.glob("groundtruth_rect*.txt"))
    images = image_files(folder / "img") if (folder / "img").is_dir() else []
    if not files or not images:
        missing = "groundtruth_rect*.txt" if images else "img/ with images"
        raise DataError(f"{folder}: no {missing}; an OTB sequence is a folder with img/ and groundtruth_rect*.txt")
    tracks = [read_rectangles(file) for file in files]
    first, last = ANNOTATED.get(folder.name, (1, len(images)))
    if len(images) >= last and len(tracks[0]) == last - first + 1:
        images = images[first - 1 : last]
    for file, track in zip(files, tracks, strict=True):
        if len(track) != len(images):
            raise DataError(
                f"{file}: {len(track)} rows for the {len(images)} images in {folder.name}/img; "
                "each image needs one row, so images or rows are missing"
            )
    boxes = [present(np.stack(rows)) for rows in zip(*tracks, strict=True)]
    return Source(folder.name, [labelled(image, found) for image, found in zip(images, boxes, strict=True)])
