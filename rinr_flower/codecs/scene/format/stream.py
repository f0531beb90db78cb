"""The parts of a scene payload. One description of their fields serves the writer and the reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import decode_ints, encode_ints
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.codecs.scene.format.code import (
    FEATURES,
    MASK_LEVELS,
    MAX_HEAD,
    RESIDUAL_SCALES,
    STEPS_PER_OCTAVE,
    LayerCode,
    SceneCode,
    ShotCode,
    blank_mask,
    flat,
)
from rinr_flower.codecs.scene.format.lattice import Kind
from rinr_flower.codecs.scene.format.network import shipped
from rinr_flower.codecs.scene.format.trunk import shipped_trunk
from rinr_flower.codecs.scene.format.walk import read, write
from rinr_flower.errors import ConfigError, PayloadError

MAX_WORKING_SIDE = 4096
MAX_LAYER_SIDE = 1024
MAX_FINER = 4 * STEPS_PER_OCTAVE
MAX_SAMPLES = 1 << 25  # coefficients of all kinds together
MAX_VOLUME_FRAMES = 1 << 11  # the cosine transform along time takes that many multiplications for a sample
CANVAS_LIMIT = 8  # a canvas has at most so many times the pixels of a frame
_MOVED, _BENT, _CHANGING, _PLACED = 1, 2, 4, 8  # flags of a shot

COEFFICIENTS = {Kind.CANVAS: "canvas", Kind.RESIDUAL: "background", Kind.OBJECT: "object", Kind.BEND: "motion"}
"""The part that each kind of coefficients ends."""

Numbers = NDArray[np.int64]


class Pipe(Protocol):
    """Fields of one part. Each call takes the value to write and returns it; a reader returns what it has read."""

    def u8(self, value: int) -> int: ...

    def varint(self, value: int, limit: int) -> int: ...

    def signed(self, value: int, limit: int) -> int: ...

    def ints(self, values: Numbers, what: str) -> Numbers:
        """An integer block behind its length; a reader returns as many as there are ``values``."""
        ...


class _Written:
    def __init__(self) -> None:
        self.bytes = ByteWriter()

    def u8(self, value: int) -> int:
        self.bytes.u8(value)
        return value

    def varint(self, value: int, limit: int) -> int:
        self.bytes.varint(value)
        return value

    def signed(self, value: int, limit: int) -> int:
        self.bytes.signed(value)
        return value

    def ints(self, values: Numbers, what: str) -> Numbers:
        self.bytes.blob(encode_ints(values))
        return values


class _Read:
    def __init__(self, data: bytes, what: str) -> None:
        self.bytes = ByteReader(data, what)

    def u8(self, value: int) -> int:
        return self.bytes.u8()

    def varint(self, value: int, limit: int) -> int:
        return self.bytes.varint(limit)

    def signed(self, value: int, limit: int) -> int:
        return self.bytes.signed(limit)

    def ints(self, values: Numbers, what: str) -> Numbers:
        return decode_ints(self.bytes.blob(), values.size, what)


Runs = Callable[[list[int]], list[int]]
"""From the frames of each shot to the appearances of each object's run, which the boxes say."""


def describe(pipes: Mapping[str, Pipe], code: SceneCode, frames: int, picture: tuple[int, int], runs: Runs) -> None:
    """Pass all fields of ``code``, except coefficients, through the pipes of the parts.

    A writer passes a complete code. A reader passes an empty one of ``frames`` frames that are ``picture`` (height,
    width) pixels large, which is filled; coefficients are then empty lists where there are any.
    """
    head = pipes["background"]
    digest = shipped().digest & 0xFFFF
    if (found := head.varint(digest, 0xFFFF)) != digest:
        raise PayloadError(f"scene was coded with the context network {found:04x}; this program has {digest:04x}")
    code.size = (head.varint(code.size[0], MAX_WORKING_SIDE), head.varint(code.size[1], MAX_WORKING_SIDE))
    height, width = code.size
    if min(code.size) < 1 or height > picture[0] or width > picture[1]:
        raise PayloadError(
            f"scene has a working size of {width}x{height} pixels for frames of {picture[1]}x{picture[0]}"
        )
    form = head.u8(int(code.grey) + 2 * RESIDUAL_SCALES.index(code.residual_scale))
    if form >= 2 * len(RESIDUAL_SCALES):
        raise PayloadError(f"scene is of an unknown form {form}: altered, or written by a later version")
    code.grey, code.residual_scale = bool(form & 1), RESIDUAL_SCALES[form >> 1]
    code.step_code, code.object_step_code = head.u8(code.step_code), head.u8(code.object_step_code)
    limit_px = CANVAS_LIMIT * max(height * width, 4096)
    count = head.varint(len(code.shots), frames)
    code.shots = code.shots or [ShotCode(0, code.size, (0, 0), None) for _ in range(count)]
    left = frames
    for shot in code.shots:
        _shot(head, shot, code.size, left, limit_px)
        left -= shot.frames
    if left:
        raise PayloadError(f"scene has shots of {frames - left} frames; the payload has {frames}")
    lengths = runs([s.frames for s in code.shots])
    code.parts = [head.varint(part, length) for part, length in zip(code.parts or lengths, lengths, strict=True)]
    if min(code.parts, default=1) < 1:
        raise PayloadError("scene cuts the run of an object into no parts")
    cuts = zip(lengths, code.parts, strict=True)
    seen = [len(piece) for length, part in cuts for piece in np.array_split(range(length), part)]
    if not code.layers:
        none = np.zeros((0, 6), np.int64)
        code.layers = [LayerCode((1, 1), (0, 0, 0, 0), np.resize(none, (n, 6)), blank_mask((1, 1))) for n in seen]
    moving = [s for s in code.shots if s.motion is not None]
    if "motion" in pipes:
        moves = pipes["motion"].ints(_differences([s.motion for s in moving if s.motion is not None]), "camera motion")
        for shot, table in zip(moving, _sums(moves, [s.frames for s in moving], 8), strict=True):
            shot.motion = table
        poses = pipes["motion"].ints(_differences([layer.poses for layer in code.layers]), "object poses")
        for layer, table in zip(code.layers, _sums(poses, seen, 6), strict=True):
            layer.poses = table
    if code.layers:
        _layers(pipes["object"], code.layers, limit_px)
    if "heads" in pipes:
        _heads(pipes["heads"], code)


