"""Labelled image files on disk -> clips: what every reader shares once it has found its files and boxes."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rinr_flower.datasets.base import Progress, cut
from rinr_flower.errors import DataError
from rinr_flower.files import read_file
from rinr_flower.frames import Clip, Frame, clean_boxes, read_image

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
_JPEG = b"\xff\xd8\xff"
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright


@dataclass(frozen=True, eq=False)
class Labels:
    """Boxes (n, 4) x1, y1, x2, y2 in pixels, or in fractions of the image's size, and their classes (n,)."""

    boxes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    classes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    normalised: bool = False


@dataclass(frozen=True, eq=False)
class Shot:
    """An image file and where its labels come from; labels are read when the frame is."""

    path: Path
    labels: Callable[[], Labels]


def shot_of(path: Path, boxes: NDArray[np.float64]) -> Shot:
    """An image whose boxes (n, 4), in pixels and of class 0, are already known."""
    labels = Labels(boxes, np.zeros(len(boxes), np.int64))
    return Shot(path, lambda: labels)


@dataclass(frozen=True, eq=False)
class Recording:
    """Files of one sequence in order."""

    name: str
    shots: Sequence[Shot]


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key: numbers in the name by value, so that 2.jpg comes before 10.jpg."""
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def image_files(folder: Path) -> list[Path]:
    """The image files directly in ``folder``, in natural order."""
    return sorted((p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()), key=natural)


def existing_folder(path: str, *, expected: str) -> Path:
    """``path`` as an existing folder; DataError that says what was expected."""
    folder = Path(path).expanduser()
    if not folder.exists():
        raise DataError(f"{path}: no such folder; expected {expected}")
    if not folder.is_dir():
        raise DataError(f"{path}: a file, not a folder; expected {expected}")
    return folder


def read_text(path: Path) -> list[str]:
    """A text file's lines; DataError when it cannot be read or is not text."""
    try:
        return read_file(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file; expected annotations as text") from None


def read_frame(shot: Shot) -> tuple[Frame, int]:
    """A frame, and how many of its boxes were not finite, empty or outside the image and so dropped.

    A JPEG keeps its own bytes in ``Frame.file`` unless EXIF says that it is to be shown rotated.
    """
    data = read_file(shot.path)
    image = read_image(data, name=str(shot.path))
    labels = shot.labels()
    height, width = image.shape[:2]
    scale = np.array([width, height, width, height]) if labels.normalised else np.ones(4)
    boxes, classes, dropped = clean_boxes(labels.boxes * scale, labels.classes, width, height)
    return Frame(image, boxes, classes, data if _is_upright_jpeg(data) else b""), dropped


def _is_upright_jpeg(data: bytes) -> bool:
    if not data.startswith(_JPEG):
        return False
    with Image.open(io.BytesIO(data)) as picture:
        return bool(picture.getexif().get(_ORIENTATION, 1) == 1)


def read_sequences(
    sequences: Sequence[Recording], class_names: tuple[str, ...], *, frames: slice, progress: Progress | None
) -> list[Clip]:
    """Read every sequence, cut to ``frames``. One that mixes image sizes becomes one clip for each size."""
    chosen = [[s.shots[i] for i in cut(len(s.shots), frames, name=s.name)] for s in sequences]
    total, done = sum(map(len, chosen)), 0
    clips: list[Clip] = []
    for sequence, shots in zip(sequences, chosen, strict=True):
        sizes: dict[tuple[int, int], list[Frame]] = {}
        dropped = 0
        for shot in shots:
            frame, bad = read_frame(shot)
            dropped += bad
            sizes.setdefault((frame.width, frame.height), []).append(frame)
            done += 1
            if progress is not None:
                progress(done / total)
        if dropped:
            log.warning("%s: skipped %d boxes that are not finite, empty or outside the image", sequence.name, dropped)
        for (width, height), same in sizes.items():
            name = sequence.name if len(sizes) == 1 else f"{sequence.name} {width}x{height}"
            clips.append(Clip(name, tuple(same), class_names))
    return clips
