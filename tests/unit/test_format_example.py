"""The worked example of the coefficient walk in docs/format.md is what the reference decoder does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import reference_scene as reference

from rinr_flower.codecs.scene.format.code import layout_of
from rinr_flower.codecs.scene.format.lattice import Kind
from rinr_flower.codecs.scene.format.shapes import VolumeShape
from rinr_flower.codecs.scene.format.walk import write

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
BANDS = ("low-pass", "HL", "LH", "HH")


def walked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The rows of the example: wave, what is read, contexts, symbols."""
    layout = layout_of(Kind.CANVAS, VolumeShape(1, 8, 8, grey=True))
    bands = [np.zeros((1, 4, 4), np.int32) for _ in BANDS]
    bands[0][0, 0, 0], bands[0][0, 1, 1], bands[1][0, 0, 0] = 5, -1, 2
    data = write([layout], bands)
    (volume,) = [reference.linked(0, [[tuple(s) for s in layout.planes[0]]])]
    rows: list[str] = []
    plain = reference.Tables.read
    names = {len(reference.NET[name]): name for name in ("occupied", "flags", "magnitudes", "signs")}

    def noted(self: reference.Tables, coders: dict, kinds: list[int], contexts: list[int]) -> list[int]:
        found = plain(self, coders, kinds, contexts)
        if contexts:
            rows.append(f"| {names[len(self.counts)]} | {' '.join(map(str, contexts))} | {' '.join(map(str, found))} |")
        return found

    monkeypatch.setattr(reference.Tables, "read", noted)
    reference.coefficients([volume], {0: data[Kind.CANVAS]})
    for band, given in zip(volume[0], bands, strict=True):
        np.testing.assert_array_equal(band.values, given)
    return [*rows, f"The stream has {len(data[Kind.CANVAS])} bytes: `{data[Kind.CANVAS].hex(' ')}`."]


def test_the_page_shows_what_a_decoder_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    page = PAGE.read_text()
    start = page.index("### Example")
    example = page[start : page.index("###", start + 4)]
    rows = walked(monkeypatch)
    assert [line for line in example.splitlines() if line in rows] == rows, "\n".join(rows)