def _shot(head: Pipe, shot: ShotCode, size: tuple[int, int], frames: int, limit_px: int) -> None:
    shot.frames = head.varint(shot.frames, frames)
    if shot.frames < 1:
        raise PayloadError("scene declares a shot of no frames")
    placed = shot.canvas != size or shot.origin != (0, 0)
    given = (shot.motion is not None, shot.bend_bands is not None, shot.residual_bands is not None)
    there = (*given, placed)
    flags = head.u8(sum(2**bit for bit, yes in enumerate(there) if yes))
    if flags >= 2 * _PLACED:
        raise PayloadError(f"scene has a shot with unknown flags {flags}: altered, or written by a later version")
    if flags & _PLACED:
        far = MAX_WORKING_SIDE * 4
        shot.canvas = (head.varint(shot.canvas[0], far), head.varint(shot.canvas[1], far))
        shot.origin = (head.signed(shot.origin[0], far), head.signed(shot.origin[1], far))
    if min(shot.canvas) < 1 or shot.canvas[0] * shot.canvas[1] > limit_px:
        raise PayloadError(f"scene declares a canvas of {shot.canvas[1]}x{shot.canvas[0]} pixels")
    if shot.motion is None and flags & _MOVED:
        shot.motion = np.zeros((shot.frames, 8), np.int64)
    if shot.bend_bands is None and flags & _BENT:
        shot.bend_bands = []
    if shot.residual_bands is None and flags & _CHANGING:
        shot.residual_bands = []


