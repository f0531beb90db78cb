"""Hostile inputs for the fuzzer: small valid payloads and updates of every format, and seeded mutations of them.

Input number i of a seed is always the same bytes. A third of the inputs are altered as they are and must be refused by
their checksum; the others are altered behind it: parsed, altered in the header or in one part, and written again with a
valid length and CRC-32, so that the codec's or compressor's own parser meets the alteration.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteWriter
from rinr_flower.codecs import codecs
from rinr_flower.frames import Clip, Frame
from rinr_flower.updates import updates
from rinr_flower.updates.envelope import Envelope

FIXED_BYTES = 13  # magic, version, length, CRC-32: the same layout in payloads and updates

# only what keeps fits short and pictures small
_CODEC_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "rapid_inr": [{"hidden": 8, "layers": 2, "steps": 20, "batch_points": 64, "bits": bits} for bits in (8, 11, 32)],
    "residual": [
        {"background": "jpeg", "background.quality": 20, "steps": 20, "candidates": 1, "batch_points": 64},
        {"background": "webp", "mode": "direct", "bits": 16, "steps": 20, "candidates": 1, "batch_points": 64},
    ],
    "nerv": [{"steps": 4}],
    "scene": [{"preset": "fast"}],
}
_UPDATE_OPTIONS: dict[str, list[dict[str, Any]]] = {
    name: [{}, {"vector_bits": 8}] for name in ("factorised", "quantised", "stc", "svd")
} | {"random_mask": [{}, {"bits": 8}], "structured_low_rank": [{}, {"bits": 8}]}

_BOUNDARIES = (0, 1, 2, 127, 128, 255, 256, 4096, 16384, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
_FLOATS = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, -1.0, 3.4e38, 1e-45)
_SIDES = (0, 1, 2, 15, 39, 41, 64, 65, 1000, 8000, 16384)


@dataclass(frozen=True, eq=False)
class Seed:
    """A valid input: ``name`` such as ``payload jpeg``, its bytes, and its parts where it is a payload."""

    name: str
    data: bytes

    @property
    def is_update(self) -> bool:
        return self.data.startswith(b"RUPD")


@dataclass(frozen=True, eq=False)
class Input:
    """A mutated input: what it came from, where it was altered (``raw``, ``header``, ``part NAME``...), its bytes."""

    seed: Seed
    layer: str
    data: bytes


def small_clip() -> Clip:
    """Three frames of 40 x 32 pixels: a drifting wave, two boxes, then one, then none."""
    y, x = np.mgrid[0:32, 0:40].astype(np.float64)
    frames = []
    for t in range(3):
        waves = [128 + 90 * np.sin((x + 2 * t) / 7 + c) * np.cos(y / (6 + c)) for c in range(3)]
        image = np.stack(waves, axis=-1).clip(0, 255).astype(np.uint8)
        boxes = np.array([[5 + 2 * t, 8, 21 + 2 * t, 24], [0, 0, 12.5, 9.25]], np.float32)[: 2 - t]
        frames.append(Frame(image, boxes, np.arange(len(boxes), dtype=np.int64)))
    return Clip("small", tuple(frames), ("square", "corner"))


def small_model() -> dict[str, torch.Tensor]:
    """The state that updates apply to: matrices, a convolution, vectors and integer buffers."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(24, 20), nn.Linear(20, 4))
    net.register_buffer("mask", torch.tensor([True, False, True]))
    net.register_buffer("bits16", torch.ones(4, 6, dtype=torch.float16))
    return {k: v.clone() for k, v in net.state_dict().items()}


def seeds() -> list[Seed]:
    """Payloads of every registered codec and updates of every registered compressor."""
    clip, base = small_clip(), small_model()
    found = []
    for name in codecs.names():
        for options in _CODEC_OPTIONS.get(name, [{}]):
            found.append(Seed(f"payload {name}", codecs.create(name, **options).encode(clip, seed=3)))
    torch.manual_seed(1)
    new = {k: v + (0.02 * torch.randn(v.shape)).to(v.dtype) if v.is_floating_point() else ~v if v.dtype == torch.bool
           else v + 7 for k, v in base.items()}  # fmt: skip
    for name in updates.names():
        for options in _UPDATE_OPTIONS.get(name, [{}]):
            found.append(Seed(f"update {name}", updates.create(name, **options).compress(base, new, seed=5)))
    return found


