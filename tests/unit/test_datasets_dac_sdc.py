"""The reader of DAC-SDC: sequences, unrelated images, and errors in the XML."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_folders import write_images

from rinr_flower.datasets import load
from rinr_flower.errors import DataError

XML = "<annotation><object><name>0</name><bndbox>{}</bndbox></object></annotation>"
CORNERS = "<xmax>31</xmax><xmin>5</xmin><ymax>17</ymax><ymin>7</ymin>"


def test_dac_groups_unrelated_images_and_keeps_sequences(tmp_path: Path) -> None:
    for folder, count in (("images", 5), ("clips/boat", 3)):
        write_images(tmp_path / folder, [f"{i}.jpg" for i in range(count)])
        for i in range(count):
            (tmp_path / folder / f"{i}.xml").write_text(XML.format(CORNERS))
    clips = load(f"dac_sdc:{tmp_path},clip_length=2")
    assert [(c.name, len(c)) for c in clips] == [("boat", 3), ("images-000", 2), ("images-001", 2), ("images-002", 1)]
    assert clips[0].frames[0].boxes.tolist() == [[5, 7, 31, 17]]


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        (XML.format("<xmin>5</xmin>"), "object 1 has no bndbox with xmin, ymin, xmax, ymax"),
        (XML.format(CORNERS.replace("31", "wide")), "'wide'.*not four numbers"),
        ("<annotation>", "not readable as XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "declares a document type"),
        (None, r"0\.xml: no such annotation"),
    ],
)
def test_dac_bad_annotations(tmp_path: Path, xml: str | None, text: str) -> None:
    write_images(tmp_path / "boat", ["0.jpg"])
    if xml is not None:
        (tmp_path / "boat/0.xml").write_text(xml)
    with pytest.raises(DataError, match=text):
        load(f"dac_sdc:{tmp_path}")
