"""Residual-INR (Chen, Yao, Subedi, Hao, ICCAD 2024): a background codec and tiny SIRENs for the objects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteWriter
from rinr_flower.bitstream.weights import check_bits, round_up_bfloat16, write_scales
from rinr_flower.codecs.base import Codec, Progress, codecs, native_frame
from rinr_flower.codecs.mixed import MixedRenderer
from rinr_flower.codecs.object_fit import ObjectFit, ObjectTarget
from rinr_flower.codecs.object_sizes import MAX_SIZES, SHALLOW_SIZES, Sizes, object_groups
from rinr_flower.codecs.rapid_inr import MAX_SHARED, check_shape, write_shape
from rinr_flower.codecs.residual_renderer import background_only, residual_renderer
from rinr_flower.codecs.shared_weights import pack_shared
from rinr_flower.errors import ConfigError
from rinr_flower.frames import Clip, Frame
from rinr_flower.inr.fit import Schedule
from rinr_flower.inr.siren import SirenShape
from rinr_flower.rendering.renderer import Renderer

SMALL_BACKGROUND: Mapping[str, Any] = {"name": "rapid_inr", "hidden": 45}
"""The background of ``Residual()``: half the bytes of ``rapid_inr``, as the source has 24 KB with objects against 45 KB
without."""


@codecs.register("residual")
@dataclass(frozen=True)
class Residual(Codec):
    """Any background codec, and over it SIRENs in the boxes' own coordinates: one for each object and so many frames.

    Attributes
    ----------
    background : the codec of the whole frame. In options: a name (with that codec's own defaults), a mapping, or
        ``background.key=value``, which changes the default where no name is given.
    mode : ``residual`` codes the difference to the decoded background divided by its largest magnitude, which is
        stored; ``direct`` codes the pixels themselves.
    sizes : (largest box area in pixels or None, hidden units, sine layers), ascending; the last has no limit.
    w0 : frequency factor of the object networks; published 30.
    bits : bit width of the object weights, 2..16, or 32 for raw float32.
    shared : most boxes of one object that one network serves, each with a first layer of its own; 1, as published,
        gives every box a whole network.
    candidates : initialisations that are tried briefly for every object; the best one is fitted on. Networks of 10 to
        24 units vary strongly with the seed.
    steps, learning_rate, batch_points : the objects' schedule; ``batch_points`` random pixels of an object a step, or
        None for all of them, as published. A network of several boxes takes up to 4 times as many points a step, then
        up to 4 times as many steps.
    """

    background: Codec = field(default_factory=lambda: codecs.create(SMALL_BACKGROUND))
    mode: Literal["residual", "direct"] = "residual"
    sizes: Sizes = SHALLOW_SIZES
    w0: int = 15
    bits: int = 6
    shared: int = 32
    candidates: int = 3
    steps: int = 1_000
    learning_rate: float = 2e-3
    batch_points: int | None = 512

    @staticmethod
    def parse_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Accept a background given by name, as a mapping, or by dotted keys; sizes given as lists."""
        plain = {k: v for k, v in options.items() if not k.startswith("background.")}
        nested = {k.removeprefix("background."): v for k, v in options.items() if k.startswith("background.")}
        background = plain.get("background", SMALL_BACKGROUND)
        if nested or not isinstance(background, Codec):
            if isinstance(background, Codec):
                raise ConfigError("give the background as a codec object or by options, not both")
            try:
                plain["background"] = codecs.create(background, **nested)
            except ConfigError as error:
                raise ConfigError(
                    f"option 'background': {error}; give a codec's name, or background.KEY=value"
                ) from error
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
        if self.candidates < 1 or (self.batch_points is not None and self.batch_points < 1):
            raise ConfigError(f"candidates {self.candidates} and batch_points {self.batch_points} must be at least 1")
        if not 1 <= self.shared <= MAX_SHARED:
            raise ConfigError(f"residual shared {self.shared} is not in 1..{MAX_SHARED}")
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
        fitting = ObjectFit(self.bits, self.candidates, self.steps, self.learning_rate, self.batch_points)
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
        renderer.add(background_only(payload, payload.codec, parts))
        groups = object_groups(payload, self.sizes, self._shapes, self.shared)
        pictures: dict[int, torch.Tensor] = {}
        for f in np.unique(groups.places[:, 0]).tolist():
            image = torch.tensor(clip.frames[f].image, device=device).float() / 127.5 - 1
            if self.mode == "residual":
                image -= native_frame(renderer, f, payload).clamp(0, 1).permute(1, 2, 0) * 2 - 1
            for box in np.flatnonzero(groups.places[:, 0] == f).tolist():
                x1, y1, x2, y2 = groups.windows[box].tolist()
                pictures[box] = image[y1:y2, x1:x2].clone()
        found = []
        starts = np.cumsum(groups.counts) - groups.counts
        for kind, start, count in zip(groups.kinds.tolist(), starts.tolist(), groups.counts.tolist(), strict=True):
            targets = [pictures[box] for box in range(start, start + count)]
            scale = 1.0
            if self.mode == "residual":
                largest = max(t.abs().max().item() for t in targets)
                scale = float(round_up_bfloat16(np.array([largest], np.float32))[0])
            found.append(ObjectTarget(c, kind, [t / (scale or 1.0) for t in targets], scale))
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
        writer.varint(self.shared)
        writer.varint(len(self.sizes))
        for (area, _, _), shape in zip(self.sizes, self._shapes, strict=True):
            writer.varint(area or 0)
            write_shape(writer, shape)
        for kind in range(len(self.sizes)):
            members = [o for o in objects if o.kind == kind]
            if self.mode == "residual":
                scales = np.array([o.scale for o in members], np.float32)
                write_scales(writer, scales)
            if members:
                writer.raw(pack_shared([o.weights() for o in members], self.bits))
        return writer.getvalue()

    @classmethod
    def renderer(cls, device: torch.device) -> Renderer:
        return residual_renderer(device)


def _without_boxes(clip: Clip) -> Clip:
    return Clip(clip.name, tuple(Frame(f.image, file=f.file) for f in clip.frames), clip.class_names)
