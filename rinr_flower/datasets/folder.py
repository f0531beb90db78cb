"""One folder of images with YOLO label files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rinr_flower.datasets.base import Dataset, datasets
from rinr_flower.datasets.images import IMAGE_SUFFIXES, ImageShot, existing_folder, image_files, read_text, visible
from rinr_flower.datasets.source import Broken, Source, class_names
from rinr_flower.datasets.yolo_labels import label_path, read_labels
from rinr_flower.errors import DataError

log = logging.getLogger(__name__)

LAYOUT = "a folder of images with YOLO label files (one .txt an image)"


def label_files(folder: Path, images: Sequence[Path]) -> tuple[list[Path | None], tuple[str, ...]]:
    """The label file of every image of a folder, None where it has none, and the class names of ``classes.txt``.

    Both are looked for where :class:`Folder` says; without a ``classes.txt`` there are no names.
    """
    beside = sorted(p for p in visible(folder.parent) if p.name.endswith("labels") and p.is_dir())
    places = (folder, folder / "labels", *beside, label_path(folder / "image").parent)
    found = [next((q for p in places if (q := p / f"{i.stem}.txt").is_file()), None) for i in images]
    return found, _class_list(places)


@datasets.register("folder")
@dataclass(frozen=True)
class Folder(Dataset):
    """One folder of images with YOLO label files, in the order of the names.

    An image's labels are a ``.txt`` file of its name beside it, or in a folder ``labels`` inside the images' folder or
    beside it (there, any name that ends in ``labels``). An image without one has no objects. Class names are the lines
    of ``classes.txt`` where there is one.

    Attributes
    ----------
    path : the folder of the images, or the one that holds ``images/``.
    """

    path: str

    def sources(self, *, seed: int, broken: Broken) -> list[Source]:
        root = existing_folder(self.path, expected=LAYOUT).absolute()
        folder = root if image_files(root) or not (root / "images").is_dir() else root / "images"
        images = image_files(folder)
        if not images:
            raise DataError(f"{root}: no images ({', '.join(IMAGE_SUFFIXES)}) here; expected {LAYOUT}")
        found, names = label_files(folder, images)
        if not any(found):
            log.warning("%s: no label file beside any image or in %s: no boxes", folder, folder.parent / "labels")
        shots = [
            ImageShot(image, partial(read_labels, labels, len(names) if names else None))
            for image, labels in zip(images, found, strict=True)
        ]
        return [Source(folder.name, shots, names or class_names(shots), consecutive=None)]


def _class_list(places: tuple[Path, ...]) -> tuple[str, ...]:
    for place in (*places, places[0].parent):
        if (place / "classes.txt").is_file():
            return tuple(line.strip() for line in read_text(place / "classes.txt") if line.strip())
    return ()
