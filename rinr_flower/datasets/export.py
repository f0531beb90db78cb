"""Frames as data sets that other tools open: YOLO label files with ultralytics' YAML, and COCO."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml
from PIL import Image

from rinr_flower.errors import ConfigError, DataError
from rinr_flower.files import write_text
from rinr_flower.frames import Frame

log = logging.getLogger(__name__)


class Writer(ABC):
    """Writes frames one by one into a folder, and at the end what describes them.

    Classes are numbered as in the first clip; those of later clips that it does not name come after them.
    """

    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        """ConfigError if the folder holds a data set already: its classes may have other numbers."""
        if held := [name for name in ("images", "labels", "annotations", "data.yaml") if (folder / name).exists()]:
            raise ConfigError(f"{folder} holds a data set already ({', '.join(held)}); give a new folder, or delete it")
        self.folder = folder
        self.class_names: list[str] = []
        self.parts: list[str] = []

    def add(self, frame: Frame, class_names: Sequence[str], *, part: str, name: str) -> None:
        """Write a frame of the part ``train``, ``val``, ... under ``name``. DataError if it cannot be written."""
        if part not in self.parts:
            self.parts.append(part)
        for class_name in class_names:
            if class_name not in self.class_names:
                self.class_names.append(class_name)
        numbers = [self.class_names.index(class_names[label]) for label in frame.classes]
        place = self.folder / "images" / part / f"{name}.png"
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame.image).save(place)
        except OSError as error:
            raise DataError(f"{place} cannot be written: {error.strerror or error}") from error
        self.label(frame, numbers, part=part, name=name)

    @abstractmethod
    def label(self, frame: Frame, classes: Sequence[int], *, part: str, name: str) -> None:
        """Take down a frame's boxes."""

    @abstractmethod
    def close(self) -> Path:
        """Write what describes the frames; the file to open."""


class YoloWriter(Writer):
    """``images/PART/*.png``, ``labels/PART/*.txt`` and ``data.yaml``, whose paths are relative to it."""

    name = "yolo"

    def label(self, frame: Frame, classes: Sequence[int], *, part: str, name: str) -> None:
        size = np.array([frame.width, frame.height] * 2)
        corners = frame.boxes.astype(np.float64) / size
        rows = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
        text = "".join(f"{c} {' '.join(f'{v:.8g}' for v in row)}\n" for c, row in zip(classes, rows, strict=True))
        write_text(self.folder / "labels" / part / f"{name}.txt", text)

    def close(self) -> Path:
        parts = {part: f"images/{part}" for part in self.parts}
        file = self.folder / "data.yaml"
        first = next(part for part in ("train", "val", *parts) if part in parts)
        for part in ("train", "val"):  # ultralytics wants both
            if part not in self.parts:
                parts[part] = parts[first]
                log.warning("%s: nothing is in the part %s; it names %s for it", file, part, parts[part])
        content = {**parts, "names": dict(enumerate(self.class_names))}
        write_text(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        return file


class CocoWriter(Writer):
    """``images/PART/*.png`` and ``annotations/instances_PART.json``."""

    name = "coco"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._images: dict[str, list[dict[str, Any]]] = {}
        self._annotations: dict[str, list[dict[str, Any]]] = {}

    def label(self, frame: Frame, classes: Sequence[int], *, part: str, name: str) -> None:
        images, annotations = self._images.setdefault(part, []), self._annotations.setdefault(part, [])
        image = len(images) + 1
        images.append({"id": image, "file_name": f"{name}.png", "width": frame.width, "height": frame.height})
        for label, (x1, y1, x2, y2) in zip(classes, frame.boxes.astype(np.float64).tolist(), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image, "category_id": label + 1, "bbox": box,
                    "area": box[2] * box[3], "iscrowd": 0, "segmentation": [],
                }
            )  # fmt: skip

    def close(self) -> Path:
        categories = [{"id": i, "name": name} for i, name in enumerate(self.class_names, start=1)]
        for part in self.parts:
            content = {"images": self._images[part], "annotations": self._annotations[part], "categories": categories}
            write_text(self.folder / "annotations" / f"instances_{part}.json", json.dumps(content))
        return self.folder / "annotations" / f"instances_{self.parts[0]}.json"


WRITERS = {writer.name: writer for writer in (YoloWriter, CocoWriter)}
