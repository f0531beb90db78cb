"""YOLO label files: a folder of images, and the data set YAML of Ultralytics."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from rinr_flower.datasets.base import Dataset, Progress, datasets
from rinr_flower.datasets.images import (
    IMAGE_SUFFIXES,
    Labels,
    Recording,
    Shot,
    existing_folder,
    image_files,
    natural,
    read_sequences,
    read_text,
)
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip

log = logging.getLogger(__name__)

MAX_CLASSES = 10_000


def read_labels(path: Path | None, n_classes: int | None) -> Labels:
    """One label file: rows ``class x_centre y_centre width height``, or ``class x1 y1 x2 y2 x3 y3 ...``, a polygon
    whose extent becomes the box; all in fractions of the image's size.

    No file (None) means no objects. ``n_classes`` None accepts any class up to a limit. Raises DataError (file:line).
    """
    if path is None:
        return Labels(normalised=True)
    boxes, classes = [], []
    for number, line in enumerate(read_text(path), 1):
        if not line.strip():
            continue
        try:
            label, *values = (float(value) for value in line.split())
        except ValueError:
            raise DataError(f"{path}:{number}: {line[:60]!r} is not numbers; expected class x y width height") from None
        if len(values) != 4 and (len(values) < 6 or len(values) % 2):
            raise DataError(
                f"{path}:{number}: {len(values) + 1} numbers; expected class x y width height, or a class and a polygon"
            )
        if label != label // 1 or not 0 <= label < (n_classes or MAX_CLASSES):
            raise DataError(f"{path}:{number}: class {label:g} is not a whole number below {n_classes or MAX_CLASSES}")
        if any(abs(value) > 2 for value in values):
            raise DataError(
                f"{path}:{number}: {max(values, key=abs):g} is not a fraction of the image's size; "
                "divide x and width by the image's width, y and height by its height"
            )
        boxes.append(_extent(values))
        classes.append(int(label))
    return Labels(np.array(boxes).reshape(-1, 4), np.array(classes, np.int64), normalised=True)


def _extent(values: list[float]) -> list[float]:
    if len(values) > 4:
        return [min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])]
    x, y, width, height = values
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def label_path(image: Path) -> Path:
    """Where Ultralytics looks: the last ``images`` folder of the path becomes ``labels``, the suffix ``.txt``."""
    parts = list(image.parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def label_files(folder: Path, images: Sequence[Path]) -> tuple[list[Path | None], tuple[str, ...]]:
    """The label file of every image of a folder, None where it has none, and the class names of ``classes.txt``.

    Both are looked for where :class:`Folder` says; without a ``classes.txt`` there are no names.
    """
    beside = sorted(p for p in folder.parent.iterdir() if p.name.endswith("labels") and p.is_dir())
    places = (folder, folder / "labels", *beside, label_path(folder / "image").parent)
    found = [next((q for p in places if (q := p / f"{i.stem}.txt").is_file()), None) for i in images]
    return found, _class_list(places)


@datasets.register("folder")
@dataclass(frozen=True)
class Folder(Dataset):
    """One folder of images with YOLO label files, as one clip in the order of the names.

    An image's labels are a ``.txt`` file of its name beside it, or in a folder ``labels`` inside the images' folder or
    beside it (there, any name that ends in ``labels``). An image without one has no objects. Class names are the lines
    of ``classes.txt`` where there is one.

    Attributes
    ----------
    path : the folder of the images, or the one that holds ``images/``.
    """

    path: str

    def clips(self, *, frames: slice, seed: int, progress: Progress | None) -> list[Clip]:
        expected = "a folder of images with YOLO label files (one .txt an image)"
        root = existing_folder(self.path, expected=expected).resolve()
        folder = root if image_files(root) or not (root / "images").is_dir() else root / "images"
        images = image_files(folder)
        if not images:
            raise DataError(f"{root}: no images ({', '.join(IMAGE_SUFFIXES)}) here; expected {expected}")
        found, names = label_files(folder, images)
        if not any(found):
            log.warning("%s: no label file beside any image or in %s: no boxes", folder, folder.parent / "labels")
        shots = [
            Shot(image, partial(read_labels, labels, len(names) if names else None))
            for image, labels in zip(images, found, strict=True)
        ]
        clips = read_sequences([Recording(folder.name, shots)], names or ("object",), frames=frames, progress=progress)
        return clips if names else [_numbered_classes(clip, clips) for clip in clips]


def _class_list(places: tuple[Path, ...]) -> tuple[str, ...]:
    for place in (*places, places[0].parent):
        if (place / "classes.txt").is_file():
            return tuple(line.strip() for line in read_text(place / "classes.txt") if line.strip())
    return ()


def _numbered_classes(clip: Clip, clips: list[Clip]) -> Clip:
    highest = max((int(f.classes.max()) for c in clips for f in c.frames if len(f.classes)), default=0)
    names = ("object",) if highest == 0 else tuple(f"class {i}" for i in range(highest + 1))
    return Clip(clip.name, clip.frames, names)


@datasets.register("yolo")
@dataclass(frozen=True)
class Yolo(Dataset):
    """A data set as Ultralytics describes it in a YAML file. Every folder of images is one clip.

    ``train``, ``val`` and ``test`` are folders (searched at any depth), text files that list images, or lists of these,
    relative to ``path:``, which is relative to the YAML file. ``download:`` is never run.

    Attributes
    ----------
    path : the YAML file.
    split : which part is read; ``all`` is every part there is.
    """

    path: str
    split: Literal["train", "val", "test", "all"] = "train"

    def clips(self, *, frames: slice, seed: int, progress: Progress | None) -> list[Clip]:
        file = Path(self.path).expanduser()
        description = _description(file)
        names = _names(description, file)
        root = _root(description, file)
        splits = [s for s in ("train", "val", "test") if description.get(s)]
        if self.split != "all" and self.split not in splits:
            raise ConfigError(
                f"{file}: no {self.split!r} part; it has {', '.join(splits) or 'none of train, val, test'}"
            )
        folders: dict[Path, list[Path]] = {}
        for split in splits if self.split == "all" else [self.split]:
            sources = description[split]
            for source in sources if isinstance(sources, list) else [sources]:
                for image in _images(root, file, str(source), f"{file}: {split}"):
                    folders.setdefault(image.parent, []).append(image)
        recordings = [_recording(folder, images, root, len(names)) for folder, images in folders.items()]
        return read_sequences(recordings, names, frames=frames, progress=progress)


def _recording(folder: Path, images: list[Path], root: Path, n_classes: int) -> Recording:
    labels = [path if (path := label_path(image)).is_file() else None for image in images]
    if not any(labels):
        log.warning("%s: no label file for any image, expected %s", folder, label_path(images[0]))
    name = str(folder.relative_to(root)) if folder.is_relative_to(root) else folder.name
    shots = [Shot(i, partial(read_labels, path, n_classes)) for i, path in zip(images, labels, strict=True)]
    return Recording(name, shots)


class _PlainLoader(yaml.SafeLoader):
    """The safe loader without aliases, a few of which stand for any amount of text."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds an alias (*); write the value out")
        return super().compose_node(parent, index)


