"""Residual-INR (Chen, Yao, Subedi, Hao, ICCAD 2024): a background codec and a tiny SIREN for every object."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.bitstream.weights import (
    MAX_VALUES,
    Quantised,
    check_bits,
    pack_tensors,
    round_up_bfloat16,
    unpack_tensors,
)
from rinr_flower.codecs.base import Codec, Progress, codecs, native_frame
from rinr_flower.codecs.object_fit import ObjectFit, ObjectTarget
from rinr_flower.codecs.rapid_inr import MAX_PARAMETERS, RapidInr, check_shape, read_bits, read_shape, write_shape
from rinr_flower.decoding.mixed import MixedRenderer
from rinr_flower.decoding.renderer import Renderer, View
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.frames import Clip, Frame
from rinr_flower.inr.fit import Schedule
from rinr_flower.inr.siren import TILE, Banks, ResidentBank, SirenShape, evaluate_grouped

PAPER_SIZES = ((1_000, 10, 3), (3_000, 15, 3), (10_000, 17, 5), (None, 24, 5))
"""Object networks of the published code: (largest box area in pixels, hidden units, sine layers)."""
SMALL_SIZES = ((1_000, 8, 2), (3_000, 10, 2), (10_000, 14, 3), (None, 20, 3))
"""About a quarter of the bytes of the published sizes; there the residual's lead over direct coding is largest."""
MAX_SIZES = 16
MIN_COUNTED_PX = 1 << 12  # the objects of a smaller frame may cost as much as those of one of this size

Sizes = tuple[tuple[int | None, int, int], ...]
Window = tuple[int, int, int, int]


