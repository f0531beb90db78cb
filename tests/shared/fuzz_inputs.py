"""Hostile inputs for the fuzzer: small valid payloads, updates and coded models, and seeded mutations of them.

Input number i of a seed is always the same bytes. A sixth of the inputs are altered as they are and must be refused by
their checksum; the others are altered behind it: in the header or in one part, and written again with a valid length
and CRC-32, so that the codec's or compressor's own parser meets the alteration.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import random
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rinr_flower.bitstream.container import PARTS, Payload
from rinr_flower.bitstream.envelope import wrap
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.codecs import codecs
from rinr_flower.frames import Clip, Frame
from rinr_flower.messages.coded_model import StartModel
from rinr_flower.messages.records import record_of
from rinr_flower.registry import Registry
from rinr_flower.updates import updates
from rinr_flower.updates.envelope import Envelope

GOLDEN = Path(__file__).parents[1] / "golden"
FIXED_BYTES = 13  # magic, version, length, CRC-32: the same layout in payloads and updates
_TINY_PER_GOLDEN = 4  # tiny seeds are decoded faster than golden ones and are taken so many times as often

# only what keeps fits short and pictures small
_CODEC_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "rapid_inr": [{"hidden": 8, "layers": 2, "steps": 20, "batch_points": 64, "bits": bits} for bits in (8, 11, 32)],
    "residual": [
        {"background": "jpeg", "background.quality": 20, "steps": 20, "candidates": 1, "batch_points": 64},
        {"background": "webp", "mode": "direct", "bits": 16, "steps": 20, "candidates": 1, "batch_points": 64},
    ],
    "nerv": [{"steps": 4}],
    "roi_jpeg": [{}, {"key_every": 2}],
    "scene": [{"preset": "fast"}, {"preset": "fast", "quality": 90}],
}
_UPDATE_OPTIONS: dict[str, list[dict[str, Any]]] = {
    name: [{}, {"vector_bits": 8}] for name in ("factorised", "quantised", "stc", "svd")
} | {"random_mask": [{}, {"bits": 8}], "structured_low_rank": [{}, {"bits": 8}]}

_BOUNDARIES = (0, 1, 2, 127, 128, 255, 256, 4096, 16384, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
_FLOATS = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, -1.0, 3.4e38, 1e-45)
_SIDES = (0, 1, 2, 15, 39, 41, 64, 65, 1000, 8000, 16384)
_FACTORS = (-1.0, 0.0, 0.1, 3.0, 1000.0)
_FRAMES = (*(1, 2, 3, 4, 17, 300) * 3, 65_535)


@dataclass(frozen=True, eq=False)
class Seed:
    """A valid input: ``name`` such as ``payload jpeg``, and its bytes. The name's first word is its kind."""

    name: str
    data: bytes

    @property
    def kind(self) -> str:
        return self.name.partition(" ")[0]

    @functools.cached_property
    def payload(self) -> Payload:
        return Payload.from_bytes(self.data)

    @functools.cached_property
    def envelope(self) -> Envelope:
        return Envelope.from_bytes(self.data)


@dataclass(frozen=True, eq=False)
class Input:
    """A mutated input: what it came from, where it was altered (``raw``, ``header``, ``part NAME``...), its bytes."""

    seed: Seed
    layer: str
    data: bytes


def small_clip() -> Clip:
    """Two frames of 24 x 16 pixels: a drifting wave, two boxes, then one."""
    y, x = np.mgrid[0:16, 0:24].astype(np.float64)
    frames = []
    for t in range(2):
        waves = [128 + 90 * np.sin((x + 2 * t) / 7 + c) * np.cos(y / (6 + c)) for c in range(3)]
        image = np.stack(waves, axis=-1).clip(0, 255).astype(np.uint8)
        boxes = np.array([[5 + 2 * t, 4, 15 + 2 * t, 13], [0, 0, 7.5, 5.25]], np.float32)[: 2 - t]
        frames.append(Frame(image, boxes, np.arange(len(boxes), dtype=np.int64)))
    return Clip("small", tuple(frames), ("square", "corner"))


