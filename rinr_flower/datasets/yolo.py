"""The data set YAML of ultralytics, read as ultralytics reads it (``check_det_dataset``, ``YOLODataset``)."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import yaml

from rinr_flower.datasets.base import Dataset, datasets
from rinr_flower.datasets.images import IMAGE_SUFFIXES, ImageShot, images_below, natural_path, read_text
from rinr_flower.datasets.source import Broken, Source
from rinr_flower.datasets.yolo_labels import MAX_CLASSES, label_path, read_labels
from rinr_flower.errors import ConfigError, DataError

log = logging.getLogger(__name__)

EXPECTED = "an Ultralytics data set YAML with train:, val: and names:"
SPLITS = ("train", "val", "test")


@datasets.register("yolo")
@dataclass(frozen=True)
class Yolo(Dataset):
    """A data set as ultralytics describes it in a YAML file. Every folder of images is one clip, or a collection where
    its images have several sizes.

    ``train``, ``val`` (or ``validation``) and ``test`` are folders (searched at any depth), text files that list
    images, or lists of these, relative to ``path:``. A relative ``path:`` is looked for where ultralytics does, in the
    working directory and in its own data sets folder, and beside the YAML file. ``download:`` is never run. An image
    that is listed more than once is read once, where it comes first.

    Attributes
    ----------
    path : the YAML file, or a folder that holds one; ``FILE.yaml/val`` is the same as ``FILE.yaml,split=val``.
    split : which part is read; ``all`` is every part there is.
    """

    path: str
    split: Literal["train", "val", "test", "all"] = "train"

    def sources(self, *, seed: int, broken: Broken) -> list[Source]:
        file, split = _yaml_file(Path(self.path).expanduser(), self.split)
        description = _Description.read(file)
        splits = [s for s in SPLITS if description.parts.get(s)]
        if split != "all" and split not in splits:
            raise ConfigError(f"{file}: no {split!r} part; it has {', '.join(splits) or 'none of train, val, test'}")
        wanted = splits if split == "all" else [split]
        root = description.root(wanted)
        folders: dict[Path, list[Path]] = {}
        real, seen, repeats = cache(Path.resolve), set[Path](), 0
        for part in wanted:
            for source in description.parts[part]:
                place = _place(root, source)
                with broken.caught():
                    for image in description.images(place, root, f"{file}: {part}", broken):
                        actual = real(image.parent) / image.name
                        if actual in seen:
                            repeats += 1
                        else:
                            seen.add(actual)
                            folders.setdefault(image.parent, []).append(image)
        if repeats:
            log.warning("%s: %d images are listed more than once; each is read where it comes first", file, repeats)
        return [description.source(folder, images, root) for folder, images in folders.items()]


def _yaml_file(path: Path, split: str) -> tuple[Path, str]:
    """The YAML file and the part of it that a path names."""
    if not path.exists() and path.name in (*SPLITS, "all") and path.parent.exists():
        path, split = path.parent, path.name
    if path.is_dir():
        found = [f for pattern in ("*.yaml", "*.yml") for f in sorted(path.glob(pattern))]
        same = [f for f in found if f.stem in (path.name, "data")]
        if len(found) != 1 and len(same) != 1:
            raise DataError(f"{path}: {len(found)} YAML files; name one, expected {EXPECTED}")
        path = found[0] if len(found) == 1 else same[0]
    return path, split


@dataclass(frozen=True)
class _Description:
    """What a YAML file says: ``parts`` are the sources of each split, ``keypoints`` the numbers of a pose."""

    file: Path
    path: str | None
    parts: dict[str, list[str]]
    names: tuple[str, ...]
    keypoints: int

    @classmethod
    def read(cls, file: Path) -> _Description:
        content = _content(file)
        if "val" not in content and "validation" in content:
            content["val"] = content["validation"]
        parts: dict[str, list[str]] = {}
        for split in SPLITS:
            value = content.get(split)
            if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
                parts[split] = list(value)
            elif isinstance(value, str):
                parts[split] = [value] if value else []
            elif value is not None:
                raise DataError(f"{file}: {split}: is {value!r}; expected a folder, a .txt file, or a list of these")
        path = content.get("path")
        if path is not None and not isinstance(path, str):
            raise DataError(f"{file}: path: is {path!r}; expected the folder of the data set")
        return cls(file, path, parts, _names(content, file), _keypoints(content, file))

    def root(self, splits: Sequence[str]) -> Path:
        """The folder that the parts are relative to: the first of those that ``path:`` can mean that holds them all."""
        beside = self.file.absolute().parent
        if not self.path:
            return beside
        tried = list(dict.fromkeys(Path(os.path.normpath(p / self.path)) for p in (Path.cwd(), beside, *_own_folder())))
        wanted = [source for split in splits for source in self.parts[split]]
        whole = [root for root in tried if all(_place(root, source).exists() for source in wanted)]
        there = [root for root in tried if root.is_dir()]
        if not whole and not there:
            raise DataError(f"{self.file}: path: {self.path} is no folder; tried {', '.join(map(str, tried))}")
        return (whole or there)[0]

    def images(self, place: Path, root: Path, where: str, broken: Broken) -> list[Path]:
        """The images of a folder or of a list of images."""
        if place.is_dir():
            images = images_below(place)
        elif place.is_file() and place.suffix.lower() not in IMAGE_SUFFIXES:
            images = sorted(self._listed(place, root, broken), key=natural_path)
        else:
            raise DataError(f"{where}: {place} is neither a folder of images nor a .txt list of them")
        if not images:
            raise DataError(f"{where}: no images in {place}")
        return images

    def _listed(self, listing: Path, root: Path, broken: Broken) -> Iterator[Path]:
        """The images that a file lists, a line each: ``./`` is the list's own folder.

        A list may come from elsewhere with the images, so that it names only files in the folders that the YAML names.
        """
        homes = {root, self.file.absolute().parent, listing.parent}
        homes |= {_place(root, source) for sources in self.parts.values() for source in sources}
        for line in (line.strip() for line in read_text(listing)):
            if Path(line).suffix.lower() not in IMAGE_SUFFIXES:
                continue
            bases = [listing.parent] if line.startswith("./") else [root, Path.cwd(), listing.parent]
            places = [Path(os.path.normpath(base / line)) for base in bases]
            place = next((p for p in places if p.is_file()), places[0])
            with broken.caught():
                if not place.is_file():
                    raise DataError(f"{listing}: lists {line}, but there is no {place}")
                if not any(place.is_relative_to(home) for home in homes):
                    raise DataError(
                        f"{listing}: {place} lies outside {root}; a list names files of its own data set; name their "
                        f"folder in {self.file.name} (path:, train:)"
                    )
                yield place

    def source(self, folder: Path, images: list[Path], root: Path) -> Source:
        real = folder.resolve()
        labels = [
            next((path for path in (label_path(image), label_path(real / image.name)) if path.is_file()), None)
            for image in images
        ]
        if not any(labels):
            log.warning("%s: no label file for any image, expected %s", folder, label_path(images[0]))
        shots = [
            ImageShot(image, partial(read_labels, path, len(self.names), self.keypoints))
            for image, path in zip(images, labels, strict=True)
        ]
        name = str(folder.relative_to(root)) if folder.is_relative_to(root) else folder.name
        return Source(name if name != "." else folder.name, shots, self.names, consecutive=None)


def _place(root: Path, source: str) -> Path:
    """A part of a YAML file as a path; ``../`` is left away where that alone exists, as in Roboflow's exports."""
    place = Path(os.path.normpath(root / source))
    inside = Path(os.path.normpath(root / source.removeprefix("../")))
    return place if place.exists() or not inside.exists() else inside


