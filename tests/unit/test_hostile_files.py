"""Hostile captures, data sets, model files and names: named errors within limits of memory, or harmless."""

from __future__ import annotations

import dataclasses
import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import pack_blobs
from rinr_flower.codecs import decode
from rinr_flower.datasets.base import load
from rinr_flower.detection.state import read_state
from rinr_flower.errors import DataError, PayloadError
from rinr_flower.frames import Clip, Frame, clean_boxes, read_image
from rinr_flower.report import AccuracyRecord, ExampleRecord, RunRecord
from rinr_flower.report.write import write_report


def camera_file(kind: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return camera_file(exif=exif)


def many_scans() -> bytes:
    data = camera_file(progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 200 + data[-2:]


def bomb() -> bytes:
    """A JPEG of 40 x 32 pixels whose header says 9,000 x 9,000."""
    data = bytearray(camera_file())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 9_000, 9_000)
    return bytes(data)


GOOD: dict[str, tuple[bytes, tuple[int, int]]] = {
    "cmyk": (camera_file(mode="CMYK"), (32, 40)),
    "grey": (camera_file(mode="L"), (32, 40)),
    "progressive": (camera_file(progressive=True), (32, 40)),
    "rotated": (rotated(), (40, 32)),
    "png named jpg": (camera_file("PNG"), (32, 40)),
}
_JPEG = camera_file()
BAD: dict[str, bytes] = {
    "zero bytes": b"",
    "text": b"no image at all",
    "truncated": _JPEG[: len(_JPEG) // 2],
    "header only": _JPEG[:30],
    "corrupt": _JPEG[:2] + bytes(100) + _JPEG[102:],
    "bomb": bomb(),
    "too many scans": many_scans(),
    "a program for PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 32\n%%EndComments\nshowpage\n",
    "gif": camera_file("GIF", "P"),
}


@pytest.mark.parametrize("name", GOOD)
def test_unusual_camera_files_become_rgb(name: str, tmp_path: Path) -> None:
    data, shape = GOOD[name]
    assert read_image(data, name=name).shape == (*shape, 3)
    (tmp_path / "a.jpg").write_bytes(data)
    (clip,) = load(f"folder:{tmp_path}")
    assert clip.images().shape == (1, *shape, 3)
    kept = clip.frames[0].file
    assert kept == (data if name in ("cmyk", "grey", "progressive") else b"")


@pytest.mark.parametrize("name", BAD)
def test_bad_camera_files_are_named(name: str, tmp_path: Path, limited: None) -> None:
    (tmp_path / "a.jpg").write_bytes(BAD[name])
    with pytest.raises(DataError, match=r"a\.jpg"):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize("name", BAD)
def test_bad_files_inside_a_payload_are_payload_errors(name: str, limited: None) -> None:
    clip = Clip("a", (Frame(np.zeros((32, 40, 3), np.uint8)),))
    with pytest.raises(PayloadError):
        decode(Payload.of_clip("jpeg", clip, {"background": pack_blobs([BAD[name]])}).to_bytes())


def test_boxes_are_clipped_or_dropped() -> None:
    nan, inf = float("nan"), float("inf")
    rows = np.array([
        [nan, 0, 9, 9], [0, 0, inf, 9], [-inf, -inf, inf, inf],
        [-9, -9, -1, -1], [50, 5, 60, 9], [9, 9, 3, 3], [3, 3, 3, 9],
        [-1e300, -5, 1e300, 12], [4, 4, 12, 12],
    ])  # fmt: skip
    kept, classes, dropped = clean_boxes(rows, np.arange(9), 40, 32)
    np.testing.assert_array_equal(kept, np.array([[0, 0, 40, 12], [4, 4, 12, 12]], np.float32))
    assert (classes.tolist(), dropped) == ([7, 8], 7)


@pytest.mark.parametrize("shape", [(2, 4), (1, 3), (5,)])
def test_boxes_without_their_classes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="a box is x1, y1, x2, y2 and a class"):
        clean_boxes(np.zeros(shape), [0], 40, 32)


ROWS = ["7e9 .5 .5 .1 .1", "-1 .5 .5 .1 .1", "nan .5 .5 .1 .1", "0 .5 .5 inf .1", "0 1e300 0 1 1"]


@pytest.mark.parametrize("row", ROWS)
def test_labels_of_unknown_class_or_beyond_the_image_are_named(row: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(_JPEG)
    (tmp_path / "a.txt").write_text(row)
    with pytest.raises(DataError, match=r"a\.txt:1"):
        load(f"folder:{tmp_path}")


PLAIN = np.zeros((4, 6, 3), np.uint8)
TOO_MUCH: dict[str, tuple[Clip, str]] = {
    "boxes": (Clip("a", (Frame(PLAIN, np.zeros((4097, 4), np.float32), np.zeros(4097, np.int64)),)), "4,097 boxes"),
    "frames": (Clip("a", (Frame(PLAIN),) * 65_536), "65,536 frames"),
    "a class name": (Clip("a", (Frame(PLAIN),), ("\u00e4" * 129,)), "258 bytes"),
    "a class": (Clip("a", (Frame(PLAIN, np.zeros((1, 4), np.float32), np.ones(1, np.int64)),)), "class 1"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_clip_that_no_reader_would_take_is_not_written(name: str) -> None:
    clip, text = TOO_MUCH[name]
    with pytest.raises(DataError, match=text):
        Payload.of_clip("jpeg", clip, {}).to_bytes()


def data_set(folder: Path, description: str) -> str:
    (folder / "set" / "images").mkdir(parents=True)
    (folder / "set" / "images" / "a.jpg").write_bytes(_JPEG)
    (folder / "private").mkdir()
    (folder / "private" / "b.jpg").write_bytes(_JPEG)
    (folder / "set" / "data.yaml").write_text(description.replace("HERE", str(folder)))
    return f"yolo:{folder / 'set' / 'data.yaml'}"


@pytest.mark.parametrize("source", ["list.txt", "above.txt"])
def test_a_list_of_images_cannot_leave_the_folders_that_the_yaml_names(source: str, tmp_path: Path) -> None:
    spec = data_set(tmp_path, f"train: {source}\nnames: [a]\n")
    (tmp_path / "set" / "list.txt").write_text(f"images/a.jpg\n{tmp_path}/private/b.jpg\n")
    (tmp_path / "set" / "above.txt").write_text("./../private/b.jpg\n")
    with pytest.raises(DataError, match="lies outside"):
        load(spec)


@pytest.mark.parametrize("parts", ["path: ../private\ntrain: .", "train: ../private", "train: [HERE/private]"])
def test_a_data_set_may_lie_where_its_file_says(parts: str, tmp_path: Path) -> None:
    assert len(load(data_set(tmp_path, f"{parts}\nnames: [a]\n"))[0]) == 1


LAUGHS = "\n".join(["a: &a [x,x,x,x,x,x,x,x,x,x]", *(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]" for a, b in zip(
    "abcdefgh", "bcdefghi", strict=True))])  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [f"{LAUGHS}\nnames: [*i]\ntrain: images\n", "[" * 100_000, "{a: " * 100_000, "names: !!python/name:os.system"],
    ids=["a billion laughs", "nested lists", "nested mappings", "code"],
)
def test_a_hostile_description_is_named(text: str, tmp_path: Path, limited: None) -> None:
    with pytest.raises(DataError, match=r"data\.yaml: not readable as YAML"):
        load(data_set(tmp_path, text))


@pytest.mark.parametrize("value", ["!!bool x", "!!int ''", "!!timestamp x"])
def test_a_value_that_its_tag_does_not_fit_is_named(value: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.yaml: not readable as YAML"):
        load(data_set(tmp_path, f"train: images\nnames: [a]\nother: {value}\n"))


def test_odd_values_of_a_description_are_named(tmp_path: Path) -> None:
    spec = data_set(tmp_path, "train: images\nnames: {0: a, .inf: b}\n")
    with pytest.raises(DataError, match=r"data\.yaml: names: has the numbers"):
        load(spec)
    (tmp_path / "set" / "data.yaml").write_text(f"train: {'x' * 300}\nnames: [a]\n")
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        load(spec)


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_a_class_that_is_no_number_is_named(number: str, tmp_path: Path) -> None:
    for folder in ("img1", "gt"):
        (tmp_path / folder).mkdir()
    (tmp_path / "img1" / "1.jpg").write_bytes(_JPEG)
    (tmp_path / "gt" / "labels.txt").write_text("a\nb\n")
    (tmp_path / "gt" / "gt.txt").write_text(f"1,1,1,1,2,2,1,{number},1\n")
    with pytest.raises(DataError, match=r"gt\.txt:1: .*expected frame, id"):
        load(f"mot:{tmp_path}")


@pytest.mark.parametrize(("end", "text"), [("Infinity", "not a list"), ("1000000000000", "999999999999 of the frames")])
def test_a_sequence_without_end_is_named(end: str, text: str, tmp_path: Path, limited: None) -> None:
    for folder in ("data_seq/UAV123/a", "anno/UAV123"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data_seq/UAV123/a/000001.jpg").write_bytes(_JPEG)
    (tmp_path / "anno/UAV123/a.txt").write_text("1,1,2,2\n")
    (tmp_path / "subset.json").write_text(f'[{{"name": "a", "path": "a", "startFrame": 1, "endFrame": {end}}}]')
    with pytest.raises(DataError, match=text):
        load(f"uav123:{tmp_path}")


def test_a_deeply_nested_list_of_sequences_is_named(tmp_path: Path) -> None:
    for folder in ("data_seq/UAV123/a", "anno/UAV123"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "anno/UAV123/a.txt").write_text("1,1,2,2\n")
    (tmp_path / "subset.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"subset\.json"):
        load(f"uav123:{tmp_path}")


def test_deeply_nested_annotations_take_no_recursion(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(_JPEG)
    (tmp_path / "a.xml").write_text("<a>" * 200_000 + "</a>" * 200_000)
    assert len(load(f"dac_sdc:{tmp_path}")[0].frames[0].boxes) == 0


def weights_file(path: Path, shape: tuple[int, ...], data: bytes, kind: str = "<f4") -> Path:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("w.npy", header.getvalue() + data)
    return path


@pytest.mark.parametrize(
    ("shape", "data", "kind"),
    [((10**12,), b"", "<f4"), ((1 << 29,), bytes(1 << 20), "<f4"), ((2,), b"cos\nsystem\n(S'true'\ntR.", "|O")],
    ids=["declared only", "two gigabytes", "pickle"],
)
def test_hostile_weights_are_named(
    shape: tuple[int, ...], data: bytes, kind: str, tmp_path: Path, limited: None
) -> None:
    with pytest.raises(DataError, match=r"w\.npz"):
        read_state(weights_file(tmp_path / "w.npz", shape, data, kind))


NAMES = [
    "a$\\frac{$",
    "=cmd|' /C calc'!A0",
    '"><img src=x onerror=alert(1)>',
    "../../etc/passwd",
    "\u202egnp.exe",
    "x" * 128,
]
BOXES: list[tuple[float, ...]] = [
    (-1e6, -1e6, 1e6, 1e6), (2e6, 2e6, 3e6, 3e6), (5, 5, 5, 5), (float("nan"), 0, 1, 1), (float("inf"), 0, 1, 1),
    (1, 2), (),
]  # fmt: skip


def test_a_report_survives_what_devices_call_themselves_and_where_their_boxes_lie(
    saved_run: Path, tmp_path: Path, limited: None
) -> None:
    record = RunRecord.load(saved_run)
    hostile = dataclasses.replace(
        record,
        payloads=tuple(
            dataclasses.replace(p, device=n, clip=n, codec=n) for p, n in zip(record.payloads * 2, NAMES, strict=True)
        ),
        accuracy=tuple(AccuracyRecord(r, n, 0.5, 0.4) for r in (0, 1, 2) for n in NAMES),
        examples=(
            *(ExampleRecord(NAMES[2], 0, "before.png", "after.png", box) for box in BOXES),
            ExampleRecord("outside", 0, "../../../etc/hostname", "after.png"),
        ),
    )
    write_report(hostile, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<img src=x" not in page
    assert page.count('class="example"') == len(BOXES)
    summary = json.loads((tmp_path / "report.json").read_text())
    assert any("lies outside the run" in text for text in summary["missing"])
