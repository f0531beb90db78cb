"""DAC-SDC, the System Design Contest's drone images (Xu et al., *DAC-SDC Low Power Object Detection
Challenge for UAV Applications*, 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rinr_flower.datasets.base import Dataset, datasets
from rinr_flower.datasets.images import ImageShot, existing_folder, folders_below, image_files
from rinr_flower.datasets.source import Broken, Labels, Source
from rinr_flower.datasets.voc_xml import read_annotation
from rinr_flower.errors import ConfigError, DataError

LAYOUT = "DAC-SDC images with an XML file of the same name beside each, in images/ or in a folder for each sequence"


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

    def sources(self, *, seed: int, broken: Broken) -> list[Source]:
        root = existing_folder(self.path, expected=LAYOUT).resolve()
        found = []
        for folder in folders_below(root):
            shots = [ImageShot(image, partial(_labels, image.with_suffix(".xml"))) for image in image_files(folder)]
            unrelated = folder.name == "images"
            if shots:
                found.append(Source(folder.name, shots, consecutive=not unrelated, group=self.clip_length))
        if not found:
            raise DataError(f"{root}: no images here; expected {LAYOUT}")
        return found


def _labels(path: Path) -> Labels:
    """The boxes of one XML file, xmin..xmax and ymin..ymax as edges in pixels. Raises DataError naming the file."""
    if not path.is_file():
        raise DataError(f"{path}: no such annotation; expected {LAYOUT}")
    boxes = np.array([item.corners for item in read_annotation(path).objects]).reshape(-1, 4)
    return Labels(boxes, np.zeros(len(boxes), np.int64))
