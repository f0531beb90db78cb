"""Rapid-INR (Chen et al., ICCAD 2023): one SIREN per frame, over the frame's coordinates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.bitstream.weights import Quantised, check_bits, quantise
from rinr_flower.codecs.base import Codec, Progress, codecs
from rinr_flower.codecs.shared_weights import pack_shared, unpack_shared
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.frames import Clip, Frame, box_mask
from rinr_flower.inr.fit import Schedule
from rinr_flower.inr.shared_siren import SharedBank, SharedWeights, fit_and_round, fit_of
from rinr_flower.inr.siren import (
    Banks,
    ResidentBank,
    SirenShape,
    evaluate_grouped,
    fitted_slices,
    initial_bank,
)
from rinr_flower.rendering.fused import Item, draw, kernel_draws
from rinr_flower.rendering.renderer import Renderer, View

MAX_HIDDEN, MAX_LAYERS, MAX_W0 = 512, 64, 1_000
MAX_PARAMETERS = 1 << 19  # of one network: what a pixel may cost to draw, in multiply-adds
MAX_SHARED = 1024
_NETWORKS_AT_ONCE = 32


@codecs.register("rapid_inr")
@dataclass(frozen=True)
class RapidInr(Codec):
    """One SIREN a frame. Frames of one shot have all layers but the first in common.

    Attributes
    ----------
    hidden, layers : units and sine layers; 28 x 10 is the published setting (7,479 parameters). Wide and shallow ones
        of as many bytes reach further.
    w0 : frequency factor of the sine layers, as published.
    bits : bit width of the weights, 2..16, or 32 for raw float32.
    shared : most frames that one network serves; 1, as published, gives every frame a whole network.
    prune : fraction of the hidden weights fixed at zero half-way through the fit.
    steps, learning_rate, batch_points : the schedule of a network of one frame; ``batch_points`` random pixels a step,
        or None for all of them, as published. One of several takes up to 4 times as many points a step, then up to 4
        times as many steps.
    object_share : share of those pixels that is drawn inside the frame's boxes, 0 to 1; the rest is drawn anywhere. A
        small object has next to no say in a loss over all pixels.
    """

    hidden: int = 64
    layers: int = 4
    w0: int = 30
    bits: int = 6
    shared: int = 32
    prune: float = 0.0
    steps: int = 2_000
    learning_rate: float = 1e-3
    batch_points: int | None = 2_048
    object_share: float = 0.0

    def __post_init__(self) -> None:
        check_shape(self.shape)
        if not 0 <= self.prune < 1:
            raise ConfigError(f"prune {self.prune} is not in [0, 1)")
        if not 1 <= self.shared <= MAX_SHARED:
            raise ConfigError(f"shared {self.shared} is not in 1..{MAX_SHARED}")
        if self.batch_points is not None and self.batch_points < 1:
            raise ConfigError(f"batch_points {self.batch_points} is not positive")
        if not 0 <= self.object_share <= 1:
            raise ConfigError(f"object_share {self.object_share} is not in [0, 1]")
        if self.object_share and self.batch_points is None:
            raise ConfigError("object_share says where random pixels are drawn; batch_points None takes all of them")
        check_bits(self.bits, "rapid_inr weights")
        Schedule(self.steps, self.learning_rate)

    @property
    def shape(self) -> SirenShape:
        return SirenShape(self.hidden, self.layers, self.w0)

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        jobs = [job for c, clip in enumerate(clips) for job in self._jobs(c, clip, seed)]
        total, done = sum(len(job.frames) for job in jobs), 0
        # networks of as many frames of equal size, from any clip, are fitted together
        alike: dict[tuple[int, ...], list[_Job]] = {}
        for job in jobs:
            alike.setdefault((len(job.frames), *job.frames[0].image.shape[:2]), []).append(job)
        for members in alike.values():
            for at in range(0, len(members), _NETWORKS_AT_ONCE):
                chunk = members[at : at + _NETWORKS_AT_ONCE]
                share, before = sum(len(job.frames) for job in chunk) / total, done / total

                def report(fraction: float, share: float = share, before: float = before) -> None:
                    if progress is not None:
                        progress(before + share * fraction)

                self._fit(chunk, seed, device, report)
                done += sum(len(job.frames) for job in chunk)
        parts: list[Mapping[str, bytes]] = []
        for c in range(len(clips)):
            mine = [job for job in jobs if job.clip == c]
            parts.append({"background": self._pack([len(j.frames) for j in mine], [j.weights() for j in mine])})
        return parts

    def _jobs(self, c: int, clip: Clip, seed: int) -> list[_Job]:
        from rinr_flower.codecs.frame_groups import frame_groups  # OpenCV, which payloads are decoded without

        groups = frame_groups(clip, self.shared)
        start = initial_bank(self.shape, len(groups), torch.Generator().manual_seed(seed))
        return [
            _Job(c, [clip.frames[f] for f in group.frames], group.motions, [t[g] for t in start])
            for g, group in enumerate(groups)
        ]

    def _fit(self, jobs: Sequence[_Job], seed: int, device: torch.device, progress: Progress) -> None:
        networks, pictures = len(jobs), len(jobs[0].frames)
        height, width = jobs[0].frames[0].image.shape[:2]
        frames = [frame for job in jobs for frame in job.frames]
        flat = torch.from_numpy(np.stack([f.image for f in frames])).to(device).reshape(networks * pictures, -1, 3)
        steps, count = fit_of(pictures, self.steps, self.batch_points)
        batch = _Pixels(frames, networks, count, self.object_share, seed, device)
        rows = torch.arange(networks * pictures, device=device)[:, None]
        start = [torch.stack(tensors) for tensors in zip(*(job.start for job in jobs), strict=True)]
        bank = SharedBank(self.shape, start, torch.stack([job.motions for job in jobs]), device)
        schedule = Schedule(steps, self.learning_rate)

        def losses(step: int) -> Iterator[torch.Tensor]:
            chosen = batch.next()
            for part in fitted_slices(chosen.shape[1]):
                points = pixel_points(chosen[:, part], width, height).reshape(networks, pictures, -1, 2)
                target = flat[rows, chosen[:, part]].float() / 127.5 - 1
                error = bank(points).reshape(target.shape) - target
                yield error.square().sum() / (3 * pictures * chosen.shape[1])
            yield from bank.penalties()

        weights = fit_and_round(bank, losses, schedule, self.bits, prune=self.prune, progress=progress)
        for row, job in enumerate(jobs):
            job.fitted = weights.rows(row)

    def requantised(self, parts: Mapping[str, bytes], clip: Clip) -> Mapping[str, bytes]:
        """Parts that this codec wrote with another bit width, larger than its own, with its own."""
        _, _, pictures, tensors = _unpack(parts["background"], len(clip))
        exact = [t.dequantise() for t in tensors]
        networks, at = [], 0
        for n in pictures:
            own = [quantise(t[None, at : at + n], self.bits, (0,)) for t in exact[:2]]
            networks.append(SharedWeights(own, [quantise(t[at : at + 1], self.bits, (0,)) for t in exact[2:]]))
            at += n
        return {**parts, "background": self._pack(pictures, networks)}

    def _pack(self, pictures: Sequence[int], networks: Sequence[SharedWeights]) -> bytes:
        writer = ByteWriter()
        write_shape(writer, self.shape)
        writer.varint(self.bits)
        for count in pictures:
            writer.varint(count)
        writer.raw(pack_shared(networks, self.bits))
        return writer.getvalue()

    @classmethod
    def renderer(cls, device: torch.device) -> Renderer:
        return FusedSirens(device) if kernel_draws(device) else SirenRenderer(device)


@dataclass
class _Job:
    """A network to be fitted to frames of a clip, and what it became."""

    clip: int
    frames: list[Frame]
    motions: torch.Tensor
    start: list[torch.Tensor]
    fitted: SharedWeights | None = None

    def weights(self) -> SharedWeights:
        assert self.fitted is not None
        return self.fitted


def _unpack(background: bytes, frames: int) -> tuple[SirenShape, int, list[int], list[Quantised]]:
    """Shape, bit width, frames of each network, and tensors of one network for each of the ``frames``."""
    reader = ByteReader(background, "rapid_inr payload")
    shape = read_shape(reader)
    bits = read_bits(reader)
    pictures: list[int] = []
    left = frames
    while left:
        pictures.append(reader.varint(min(left, MAX_SHARED)))
        left -= pictures[-1]
        if not pictures[-1]:
            raise PayloadError("rapid_inr payload declares a network of no frames")
    tensors = unpack_shared(reader, shape, pictures, bits, "rapid_inr weights")
    reader.end()
    return shape, bits, pictures, tensors


class _Pixels:
    """The pixels of every step: ``count`` random ones of each frame, a share of them inside its boxes, or all. Networks
    see the same places, the frames of a network different ones."""

    def __init__(
        self,
        frames: Sequence[Frame],
        networks: int,
        count: int | None,
        object_share: float,
        seed: int,
        device: torch.device,
    ) -> None:
        self._networks, self._pictures, self._device = networks, len(frames) // networks, device
        self._total = frames[0].width * frames[0].height
        self._all = torch.arange(self._total, device=device).expand(len(frames), -1) if count is None else None
        self._objects = round(object_share * (count or 0))
        self._anywhere = (count or 0) - self._objects
        self._boxes = _PixelsInBoxes(frames, device) if self._objects else None
        self._generator = torch.Generator().manual_seed(seed)

    def next(self) -> torch.Tensor:
        """Pixel numbers (frames, p) of a step."""
        if self._all is not None:
            return self._all
        anywhere = torch.randint(self._total, (self._pictures, self._anywhere), generator=self._generator)
        chosen = anywhere.to(self._device, non_blocking=True).repeat(self._networks, 1)
        if self._boxes is None:
            return chosen
        places = torch.rand(self._pictures, self._objects, generator=self._generator)
        places = places.to(self._device, non_blocking=True).repeat(self._networks, 1)
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
        """Pixel numbers (frames, p) at ``positions`` (frames, p) in 0..1 of each frame's list."""
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
        shape, bits, _, tensors = _unpack(payload.part("background"), len(payload))
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
