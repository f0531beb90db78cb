"""Renderer of residual payloads: any background, and over it the objects' networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteReader
from rinr_flower.bitstream.weights import Quantised, read_scales
from rinr_flower.codecs.base import codecs
from rinr_flower.codecs.mixed import MixedRenderer
from rinr_flower.codecs.object_sizes import MAX_SIZES, ObjectGroup, object_groups
from rinr_flower.codecs.rapid_inr import MAX_SHARED, read_bits, read_shape
from rinr_flower.codecs.shared_weights import unpack_shared
from rinr_flower.errors import PayloadError
from rinr_flower.frames import Window
from rinr_flower.inr.siren import Banks, ResidentBank, SirenShape, evaluate_grouped
from rinr_flower.rendering.fused import MAX_OBJECTS, Item, draw, kernel_draws
from rinr_flower.rendering.renderer import Renderer, View

MAX_FACTOR = 4.0  # of a residual; pixels are in -1..1


def background_only(payload: Payload, codec: str, parts: Mapping[str, bytes]) -> Payload:
    """What the background's own renderer is given: frames without boxes."""
    none = (np.zeros((0, 4), np.float32),) * len(payload), (np.zeros(0, np.int64),) * len(payload)
    return replace(payload, codec=codec, parts=parts, boxes=none[0], classes=none[1])


class _Resident(NamedTuple):
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
        networks = _read_objects(payload)
        self._background.add(inner)
        placed: list[dict[int, _Resident]] = [{} for _ in range(len(payload))]
        for shape, bits, groups, tensors, scales in networks:
            homes = iter(self._banks.add(shape, bits, tensors))
            for group, scale in zip(groups, scales, strict=True):
                for (frame, row), window in zip(group.places, group.windows, strict=True):
                    placed[frame][row] = _Resident(window, next(homes), scale)
        self._objects += [[rows[row] for row in sorted(rows)] for rows in placed]

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


_Networks = tuple[SirenShape, int, list[ObjectGroup], list[Quantised], Sequence[float | None]]
"""The networks of one size: shape, bit width, which boxes they draw, tensors for each box, factors (None: direct)."""


def _read_objects(payload: Payload) -> list[_Networks]:
    """The networks of every size that has any."""
    reader = ByteReader(payload.part("object"), "object part of a residual payload")
    residual = reader.u8()
    if residual > 1:
        raise PayloadError(f"object part of a residual payload has an unknown mode {residual}")
    bits, shared = read_bits(reader), reader.varint(MAX_SHARED)
    if not shared:
        raise PayloadError("object part of a residual payload has networks of no boxes")
    sizes, shapes = [], []
    for _ in range(reader.varint(MAX_SIZES)):
        area = reader.varint()
        shapes.append(read_shape(reader))
        sizes.append((area or None, shapes[-1].hidden, shapes[-1].layers))
    if not sizes or sizes[-1][0] is not None:
        raise PayloadError("object part of a residual payload has no size for the largest boxes")
    groups = object_groups(payload, tuple(sizes), shapes, shared)
    networks: list[_Networks] = []
    for kind, shape in enumerate(shapes):
        mine = [group for group in groups if group.kind == kind]
        if not mine:
            continue
        scales: list[float | None] = [None] * len(mine)
        if residual:
            factors = read_scales(reader, len(mine), "residual factors")
            if not (factors <= MAX_FACTOR).all():
                raise PayloadError(f"object part of a residual payload holds a factor over {MAX_FACTOR}")
            scales = factors.tolist()
        tensors = unpack_shared(reader, shape, [len(g.places) for g in mine], bits, "object weights")
        networks.append((shape, bits, mine, tensors, scales))
    reader.end()
    return networks
