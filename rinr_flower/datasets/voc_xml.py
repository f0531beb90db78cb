"""Annotation files in the XML of Pascal VOC, which DAC-SDC and many labelling tools write too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from rinr_flower.datasets.source import drawn_on
from rinr_flower.errors import DataError
from rinr_flower.files import read_file

CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocObject:
    """One ``<object>``: its name, its corners as written (xmin, ymin, xmax, ymax), and whether it is difficult."""

    name: str
    corners: tuple[float, ...]
    difficult: bool


@dataclass(frozen=True)
class VocAnnotation:
    """The objects of one file, and the picture's ``<size>`` as :func:`drawn_on` gives it."""

    objects: list[VocObject]
    drawn_on: tuple[float, float, str] | None = None


def read_annotation(path: Path) -> VocAnnotation:
    """One XML file. Raises DataError naming the file and the object's number."""
    data = read_file(path)
    if b"<!" in data.replace(b"<!--", b"").replace(b"<![CDATA[", b""):
        raise DataError(
            f"{path}: declares a document type or entities; annotations have none, the file is refused: delete the "
            "<!DOCTYPE ...> line"
        )
    try:
        tree = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # a bad encoding is one of the last two
        raise DataError(f"{path}: not readable as XML ({error})") from error
    objects = [_object(item, f"{path}: object {number}") for number, item in enumerate(tree.iter("object"), 1)]
    return VocAnnotation(
        objects, drawn_on(tree.findtext("size/width"), tree.findtext("size/height"), f"<size> in {path.name}")
    )


def _object(item: ElementTree.Element, where: str) -> VocObject:
    corners = [item.findtext(f"bndbox/{corner}") for corner in CORNERS]
    if None in corners:
        raise DataError(f"{where} has no bndbox with {', '.join(CORNERS)}")
    try:
        values = tuple(float(corner) for corner in corners if corner is not None)
    except ValueError:
        raise DataError(f"{where} has bndbox {corners}, which are not four numbers") from None
    name = (item.findtext("name") or "").strip()
    return VocObject(name, values, (item.findtext("difficult") or "").strip() == "1")