@codecs.register("residual")
@dataclass(frozen=True)
class Residual(Codec):
    """Any background codec, and over it one SIREN per box in the box's own coordinates.

    Attributes
    ----------
    background : the codec of the whole frame (in options: a name, a mapping, or ``background.key=value``).
    mode : ``residual`` codes the difference to the decoded background divided by its largest magnitude, which is
        stored; ``direct`` codes the pixels themselves.
    sizes : (largest box area in pixels or None, hidden units, sine layers), ascending; the last has no limit.
    w0 : frequency factor of the object networks; published 30.
    bits : bit width of the object weights, 2..16, or 32 for raw float32.
    candidates : initialisations that are tried briefly for every object; the best one is fitted on. Networks of 10 to
        24 units vary strongly with the seed.
    steps, learning_rate, batch_points : the objects' schedule; ``batch_points`` random pixels of every box a step.
    """

    background: Codec = field(default_factory=lambda: RapidInr(hidden=25))
    mode: Literal["residual", "direct"] = "residual"
    sizes: Sizes = SMALL_SIZES
    w0: int = 15
    bits: int = 8
    candidates: int = 3
    steps: int = 1_000
    learning_rate: float = 2e-3
    batch_points: int = 512

    @staticmethod
    def parse_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Accept a background given by name, as a mapping, or by dotted keys; sizes given as lists."""
        plain = {k: v for k, v in options.items() if not k.startswith("background.")}
        nested = {k.removeprefix("background."): v for k, v in options.items() if k.startswith("background.")}
        background = plain.get("background", "rapid_inr")
        if nested or not isinstance(background, Codec):
            if isinstance(background, Codec):
                raise ConfigError("give the background as a codec object or by options, not both")
            plain["background"] = codecs.create(background, **nested)
        if "sizes" in plain:
            plain["sizes"] = tuple(tuple(row) for row in plain["sizes"])
        return plain

    def __post_init__(self) -> None:
        if isinstance(self.background, Residual):
            raise ConfigError("the background of a residual codec cannot be another residual codec")
        limits = [math.inf if row[0] is None else row[0] for row in self.sizes]
        if not 1 <= len(limits) <= MAX_SIZES or limits != sorted(set(limits)) or limits[-1] != math.inf:
            raise ConfigError(f"residual sizes {self.sizes}: area limits must ascend and end with null (no limit)")
        for shape in self._shapes:
            check_shape(shape)
        if self.candidates < 1 or self.batch_points < 1:
            raise ConfigError(f"candidates {self.candidates} and batch_points {self.batch_points} must be at least 1")
        check_bits(self.bits, "object weights")
        Schedule(self.steps, self.learning_rate)

    @property
    def _shapes(self) -> list[SirenShape]:
        return [SirenShape(hidden, layers, self.w0) for _, hidden, layers in self.sizes]

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        def stage(start: float, share: float) -> Progress | None:
            return None if progress is None else lambda done: progress(start + share * done)

        inner = self.encode_backgrounds(clips, seed=seed, device=device, progress=stage(0, 0.7))
        return self.encode_objects(clips, inner, seed=seed, device=device, progress=stage(0.7, 0.3))

    def encode_backgrounds(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None = None
    ) -> list[Mapping[str, bytes]]:
        """The background codec's parts of each clip, as :meth:`encode_objects` takes them."""
        # a background that does not weight the objects need not know where they are, and must not code them
        if not getattr(self.background, "object_share", 0.0):
            clips = [_without_boxes(c) for c in clips]
        return self.background.encode_parts(clips, seed=seed, device=device, progress=progress)

    def encode_objects(
        self,
        clips: Sequence[Clip],
        backgrounds: Sequence[Mapping[str, bytes]],
        *,
        seed: int,
        device: torch.device,
        progress: Progress | None = None,
    ) -> list[Mapping[str, bytes]]:
        """The parts of each clip for backgrounds that are encoded already: one may carry objects of several sizes."""
        objects = [o for c, (clip, parts) in enumerate(zip(clips, backgrounds, strict=True))
                   for o in self._objects(c, clip, parts, device)]  # fmt: skip
        fitting = ObjectFit(self.bits, self.candidates, Schedule(self.steps, self.learning_rate), self.batch_points)
        fitting.run(objects, self._shapes, seed=seed, device=device, progress=progress)
        result: list[Mapping[str, bytes]] = []
        for c, parts in enumerate(backgrounds):
            if "object" in parts:
                raise ConfigError(f"codec {self.background.name!r} codes objects itself; it cannot be a background")
            mine = [o for o in objects if o.clip == c]
            result.append({**parts, "background": self._wrap(parts["background"]), "object": self._pack(mine)})
        return result

    def _objects(self, c: int, clip: Clip, parts: Mapping[str, bytes], device: torch.device) -> list[ObjectTarget]:
        payload = Payload.of_clip(self.background.name, clip, parts)
        renderer = MixedRenderer(device)
        renderer.add(_background_only(payload, payload.codec, parts))
        all_windows = [box_windows(b, clip.width, clip.height) for b in payload.boxes]
        kinds = _kinds(all_windows, self.sizes, self._shapes, payload)
        found = []
        for f, frame in enumerate(clip.frames):
            windows = all_windows[f]
            if not windows:
                continue
            base = native_frame(renderer, f, payload).clamp(0, 1) * 2
            picture = torch.tensor(frame.image, device=device).permute(2, 0, 1).float() / 127.5
            for (x1, y1, x2, y2), kind in zip(windows, kinds[f], strict=True):
                pixels = picture[:, y1:y2, x1:x2]
                if self.mode == "residual":
                    target = pixels - base[:, y1:y2, x1:x2]
                    scale = float(round_up_bfloat16(np.array([target.abs().max().item()], np.float32))[0])
                    target = target / (scale or 1.0)
                else:
                    target, scale = pixels - 1, 1.0
                found.append(ObjectTarget(c, kind, target.permute(1, 2, 0).contiguous(), scale))
        return found

    def _wrap(self, background: bytes) -> bytes:
        writer = ByteWriter()
        writer.blob(self.background.name.encode("ascii"))
        writer.raw(background)
        return writer.getvalue()

    def _pack(self, objects: Sequence[ObjectTarget]) -> bytes:
        writer = ByteWriter()
        writer.u8(self.mode == "residual")
        writer.varint(self.bits)
        writer.varint(len(self.sizes))
        for (area, _, _), shape in zip(self.sizes, self._shapes, strict=True):
            writer.varint(area or 0)
            write_shape(writer, shape)
        for kind in range(len(self.sizes)):
            members = [o for o in objects if o.kind == kind]
            if self.mode == "residual":
                scales = np.array([o.scale for o in members], np.float32)
                writer.raw((scales.view(np.uint32) >> 16).astype("<u2").tobytes())
            if members:
                banks = [Quantised.stack(t) for t in zip(*(o.weights for o in members), strict=True)]
                writer.raw(pack_tensors(banks, self.bits))
        return writer.getvalue()

    @classmethod
    def renderer(cls, device: torch.device) -> Renderer:
        return ResidualRenderer(device)


