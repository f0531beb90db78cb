"""One folder of images with YOLO label files."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rinr_flower.datasets.base import Dataset, datasets
from rinr_flower.datasets.images import (
    IMAGE_SUFFIXES,
    ImageShot,
    existing_folder,
    files_below,
    image_files,
    in_subfolders,
    natural_path,
    read_names,
    visible,
    warn_of_subfolders,
)
from rinr_flower.datasets.source import Broken, Source, class_names
from rinr_flower.datasets.yolo_labels import label_path, read_labels
from rinr_flower.errors import DataError

log = logging.getLogger(__name__)

LAYOUT = "a folder of images with YOLO label files (one .txt an image)"


def label_files(folder: Path, images: Sequence[Path]) -> tuple[list[Path | None], tuple[str, ...]]:
    """The label file of every image of a folder, None where it has none, and the class names of ``classes.txt``.

    Both are looked for where :class:`Folder` says; without a ``classes.txt`` there are no names.
    """
    return labels_in(label_place(folder, images), images), class_list(folder)


def label_place(folder: Path, images: Sequence[Path]) -> Path | None:
    """Where the label files of a folder's images are: of the first place that has any, all are taken."""
    return next((place for place in _places(folder) if any(_label_in(place, image) for image in images)), None)


def labels_in(place: Path | None, images: Sequence[Path]) -> list[Path | None]:
    """The label file of each image in a place, None for one that has none there; without a place, for all."""
    return [None if place is None else _label_in(place, image) for image in images]


def _label_in(place: Path, image: Path) -> Path | None:
    return path if (path := place / f"{image.stem}.txt").is_file() else None


def _has_images_of_its_own(labels: Path) -> bool:
    name = labels.name.removesuffix("labels").rstrip("_-")
    return any((labels.parent / f"{name}{end}").is_dir() for end in ("", "_images", "-images", "images"))


def _places(folder: Path) -> tuple[Path, ...]:
    """Where the labels of a folder may be; the first place that has any has them all."""
    parent = folder.parent
    stem = re.sub("[_-]?images$", "", folder.name)
    named = [parent / f"{name}{joint}labels" for name in dict.fromkeys([folder.name, stem]) for joint in ("_", "-", "")]
    beside = [path for path in visible(parent) if path.name.endswith("labels") and path.is_dir()]
    if len(beside) > 1 or any(_has_images_of_its_own(path) for path in beside):
        beside = []  # val takes no train_labels, which belong to train or train_images
    return (folder, folder / "labels", label_path(folder / "image").parent, parent / "labels", *named, *beside)


@datasets.register("folder")
@dataclass(frozen=True)
class Folder(Dataset):
    """One folder of images with YOLO label files, in the order of the names.

    An image's labels are a ``.txt`` file of its name. All are in the first of these places that has any: beside the
    images, ``labels`` inside their folder, ``labels`` for ``images`` in its path, and beside the folder ``labels``,
    ``FOLDER_labels`` (``-`` or nothing for ``_``), or the only folder there whose name ends in ``labels``, unless it is
    named after another one. An image without one has no objects. Class names are the lines of ``classes.txt`` where
    there is one. Images in subfolders are not read; a warning counts them.

    Attributes
    ----------
    path : the folder of the images, or the one that holds ``images/``.
    """

    path: str

    def sources(self, *, seed: int, broken: Broken) -> list[Source]:
        root = existing_folder(self.path, expected=LAYOUT).absolute()
        folder, images = root, image_files(root)
        if not images and (root / "images").is_dir():
            folder, images = root / "images", image_files(root / "images")
        if not images:
            raise DataError(f"{root}: no images ({', '.join(IMAGE_SUFFIXES)}) here; {_instead(root)}expected {LAYOUT}")
        warn_of_subfolders(folder)
        found, names = label_files(folder, images)
        if not any(found):
            log.warning("%s: no label file beside any image or in %s: no boxes", folder, folder.parent / "labels")
        shots = [
            ImageShot(image, partial(read_labels, labels, len(names) if names else None))
            for image, labels in zip(images, found, strict=True)
        ]
        return [Source(folder.name, shots, names or class_names(shots), consecutive=None)]


def _instead(root: Path) -> str:
    """Advice for the error of a folder without images: the specification or the folders to give instead."""
    below = sorted(files_below(root), key=natural_path)
    for kind, ending in (("yolo", "data.yaml"), ("coco", ".coco.json")):
        given = [path for path in below if path.name.endswith(ending)]
        if given:
            return f"give {kind}:{next((p for p in given if p.parent.name == 'train'), given[0])}; "
    return in_subfolders(root)


def class_list(folder: Path) -> tuple[str, ...]:
    """The class names of a folder, from ``classes.txt``; none if there is no such file."""
    places = _places(folder)
    for place in (*places, places[0].parent):
        if (place / "classes.txt").is_file():
            return read_names(place / "classes.txt")
    return ()
