"""COCO's annotations in JSON (Lin et al., *Microsoft COCO: Common Objects in Context*, ECCV 2014)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rinr_flower.datasets.base import Dataset, datasets
from rinr_flower.datasets.images import ImageShot, existing_file, existing_folder
from rinr_flower.datasets.source import Broken, Labels, Source, drawn_on
from rinr_flower.errors import DataError
from rinr_flower.files import read_file

EXPECTED = "COCO annotations: a JSON object with images, annotations and categories"
ORDER = ("frame_index", "frame_id")
"""Keys of an image for its place in its video (BURST and BDD100K write the first, TAO and COCO-VID the second)."""


@datasets.register("coco")
@dataclass(frozen=True)
class Coco(Dataset):
    """The images of a COCO file with their boxes. They are a collection; with ``videos``, each video is a sequence.

    Classes are the categories in the order of their ids. Boxes that stand for a crowd (``iscrowd``) are left out, as
    ultralytics leaves them out. An annotation without ``bbox`` gets the extent of its polygons. A picture of another
    size than its ``width`` and ``height`` is an error.

    Attributes
    ----------
    path : the JSON file.
    images : the folder that ``file_name`` is relative to. By default it is looked for where COCO, Roboflow, CVAT and
        Label Studio put it: the file's own folder, ``images/`` or the split's name (``val2017``) in it or beside it.
    """

    path: str
    images: str = ""

    def sources(self, *, seed: int, broken: Broken) -> list[Source]:
        file = existing_file(self.path, expected=EXPECTED)
        content = _content(file)
        names, class_of = _categories(file, content["categories"])
        boxes: dict[Any, list[dict[str, Any]]] = {}
        for annotation in content["annotations"]:
            if not isinstance(annotation, dict) or not _is_id(annotation.get("image_id")):
                raise DataError(
                    f"{file}: an annotation whose image_id is missing or no number or text: {str(annotation)[:80]}"
                )
            boxes.setdefault(annotation["image_id"], []).append(annotation)
        images = _images(file, content["images"])
        orphans = [key for key in boxes if key not in images]
        with broken.caught():
            if orphans:
                raise DataError(f"{file}: {len(orphans)} images have annotations but are not listed: {orphans[:5]}")
        videos: dict[Any, list[dict[str, Any]]] = {}
        ids: dict[Path, Any] = {}
        for image in images.values():
            with broken.caught():
                path = Path(image["file_name"])
                if path.is_absolute() or ".." in path.parts:
                    raise DataError(
                        f"{file}: image {image['id']} is {path}, which leads out of the images' folder; write "
                        f"file_name relative to a folder and say {self.name}:{file},images=FOLDER"
                    )
                if ids.setdefault(path, image["id"]) != image["id"]:
                    raise DataError(
                        f"{file}: {path} is listed as image {ids[path]} and as image {image['id']}; list it once, with "
                        "the annotations of both"
                    )
                video = image.get("video_id")
                if video is not None and not _is_id(video):
                    raise DataError(
                        f"{file}: image {image['id']}: video_id is {video!r:.80}; expected a number or a text"
                    )
                videos.setdefault(video, []).append(image)
        if not videos:
            return []  # told with the reasons
        folder = self._folder(file, [image["file_name"] for frames in videos.values() for image in frames])
        titles = _titles(file, content.get("videos"))
        found = []
        for video, frames in videos.items():
            if video is not None:
                _sort(file, frames)
            shots = [
                ImageShot(
                    folder / image["file_name"], partial(_labels, file, image, boxes.get(image["id"], []), class_of)
                )
                for image in frames
            ]
            name = file.stem if video is None else titles.get(video, str(video))
            found.append(Source(name, shots, names, consecutive=video is not None))
        return found

    def _folder(self, file: Path, files: Sequence[str]) -> Path:
        """Where the images are: the candidate that holds the first of them that is in any."""
        if self.images:
            return existing_folder(self.images, expected=f"the images of {file.name}")
        here, split = file.parent, file.stem.split("_")[-1]
        inner = dict.fromkeys([".", f"images/{split}", split, "images", file.stem, "data"])
        tried = [base / part for base in dict.fromkeys([here, here.parent]) for part in inner]
        for name in files[:100]:
            for folder in tried:
                if (folder / name).is_file():
                    return folder
        first = files[0] if files else "image"
        raise DataError(
            f"{file}: no {first} in {here}, in {here.parent}, or in the folders {', '.join(inner)} of these; say "
            f"{self.name}:{file},images=FOLDER"
        )


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_file(file))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not readable as JSON ({error}); expected {EXPECTED}") from error
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(_get(content, key), list)]
    if missing:
        raise DataError(f"{file}: no list {', '.join(missing)}; expected {EXPECTED}")
    if not content["images"]:
        raise DataError(f"{file}: it lists no images")
    return dict(content)


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _titles(file: Path, videos: Any) -> dict[Any, str]:
    """The name of each video, by its id."""
    if videos is None:
        return {}
    if not isinstance(videos, list) or not all(isinstance(v, dict) and _is_id(v.get("id")) for v in videos):
        raise DataError(f"{file}: videos is {str(videos)[:80]}; expected a list of objects, each with an id and a name")
    return {video["id"]: str(video.get("name", video["id"])) for video in videos}


def _sort(file: Path, frames: list[dict[str, Any]]) -> None:
    """Put a video's images into their order."""

    def key_of(image: dict[str, Any]) -> str:
        return next((key for key in ORDER if key in image), "id")

    places = [image[key_of(image)] for image in frames]
    if not all(map(_is_id, places)) or len({isinstance(place, str) for place in places}) > 1:
        raise DataError(
            f"{file}: {', '.join(dict.fromkeys(map(key_of, frames)))} of the images of video "
            f"{frames[0]['video_id']} are {str(places)[:80]}; expected numbers"
        )
    frames.sort(key=lambda image: image[key_of(image)])