def _without_boxes(clip: Clip) -> Clip:
    return Clip(clip.name, tuple(Frame(f.image, file=f.file) for f in clip.frames), clip.class_names)


def _background_only(payload: Payload, codec: str, parts: Mapping[str, bytes]) -> Payload:
    """What the background's own renderer is given: frames without boxes."""
    none = (np.zeros((0, 4), np.float32),) * len(payload), (np.zeros(0, np.int64),) * len(payload)
    return replace(payload, codec=codec, parts=parts, boxes=none[0], classes=none[1])


def box_windows(boxes: NDArray[np.float32], width: int, height: int) -> list[Window]:
    """Whole-pixel windows x1, y1, x2, y2 that cover the boxes, cut at the frame; a box outside gives no window."""
    windows = []
    for x1, y1, x2, y2 in np.asarray(boxes, np.float64):
        window = max(0, math.floor(x1)), max(0, math.floor(y1)), min(width, math.ceil(x2)), min(height, math.ceil(y2))
        if window[0] < window[2] and window[1] < window[3]:
            windows.append(window)
    return windows


def size_class(area: int, sizes: Sizes) -> int:
    """Index of the first size whose area limit holds ``area`` pixels."""
    return next(i for i, (limit, _, _) in enumerate(sizes) if limit is None or area <= limit)


