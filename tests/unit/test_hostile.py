"""Hostile payloads and updates: refused with a RinrError, within limits of memory and time, or harmless."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fuzz_inputs
import numpy as np
import pytest
from benchmark_scripts import BENCHMARKS
from lib import fuzzing as fuzz
from PIL import Image

from rinr_flower.bitstream.container import PARTS
from rinr_flower.bitstream.entropy import TOTAL, encode_ints
from rinr_flower.bitstream.stream import ByteWriter, pack_blobs
from rinr_flower.bitstream.weights import FLOAT_BITS
from rinr_flower.codecs import codecs, decode
from rinr_flower.codecs.scene.format.code import RESIDUAL_SCALES
from rinr_flower.codecs.scene.format.network import shipped
from rinr_flower.errors import PayloadError, RinrError
from rinr_flower.updates import updates

KEPT = sorted((Path(__file__).parents[1] / "hostile").glob("*.r*"))


@pytest.fixture
def limited(limited: None) -> Iterator[None]:
    """1 GB of address space more than now, and two seconds of processor time."""
    started = time.process_time()
    yield
    assert time.process_time() - started < fuzz.SECONDS


def test_codecs_of_other_distributions_are_not_in_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    own = fuzz_inputs.own(codecs)
    assert "scene" in own
    monkeypatch.setitem(codecs._classes, "foreign", type("Foreign", (), {}))
    assert fuzz_inputs.own(codecs) == own


def test_mutated_payloads_and_updates_of_every_format(tmp_path: Path) -> None:
    out = tmp_path / "fuzz.json"
    command = [sys.executable, str(BENCHMARKS / "fuzz.py"), "--count", "1500", "--seed", "7", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = fuzz.saved(out)
    assert sum(sum(row.values()) for row in report["outcomes"].values()) == 1500
    for kind, names in (("payload", codecs.names()), ("update", updates.names())):
        assert {f"{kind} {n}, {where}" for n in names for where in ("raw", "behind the checksum")} <= set(
            report["outcomes"]
        )
    behind = [row for name, row in report["outcomes"].items() if name.endswith("behind the checksum")]
    assert sum(row.get("decoded", 0) for row in behind) > 50


def test_a_run_that_was_stopped_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = [
        fuzz_inputs.Seed(f"payload {n}", codecs.create(n).encode(fuzz_inputs.small_clip())) for n in ("jpeg", "webp")
    ]
    monkeypatch.setattr(fuzz, "seeds", lambda: corpus)
    monkeypatch.setattr(fuzz, "_CHECKPOINT", 200)
    parts: list[dict[str, object]] = []
    whole = fuzz.run(500, 3, checkpoint=parts.append)
    assert [p["done"] for p in parts] == [200, 400]
    resumed = fuzz.run(500, 3, before=json.loads(json.dumps(parts[0])))
    assert (resumed["done"], resumed["outcomes"]) == (500, whole["outcomes"])
    with pytest.raises(SystemExit, match="seed 3"):
        fuzz.run(500, 4, before=parts[0])


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


def full_boxes(count: int, width: int, height: int) -> bytes:
    """As many boxes of the whole frame, in one frame."""
    writer = ByteWriter()
    writer.u8(0)
    writer.blob(encode_ints(np.array([count])))
    writer.blob(constant(0))
    writer.raw(encode_ints(np.repeat([0, 0, width, height], count)))
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
    for value in (hidden, layers, 20, 8, *[1] * frames):
        writer.varint(value)
    writer.raw(weights(layers, frames))
    return writer.getvalue()


def weights(layers: int, networks: int) -> bytes:
    """Networks of zeros, one for each picture."""
    writer = ByteWriter()
    writer.raw(b"\0\x3c" * (2 * (layers + 1) * networks))
    writer.blob(constant(0))
    writer.blob(constant(0))
    return writer.getvalue()


def nerv(*fields: int) -> bytes:
    """A network of stem, channels, width, levels, bits, number of strides, strides."""
    writer = ByteWriter()
    for value in fields:
        writer.varint(value)
    for _ in range(6 + 2 * fields[5]):
        writer.raw(b"\0\x3c")
        writer.blob(constant(0))
    return writer.getvalue()


def residual(
    frames: int, size: tuple[int, int], table: bytes, networks: int, *shapes: tuple[int, int], shared: int = 1
) -> bytes:
    """Networks of (hidden, layers) for boxes of up to one pixel, two pixels, ...; all boxes are of the last size."""
    background, objects = ByteWriter(), ByteWriter()
    background.blob(b"rapid_inr")
    background.raw(sirens(4, 1, frames))
    for value in (1, 8, shared, len(shapes)):
        objects.varint(value)
    for index, shape in enumerate(shapes, start=1):
        for value in (index % len(shapes), *shape, 20):
            objects.varint(value)
    objects.raw(b"\0\x3f" * networks)
    objects.raw(weights(shapes[-1][1], networks))
    parts = {"background": background.getvalue(), "object": objects.getvalue()}
    return crafted("residual", frames, size, table, parts)


def scene(frames: int, size: tuple[int, int], canvases: list[tuple[int, int]], flags: int, table: bytes) -> bytes:
    """A grey scene without any coefficients: shots of equal length, each on a canvas (height, width)."""
    head = ByteWriter()
    for value in (shipped().digest & 0xFFFF, *size[::-1], 1 + 2 * RESIDUAL_SCALES.index(1), 100, 100, len(canvases)):
        head.varint(value)
    for canvas in canvases:
        for value in (frames // len(canvases), flags + 8, *canvas, 0, 0):
            head.varint(value)
    return crafted("scene", frames, size, table, {"background": head.getvalue(), "motion": bytes(2)})


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
    "a network for 64 megapixels": lambda: attack("nerv", 1, (8000, 8000), nerv(1, 1, 1, 1, 8, 4, 10, 10, 10, 8)),
    "one channel padded to sixteen": lambda: attack("nerv", 1, (4000, 4000), nerv(1, 1, 1, 1, 8, 5, 10, 10, 10, 4, 1)),
    "1,200 networks on 1,280 pixels": lambda: residual(1, SMALL, boxes(1200, 1), 1200, (70, 3)),
    "262,144 objects": lambda: residual(64, VGA, boxes(4096, 64), 64 * 4096, (8, 1), (6, 2)),
    "21 million weights of objects": lambda: residual(16, VGA, boxes(4096, 16), 16 * 4096, (8, 1), (16, 2)),
    "a network of no frames": lambda: attack("rapid_inr", 9, VGA, bytes([4, 1, 20, 8, 0, 9])),
    "a network of more frames than there are": lambda: attack("rapid_inr", 9, VGA, bytes([4, 1, 20, 8, 10])),
    "objects to link": lambda: residual(60, VGA, boxes(4096, 60), 4096, (1, 1), shared=32),
    "objects of no boxes": lambda: residual(1, VGA, boxes(1, 1), 1, (1, 1), shared=0),
    "a volume of 65,535 frames": lambda: scene(65_535, (4, 4), [(4, 4)], 4, boxes(0, 65_535)),
    "shots of more frames than there are": lambda: scene(65_535, (4, 4), [(4, 4)] * 2, 1, boxes(0, 65_534)),
    "many canvases": lambda: scene(3, (2048, 1984), [(4000, 4000)] * 3, 0, boxes(0, 3)),
    "tracks to link in a scene": lambda: scene(60, VGA, [(360, 640)], 0, boxes(4096, 60)),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_declared_is_bounded_before_it_is_allocated(name: str, request: pytest.FixtureRequest) -> None:
    data = ATTACKS[name]()
    request.getfixturevalue("limited")
    with pytest.raises(PayloadError):
        fuzz.digest_of(data, {})


LARGE: dict[str, Callable[[], bytes]] = {
    "4,096 boxes on every pixel": lambda: residual(1, VGA, full_boxes(4096, *VGA), 4096, (1, 1)),
    "65,536 objects": lambda: residual(16, VGA, boxes(4096, 16), 65_536, (4, 1)),
    "four megapixels from a network": lambda: attack("nerv", 1, (2048, 2048), nerv(1, 16, 1, 1, 8, 5, 8, 8, 4, 8, 1)),
    "a canvas of sixteen megapixels": lambda: scene(1, (2048, 1984), [(4000, 4000)], 0, boxes(0, 1)),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_just_allowed_is_drawn_within_the_limits(name: str, request: pytest.FixtureRequest) -> None:
    data = LARGE[name]()
    request.getfixturevalue("limited")
    fuzz.digest_of(data, {})


def test_where_boxes_overlap_the_last_one_is_seen() -> None:
    """Against painting them one after the other."""
    rng = np.random.default_rng(0)
    corners = rng.integers(0, (40, 32), (30, 2))
    sides = rng.integers(1, 20, (30, 2))
    colours = rng.uniform(-1, 1, (30, 3)).astype(np.float32)
    background, objects = ByteWriter(), ByteWriter()
    background.blob(b"rapid_inr")
    background.raw(sirens(4, 1, 1))
    for value in (0, FLOAT_BITS, 1, 1, 0, 1, 1, 20):
        objects.varint(value)
    objects.raw(bytes(4 * 30 * (2 + 1)))  # first layers
    objects.raw(np.concatenate([np.zeros((30, 3), np.float32), colours], axis=1).tobytes())
    table = ByteWriter()
    table.u8(0)
    table.blob(encode_ints(np.array([30])))
    table.blob(constant(0))
    table.raw(encode_ints(np.concatenate([corners, sides], axis=1).T))
    data = crafted(
        "residual", 1, SMALL, table.getvalue(), {"background": background.getvalue(), "object": objects.getvalue()}
    )
    expected = decode(crafted("rapid_inr", 1, SMALL, boxes(0, 1), {"background": sirens(4, 1, 1)})).images()[0].copy()
    for (x, y), (w, h), colour in zip(corners, sides, colours, strict=True):
        expected[y : y + h, x : x + w] = np.rint((colour * 0.5 + 0.5) * 255)
    assert np.abs(decode(data).images()[0].astype(int) - expected).max() <= 1


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