def _own_folder() -> list[Path]:
    """The folder where ultralytics keeps data sets, as its settings say, if it has been used here."""
    home = os.environ.get("YOLO_CONFIG_DIR")
    settings = (Path(home) if home else Path.home() / ".config" / "Ultralytics") / "settings.json"
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return [Path(json.loads(settings.read_text(encoding="utf-8"))["datasets_dir"])]
    return []


class _PlainLoader(yaml.SafeLoader):
    """The safe loader without aliases, a few of which stand for any amount of text."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds an alias (*); write the value out")
        return super().compose_node(parent, index)


def _content(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected {EXPECTED}")
    text = "\n".join(read_text(file))
    try:
        content = yaml.load(text, _PlainLoader)
    except Exception as error:  # of a tag that does not fit its value, PyYAML raises KeyError, AttributeError, ...
        raise DataError(f"{file}: not readable as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: not a mapping; expected {EXPECTED}")
    return content


def _names(content: dict[str, Any], file: Path) -> tuple[str, ...]:
    names, count = content.get("names"), content.get("nc")
    if count is not None or "nc" in content:
        try:
            number = float(count) if count is not None and not isinstance(count, bool) else float("nan")
            count = int(number) if number == int(number) and 0 < number <= MAX_CLASSES else None
        except (TypeError, ValueError, OverflowError):
            count = None
        if count is None:
            raise DataError(f"{file}: nc: is {content['nc']!r}; expected a number of classes up to {MAX_CLASSES}")
    if isinstance(names, dict):
        try:
            numbered = {int(key): value for key, value in names.items()}
        except (TypeError, ValueError, OverflowError):
            numbered = {}
        if sorted(numbered) != list(range(len(names))):
            raise DataError(f"{file}: names: has the numbers {sorted(names, key=str)}; expected 0..{len(names) - 1}")
        names = [numbered[i] for i in range(len(numbered))]
    if names is None and count is not None:
        names = [f"class_{i}" for i in range(count)]
    if not isinstance(names, list) or not names:
        raise DataError(f"{file}: names: is {names!r}; expected a list of class names, or a mapping from 0, 1, ...")
    if count is not None and count != len(names):
        raise DataError(f"{file}: nc: {count} but names: has {len(names)} entries; make them agree")
    return tuple(str(name) for name in names)


def _keypoints(content: dict[str, Any], file: Path) -> int:
    """How many numbers of keypoints follow a box."""
    shape = content.get("kpt_shape")
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int and 0 <= n <= 1000 for n in shape):
        raise DataError(f"{file}: kpt_shape: is {shape!r}; expected [number of keypoints, 2 or 3]")
    return int(shape[0] * shape[1])