def _kinds(
    windows: Sequence[Sequence[Window]], sizes: Sizes, shapes: Sequence[SirenShape], payload: Payload
) -> list[list[int]]:
    """The size class of every window.

    Raises PayloadError if the networks together hold more than MAX_VALUES weights, or if those of one frame take more
    than MAX_PARAMETERS multiplications for each of its pixels; each is evaluated at a multiple of TILE points.
    """
    kinds = [[size_class((x2 - x1) * (y2 - y1), sizes) for x1, y1, x2, y2 in ws] for ws in windows]
    parameters = [shape.parameters for shape in shapes]
    weights = sum(parameters[kind] for ks in kinds for kind in ks)
    if weights > MAX_VALUES:
        raise PayloadError(f"object networks of {weights:,} weights; at most {MAX_VALUES:,} are allowed")
    allowed = MAX_PARAMETERS * max(payload.width * payload.height, MIN_COUNTED_PX)
    for ws, ks in zip(windows, kinds, strict=True):
        tiles = (-(-(x2 - x1) * (y2 - y1) // TILE) for x1, y1, x2, y2 in ws)
        products = sum(TILE * n * parameters[kind] for n, kind in zip(tiles, ks, strict=True))
        if products > allowed:
            raise PayloadError(
                f"the object networks of a frame take {products:,} multiplications; "
                f"{payload.width}x{payload.height} pixels allow {allowed:,}"
            )
    return kinds


@dataclass(frozen=True)
class _Resident:
    """An object on the decoding side: its window, network, and factor (None for direct)."""

    window: Window
    place: tuple[ResidentBank, int]
    scale: float | None


@dataclass
class ResidualRenderer(Renderer):
    """Backgrounds of any codec and, over them, the objects' networks."""

    device: torch.device
    _background: MixedRenderer = field(init=False)
    _banks: Banks = field(init=False)
    _objects: list[list[_Resident]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._background = MixedRenderer(self.device)
        self._banks = Banks(self.device)

    def add(self, payload: Payload) -> None:
        wrapped = ByteReader(payload.part("background"), "residual payload")
        name = wrapped.blob().decode("ascii", "replace")
        if name == payload.codec:
            raise PayloadError("a residual payload cannot be the background of another")
        if name not in codecs.names():
            raise PayloadError(f"residual payload with a background in the unknown codec {name!r}")
        parts = {k: v for k, v in payload.parts.items() if k != "object"}
        inner = _background_only(payload, name, {**parts, "background": wrapped.raw(wrapped.left)})
        frames, groups = _read_objects(payload)
        self._background.add(inner)
        networks = [
            iter(zip(self._banks.add(shape, bits, tensors), scales, strict=True) if scales else ())
            for shape, bits, tensors, scales in groups
        ]
        for frame in frames:
            self._objects.append([_Resident(window, *next(networks[kind])) for window, kind in frame])

    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        out = self._background.render(frames, view).clamp_(0, 1)
        flat = out.reshape(len(frames), 3, -1)
        points = view.points()
        places, inside, coordinates, targets = [], [], [], []
        for row, frame in enumerate(frames.tolist()):
            for o, where in _seen(self._objects[frame], points[row]):
                x1, y1, x2, y2 = o.window
                size = torch.tensor([2 / (x2 - x1), 2 / (y2 - y1)], device=self.device)
                corner = torch.tensor([x1, y1], dtype=torch.float32, device=self.device)
                places.append(o.place)
                coordinates.append((points[row][where] - corner) * size - 1)
                inside.append((row, where))
                targets.append(o.scale)
        for value, (row, where), scale in zip(evaluate_grouped(places, coordinates), inside, targets, strict=True):
            if scale is None:
                flat[row, :, where] = value.T * 0.5 + 0.5
            else:
                flat[row, :, where] += value.T * (0.5 * scale)
        return flat.reshape(out.shape)

    @property
    def resident_bytes(self) -> int:
        return self._background.resident_bytes + self._banks.resident_bytes


def _seen(objects: Sequence[_Resident], points: torch.Tensor) -> Iterator[tuple[_Resident, torch.Tensor]]:
    """Every object that is seen, and which of the ``points`` (n, 2) belong to it, ascending; where windows overlap, to
    the last one. Windows are whole pixels, so their owners are painted once: a point costs the same however many there
    are."""
    if not objects:
        return
    windows = np.array([o.window for o in objects])
    (left, top), (right, bottom) = windows[:, :2].min(axis=0).tolist(), windows[:, 2:].max(axis=0).tolist()
    owners = np.full((bottom - top, right - left), -1, np.int16)
    for number, (x1, y1, x2, y2) in enumerate((windows - [left, top, left, top]).tolist()):
        owners[y1:y2, x1:x2] = number
    x, y = points[:, 0], points[:, 1]
    near = torch.nonzero((x >= left) & (x < right) & (y >= top) & (y < bottom))[:, 0]
    column, row = (points[near].long() - torch.tensor([left, top], device=points.device)).unbind(1)
    owner, order = torch.from_numpy(owners).to(points.device)[row, column].sort(stable=True)
    counts = torch.bincount(owner.long() + 1, minlength=len(objects) + 1).tolist()
    for number, where in enumerate(torch.split(near[order], counts)[1:]):
        if len(where):
            yield objects[number], where


_Group = tuple[SirenShape, int, list[Quantised], Sequence[float | None]]
"""The networks of one size: their shape, bit width, tensors, and factor each (None for direct)."""


def _read_objects(payload: Payload) -> tuple[list[list[tuple[Window, int]]], list[_Group]]:
    """The windows of every frame with their size class, in box order; and the networks of each size, in that order."""
    reader = ByteReader(payload.part("object"), "object part of a residual payload")
    residual = reader.u8()
    if residual > 1:
        raise PayloadError(f"object part of a residual payload has an unknown mode {residual}")
    bits = read_bits(reader)
    sizes, shapes = [], []
    for _ in range(reader.varint(MAX_SIZES)):
        area = reader.varint()
        shapes.append(read_shape(reader))
        sizes.append((area or None, shapes[-1].hidden, shapes[-1].layers))
    if not sizes or sizes[-1][0] is not None:
        raise PayloadError("object part of a residual payload has no size for the largest boxes")
    windows = [box_windows(b, payload.width, payload.height) for b in payload.boxes]
    kinds = _kinds(windows, tuple(sizes), shapes, payload)
    groups: list[_Group] = []
    for kind, shape in enumerate(shapes):
        count = sum(k.count(kind) for k in kinds)
        scales: list[float | None] = [None] * count
        if residual:
            raw = np.frombuffer(reader.raw(2 * count), "<u2").astype(np.uint32) << np.uint32(16)
            factors = raw.view(np.float32)
            if not (np.isfinite(factors).all() and (factors >= 0).all() and (factors <= 4).all()):
                raise PayloadError("object part of a residual payload holds a residual scale out of 0..4")
            scales = factors.tolist()
        tensors = unpack_tensors(reader, shape.shapes(count), bits, (0,), "object weights") if count else []
        groups.append((shape, bits, tensors, scales))
    reader.end()
    return [list(zip(ws, ks, strict=True)) for ws, ks in zip(windows, kinds, strict=True)], groups
