"""Rapid-INR (Chen et al., ICCAD 2023): one SIREN per frame, over the frame's coordinates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.bitstream.weights import Quantised, check_bits, pack_tensors, quantise, unpack_tensors
from rinr_flower.codecs.base import Codec, Progress, codecs
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.frames import Clip, Frame, box_mask
from rinr_flower.inr.fit import Schedule, fit
from rinr_flower.inr.siren import (
    Banks,
    ResidentBank,
    SirenShape,
    TrainableBank,
    evaluate_grouped,
    fitted_slices,
    initial_bank,
)
from rinr_flower.rendering.fused import Item, draw, kernel_draws
from rinr_flower.rendering.renderer import Renderer, View

MAX_HIDDEN, MAX_LAYERS, MAX_W0 = 512, 64, 1_000
MAX_PARAMETERS = 1 << 19  # of one network: what a pixel may cost to draw, in multiply-adds
_NETWORKS_AT_ONCE = 32


@codecs.register("rapid_inr")
@dataclass(frozen=True)
class RapidInr(Codec):
    """One SIREN per frame, all frames of all clips fitted as one batched product on mini-batches of pixels.

    Attributes
    ----------
    hidden, layers : units and sine layers; 28 x 10 is the published setting (7,479 parameters).
    w0 : frequency factor of the sine layers; published 30, which short fits reach less far with.
    bits : bit width of the weights, 2..16, or 32 for raw float32.
    prune : fraction of the hidden weights fixed at zero half-way through the fit.
    steps, learning_rate, batch_points : the schedule; ``batch_points`` random pixels of every frame a step, or None for
        all of them, as published.
    object_share : share of those pixels that is drawn inside the frame's boxes, 0 to 1; the rest is drawn anywhere. A
        small object has next to no say in a loss over all pixels.
    """

    hidden: int = 28
    layers: int = 10
    w0: int = 20
    bits: int = 8
    prune: float = 0.0
    steps: int = 1_500
    learning_rate: float = 1e-3
    batch_points: int | None = 2_048
    object_share: float = 0.0

    def __post_init__(self) -> None:
        check_shape(self.shape)
        if not 0 <= self.prune < 1:
            raise ConfigError(f"prune {self.prune} is not in [0, 1)")
        if self.batch_points is not None and self.batch_points < 1:
            raise ConfigError(f"batch_points {self.batch_points} is not positive")
        if not 0 <= self.object_share <= 1:
            raise ConfigError(f"object_share {self.object_share} is not in [0, 1]")
        if self.object_share and self.batch_points is None:
            raise ConfigError("object_share says where random pixels are drawn; batch_points None takes all of them")
        check_bits(self.bits, "rapid_inr weights")
        self.schedule  # noqa: B018  its own check of steps and rate

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.steps, self.learning_rate)

    @property
    def shape(self) -> SirenShape:
        return SirenShape(self.hidden, self.layers, self.w0)

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        total, done = sum(len(c) for c in clips), 0
        starts = [initial_bank(self.shape, len(c), torch.Generator().manual_seed(seed)) for c in clips]
        fitted: list[list[list[Quantised]]] = [[] for _ in clips]
        # frames of equal size from any clip share a bank
        by_size: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for c, clip in enumerate(clips):
            by_size.setdefault((clip.width, clip.height), []).extend((c, f) for f in range(len(clip)))
        for frames in by_size.values():
            for at in range(0, len(frames), _NETWORKS_AT_ONCE):
                chunk = frames[at : at + _NETWORKS_AT_ONCE]
                pictures = [clips[c].frames[f] for c, f in chunk]
                start = [torch.stack([starts[c][i][f] for c, f in chunk]) for i in range(len(starts[0]))]
                share, before = len(chunk) / total, done / total

                def report(fraction: float, share: float = share, before: float = before) -> None:
                    if progress is not None:
                        progress(before + share * fraction)

                bank = self._fit(pictures, start, seed, device, report)
                done += len(chunk)
                tensors = bank.quantise()
                for row, (c, _) in enumerate(chunk):
                    fitted[c].append([t.rows(row, row + 1) for t in tensors])
        return [
            {"background": self._pack([Quantised.stack(tensors) for tensors in zip(*networks, strict=True)])}
            for networks in fitted
        ]

    def requantised(self, parts: Mapping[str, bytes], clip: Clip) -> Mapping[str, bytes]:
        """Parts that this codec wrote with another bit width, larger than its own, with its own."""
        _, _, tensors = _unpack(parts["background"], len(clip))
        return {**parts, "background": self._pack([quantise(t.dequantise(), self.bits, (0,)) for t in tensors])}

    def _fit(
        self,
        frames: Sequence[Frame],
        start: list[torch.Tensor],
        seed: int,
        device: torch.device,
        progress: Progress,
    ) -> TrainableBank:
        networks, (height, width) = len(frames), frames[0].image.shape[:2]
        flat = torch.from_numpy(np.stack([f.image for f in frames])).to(device).reshape(networks, -1, 3)
        batch = _Pixels(frames, self.batch_points, self.object_share, seed, device)
        bank = TrainableBank(self.shape, start, self.bits, device)
        half = self.steps // 2
        rows = torch.arange(networks, device=device)[:, None]

        def losses(step: int) -> Iterator[torch.Tensor]:
            chosen = batch.next()
            for part in fitted_slices(chosen.shape[1]):
                points = pixel_points(chosen[:, part], width, height)
                target = flat[rows, chosen[:, part]].float() / 127.5 - 1
                error = bank(points, quantised=self.schedule.quantised(step)) - target
                yield error.square().sum() / (3 * chosen.shape[1])

        fit(bank.tensors, losses, self.schedule, last=half, progress=progress)
        if self.prune:
            bank.prune(self.prune)
        fit(bank.tensors, losses, self.schedule, first=half, progress=progress)
        return bank

    def _pack(self, tensors: Sequence[Quantised]) -> bytes:
        writer = ByteWriter()
        write_shape(writer, self.shape)
        writer.varint(self.bits)
        writer.raw(pack_tensors(tensors, self.bits))
        return writer.getvalue()

    @classmethod
    def renderer(cls, device: torch.device) -> Renderer:
        return FusedSirens(device) if kernel_draws(device) else SirenRenderer(device)


def _unpack(background: bytes, frames: int) -> tuple[SirenShape, int, list[Quantised]]:
    """Shape, bit width and tensors of one network for each of the ``frames``."""
    reader = ByteReader(background, "rapid_inr payload")
    shape = read_shape(reader)
    bits = read_bits(reader)
    tensors = unpack_tensors(reader, shape.shapes(frames), bits, (0,), "rapid_inr weights")
    reader.end()
    return shape, bits, tensors


class _Pixels:
    """The pixels of every step: ``count`` random ones, a share of them inside the boxes of each frame, or all."""

    def __init__(
        self, frames: Sequence[Frame], count: int | None, object_share: float, seed: int, device: torch.device
    ) -> None:
        self._networks, self._total, self._device = len(frames), frames[0].width * frames[0].height, device
        self._all = torch.arange(self._total, device=device).expand(len(frames), -1) if count is None else None
        self._objects = round(object_share * (count or 0))
        self._anywhere = (count or 0) - self._objects
        self._boxes = _PixelsInBoxes(frames, device) if self._objects else None
        self._generator = torch.Generator().manual_seed(seed)

    def next(self) -> torch.Tensor:
        """Pixel numbers (frames, p) of a step."""
        if self._all is not None:
            return self._all
        anywhere = torch.randint(self._total, (self._anywhere,), generator=self._generator)
        chosen = anywhere.to(self._device, non_blocking=True).expand(self._networks, -1)
        if self._boxes is None:
            return chosen
        places = torch.rand(self._objects, generator=self._generator).to(self._device, non_blocking=True)
        return torch.cat([chosen, self._boxes.at(places)], dim=1)


class _PixelsInBoxes:
    """The pixels inside the boxes of each frame, all pixels of a frame without any."""

    def __init__(self, frames: Sequence[Frame], device: torch.device) -> None:
        inside = [np.flatnonzero(box_mask(f.boxes, f.width, f.height)) for f in frames]
        inside = [p if len(p) else np.arange(f.width * f.height) for p, f in zip(inside, frames, strict=True)]
        counts = np.array([len(p) for p in inside])
        self._pixels = torch.from_numpy(np.concatenate(inside)).to(device)
        self._counts = torch.from_numpy(counts).to(device)[:, None]
        self._starts = torch.from_numpy(np.cumsum(counts) - counts).to(device)[:, None]

    def at(self, positions: torch.Tensor) -> torch.Tensor:
        """Pixel numbers (frames, p) at ``positions`` (p,) in 0..1 of each frame's list."""
        return self._pixels[self._starts + (positions * self._counts).long().minimum(self._counts - 1)]


