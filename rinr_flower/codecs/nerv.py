"""NeRV (Chen et al., NeurIPS 2021): one convolutional network per clip, from frame number to frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.bitstream.weights import (
    FLOAT_BITS,
    MAX_VALUES,
    Quantised,
    check_bits,
    fake_quantise,
    pack_tensors,
    quantise,
    unpack_tensors,
)
from rinr_flower.codecs.base import Codec, Progress, codecs
from rinr_flower.codecs.rapid_inr import read_bits
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.frames import Clip, Frame, box_mask
from rinr_flower.inr.fit import Schedule, fit
from rinr_flower.inr.fusion_loss import fusion_loss
from rinr_flower.inr.nerv import NervShape, forward, initial_tensors
from rinr_flower.rendering.pixels import sample
from rinr_flower.rendering.renderer import Renderer, View

PUBLISHED: Mapping[str, Any] = {
    "stem": 256,
    "channels": 16,
    "width": 96,
    "strides": (5, 2, 2, 2),
    "steps": 9_600,
    "learning_rate": 5e-4,
}
"""Residual-INR's published NeRV: 1,391,155 parameters at 640x360; 300 epochs of a clip of 32 frames."""
MAX_WIDTH, MAX_LEVELS, MAX_BLOCKS, MAX_STRIDE = 4096, 128, 12, 16
MAX_PARAMETERS = MAX_VALUES
MAX_MULTIPLICATIONS_PER_PX = 1 << 19
MIN_COUNTED_PX = 1 << 12  # a smaller frame may cost as much as one of this size
MAX_DRAWN = 4  # times as large as the frame may the picture be that is drawn and cut
MAX_ACTIVATIONS = 1 << 26  # of one layer, for one frame; the picture is one of four channels
MAX_AUTO_CELLS = 256
_CHECKS = 4  # times in the last tenth of the fit that the weights are compared with the best so far


