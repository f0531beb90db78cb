"""Renderer of residual payloads: any background, and over it the objects' networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteReader
from rinr_flower.bitstream.weights import Quantised, unpack_tensors
from rinr_flower.codecs.base import codecs
from rinr_flower.codecs.mixed import MixedRenderer
from rinr_flower.codecs.object_sizes import MAX_SIZES, size_classes
from rinr_flower.codecs.rapid_inr import read_bits, read_shape
from rinr_flower.errors import PayloadError
from rinr_flower.frames import Window, box_windows
from rinr_flower.inr.siren import Banks, ResidentBank, SirenShape, evaluate_grouped
from rinr_flower.rendering.fused import MAX_OBJECTS, Item, draw, kernel_draws
from rinr_flower.rendering.renderer import Renderer, View


def background_only(payload: Payload, codec: str, parts: Mapping[str, bytes]) -> Payload:
    """What the background's own renderer is given: frames without boxes."""
    none = (np.zeros((0, 4), np.float32),) * len(payload), (np.zeros(0, np.int64),) * len(payload)
    return replace(payload, codec=codec, parts=parts, boxes=none[0], classes=none[1])


@dataclass(frozen=True)
class _Resident:
    """An object on the decoding side: its window, network, and factor (None for direct)."""

    window: Window
    place: tuple[ResidentBank, int]
    scale: float | None


def residual_renderer(device: torch.device) -> Renderer:
    """An empty renderer for residual payloads, by the kernel where it can run."""
    return FusedResiduals(device) if kernel_draws(device) else ResidualRenderer(device)


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
        inner = background_only(payload, name, {**parts, "background": wrapped.raw(wrapped.left)})
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


class FusedResiduals(ResidualRenderer):
    """Objects over backgrounds, drawn by the kernel; nothing is read back from the device."""

    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        if max((len(self._objects[f]) for f in frames.tolist()), default=0) > MAX_OBJECTS:
            return super().render(frames, view)
        out = self._background.render(frames, view).clamp_(0, 1).contiguous()
        items: list[Item] = []
        for row, frame in enumerate(frames.tolist()):
            end = len(items) + len(self._objects[frame])
            for o in self._objects[frame]:
                items.append(Item(o.place, row, o.window, o.scale, (len(items) + 1, end)))
        return out if draw(out, view, items, whole=False) else super().render(frames, view)


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
    kinds = size_classes(windows, tuple(sizes), shapes, payload)
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
