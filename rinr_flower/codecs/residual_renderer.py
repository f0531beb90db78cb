"""Renderer of residual payloads: any background, and over it the objects' networks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteReader
from rinr_flower.bitstream.weights import Quantised, read_scales
from rinr_flower.codecs.base import codecs
from rinr_flower.codecs.mixed import MixedRenderer
from rinr_flower.codecs.object_sizes import MAX_SIZES, ObjectGroups, object_groups
from rinr_flower.codecs.rapid_inr import MAX_SHARED, read_bits, read_shape
from rinr_flower.codecs.shared_weights import unpack_shared
from rinr_flower.errors import PayloadError
from rinr_flower.inr.siren import Banks, ResidentBank, SirenShape, evaluate_grouped
from rinr_flower.rendering.fused import MAX_OBJECTS, Item, draw, kernel_draws
from rinr_flower.rendering.renderer import Renderer, View

MAX_FACTOR = 4.0  # of a residual; pixels are in -1..1


def background_only(payload: Payload, codec: str, parts: Mapping[str, bytes]) -> Payload:
    """What the background's own renderer is given: frames without boxes."""
    none = (np.zeros((0, 4), np.float32),) * len(payload), (np.zeros(0, np.int64),) * len(payload)
    return replace(payload, codec=codec, parts=parts, boxes=none[0], classes=none[1])


class _Objects(NamedTuple):
    """The objects of a frame on the decoding side, in the order of their boxes: windows int64 (objects, 4), networks,
    and factors (None for direct)."""

    windows: NDArray[np.int64]
    places: list[tuple[ResidentBank, int]]
    scales: list[float | None]


def residual_renderer(device: torch.device) -> Renderer:
    """An empty renderer for residual payloads, by the kernel where it can run."""
    return FusedResiduals(device) if kernel_draws(device) else ResidualRenderer(device)


@dataclass
class ResidualRenderer(Renderer):
    """Backgrounds of any codec and, over them, the objects' networks."""

    device: torch.device
    _background: MixedRenderer = field(init=False)
    _banks: Banks = field(init=False)
    _objects: list[_Objects] = field(init=False, default_factory=list)

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
        groups, networks = _read_objects(payload)
        self._background.add(inner)
        homes = [home for shape, bits, tensors, _ in networks for home in self._banks.add(shape, bits, tensors)]
        scales = [scale for *_, factors in networks for scale in factors]
        order = np.lexsort(groups.places.T[::-1])
        ends = np.searchsorted(groups.places[order, 0], np.arange(len(payload)), side="right").tolist()
        for start, end in itertools.pairwise([0, *ends]):
            mine = order[start:end]
            numbers = mine.tolist()
            self._objects.append(
                _Objects(groups.windows[mine], [homes[n] for n in numbers], [scales[n] for n in numbers])
            )

    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        out = self._background.render(frames, view).clamp_(0, 1)
        flat = out.reshape(len(frames), 3, -1)
        points = view.points()
        places, inside, coordinates, targets = [], [], [], []
        for row, frame in enumerate(frames.tolist()):
            objects = self._objects[frame]
            for number, where in _seen(objects.windows, points[row]):
                x1, y1, x2, y2 = objects.windows[number].tolist()
                size = torch.tensor([2 / (x2 - x1), 2 / (y2 - y1)], device=self.device)
                corner = torch.tensor([x1, y1], dtype=torch.float32, device=self.device)
                places.append(objects.places[number])
                coordinates.append((points[row][where] - corner) * size - 1)
                inside.append((row, where))
                targets.append(objects.scales[number])
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
        if max((len(self._objects[f].places) for f in frames.tolist()), default=0) > MAX_OBJECTS:
            return super().render(frames, view)
        out = self._background.render(frames, view).clamp_(0, 1).contiguous()
        items: list[Item] = []
        for row, frame in enumerate(frames.tolist()):
            objects = self._objects[frame]
            end = len(items) + len(objects.places)
            for window, place, scale in zip(objects.windows.tolist(), objects.places, objects.scales, strict=True):
                items.append(Item(place, row, tuple(window), scale, (len(items) + 1, end)))
        return out if draw(out, view, items, whole=False) else super().render(frames, view)


def _seen(windows: NDArray[np.int64], points: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Number of every window that is seen, and which of the ``points`` (n, 2) belong to it, ascending; where windows
    overlap, to the last one. Windows are whole pixels, so their owners are painted once: a point costs the same however
    many there are."""
    if not len(windows):
        return
    (left, top), (right, bottom) = windows[:, :2].min(axis=0).tolist(), windows[:, 2:].max(axis=0).tolist()
    owners = np.full((bottom - top, right - left), -1, np.int16)
    for number, (x1, y1, x2, y2) in enumerate((windows - [left, top, left, top]).tolist()):
        owners[y1:y2, x1:x2] = number
    x, y = points[:, 0], points[:, 1]
    near = torch.nonzero((x >= left) & (x < right) & (y >= top) & (y < bottom))[:, 0]
    column, row = (points[near].long() - torch.tensor([left, top], device=points.device)).unbind(1)
    owner, order = torch.from_numpy(owners).to(points.device)[row, column].sort(stable=True)
    counts = torch.bincount(owner.long() + 1, minlength=len(windows) + 1).tolist()
    for number, where in enumerate(torch.split(near[order], counts)[1:]):
        if len(where):
            yield number, where


_Networks = tuple[SirenShape, int, list[Quantised], Sequence[float | None]]
"""The networks of one size: shape, bit width, and for each box tensors and a factor (None: direct)."""


def _read_objects(payload: Payload) -> tuple[ObjectGroups, list[_Networks]]:
    """Which boxes have networks, and the networks of every size that has any, in the same order."""
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
        counts = groups.counts[groups.kinds == kind]
        if not len(counts):
            continue
        scales: Sequence[float | None] = [None] * int(counts.sum())
        if residual:
            factors = read_scales(reader, len(counts), "residual factors")
            if not (factors <= MAX_FACTOR).all():
                raise PayloadError(f"object part of a residual payload holds a factor over {MAX_FACTOR}")
            scales = np.repeat(factors, counts).tolist()
        tensors = unpack_shared(reader, shape, counts.tolist(), bits, "object weights")
        networks.append((shape, bits, tensors, scales))
    reader.end()
    return groups, networks