def small_model() -> dict[str, torch.Tensor]:
    """The state that updates apply to: matrices, a convolution, vectors and integer buffers."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(24, 20), nn.Linear(20, 4))
    net.register_buffer("mask", torch.tensor([True, False, True]))
    net.register_buffer("bits16", torch.ones(4, 6, dtype=torch.float16))
    return {k: v.clone() for k, v in net.state_dict().items()}


def own(registry: Registry[Any]) -> list[str]:
    """Names of a registry's components that are not of other distributions."""
    return [name for name in registry.names() if registry.get(name).__module__.startswith("rinr_flower.")]


def seeds() -> list[Seed]:
    """Tiny payloads of every own codec, updates of every own compressor and a coded model, and the golden payloads."""
    clip, base = small_clip(), small_model()
    tiny = []
    for name in own(codecs):
        for options in _CODEC_OPTIONS.get(name, [{}]):
            tiny.append(Seed(f"payload {name}", codecs.create(name, **options).encode(clip, seed=3)))
    torch.manual_seed(1)
    new = {k: v + (0.02 * torch.randn(v.shape)).to(v.dtype) if v.is_floating_point() else ~v if v.dtype == torch.bool
           else v + 7 for k, v in base.items()}  # fmt: skip
    for name in own(updates):
        for options in _UPDATE_OPTIONS.get(name, [{}]):
            tiny.append(Seed(f"update {name}", updates.create(name, **options).compress(base, new, seed=5)))
    mask = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    coded = StartModel.of(record_of({k: v.numpy() for k, v in new.items()} | {"causal": mask})).coded
    assert coded is not None
    tiny.append(Seed("model coded", coded))
    golden = [Seed(f"payload {f.stem.partition('-')[2]}", f.read_bytes()) for f in sorted(GOLDEN.glob("*.rinr"))]
    return tiny * _TINY_PER_GOLDEN + golden


def digest(corpus: Sequence[Seed]) -> str:
    """Hash of a corpus: inputs are repeatable only from the same one."""
    return hashlib.sha256(b"".join(hashlib.sha256(s.data).digest() for s in corpus)).hexdigest()[:16]


def mutate(corpus: Sequence[Seed], seed: int, number: int) -> Input:
    """Input ``number`` of the run with ``seed``."""
    rng = random.Random(f"{seed} {number}")
    chosen, other = rng.choice(corpus), rng.choice(corpus).data
    kind = rng.randrange(6)
    if kind == 0:
        return Input(chosen, "raw", _mutated(chosen.data, other, rng))
    start = chosen.data[:5]
    if kind == 1:
        content = _mutated(chosen.data[FIXED_BYTES:], other[FIXED_BYTES:], rng, reach=160)
        return Input(chosen, "header", sealed(start, content))
    if chosen.kind == "model":
        return Input(chosen, *_model(chosen, other, rng))
    if chosen.kind == "update":
        content = _mutated(chosen.envelope.content, other, rng)
        return Input(chosen, "content", dataclasses.replace(chosen.envelope, content=content).to_bytes())
    if kind == 2:
        return Input(chosen, "fields", sealed(start, _restated(chosen, corpus, rng)))
    parts = dict(chosen.payload.parts)
    name = rng.choice(sorted(parts))
    parts[name] = _mutated(parts[name], other, rng, reach=200 if rng.randrange(2) else None)
    return Input(chosen, f"part {name}", sealed(start, _content(chosen, parts=parts)))