@codecs.register("nerv")
@dataclass(frozen=True)
class Nerv(Codec):
    """One NeRV network per clip.

    Attributes
    ----------
    preset : ``published`` starts from Residual-INR's published network and schedule, 1.4 MB at 8 bits; options beside
        it count. An option alone, no attribute.
    stem : units of the first linear layer.
    channels : of the first feature map and the first block; every later block has half as many.
    width : fewest channels of a later block, the channels of all of them unless ``channels`` is far larger.
    strides : upsampling factor of each block, such as 5,2,2; None: 5, 2, 2, ... with as many twos as bring the first
        feature map to 256 cells or fewer.
    levels : frequencies of the sines and cosines of time that the network is given.
    bits : bit width of the weights, 2..16, or 32 for raw float32.
    prune : fraction of all weights fixed at zero half-way through the fit; the rest are fitted on.
    steps, batch_frames, learning_rate : the schedule; a step sees ``batch_frames`` frames in a random order that goes
        through the whole clip before it starts again.
    object_share : weight of the absolute error inside the boxes (of the whole frame where it has none), 0 to 1; the
        loss over the whole frame has the rest.
    """

    stem: int = 24
    channels: int = 8
    width: int = 16
    strides: tuple[int, ...] | None = None
    levels: int = 40
    bits: int = 8
    prune: float = 0.0
    steps: int = 2_000
    batch_frames: int = 1
    learning_rate: float = 6e-3
    object_share: float = 0.0

    @staticmethod
    def parse_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Accept ``preset: published``, and strides as a list or as text (``5,2,2``)."""
        plain = dict(options)
        preset = plain.pop("preset", None)
        if preset is not None:
            if preset != "published":
                raise ConfigError(f"unknown nerv preset {preset!r}; known: published")
            plain = {**PUBLISHED, **plain}
        if plain.get("strides") is not None:
            strides = plain["strides"]
            parts = strides.split(",") if isinstance(strides, str) else strides
            try:
                plain["strides"] = tuple(int(s) for s in parts)
            except (TypeError, ValueError):
                raise ConfigError(f"nerv strides {strides!r} are not whole numbers such as 5,2,2") from None
        return plain

    def __post_init__(self) -> None:
        for what in ("stem", "channels", "width"):
            if not 1 <= getattr(self, what) <= MAX_WIDTH:
                raise ConfigError(f"nerv {what} {getattr(self, what)} is not in 1..{MAX_WIDTH}")
        if not 1 <= self.levels <= MAX_LEVELS:
            raise ConfigError(f"nerv levels {self.levels} is not in 1..{MAX_LEVELS}")
        if self.strides is not None and not _strides_are_valid(self.strides):
            raise ConfigError(f"nerv strides {self.strides}: 1..{MAX_BLOCKS} strides of 1..{MAX_STRIDE} each")
        if not 0 <= self.prune < 1:
            raise ConfigError(f"nerv prune {self.prune} is not in [0, 1)")
        if self.batch_frames < 1:
            raise ConfigError(f"nerv batch_frames {self.batch_frames} is not positive")
        if not 0 <= self.object_share <= 1:
            raise ConfigError(f"nerv object_share {self.object_share} is not in [0, 1]")
        check_bits(self.bits, "nerv weights")
        self.schedule  # noqa: B018  its own check of steps and rate

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.steps, self.learning_rate, warmup=0.1)

    def shape(self, width: int, height: int) -> NervShape:
        """The network for frames of ``width`` x ``height`` pixels: its grid covers the frame, the rest is cut off."""
        strides = self.strides or _auto_strides(width, height)
        factor = math.prod(strides)
        grid = (-(-height // factor), -(-width // factor))
        shape = NervShape(grid, self.stem, self.channels, self.width, strides, self.levels)
        if (excess := _excess(shape, width, height)) is not None:
            raise ConfigError(f"a NeRV with {excess}; take larger strides or fewer channels")
        return shape

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        parts: list[Mapping[str, bytes]] = []
        for index, clip in enumerate(clips):
            shape = self.shape(clip.width, clip.height)

            def report(done: float, before: int = index) -> None:
                if progress is not None:
                    progress((before + done) / len(clips))

            tensors = _Fit(self, shape, clip, seed, device).run(report)
            parts.append({"background": self._pack(shape, tensors)})
        return parts

    def requantised(self, parts: Mapping[str, bytes], clip: Clip) -> Mapping[str, bytes]:
        """Parts that this codec wrote with another bit width, larger than its own, with its own."""
        shape, tensors, _ = _unpack(parts["background"], clip.width, clip.height)
        return {**parts, "background": self._pack(shape, [quantise(t.dequantise(), self.bits) for t in tensors])}

    def _pack(self, shape: NervShape, tensors: Sequence[Quantised]) -> bytes:
        writer = ByteWriter()
        for value in (shape.stem, shape.channels, shape.lower_width, shape.levels, self.bits):
            writer.varint(value)
        writer.varint(len(shape.strides))
        for stride in shape.strides:
            writer.varint(stride)
        writer.raw(pack_tensors(tensors, self.bits))
        return writer.getvalue()

    @classmethod
    def renderer(cls, device: torch.device) -> Renderer:
        return NervRenderer(device)


class _Fit:
    """One network being fitted to one clip."""

    def __init__(self, options: Nerv, shape: NervShape, clip: Clip, seed: int, device: torch.device) -> None:
        self._options, self._shape = options, shape
        self._generator = torch.Generator().manual_seed(seed)
        self._images = torch.from_numpy(clip.images()).to(device)
        self._boxes = [_mean_over_boxes(f, device) for f in clip.frames] if options.object_share else []
        self._times = _times(len(clip), device)
        self._tensors = [t.to(device).requires_grad_() for t in initial_tensors(shape, self._generator)]
        self._masks: list[torch.Tensor] | None = None
        self._schedule = options.schedule
        self._checks = {round(options.steps * (1 - 0.1 * k / _CHECKS)) for k in range(1, _CHECKS + 1)}
        self._queue: list[int] = []
        self._best_error = math.inf
        self._best: list[Quantised] = []

    def run(self, progress: Progress) -> list[Quantised]:
        """Fit, prune, fit on; the quantised tensors that drew the clip best."""
        half = self._schedule.steps // 2
        fit(self._tensors, self._losses, self._schedule, last=half, progress=progress)
        if self._options.prune:
            self._masks = _magnitude_masks(self._tensors, self._options.prune)
        fit(self._tensors, self._losses, self._schedule, first=half, progress=progress)
        self._keep_best()
        return self._best

    def _pruned(self) -> list[torch.Tensor]:
        if self._masks is None:
            return self._tensors
        return [t * m for t, m in zip(self._tensors, self._masks, strict=True)]

    def _losses(self, step: int) -> list[torch.Tensor]:
        if step in self._checks:
            self._keep_best()
        if len(self._queue) < self._options.batch_frames:
            self._queue += torch.randperm(len(self._images), generator=self._generator).tolist()
        chosen, self._queue = self._queue[: self._options.batch_frames], self._queue[self._options.batch_frames :]
        tensors = self._pruned()
        if self._schedule.quantised(step):
            tensors = [fake_quantise(t, self._options.bits) for t in tensors]
        height, width = self._images.shape[1:3]
        drawn = forward(tensors, self._shape, self._times[chosen])[:, :, :height, :width]
        target = self._images[chosen].permute(0, 3, 1, 2).float() / 255
        return [self._weighted(chosen, fusion_loss(drawn, target), (drawn - target).abs())]

    def _weighted(self, frames: Sequence[int], overall: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
        """``overall``, the error of whole frames, together with the mean of ``errors`` (n, 3, h, w) in the boxes."""
        if not self._boxes:
            return overall
        share = self._options.object_share
        weights = torch.stack([self._boxes[f] for f in frames])
        inside = (errors.mean(dim=1) * weights).sum() / len(frames)
        return (1 - share) * overall + share * inside

    @torch.no_grad()
    def _keep_best(self) -> None:
        quantised = [quantise(t.cpu().numpy(), self._options.bits) for t in self._pruned()]
        tensors = [torch.from_numpy(q.dequantise()).to(self._images.device) for q in quantised]
        error, (height, width) = 0.0, self._images.shape[1:3]
        for number, (time, image) in enumerate(zip(self._times, self._images, strict=True)):
            drawn = forward(tensors, self._shape, time[None])[:, :, :height, :width]
            squared = (drawn - image.permute(2, 0, 1)[None].float() / 255).square()
            error += float(self._weighted([number], squared.mean(), squared))
        if error < self._best_error:
            self._best_error, self._best = error, quantised


def _mean_over_boxes(frame: Frame, device: torch.device) -> torch.Tensor:
    """Weights (height, width) that add up to one: equal inside the boxes, or everywhere in a frame without any."""
    mask = box_mask(frame.boxes, frame.width, frame.height)
    weights = torch.from_numpy(mask if mask.any() else np.ones_like(mask)).to(device, torch.float32)
    return weights / weights.sum()


@dataclass
class _Resident:
    """One network on the decoding side."""

    shape: NervShape
    values: list[torch.Tensor]
    scales: list[torch.Tensor]

    def dequantise(self) -> list[torch.Tensor]:
        return [v.float() * s for v, s in zip(self.values, self.scales, strict=True)]


@dataclass
class NervRenderer(Renderer):
    """Clips that are one NeRV each, resident as integers. A frame is drawn whole, at its own size, then sampled."""

    device: torch.device
    _networks: list[_Resident] = field(init=False, default_factory=list)
    _places: list[tuple[int, float, tuple[int, int]]] = field(init=False, default_factory=list)

    def add(self, payload: Payload) -> None:
        shape, tensors, bits = _unpack(payload.part("background"), payload.width, payload.height)
        kind = torch.float32 if bits == FLOAT_BITS else torch.int8 if bits <= 8 else torch.int16
        values = [torch.from_numpy(np.ascontiguousarray(t.values)).to(self.device, kind) for t in tensors]
        scales = [torch.from_numpy(np.ascontiguousarray(t.scale)).to(self.device) for t in tensors]
        number, size = len(self._networks), (payload.height, payload.width)
        self._networks.append(_Resident(shape, values, scales))
        self._places += [(number, t, size) for t in _times(len(payload), torch.device("cpu")).tolist()]

    @torch.no_grad()
    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        out = torch.empty(len(frames), 3, *view.size, device=self.device)
        chosen = [self._places[f] for f in frames.tolist()]
        for number in sorted({place[0] for place in chosen}):
            network = self._networks[number]
            tensors = network.dequantise()
            for row, (owner, time, size) in enumerate(chosen):
                if owner == number:
                    # one frame at a time: a picture must not depend on its batch
                    drawn = forward(tensors, network.shape, torch.tensor([time], device=self.device))
                    out[row] = sample(drawn[0, :, : size[0], : size[1]], view, row)
        return out

    @property
    def resident_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for n in self._networks for t in [*n.values, *n.scales])


def _unpack(background: bytes, frame_width: int, frame_height: int) -> tuple[NervShape, list[Quantised], int]:
    """Shape, tensors and bit width of the network of a clip."""
    reader = ByteReader(background, "nerv payload")
    stem, channels, width = (reader.varint(MAX_WIDTH) for _ in range(3))
    levels, bits = reader.varint(MAX_LEVELS), read_bits(reader)
    strides = tuple(reader.varint(MAX_STRIDE) for _ in range(reader.varint(MAX_BLOCKS)))
    if not (stem and channels and width and levels and _strides_are_valid(strides)):
        raise PayloadError(f"nerv payload declares a network of width zero: {stem}, {channels}, {width}, {strides}")
    factor = math.prod(strides)
    grid = (-(-frame_height // factor), -(-frame_width // factor))
    shape = NervShape(grid, stem, channels, width, strides, levels)
    if (excess := _excess(shape, frame_width, frame_height)) is not None:
        raise PayloadError(f"nerv payload declares {excess}")
    tensors = unpack_tensors(reader, shape.shapes(), bits, (), "nerv weights")
    reader.end()
    return shape, tensors, bits


def _excess(shape: NervShape, width: int, height: int) -> str | None:
    """What about the network is over a limit for frames of ``width`` x ``height`` pixels, or None."""
    if shape.parameters > MAX_PARAMETERS:
        return f"{shape.parameters:,} parameters; at most {MAX_PARAMETERS:,} are allowed"
    counted = max(width * height, MIN_COUNTED_PX)
    if math.prod(shape.size) > MAX_DRAWN * counted:
        return f"a picture of {shape.size[1]}x{shape.size[0]} pixels for a frame of {width}x{height}"
    pixels, before, products, activations = math.prod(shape.grid), shape.channels, 0, 4 * math.prod(shape.size)
    for channels, stride in zip(shape.widths(), shape.strides, strict=True):
        activations = max(activations, pixels * _blocked(before), pixels * _blocked(channels * stride**2))
        pixels *= stride**2
        products += 9 * pixels * before * channels
        before = channels
    activations = max(activations, pixels * before)
    allowed = MAX_MULTIPLICATIONS_PER_PX * counted
    if products > allowed:
        return f"{products:,} multiplications a frame; {width}x{height} pixels allow {allowed:,}"
    if activations > MAX_ACTIVATIONS:
        return f"{activations:,} values in one layer; at most {MAX_ACTIVATIONS:,} are allowed"
    return None


def _blocked(channels: int) -> int:
    """Channels that a convolution takes memory for: whole blocks of 16."""
    return -(-channels // 16) * 16


def _times(frames: int, device: torch.device) -> torch.Tensor:
    return torch.arange(frames, dtype=torch.float32, device=device) / frames


def _strides_are_valid(strides: tuple[int, ...]) -> bool:
    return 1 <= len(strides) <= MAX_BLOCKS and all(1 <= s <= MAX_STRIDE for s in strides)


def _auto_strides(width: int, height: int) -> tuple[int, ...]:
    strides: tuple[int, ...] = (5, 2, 2)
    while math.prod(-(-side // math.prod(strides)) for side in (width, height)) > MAX_AUTO_CELLS:
        strides = (*strides, 2)
    return strides


def _magnitude_masks(tensors: Sequence[torch.Tensor], fraction: float) -> list[torch.Tensor]:
    """Ones, and zeros for the smallest ``fraction`` of all weights of the network together; biases stay."""
    magnitude = torch.cat([t.detach().abs().flatten() for t in tensors if t.ndim > 1])
    limit = magnitude.kthvalue(max(1, round(fraction * len(magnitude)))).values
    return [(t.detach().abs() > limit).float() if t.ndim > 1 else torch.ones_like(t) for t in tensors]