def _get(content: Any, key: str) -> Any:
    return content.get(key) if isinstance(content, dict) else None


def _categories(file: Path, categories: Sequence[Any]) -> tuple[tuple[str, ...], dict[int, int]]:
    """Class names in the order of their ids, and the class of each id."""
    names: dict[int, str] = {}
    for category in categories:
        number, name = _category_id(_get(category, "id")), _get(category, "name")
        if number is None or name is None:
            raise DataError(
                f"{file}: categories: each has an id and a name, the id a whole number: {str(category)[:80]}"
            )
        if names.setdefault(number, str(name)) != str(name):
            raise DataError(
                f"{file}: category id {number} is listed twice ({names[number]}, {name}); give each category its own id"
            )
    ids = sorted(names)
    return tuple(names[i] for i in ids) or ("object",), {category: row for row, category in enumerate(ids)}


def _category_id(value: Any) -> int | None:
    """A category's id, a whole number that may be written as text; None if it is none."""
    with suppress(TypeError, ValueError, OverflowError):
        if isinstance(value, str) or int(value) == value:
            return int(value)
    return None


def _images(file: Path, listed: Sequence[Any]) -> dict[Any, dict[str, Any]]:
    """The images by their ids, backslashes in their names made slashes."""
    images: dict[Any, dict[str, Any]] = {}
    for image in listed:
        if not (isinstance(image, dict) and _is_id(image.get("id")) and isinstance(image.get("file_name"), str)):
            raise DataError(f"{file}: images: each has an id and a file_name: {str(image)[:80]}")
        image["file_name"] = name = image["file_name"].replace("\\", "/")
        other = images.setdefault(image["id"], image)["file_name"]
        if other != name:
            raise DataError(f"{file}: image id {image['id']} is listed twice ({other}, {name}); number the images anew")
    return images


def _labels(
    file: Path, image: dict[str, Any], annotations: Sequence[dict[str, Any]], class_of: dict[int, int]
) -> Labels:
    boxes, classes = [], []
    for annotation in annotations:
        where = f"{file}: annotation {annotation.get('id', '?')} of image {annotation['image_id']}"
        if annotation.get("iscrowd"):
            continue
        corners = _corners(where, annotation.get("bbox") or _extent(annotation.get("segmentation")))
        category = _category_id(annotation.get("category_id"))
        if category not in class_of:
            raise DataError(f"{where}: category_id {annotation.get('category_id')!r} is not in categories")
        boxes.append(corners)
        classes.append(class_of[category])
    size = drawn_on(image.get("width"), image.get("height"), f"{file.name} (image {image['id']})")
    return Labels(np.array(boxes, np.float64).reshape(-1, 4), np.array(classes, np.int64), drawn_on=size)


def _extent(polygons: Any) -> list[float] | None:
    """The bbox around polygons, each a list x1, y1, x2, y2, ...; None if these are none."""
    with suppress(TypeError, ValueError, OverflowError):
        x, y = np.concatenate([np.array(polygon, np.float64).reshape(-1, 2) for polygon in polygons]).T
        return [float(x.min()), float(y.min()), float(np.ptp(x)), float(np.ptp(y))]
    return None


def _corners(where: str, box: Any) -> list[float]:
    """x1, y1, x2, y2 of a bbox."""
    if isinstance(box, list) and len(box) == 4 and all(type(v) in (int, float) for v in box):
        with suppress(OverflowError):
            x, y, width, height = map(float, box)
            return [x, y, x + width, y + height]
    raise DataError(
        f"{where}: bbox is {str(box)[:80]}; expected [x, y, width, height] in pixels, or polygons in segmentation; "
        "export the boxes too, or delete the annotation"
    )