def _model(seed: Seed, other: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The layer, and a coded model of which one is altered behind its compression."""
    reader = ByteReader(seed.data[FIXED_BYTES:])
    table, plain, update = reader.blob(), reader.blob(), reader.raw(reader.left)
    layer = rng.choice(("table", "bytes", "update"))
    if layer == "table":
        table = zlib.compress(_mutated(zlib.decompress(table), other, rng))
    elif layer == "bytes":
        plain = zlib.compress(_mutated(zlib.decompress(plain), other, rng))
    else:
        inner = Envelope.from_bytes(update)
        update = dataclasses.replace(inner, content=_mutated(inner.content, other, rng)).to_bytes()
    writer = ByteWriter()
    writer.blob(table)
    writer.blob(plain)
    writer.raw(update)
    return layer, sealed(seed.data[:5], writer.getvalue())


def _restated(seed: Seed, corpus: Sequence[Seed], rng: random.Random) -> bytes:
    """Valid fields that contradict the parts: another size, codec, frame count, boxes, or parts of another payload."""
    payload = seed.payload
    match rng.randrange(5):
        case 0:
            width = rng.choice(_SIDES) if rng.randrange(2) else payload.width
            return _content(seed, size=(width, rng.choice(_SIDES)))
        case 1:
            return _content(seed, codec=rng.choice(own(codecs)))
        case 2:
            return _content(seed, frames=rng.choice(_FRAMES))
        case 3:
            return _content(seed, factor=rng.choice(_FACTORS))
        case _:
            names = list(payload.parts)
            parts = {name: payload.parts[rng.choice(names)] for name in names}
            other = rng.choice([s for s in corpus if s.kind == "payload"])
            return _content(other, codec=payload.codec, parts=parts)


def _content(
    seed: Seed,
    *,
    codec: str | None = None,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    factor: float = 1.0,
    parts: Mapping[str, bytes] | None = None,
) -> bytes:
    """The content of ``seed`` written anew, with some fields replaced; boxes are repeated or multiplied by ``factor``.

    The container's own writer looks for the smallest box table, which takes longer than decoding what comes of it.
    """
    payload, writer = seed.payload, ByteWriter()
    frames = len(payload) if frames is None else frames
    writer.blob((codec or payload.codec).encode("ascii"))
    for value in (frames, *(size or (payload.width, payload.height)), len(payload.class_names)):
        writer.varint(value)
    for name in payload.class_names:
        writer.blob(name.encode("utf-8"))
    writer.blob(_box_table(seed, frames, factor))
    written = payload.parts if parts is None else parts
    writer.u8(len(written))
    for name, data in written.items():
        writer.u8(PARTS.index(name))
        writer.blob(data)
    return writer.getvalue()


@functools.cache
def _box_table(seed: Seed, frames: int, factor: float) -> bytes:
    """The bytes of a table of the seed's boxes over ``frames`` frames."""
    payload = seed.payload
    rows = [i % len(payload) for i in range(frames)]
    boxes = tuple((payload.boxes[i] * np.float32(factor)).astype(np.float32) for i in rows)
    changed = dataclasses.replace(payload, boxes=boxes, classes=tuple(payload.classes[i] for i in rows), parts={})
    reader = ByteReader(changed.to_bytes()[FIXED_BYTES:])
    reader.blob()
    for _ in range(3):
        reader.varint()
    for _ in range(reader.varint()):
        reader.blob()
    return reader.blob()


def sealed(start: bytes, content: bytes) -> bytes:
    """``start`` (magic and version) and ``content`` with the length and CRC-32 that make it valid."""
    return wrap(start[:4], start[4], content)


def _mutated(data: bytes, other: bytes, rng: random.Random, reach: int | None = None) -> bytes:
    """One to four alterations, each within the first ``reach`` bytes."""
    altered = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        size = len(altered) if reach is None else min(reach, len(altered))
        _alter(altered, rng.randrange(size + 1), other, rng)
    return bytes(altered)


def _alter(data: bytearray, at: int, other: bytes, rng: random.Random) -> None:
    length = rng.randrange(1, 2 ** rng.randrange(1, 9))
    match rng.randrange(9):
        case 0 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 1 if at < len(data):
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
        case 2:
            del data[at:]
        case 3:
            del data[at : at + length]
        case 4:
            data[at:at] = data[max(0, at - length) : at]
        case 5:
            start = rng.randrange(max(1, len(other)))
            data[at : at + length] = other[start : start + length]
        case 6:  # a length or count field at a boundary, in place of one to three bytes
            data[at : at + rng.randrange(4)] = _varint(rng.choice(_BOUNDARIES) + rng.randrange(-1, 2))
        case 7:  # a fixed-width number at a boundary
            value = rng.choice(_BOUNDARIES) & 0xFFFFFFFF
            data[at : at + 4] = struct.pack("<f", rng.choice(_FLOATS)) if rng.randrange(2) else struct.pack("<I", value)
        case _:
            data[at : at + length] = rng.randbytes(length)


def _varint(value: int) -> bytes:
    writer = ByteWriter()
    writer.varint(max(0, value))
    return writer.getvalue()
