"""DAC-SDC, the System Design Contest's drone images (Xu et al., *DAC-SDC Low Power Object Detection
Challenge for UAV Applications*, 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from rinr_flower.datasets.base import Dataset, Progress, datasets
from rinr_flower.datasets.images import (
    Labels,
    Recording,
    Shot,
    existing_folder,
    image_files,
    natural,
    read_sequences,
)
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.files import read_file
from rinr_flower.frames import Clip

LAYOUT = "DAC-SDC images with an XML file of the same name beside each, in images/ or in a folder for each sequence"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@datasets.register("dac_sdc")
@dataclass(frozen=True)
class DacSdc(Dataset):
    """Images with VOC-like XML. One class.

    Every folder of images is a sequence, except one called ``images``: its frames have nothing to do with each other,
    and are grouped in the order of their names into clips of ``clip_length``.

    Attributes
    ----------
    path : a folder with such folders at any depth, or one of them.
    clip_length : frames a clip of unrelated images; the last one may be shorter.
    """

    path: str
    clip_length: int = 16

    def __post_init__(self) -> None:
        if self.clip_length < 1:
            raise ConfigError(f"dac_sdc: clip_length={self.clip_length} must be at least 1")

    def clips(self, *, frames: slice, seed: int, progress: Progress | None) -> list[Clip]:
        root = existing_folder(self.path, expected=LAYOUT).resolve()
        recordings = []
        for folder in [root, *sorted((p for p in root.rglob("*") if p.is_dir()), key=natural)]:
            shots = [Shot(image, partial(read_xml, _xml_of(image))) for image in image_files(folder)]
            if not shots:
                continue
            if folder.name == "images":
                starts = range(0, len(shots), self.clip_length)
                groups = [shots[i : i + self.clip_length] for i in starts]
                recordings += [Recording(f"images-{i:03d}", group) for i, group in enumerate(groups)]
            else:
                recordings.append(Recording(folder.name, shots))
        if not recordings:
            raise DataError(f"{root}: no images here; expected {LAYOUT}")
        return read_sequences(recordings, ("object",), frames=frames, progress=progress)


def _xml_of(image: Path) -> Path:
    path = image.with_suffix(".xml")
    if not path.is_file():
        raise DataError(f"{image}: no annotation {path.name} beside it; expected {LAYOUT}")
    return path


def read_xml(path: Path) -> Labels:
    """The boxes of one XML file, xmin..xmax and ymin..ymax as edges in pixels. Raises DataError naming the file."""
    data = read_file(path)
    if b"<!" in data.replace(b"<!--", b""):
        raise DataError(f"{path}: declares a document type or entities; annotations have none, the file is refused")
    try:
        tree = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: not readable as XML ({error})") from error
    boxes = []
    for number, item in enumerate(tree.iter("object"), 1):
        corners = [item.findtext(f"bndbox/{corner}") for corner in CORNERS]
        try:
            boxes.append([float(corner) for corner in corners if corner is not None])
        except ValueError:
            raise DataError(f"{path}: object {number} has bndbox {corners}, which are not four numbers") from None
        if len(boxes[-1]) != 4:
            raise DataError(f"{path}: object {number} has no bndbox with {', '.join(CORNERS)}")
    return Labels(np.array(boxes).reshape(-1, 4), np.zeros(len(boxes), np.int64))
