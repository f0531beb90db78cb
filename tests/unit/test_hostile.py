"""Hostile payloads, updates and captures: refused with a RinrError, within limits of memory and time, or harmless."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import fuzz
import fuzz_inputs

from rinr_flower.bitstream.container import PARTS
from rinr_flower.bitstream.entropy import TOTAL, encode_ints
from rinr_flower.bitstream.stream import ByteWriter, pack_blobs
from rinr_flower.codecs import codecs
from rinr_flower.datasets.base import load
from rinr_flower.errors import DataError, PayloadError, RinrError
from rinr_flower.frames import clean_boxes, read_image
from rinr_flower.updates import updates

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KEPT = sorted((Path(__file__).parents[1] / "hostile").glob("*.r*"))


@pytest.fixture
def limited() -> Iterator[None]:
    """1 GB of address space more than now, and two seconds of processor time."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + fuzz.MEMORY_BYTES, before[1]))
    started = time.process_time()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert time.process_time() - started < fuzz.SECONDS


def test_mutated_payloads_and_updates_of_every_format(tmp_path: Path) -> None:
    out = tmp_path / "fuzz.json"
    command = [sys.executable, str(BENCHMARKS / "fuzz.py"), "--count", "1500", "--seed", "7", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text())
    assert sum(sum(row.values()) for row in report["outcomes"].values()) == 1500
    for kind, names in (("payload", codecs.names()), ("update", updates.names())):
        assert {f"{kind} {n}, {where}" for n in names for where in ("raw", "behind the checksum")} <= set(
            report["outcomes"]
        )
    behind = [row for name, row in report["outcomes"].items() if name.endswith("behind the checksum")]
    assert sum(row.get("decoded", 0) for row in behind) > 50


def test_an_input_is_the_same_in_every_run() -> None:
    corpus = [fuzz_inputs.Seed("payload jpeg", codecs.create("jpeg").encode(fuzz_inputs.small_clip()))] * 2
    first = [fuzz_inputs.mutate(corpus, 4, n).data for n in range(50)]
    assert first == [fuzz_inputs.mutate(corpus, 4, n).data for n in range(50)]
    assert len(set(first)) > 40


def test_the_fuzzer_notices_what_it_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seed = fuzz_inputs.Seed("payload jpeg", b"RINR valid")
    item = fuzz_inputs.Input(seed, "raw", b"RINR altered")

    def never_ends(data: bytes, base: object) -> str:
        while True:
            pass

    def breaks(data: bytes, base: object) -> str:
        raise ZeroDivisionError

    for digest, what in (
        (never_ends, "OverrunError"),
        (breaks, "ZeroDivisionError"),
        (lambda d, b: "other", "FindingError"),
    ):
        monkeypatch.setattr(fuzz, "digest_of", digest)
        monkeypatch.setattr(fuzz, "SECONDS", 0.05)
        outcome, text, _ = fuzz.attempt(item, "picture", {})
        assert (outcome, text.partition(":")[0]) == ("finding", what)


@pytest.mark.parametrize("file", KEPT, ids=lambda f: f.name)
def test_inputs_that_once_crashed(file: Path, limited: None) -> None:
    with contextlib.suppress(RinrError):
        fuzz.digest_of(file.read_bytes(), fuzz_inputs.small_model())


def constant(value: int) -> bytes:
    """An integer block that stands for any number of equal values in eight bytes or so."""
    writer = ByteWriter()
    writer.u8(2)
    writer.signed(value)
    writer.varint(1)
    writer.varint(TOTAL)
    return writer.getvalue()


def boxes(per_frame: int, frames: int) -> bytes:
    writer = ByteWriter()
    writer.u8(0)
    writer.blob(encode_ints(np.array([per_frame] + [0] * (frames - 1))))
    if per_frame:
        writer.blob(constant(0))
        writer.raw(constant(10))
    return writer.getvalue()