def _heads(pipe: Pipe, code: SceneCode) -> None:
    digest = shipped_trunk().digest & 0xFFFF
    if (trunk := pipe.varint(digest, 0xFFFF)) != digest:
        raise PayloadError(f"scene has heads for the trunk {trunk:04x}; this program has {digest:04x}")
    given = [np.zeros((0, FEATURES), np.int64) if h is None else h for h in (code.canvas_head, code.object_head)]
    rows = pipe.u8(len(given[0]) + 4 * len(given[1]))
    if rows % 4 > 1 or rows // 4 > (1 if code.grey else 3):
        raise PayloadError(f"scene has heads of an unknown form {rows}: altered, or written by a later version")
    values = pipe.ints(
        np.concatenate(
            [
                h if len(h) else np.zeros((n, FEATURES), np.int64)
                for h, n in zip(given, (rows % 4, rows // 4), strict=True)
            ]
        ),
        "synthesis heads",
    )
    if np.abs(values).max(initial=0) > MAX_HEAD:
        raise PayloadError(f"a synthesis head holds {int(np.abs(values).max())}; at most {MAX_HEAD} is allowed")
    table = values.reshape(-1, FEATURES)
    code.canvas_head, code.object_head = (h if len(h) else None for h in (table[: rows % 4], table[rows % 4 :]))


def _layers(pipe: Pipe, layers: list[LayerCode], limit_px: int) -> None:
    for layer in layers:
        layer.size = (pipe.varint(layer.size[0], MAX_LAYER_SIDE), pipe.varint(layer.size[1], MAX_LAYER_SIDE))
        layer.finer = pipe.signed(layer.finer, MAX_FINER)
        left, top, right, bottom = (pipe.varint(margin, MAX_LAYER_SIDE) for margin in layer.margins)
        layer.margins = (left, top, right, bottom)
        height, width = layer.size
        if left + right >= width or top + bottom >= height or height * width > limit_px:
            raise PayloadError(f"scene declares an object of {width}x{height} pixels")
        if layer.mask.shape != (blank := blank_mask(layer.size)).shape:
            layer.mask = blank
    masks = pipe.ints(np.concatenate([layer.mask.reshape(-1) for layer in layers]), "object masks")
    if masks.min() < 0 or masks.max() > MASK_LEVELS:
        raise PayloadError(f"an object mask holds {int(masks.max())}; it goes from 0 to {MASK_LEVELS}")
    for layer in layers:
        layer.mask, masks = masks[: layer.mask.size].reshape(layer.mask.shape), masks[layer.mask.size :]


def to_parts(code: SceneCode) -> dict[str, bytes]:
    """The payload parts of ``code``. ConfigError if no reader would take them."""
    volumes = code.volumes()
    bands = [band for _, pyramids in volumes for band in flat(pyramids)]
    samples, longest = sum(b.size for b in bands), max((len(b) for b in bands), default=0)
    if samples > MAX_SAMPLES or longest > MAX_VOLUME_FRAMES:
        raise ConfigError(
            f"a scene of {samples:,} coefficients with a shot of {longest:,} frames; at most {MAX_SAMPLES:,} and "
            f"{MAX_VOLUME_FRAMES:,} are read, split the clip"
        )
    names = ["background", "canvas"]
    if code.layers or any(s.motion is not None or s.bend_bands is not None for s in code.shots):
        names.append("motion")
    if code.layers:
        names.append("object")
    if code.canvas_head is not None or code.object_head is not None:
        names.append("heads")
    pipes = {name: _Written() for name in names}
    lengths = _lengths(code)
    describe(pipes, code, sum(s.frames for s in code.shots), code.size, lambda _: lengths)
    for kind, data in write([layout for layout, _ in volumes], bands).items():
        pipes[COEFFICIENTS[kind]].bytes.raw(data)
    return {name: data for name, pipe in pipes.items() if (data := pipe.bytes.getvalue())}


def _lengths(code: SceneCode) -> list[int]:
    """The appearances of each run of an object: of as many volumes together as it is cut into."""
    rest = iter(code.layers)
    return [sum(len(next(rest).poses) for _ in range(part)) for part in code.parts]


def read_parts(parts: Mapping[str, bytes], frames: int, picture: tuple[int, int], runs: Runs) -> SceneCode:
    """Read a payload's parts, of ``frames`` frames of ``picture`` (height, width) pixels.

    Raises PayloadError if the parts are truncated or altered, or declare more samples than MAX_SAMPLES or more frames
    of a volume than MAX_VOLUME_FRAMES; that is checked before anything is allocated.
    """
    unknown = set(parts) - {"background", "heads", *COEFFICIENTS.values()}
    if unknown:
        raise PayloadError(f"a 'scene' payload has parts that it does not use: {sorted(unknown)}")
    pipes = {name: _Read(data, f"scene {name}") for name, data in parts.items()}
    for name in ("background", "object"):
        pipes.setdefault(name, _Read(b"", f"scene {name}"))
    code = SceneCode((0, 0), False, 0, 0)
    describe(pipes, code, frames, picture, runs)
    if (code.layers or any(s.motion is not None for s in code.shots)) and "motion" not in parts:
        raise PayloadError("scene lacks its motion")
    layouts = [layout for layout, _ in code.volumes()]
    samples = sum(t * h * w for layout in layouts for plane in layout.planes for t, h, w in plane)
    longest = max((plane[0][0] for layout in layouts for plane in layout.planes), default=0)
    if samples > MAX_SAMPLES:
        raise PayloadError(f"scene declares {samples:,} coefficients; at most {MAX_SAMPLES:,} are read")
    if longest > MAX_VOLUME_FRAMES:
        raise PayloadError(f"scene declares a volume of {longest:,} frames; at most {MAX_VOLUME_FRAMES:,} are read")
    if "heads" in pipes:
        pipes["heads"].bytes.end()
    rest = {k: pipes[name].bytes.raw(pipes[name].bytes.left) for k, name in COEFFICIENTS.items() if name in pipes}
    code.take(read(layouts, rest))
    return code


def _differences(tables: list[Numbers]) -> Numbers:
    """Differences of tables (rows, columns) down their rows, table by table, column by column."""
    found = [np.diff(table, axis=0, prepend=0).T.reshape(-1) for table in tables]
    return np.concatenate([np.zeros(0, np.int64), *found])


def _sums(values: Numbers, rows: list[int], columns: int) -> list[Numbers]:
    """The tables of which :func:`_differences` were taken."""
    stops = np.cumsum([0, *rows]) * columns
    tables = [
        np.cumsum(values[a:b].reshape(columns, n).T, axis=0)
        for a, b, n in zip(stops[:-1].tolist(), stops[1:].tolist(), rows, strict=True)
    ]
    if any(np.abs(table).max(initial=0) > 1 << 24 for table in tables):
        raise PayloadError("scene motion is out of range")
    return tables