def pixel_points(indices: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Coordinates in -1..1 (x, y) of the centres of pixels numbered row by row: (..., p) -> (..., p, 2)."""
    x = (indices % width).float() + 0.5
    y = torch.div(indices, width, rounding_mode="floor").float() + 0.5
    return torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], dim=-1)


@dataclass
class SirenRenderer(Renderer):
    """Frames that are one SIREN each."""

    device: torch.device
    _banks: Banks = field(init=False)
    _places: list[tuple[ResidentBank, int]] = field(init=False, default_factory=list)
    _sizes: list[tuple[int, int]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._banks = Banks(self.device)

    def add(self, payload: Payload) -> None:
        shape, bits, tensors = _unpack(payload.part("background"), len(payload))
        self._places += self._banks.add(shape, bits, tensors)
        self._sizes += [(payload.width, payload.height)] * len(payload)

    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        chosen = frames.tolist()
        scale = torch.tensor([[2 / self._sizes[f][0], 2 / self._sizes[f][1]] for f in chosen], device=self.device)
        # outside the frame a sine network returns noise: repeat the border instead
        points = (view.points() * scale[:, None] - 1).clamp(-1, 1)
        values = evaluate_grouped([self._places[f] for f in chosen], list(points))
        return (torch.stack(values).mul_(0.5).add_(0.5)).transpose(1, 2).reshape(len(chosen), 3, *view.size)

    @property
    def resident_bytes(self) -> int:
        return self._banks.resident_bytes


class FusedSirens(SirenRenderer):
    """Frames that are one SIREN each, drawn by the kernel."""

    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        chosen = frames.tolist()
        out = torch.empty(len(chosen), 3, *view.size, device=self.device)
        items = [Item(self._places[f], row, (0, 0, *self._sizes[f])) for row, f in enumerate(chosen)]
        return out if draw(out, view, items, whole=True) else super().render(frames, view)


def check_shape(shape: SirenShape) -> None:
    """ConfigError if a payload could not hold this shape."""
    limits = {"hidden": MAX_HIDDEN, "layers": MAX_LAYERS, "w0": MAX_W0}
    for name, limit in limits.items():
        if not 1 <= getattr(shape, name) <= limit:
            raise ConfigError(f"a SIREN with {name}={getattr(shape, name)}; 1 to {limit} are allowed")
    if shape.parameters > MAX_PARAMETERS:
        raise ConfigError(f"a SIREN of {shape.parameters:,} parameters; at most {MAX_PARAMETERS:,} are allowed")


def write_shape(writer: ByteWriter, shape: SirenShape) -> None:
    """Units, layers, frequency."""
    for value in (shape.hidden, shape.layers, shape.w0):
        writer.varint(value)


def read_shape(reader: ByteReader) -> SirenShape:
    """What :func:`write_shape` wrote, within limits."""
    shape = SirenShape(reader.varint(MAX_HIDDEN), reader.varint(MAX_LAYERS), reader.varint(MAX_W0))
    if not (shape.hidden and shape.layers and shape.w0):
        raise PayloadError(f"payload declares a network with nothing in it: {shape}")
    if shape.parameters > MAX_PARAMETERS:
        raise PayloadError(f"payload declares a network of {shape.parameters:,} parameters, over {MAX_PARAMETERS:,}")
    return shape


def read_bits(reader: ByteReader) -> int:
    """A bit width that :func:`check_bits` accepts."""
    bits = reader.varint(64)
    try:
        check_bits(bits, "payload with weights")
    except ConfigError as error:
        raise PayloadError(str(error)) from error
    return bits