def _description(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected an Ultralytics data set YAML with train:, val: and names:")
    try:
        description = yaml.load("\n".join(read_text(file)), _PlainLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{file}: not readable as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(description, dict):
        raise DataError(f"{file}: not a mapping; expected an Ultralytics data set YAML with train:, val: and names:")
    return description


def _names(description: dict[str, Any], file: Path) -> tuple[str, ...]:
    names, count = description.get("names"), description.get("nc")
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DataError(f"{file}: names: has the numbers {sorted(names, key=str)}; expected 0..{len(names) - 1}")
        names = [names[i] for i in range(len(names))]
    if names is None and isinstance(count, int) and 0 < count <= MAX_CLASSES:
        names = [f"class {i}" for i in range(count)]
    if not isinstance(names, list) or not names:
        raise DataError(f"{file}: names: is {names!r}; expected a list of class names, or a mapping from 0, 1, ...")
    if count is not None and count != len(names):
        raise DataError(f"{file}: nc: {count} but names: has {len(names)} entries; make them agree")
    return tuple(str(name) for name in names)


def _root(description: dict[str, Any], file: Path) -> Path:
    root = Path(str(description.get("path") or "."))
    return (root if root.is_absolute() else file.parent / root).resolve()


def _images(root: Path, file: Path, source: str, where: str) -> list[Path]:
    homes = (root, file.parent.resolve())
    place = _within(homes, root / source, where)
    if place.is_dir():
        images = sorted(p for p in place.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        images.sort(key=lambda p: [natural(Path(part)) for part in p.parts])
    elif place.is_file() and place.suffix == ".txt":
        lines = [line.strip() for line in read_text(place)]
        images = [_listed(line, place, root, homes) for line in lines if line]
    else:
        raise DataError(f"{where}: {place} is neither a folder of images nor a .txt list of them")
    if not images:
        raise DataError(f"{where}: no images in {place}")
    return images


def _within(homes: Sequence[Path], place: Path, where: str) -> Path:
    """``place`` resolved; DataError unless it lies in the data set's folder or in that of its YAML file."""
    resolved = place.resolve()
    if not any(resolved.is_relative_to(home) for home in homes):
        raise DataError(f"{where}: {resolved} lies outside {homes[0]}; set path: to a folder that holds all its files")
    return resolved


def _listed(line: str, listing: Path, root: Path, homes: Sequence[Path]) -> Path:
    """A line of a list: ``./`` is the list's own folder, other relative paths are the data set's."""
    base = listing.parent if re.match(r"\.[/\\]", line) else root
    path = _within(homes, base / line, str(listing))
    if not path.is_file():
        raise DataError(f"{listing}: lists {line}, but there is no {path}")
    return path