def mutate(corpus: Sequence[Seed], seed: int, number: int) -> Input:
    """Input ``number`` of the run with ``seed``."""
    rng = np.random.default_rng([seed, number])
    chosen = corpus[int(rng.integers(len(corpus)))]
    other = corpus[int(rng.integers(len(corpus)))].data
    kind = int(rng.integers(6))
    if kind < 2:
        return Input(chosen, "raw", _mutated(chosen.data, other, rng))
    if kind == 2:
        content = _mutated(chosen.data[FIXED_BYTES:], other[FIXED_BYTES:], rng, reach=160)
        return Input(chosen, "header", sealed(chosen.data[:5], content))
    if chosen.is_update:
        envelope = Envelope.from_bytes(chosen.data)
        content = _mutated(envelope.content, other, rng)
        return Input(chosen, "content", dataclasses.replace(envelope, content=content).to_bytes())
    payload = Payload.from_bytes(chosen.data)
    if kind == 3:
        return _restated(chosen, payload, corpus, rng)
    parts = dict(payload.parts)
    name = sorted(parts)[int(rng.integers(len(parts)))]
    reach = 200 if rng.integers(2) else None
    parts[name] = _mutated(parts[name], other, rng, reach=reach)
    return Input(chosen, f"part {name}", payload.with_parts(payload.codec, parts).to_bytes())


def _restated(seed: Seed, payload: Payload, corpus: Sequence[Seed], rng: np.random.Generator) -> Input:
    """Valid fields that contradict the parts: another size, codec, frame count, boxes, or parts of another payload."""
    kind = int(rng.integers(5))
    if kind == 0:
        width, height = (int(rng.choice(_SIDES)) for _ in range(2))
        changed = dataclasses.replace(payload, width=width if rng.integers(2) else payload.width, height=height)
    elif kind == 1:
        names = codecs.names()
        changed = payload.with_parts(names[int(rng.integers(len(names)))], payload.parts)
    elif kind == 2:
        frames = int(rng.choice([1, 2, 4, 300, 65_535]))
        rows = [i % len(payload) for i in range(frames)]
        boxes = tuple(payload.boxes[i] for i in rows)
        changed = dataclasses.replace(payload, boxes=boxes, classes=tuple(payload.classes[i] for i in rows))
    elif kind == 3:
        moved = tuple((b * np.float32(rng.choice([-1, 0, 0.1, 3, 1000]))).astype(np.float32) for b in payload.boxes)
        changed = dataclasses.replace(payload, boxes=moved)
    else:
        others = [s for s in corpus if not s.is_update]
        changed = Payload.from_bytes(others[int(rng.integers(len(others)))].data).with_parts(
            payload.codec, _shuffled(payload.parts, rng)
        )
    return Input(seed, "fields", changed.to_bytes())


def _shuffled(parts: Mapping[str, bytes], rng: np.random.Generator) -> Mapping[str, bytes]:
    names = list(parts)
    return {name: parts[names[int(rng.integers(len(names)))]] for name in names}


def sealed(start: bytes, content: bytes) -> bytes:
    """``start`` (magic and version) and ``content`` with the length and CRC-32 that make it valid."""
    return start + struct.pack("<II", len(content), zlib.crc32(content)) + content


def _mutated(data: bytes, other: bytes, rng: np.random.Generator, reach: int | None = None) -> bytes:
    """One to four alterations, each within the first ``reach`` bytes."""
    altered = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        size = len(altered) if reach is None else min(reach, len(altered))
        at = int(rng.integers(size + 1))
        _alter(altered, at, other, rng)
    return bytes(altered)


def _alter(data: bytearray, at: int, other: bytes, rng: np.random.Generator) -> None:
    length = int(rng.integers(1, 2 ** int(rng.integers(1, 9))))
    start = int(rng.integers(max(1, len(other))))
    match int(rng.integers(9)):
        case 0 if at < len(data):
            data[at] ^= 1 << int(rng.integers(8))
        case 1 if at < len(data):
            data[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF, int(rng.integers(256))]))
        case 2:
            del data[at:]
        case 3:
            del data[at : at + length]
        case 4:
            data[at:at] = data[max(0, at - length) : at]
        case 5:
            data[at : at + length] = other[start : start + length]
        case 6:  # a length or count field at a boundary, in place of one to three bytes
            data[at : at + int(rng.integers(4))] = _varint(int(rng.choice(_BOUNDARIES)) + int(rng.integers(-1, 2)))
        case 7:  # a fixed-width number at a boundary
            value = int(rng.choice(_BOUNDARIES)) & 0xFFFFFFFF
            number = struct.pack("<f", rng.choice(_FLOATS)) if rng.integers(2) else struct.pack("<I", value)
            data[at : at + 4] = number
        case _:
            data[at : at + length] = bytes(_noise(rng, length))


def _noise(rng: np.random.Generator, length: int) -> NDArray[np.uint8]:
    return rng.integers(0, 256, length, np.uint8)


def _varint(value: int) -> bytes:
    writer = ByteWriter()
    writer.varint(max(0, value))
    return writer.getvalue()
