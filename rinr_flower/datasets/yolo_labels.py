"""YOLO label files, read as ultralytics reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rinr_flower.datasets.images import read_text
from rinr_flower.datasets.source import Labels
from rinr_flower.errors import DataError

MAX_CLASSES = 10_000
_LOWEST, _HIGHEST = np.float32(-0.01), np.float32(1.01)  # ultralytics allows centres a hundredth outside the picture
_BOX = 5  # numbers of a row: class x y width height


def read_labels(path: Path | None, n_classes: int | None, keypoints: int = 0) -> Labels:
    """One label file: rows ``class x_centre y_centre width height``, or all rows ``class x1 y1 x2 y2 x3 y3 ...``,
    polygons whose extents become the boxes; all in fractions of the image's size.

    Rows that say the same twice count once. No file (None) means no objects.

    Parameters
    ----------
    n_classes : of the data set; None accepts any class up to MAX_CLASSES.
    keypoints : numbers that may follow a box, which are the points of a pose (``kpt_shape``) and not read.

    Raises
    ------
    DataError : naming file and line, where ultralytics would leave the image out: rows of other lengths or kinds,
        coordinates more than a hundredth outside the picture, classes that the data set has not.
    """
    if path is None:
        return Labels(normalised=True)
    rows: dict[int, list[np.float32]] = {}
    for number, line in enumerate(read_text(path), 1):
        if not line.strip():
            continue
        try:
            with np.errstate(over="ignore"):  # infinity is no fraction either
                row = [np.float32(value) for value in line.split()]
        except ValueError:
            raise DataError(f"{path}:{number}: {line[:60]!r} is not numbers; expected class x y width height") from None
        rows[number] = row[:_BOX] if keypoints and len(row) == _BOX + keypoints else row
    polygons = any(len(row) > _BOX + 1 for row in rows.values())
    boxes: dict[tuple[np.float32, ...], list[float]] = {}
    for number, row in rows.items():
        where = f"{path}:{number}"
        if polygons and len(row) == _BOX:
            raise DataError(f"{where}: a box in a file of polygons; write all objects of an image in one way")
        if len(row) != _BOX and not (polygons and len(row) > _BOX and len(row) % 2):
            raise DataError(
                f"{where}: {len(row)} numbers; expected class x y width height, or a class and a polygon"
                + (f", or a box and {keypoints} numbers of keypoints" if keypoints else "")
            )
        box = _box(row[1:])
        _check(where, row[0], n_classes or MAX_CLASSES, box)
        boxes.setdefault(tuple(row), _corners(*map(float, box)))
    classes = np.array([row[0] for row in boxes], np.int64)
    return Labels(np.array(list(boxes.values()), np.float64).reshape(-1, 4), classes, normalised=True)


def _box(values: list[np.float32]) -> list[np.float32]:
    """Centre x and y, width and height of a box as written, or of a polygon's extent."""
    if len(values) == 4:
        return values
    x1, y1, x2, y2 = min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])
    return [(x1 + x2) / np.float32(2), (y1 + y2) / np.float32(2), x2 - x1, y2 - y1]


def _corners(x: float, y: float, width: float, height: float) -> list[float]:
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def _check(where: str, label: np.float32, n_classes: int, box: list[np.float32]) -> None:
    """DataError unless the class exists and x, y, width and height are fractions."""
    if not (label == np.floor(label) and 0 <= label < n_classes):
        raise DataError(f"{where}: class {label:g} is not a whole number below {n_classes}")
    for value, low in zip(box, (_LOWEST, _LOWEST, np.float32(0), np.float32(0)), strict=True):
        if not low <= value <= _HIGHEST:
            raise DataError(
                f"{where}: {value:g} is not a fraction of the image's size; divide x and width by the image's width, y "
                "and height by its height"
            )


def label_path(image: Path) -> Path:
    """Where ultralytics looks: the last ``images`` folder of the path becomes ``labels``, the suffix ``.txt``."""
    parts = list(image.parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    return Path(*parts).with_suffix(".txt")
