"""Pascal VOC (Everingham et al., *The Pascal Visual Object Classes Challenge*, IJCV 2010), and folders of images with
such XML files as labelling tools write them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from rinr_flower.datasets.base import Dataset, datasets
from rinr_flower.datasets.images import (
    IMAGE_SUFFIXES,
    ImageShot,
    existing_folder,
    files_below,
    image_files,
    in_subfolders,
    read_text,
    visible,
    warn_of_subfolders,
)
from rinr_flower.datasets.source import Broken, Labels, Source
from rinr_flower.datasets.voc_xml import VocAnnotation, read_annotation
from rinr_flower.errors import ConfigError, DataError

log = logging.getLogger(__name__)

LAYOUT = "JPEGImages/ and Annotations/*.xml, images/ and annotations/*.xml, or images with XML files beside them"
CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


@datasets.register("voc")
@dataclass(frozen=True)
class Voc(Dataset):
    """Images with Pascal VOC's XML annotations, a collection.

    Classes are VOC's twenty where no others occur, else the names that occur in all files, sorted. Corners are 1-based
    pixels, both inside the box. An image without an XML file has no objects. A picture of another size than its
    ``<size>`` is an error. Images in subfolders are not read; a warning counts them.

    Attributes
    ----------
    path : the folder with ``JPEGImages`` and ``Annotations`` (VOC2012), or one of images with their XML files.
    split : of ``ImageSets/Main``: ``train``, ``val``, ``trainval``, ``test``; all images if not given.
    difficult : whether objects that are marked as difficult count; VOC's own evaluation and ultralytics leave them out.
    """

    path: str
    split: str = ""
    difficult: bool = False

    def sources(self, *, seed: int, broken: Broken) -> list[Source]:
        root = existing_folder(self.path, expected=LAYOUT)
        images, annotations = _folders(root)
        found = image_files(images)
        if self.split:
            found = self._listed(root, images, found, broken)
        if not found:
            raise DataError(f"{images}: no images here; {in_subfolders(images)}expected {LAYOUT}")
        if not self.split:
            warn_of_subfolders(images)
        files = _by_stem(visible(annotations))
        if not files and annotations != images:
            files = _by_stem(files_below(annotations))
        if not any(image.stem in files for image in found):
            log.warning("%s: no XML file for any image in %s: no boxes", images, annotations)
        reads: list[Callable[[], VocAnnotation]] = [cache(partial(_annotation, files.get(i.stem))) for i in found]
        names: set[str] = set()
        for read in reads:
            with suppress(DataError):  # told when all labels are checked
                names |= {item.name for item in read().objects}
        classes = CLASSES if names <= set(CLASSES) else tuple(sorted(names))
        shots = [
            ImageShot(image, partial(self._labels, read, classes)) for image, read in zip(found, reads, strict=True)
        ]
        return [Source(self.split or root.name, shots, classes, consecutive=False)]

    def _listed(self, root: Path, images: Path, found: list[Path], broken: Broken) -> list[Path]:
        """The images that the split's file names, by their stems, one a line."""
        listing = root / "ImageSets" / "Main" / f"{self.split}.txt"
        if not listing.is_file():
            known = ", ".join(sorted(p.stem for p in listing.parent.glob("*.txt") if "_" not in p.stem)) or "none"
            raise ConfigError(f"{root}: no split {self.split!r}; ImageSets/Main has {known}")
        by_stem = {image.stem: image for image in found}
        chosen = []
        for number, line in enumerate(read_text(listing), 1):
            with broken.caught():
                stem = line.split()[0] if line.strip() else ""
                if stem and stem not in by_stem:
                    raise DataError(f"{listing}:{number}: no image {stem} in {images} ({', '.join(IMAGE_SUFFIXES)})")
                chosen += [by_stem[stem]] if stem else []
        return chosen

    def _labels(self, read: Callable[[], VocAnnotation], classes: tuple[str, ...]) -> Labels:
        annotation = read()
        objects = [item for item in annotation.objects if self.difficult or not item.difficult]
        corners = np.array([item.corners for item in objects], np.float64).reshape(-1, 4)
        return Labels(
            corners - np.array([1, 1, 0, 0]),
            np.array([classes.index(item.name) for item in objects], np.int64),
            drawn_on=annotation.drawn_on,
        )


def _folders(root: Path) -> tuple[Path, Path]:
    """The folder of the images and that of the annotations."""
    by_name = {path.name.lower(): path for path in visible(root) if path.is_dir()}
    for images in ("jpegimages", "images", "img"):
        if images in by_name and "annotations" in by_name:
            return by_name[images], by_name["annotations"]
    for images in ("jpegimages", "images"):
        if images in by_name and not image_files(root):
            return by_name[images], by_name[images]
    return root, root


def _by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """The XML files among ``paths``; DataError if two of different folders are of one image."""
    files: dict[str, Path] = {}
    for path in paths:
        if path.suffix.lower() != ".xml" or path.is_dir():
            continue
        if files.setdefault(path.stem, path).parent != path.parent:
            raise DataError(f"{path}: {files[path.stem]} is of the same image; delete one of them")
    return files


def _annotation(path: Path | None) -> VocAnnotation:
    annotation = VocAnnotation([]) if path is None else read_annotation(path)
    for number, item in enumerate(annotation.objects, 1):
        if not item.name:
            raise DataError(f"{path}: object {number} has no name, which is its class")
    return annotation
