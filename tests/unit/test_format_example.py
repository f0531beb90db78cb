"""The worked example in docs/format.md is what the reference decoder does, and its container reader reads payloads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import reference_coding as coding
import reference_scene as reference
from scene_clips import clip_of

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import Scene, decode
from rinr_flower.codecs.scene.format.code import layout_of
from rinr_flower.codecs.scene.format.lattice import Kind
from rinr_flower.codecs.scene.format.shapes import VolumeShape
from rinr_flower.codecs.scene.format.walk import write

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.rinr"))
LOW, HL, LH, HH = range(4)
GIVEN = {(LOW, 0, 0): 5, (LOW, 1, 1): -1, (HL, 0, 0): 2, (LH, 0, 0): -1, (LH, 0, 1): -23}


def walked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The rows of the example: what is read, contexts, symbols; and what it says of the stream and its first symbol."""
    layout = layout_of(Kind.CANVAS, VolumeShape(1, 8, 8, grey=True))
    bands = [np.zeros((1, 4, 4), np.int32) for _ in (LOW, HL, LH, HH)]
    for (band, y, x), value in GIVEN.items():
        bands[band][0, y, x] = value
    data = write([layout], bands)[Kind.CANVAS]
    (volume,) = [reference.linked(0, [[tuple(s) for s in layout.planes[0]]])]
    rows: list[str] = []
    read, decoded = reference.Tables.read, coding.Range.decode
    names = {len(reference.NET[name]): name for name in ("occupied", "flags", "magnitudes", "lengths", "signs")}

    def noted(self: reference.Tables, coders: dict, kinds: list[int], contexts: list[int]) -> list[int]:
        before = len(rows)
        found = read(self, coders, kinds, contexts)
        del rows[before:]  # its own symbols are no bits without a table
        if contexts:
            rows.append(f"| {names[len(self.counts)]} | {' '.join(map(str, contexts))} | {' '.join(map(str, found))} |")
        return found

    def noted_bit(self: coding.Range, table: list[int]) -> int:
        found = decoded(self, table)
        if table == [32768, 32768]:
            rows.append(f"| bit | | {found} |")
        return found

    monkeypatch.setattr(reference.Tables, "read", noted)
    monkeypatch.setattr(coding.Range, "decode", noted_bit)
    reference.coefficients([volume], {0: data})
    for band, given in zip(volume[0], bands, strict=True):
        np.testing.assert_array_equal(band.values, given)
    return [*rows, f"The stream has {len(data)} bytes: `{data.hex(' ')}`.", first_symbol(data)]


def first_symbol(data: bytes) -> str:
    counts = reference.NET["occupied"][0].tolist()
    low = counts[0] * 65536 // sum(counts)
    starts, coder = coding.starts_of([low, 65536 - low]), coding.Range(data)
    ahead, unit = coder.ahead, coder.width >> 24
    return (
        f"The first symbol: counts {counts[0]} and {counts[1]} make the table {low}, {65536 - low} with "
        f"s = {starts[0]}, {starts[1]}, {starts[2]}; ahead = {ahead:#x}, unit = {unit:#x}, "
        f"ahead // unit = {ahead // unit}: symbol {int(ahead // unit >= starts[1])}."
    )


def derived() -> list[str]:
    """The table of LH (0, 1), pass 3: level 0, octave 0 of a canvas' luma; from the inputs that are not 0."""
    net, level = reference.NET, reference.LEVELS
    inputs = np.zeros(36, int)
    inputs[5], inputs[26] = level[2] + level[0], level[1]
    a = inputs @ net["first"][3][:36] + net["passes"][3] + net["classes"][[0, 4, 7, 16, 19]].sum(axis=0)
    b = (a >> net["shifts"][0]).clip(0, 255) @ net["second"] + net["second_bias"]
    (c,) = (b >> net["shifts"][1]).clip(0, 255) @ net["third"].reshape(-1, 1) + net["third_bias"]
    lines = [f"    {name} = {' '.join(map(str, values))}" for name, values in (("inputs", inputs), ("a", a), ("b", b))]
    return [*lines, f"    c = {c}", f"    table = {(c >> net['shifts'][2]).clip(0, 31)}"]


def test_the_page_shows_what_a_decoder_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    page = PAGE.read_text()
    start = page.index("### Example")
    example = page[start : page.index("###", start + 4)].splitlines()
    rows, lines = walked(monkeypatch), derived()
    assert [line for line in example if line in rows] == rows, "\n".join(rows)
    assert [line for line in example if line in lines] == lines, "\n".join(lines)
    (large,) = (row.split() for row in rows if row.startswith("| magnitudes |") and row.endswith("| 20 0 0 0 |"))
    assert large[3] == lines[-1].split()[-1]  # the walk used the table that is derived


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_a_second_reader_of_the_container_finds_the_same(file: Path) -> None:
    same_container(file.read_bytes())


def test_rows_that_come_and_go_are_summed_up_alike() -> None:
    rng = np.random.default_rng(3)
    counts = [0, 3, 1, 0, 2, 70, 4]
    corners = [np.rint(rng.uniform(-20, 90, (n, 2)) * 16) / 16 for n in counts]
    boxes = [np.concatenate([c, c + np.rint(rng.uniform(0, 70, (len(c), 2)) * 16) / 16], axis=1) for c in corners]
    classes = tuple(rng.integers(0, 3, n) for n in counts)
    found = tuple(b.astype(np.float32) for b in boxes)
    same_container(Payload("jpeg", 99, 88, found, classes, ("a", "ß", "c"), {"motion": b"1", "canvas": b""}).to_bytes())


def same_container(data: bytes) -> None:
    ours, theirs = coding.container(data), Payload.from_bytes(data)
    assert (ours.codec, ours.width, ours.height) == (theirs.codec, theirs.width, theirs.height)
    assert (tuple(ours.names), ours.parts) == (theirs.class_names, dict(theirs.parts))
    for mine, other in zip([*ours.boxes, *ours.classes], [*theirs.boxes, *theirs.classes], strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_payload_is_decoded_without_the_products_code() -> None:
    data = Scene(preset="fast", quality=60).encode(clip_of(3))
    read = coding.container(data)
    pictures = reference.decode(read.parts, read.boxes, read.classes, (read.height, read.width))
    assert np.abs(decode(data).images() - pictures.clip(0, 255)).max() < 1.6
