"""Image files on disk: which files are pictures, in which order, and how one is read."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rinr_flower.datasets.source import FileShot, Labels
from rinr_flower.errors import DataError
from rinr_flower.files import read_file
from rinr_flower.frames import ORIENTATION, image_size, read_image

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".webp", ".avif", ".tif", ".tiff", ".jp2", ".j2k",
    ".pgm", ".ppm", ".pnm", ".pbm",
)  # fmt: skip
NOT_READ = (
    ".gif", ".heic", ".heif", ".dng", ".raw", ".arw", ".cr2", ".cr3", ".nef", ".jxl", ".tga", ".psd", ".exr", ".svg",
)  # fmt: skip
"""Suffixes of pictures that are left out, with a warning."""
_JPEG = b"\xff\xd8\xff"
_TURNED = range(2, 9)  # values of the EXIF tag for pictures that are not shown as they are stored; 0 is in no standard


class ImageShot(FileShot):
    """An image file."""

    def __init__(self, path: Path, labels: Callable[[], Labels]) -> None:
        super().__init__(str(path), labels)
        self.path = path

    @cached_property
    def size(self) -> tuple[int, int]:
        return image_size(self.path)

    def check(self) -> None:
        """Also that the picture has the size for which its boxes were drawn, where the annotations say it."""
        super().check()
        said = self.labels.drawn_on
        if said is not None and len(self.labels.boxes) and said[:2] != self.size:
            (width, height), (w, h, origin) = self.size, said
            before = (h, w) == self.size
            raise DataError(
                f"{self.name}: it has {width}x{height} pixels, {origin} says {w:g}x{h:g}: the boxes were drawn on "
                + ("the picture before its EXIF rotation" if before else "a picture of another size")
                + "; export the labels for these files"
            )

    def picture(self) -> tuple[NDArray[np.uint8], bytes]:
        """Read the file; its bytes are kept if it is a JPEG that is shown as it is stored."""
        data = read_file(self.path)
        return read_image(data, name=self.name), data if _is_upright_jpeg(data) else b""


def labelled(path: Path, boxes: NDArray[np.float64]) -> ImageShot:
    """An image whose boxes (n, 4), in pixels and of class 0, are already known."""
    labels = Labels(boxes, np.zeros(len(boxes), np.int64))
    return ImageShot(path, lambda: labels)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key: numbers in the name by value, so that 2.jpg comes before 10.jpg."""
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def natural_path(path: Path) -> list[list[tuple[int, int, str]]]:
    """Sort key: :func:`natural` for every folder of the path."""
    return [natural(Path(part)) for part in path.parts]


def image_files(folder: Path) -> list[Path]:
    """The image files directly in ``folder``, in natural order, with links that lead nowhere.

    Hidden files (``._1.jpg``) are no data.
    """
    return sorted(_pictures(p for p in visible(folder) if not p.is_dir()), key=natural)


def images_below(folder: Path) -> list[Path]:
    """The image files in ``folder`` at any depth, in natural order; links are followed, hidden folders are not."""
    return sorted(_pictures(files_below(folder)), key=natural_path)


def files_below(folder: Path) -> Iterator[Path]:
    """All files in ``folder`` at any depth, following links to folders, but none back to a folder above itself."""

    def walk(here: Path, above: frozenset[Path]) -> Iterator[Path]:
        real = here.resolve()
        if real in above:
            log.warning("%s: this link leads back to a folder above it and is not followed", here)
            return
        for path in visible(here):
            if path.is_dir():
                yield from walk(path, above | {real})
            else:
                yield path

    return walk(folder, frozenset())


def folders_below(folder: Path) -> list[Path]:
    """``folder`` and all folders in it at any depth, in natural order."""
    found = {path.parent for path in files_below(folder)}
    return sorted(found, key=natural_path)


def in_subfolders(folder: Path) -> str:
    """``3 images in subfolders are not read: give a/b or a/c; `` with at most three of them, or nothing."""
    found = [path.parent for path in files_below(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
    deeper = [parent for parent in found if parent != folder]
    if not deeper:
        return ""
    names = [str(path) for path in sorted(set(deeper), key=natural_path)]
    more = f" (and {len(names) - 3} more)" if len(names) > 3 else ""
    return f"{len(deeper)} images in subfolders are not read: give {' or '.join(names[:3])}{more}; "


def warn_of_subfolders(folder: Path) -> None:
    """Log a warning if there are images in folders below ``folder``."""
    with suppress(OSError):  # a folder that may not be listed
        if told := in_subfolders(folder):
            log.warning("%s: %s", folder, told.removesuffix("; "))


def visible(folder: Path) -> list[Path]:
    """What is in a folder, without names that begin with a dot."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _pictures(paths: Iterator[Path]) -> Iterator[Path]:
    others: dict[tuple[Path, str], int] = {}
    for path in paths:
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            yield path
        elif suffix in NOT_READ:
            others[path.parent, suffix] = others.get((path.parent, suffix), 0) + 1
    for (folder, suffix), count in others.items():
        log.warning("%s: files left out: %d *%s (this format is not read here)", folder, count, suffix)


def existing_folder(path: str, *, expected: str) -> Path:
    """``path`` as an existing folder; DataError that says what was expected."""
    folder = Path(path).expanduser()
    if not folder.exists():
        raise DataError(f"{path}: no such folder; expected {expected}")
    if not folder.is_dir():
        raise DataError(f"{path}: a file, not a folder; expected {expected}")
    return folder


def existing_file(path: str, *, expected: str) -> Path:
    """``path`` as an existing file; DataError that says what was expected."""
    file = Path(path).expanduser()
    if not file.is_file():
        what = "a folder, not a file" if file.is_dir() else "no such file"
        raise DataError(f"{path}: {what}; expected {expected}")
    return file


def read_text(path: Path) -> list[str]:
    """A text file's lines; DataError when it cannot be read or is not UTF-8."""
    data = read_file(path)
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:  # its object lacks a byte order mark
        found, start = error.object, error.start
        line = len((found[:start].decode() + "x").splitlines())
        raise DataError(f"{path}:{line}: not UTF-8 (byte {found[start]:#04x}); save the file as UTF-8") from None


def read_names(path: Path) -> tuple[str, ...]:
    """The class names in a text file, one a line; DataError where a blank line stands between them."""
    names = "\n".join(line.strip() for line in read_text(path)).rstrip().splitlines()
    if "" in names:
        raise DataError(
            f"{path}:{names.index('') + 1}: a blank line; the lines are the names of the classes 0, 1, ... in this "
            "order: write a name there, or delete the line"
        )
    return tuple(names)


def _is_upright_jpeg(data: bytes) -> bool:
    if not data.startswith(_JPEG):
        return False
    with Image.open(io.BytesIO(data)) as picture:
        return picture.getexif().get(ORIENTATION, 1) not in _TURNED
