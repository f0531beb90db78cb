"""UAV123 and UAV123_10fps (Mueller, Smith, Ghanem, *A Benchmark and Simulator for UAV Tracking*, ECCV 2016)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rinr_flower.datasets.base import Dataset, datasets
from rinr_flower.datasets.images import existing_folder, image_files, labelled, read_text
from rinr_flower.datasets.rectangles import present, read_rectangles
from rinr_flower.datasets.source import Broken, Source
from rinr_flower.errors import ConfigError, DataError

LAYOUT = "UAV123's data_seq/VARIANT/FOLDER/*.jpg and anno/VARIANT/SEQUENCE.txt"
_CONFIG_ROW = re.compile(
    r"'name'\s*,\s*'([^']+)'\s*,\s*'path'\s*,\s*'([^']+)'\s*,\s*'startFrame'\s*,\s*(\d{1,9})\b\s*,\s*'endFrame'\s*,\s*(\d{1,9})\b"
)


@dataclass(frozen=True)
class Stretch:
    """Which frames of which folder a sequence is, 1-based and inclusive, and the frames that its rows may cover."""

    folder: str
    start: int
    end: int
    original_start: int
    original_end: int


@datasets.register("uav123")
@dataclass(frozen=True)
class Uav123(Dataset):
    """Sequences filmed from a drone. One class.

    Sequences share image folders: which frames a sequence is comes from ``subset.json`` where there is one, else from
    the benchmark's ``configSeqs.m``, else it is the whole folder. A row of NaN is a frame without the object.

    Attributes
    ----------
    path : the folder that holds data_seq/ and anno/, or that folder and ``/SEQUENCE``.
    variant : ``UAV123`` or ``UAV123_10fps`` where the folder holds both.
    """

    path: str
    variant: str | None = None

    def sources(self, *, seed: int, broken: Broken) -> list[Source]:
        root, wanted = _root(self.path)
        variant = self._choose_variant(root)
        annotations = {p.stem: p for p in sorted((root / "anno" / variant).glob("[!.]*.txt"))}
        if wanted is not None and wanted not in annotations:
            raise DataError(
                f"{self.path}: no sequence {wanted!r}; anno/{variant} has {', '.join(annotations) or 'none'}"
            )
        stretches = _stretches(root, variant)
        names = [wanted] if wanted is not None else list(annotations)
        if not names:
            raise DataError(f"{root / 'anno' / variant}: no annotation files; expected {LAYOUT}")
        found = []
        for name in names:
            with broken.caught():
                found.append(_sequence(root / "data_seq" / variant, name, annotations[name], stretches.get(name)))
        return found

    def _choose_variant(self, root: Path) -> str:
        found = sorted(p.name for p in (root / "data_seq").iterdir() if (root / "anno" / p.name).is_dir())
        if self.variant is not None and self.variant not in found:
            raise ConfigError(f"{root}: no variant {self.variant!r}; it has {', '.join(found) or 'none'}")
        if not found:
            raise DataError(f"{root}: data_seq/ and anno/ have no folder of one name; expected {LAYOUT}")
        if self.variant is None and len(found) > 1:
            raise ConfigError(f"{root} holds {' and '.join(found)}; choose with {self.name}:{root},variant={found[0]}")
        return self.variant or found[0]


def _root(path: str) -> tuple[Path, str | None]:
    """The data set's folder, and the sequence that ``path`` names below it, if any."""
    folder = Path(path).expanduser()
    if not folder.is_dir() and _is_root(folder.parent):
        return folder.parent, folder.name
    existing_folder(path, expected=LAYOUT)
    if not _is_root(folder):
        raise DataError(f"{path}: no data_seq/ and anno/ here; expected {LAYOUT}")
    return folder, None


def _is_root(folder: Path) -> bool:
    return (folder / "data_seq").is_dir() and (folder / "anno").is_dir()


def _stretches(root: Path, variant: str) -> dict[str, Stretch]:
    subset = root / "subset.json"
    if subset.is_file():
        return _read_subset(subset)
    for config in (root / "configSeqs.m", root / "anno" / "configSeqs.m"):
        if config.is_file():
            rows = (m.groups() for line in read_text(config) for m in _CONFIG_ROW.finditer(line))
            return {
                name: Stretch(re.split(r"[\\/]+", path.rstrip("\\/"))[-1], int(a), int(b), int(a), int(b))
                for name, path, a, b in rows
                if variant in re.split(r"[\\/]+", path)
            }
    return {}


def _read_subset(path: Path) -> dict[str, Stretch]:
    def stretch(entry: dict[str, Any]) -> Stretch:
        start, end = int(entry["startFrame"]), int(entry["endFrame"])
        first, last = int(entry.get("original_startFrame", start)), int(entry.get("original_endFrame", end))
        return Stretch(Path(entry["path"]).name, start, end, first, last)

    try:
        return {str(entry["name"]): stretch(entry) for entry in json.loads("\n".join(read_text(path)))}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(
            f"{path}: not a list of sequences with name, path, startFrame and endFrame ({error!r})"
        ) from error


def _sequence(folders: Path, name: str, annotation: Path, stretch: Stretch | None) -> Source:
    rows = read_rectangles(annotation)
    if stretch is None:
        images = _whole_folder(folders, name)
    else:
        images = _numbered(folders / stretch.folder, stretch)
        # Rows are either of this stretch or of the sequence that it was cut from.
        if len(rows) != len(images) and len(rows) == stretch.original_end - stretch.original_start + 1:
            first = stretch.start - stretch.original_start
            rows = rows[first : first + len(images)]
    if len(rows) != len(images):
        raise DataError(
            f"{annotation}: {len(rows)} rows for the {len(images)} frames of {name}; each frame needs one row, so "
            "some are missing, or subset.json or configSeqs.m should say where the sequence starts and ends"
        )
    boxes = [present(row[None]) for row in rows]
    return Source(name, [labelled(image, found) for image, found in zip(images, boxes, strict=True)])


def _whole_folder(folders: Path, name: str) -> list[Path]:
    for folder in (folders / name, folders / re.sub(r"_\d+$", "", name)):
        if folder.is_dir():
            return image_files(folder)
    raise DataError(f"{folders}: no folder {name!r} with the images of that sequence")


def _numbered(folder: Path, stretch: Stretch) -> list[Path]:
    """The files numbered start..end; their names are numbers with leading zeros."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected {LAYOUT}")
    by_number = {int(p.stem): p for p in image_files(folder) if p.stem.isdecimal()}
    wanted = range(stretch.start, stretch.end + 1)
    missing = next((n for n in wanted if n not in by_number), None)
    if missing is not None:
        there = sum(n in wanted for n in by_number)
        raise DataError(
            f"{folder}: {wanted.stop - wanted.start - there} of the frames {stretch.start}..{stretch.end} are missing, "
            f"the first is {missing:06d}; is the data set complete?"
        )
    return [by_number[n] for n in wanted]