def crafted(codec: str, frames: int, size: tuple[int, int], table: bytes, parts: dict[str, bytes]) -> bytes:
    writer = ByteWriter()
    writer.blob(codec.encode())
    for value in (frames, *size, 1):
        writer.varint(value)
    writer.blob(b"a")
    writer.blob(table)
    writer.u8(len(parts))
    for name, data in parts.items():
        writer.u8(PARTS.index(name))
        writer.blob(data)
    return fuzz_inputs.sealed(b"RINR\x01", writer.getvalue())


def picture(kind: str, width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, kind)
    return buffer.getvalue()


def sirens(hidden: int, layers: int, frames: int) -> bytes:
    writer = ByteWriter()
    for value in (hidden, layers, 20, 8):
        writer.varint(value)
    for _ in range(2 * (layers + 1)):
        writer.raw(b"\0\x3c" * frames)
        writer.blob(constant(0))
    return writer.getvalue()


def nerv(*fields: int) -> bytes:
    writer = ByteWriter()
    for value in fields:
        writer.varint(value)
    for _ in range(20):
        writer.raw(b"\0\x3c")
        writer.blob(constant(0))
    return writer.getvalue()


VGA, SMALL, HUGE = (640, 360), (40, 32), (7000, 7000)


def attack(codec: str, frames: int, size: tuple[int, int], background: bytes, per_frame: int = 0) -> bytes:
    """A payload with a valid checksum and an empty object part."""
    parts = {"background": background, "object": b""}
    return crafted(codec, frames, size, boxes(per_frame, frames), parts)


def bombs(count: int) -> bytes:
    return pack_blobs([picture("PNG", *HUGE)] * count)


ATTACKS: dict[str, Callable[[], bytes]] = {
    "65,535 frames of 49 megapixels": lambda: attack("jpeg", 65_535, HUGE, b""),
    "65,535 frames in 65,535 bytes": lambda: attack("webp", 65_535, (64, 64), b"\0" * 65_535),
    "video of 65,535 frames": lambda: attack("av1", 65_535, (64, 64), b""),
    "268 million boxes": lambda: attack("jpeg", 65_535, VGA, b"", 4096),
    "boxes to link": lambda: attack("roi_av1", 60, VGA, b"", 4096),
    "a bomb in a small frame": lambda: attack("avif", 2, SMALL, bombs(2)),
    "sixty bombs": lambda: attack("jpeg", 60, HUGE, bombs(60)),
    "networks without data": lambda: attack("rapid_inr", 3000, VGA, sirens(500, 2, 3000)),
    "a network as deep as allowed": lambda: attack("rapid_inr", 1, SMALL, sirens(512, 64, 1)),
    "a picture larger than its frame": lambda: attack("nerv", 1, SMALL, nerv(1, 1, 1, 1, 8, 3, 16, 16, 16)),
    "a convolution over the top": lambda: attack("nerv", 1, SMALL, nerv(1, 900, 900, 1, 8, 2, 4, 4)),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_declared_is_bounded_before_it_is_allocated(name: str, request: pytest.FixtureRequest) -> None:
    data = ATTACKS[name]()
    request.getfixturevalue("limited")
    with pytest.raises(PayloadError):
        fuzz.digest_of(data, {})


def test_frames_of_networks_are_drawn_only_when_asked_for(limited: None) -> None:
    fuzz.digest_of(crafted("rapid_inr", 5000, (8000, 8000), boxes(0, 5000), {"background": sirens(8, 2, 5000)}), {})


def test_a_box_of_negative_size_is_refused() -> None:
    writer = ByteWriter()
    writer.u8(0)
    writer.blob(encode_ints(np.array([1])))
    writer.blob(encode_ints(np.array([0])))
    writer.raw(encode_ints(np.array([20, 20, -5, 10])))
    with pytest.raises(PayloadError, match="negative"):
        fuzz.digest_of(crafted("jpeg", 1, (40, 32), writer.getvalue(), {"background": b""}), {})


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
    with pytest.raises(PayloadError):
        fuzz.digest_of(crafted("jpeg", 1, (40, 32), boxes(0, 1), {"background": pack_blobs([BAD[name]])}), {})


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
