"""Residual-INR (Chen, Yao, Subedi, Hao, ICCAD 2024): a background codec and a tiny SIREN for every object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.bitstream.weights import Quantised, check_bits, pack_tensors, round_up_bfloat16, unpack_tensors
from rinr_flower.codecs.base import Codec, Progress, codecs, native_frame
from rinr_flower.codecs.rapid_inr import RapidInr, check_shape, read_bits, read_shape, write_shape
from rinr_flower.decoding.mixed import MixedRenderer
from rinr_flower.decoding.renderer import Renderer, View
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.frames import Clip
from rinr_flower.inr.fit import Schedule, fit
from rinr_flower.inr.siren import Banks, ResidentBank, SirenShape, TrainableBank, evaluate_grouped, initial_bank

PAPER_SIZES = ((1_000, 10, 3), (3_000, 15, 3), (10_000, 17, 5), (None, 24, 5))
"""Object networks of the published code: (largest box area in pixels, hidden units, sine layers)."""
SMALL_SIZES = ((1_000, 8, 2), (3_000, 10, 2), (10_000, 14, 3), (None, 20, 3))
"""About a quarter of the bytes of the published sizes; there the residual's lead over direct coding is largest."""
_NETWORKS_AT_ONCE = 64
_TRIAL = 0.15  # share of the schedule after which the best candidate is kept
MAX_SIZES = 16

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
        for _, hidden, layers in self.sizes:
            check_shape(SirenShape(hidden, layers, self.w0))
        if self.candidates < 1 or self.batch_points < 1:
            raise ConfigError(f"candidates {self.candidates} and batch_points {self.batch_points} must be at least 1")
        check_bits(self.bits, "object weights")
        Schedule(self.steps, self.learning_rate)

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        def stage(start: float, share: float) -> Progress | None:
            return None if progress is None else lambda done: progress(start + share * done)

        inner = self.background.encode_parts(clips, seed=seed, device=device, progress=stage(0, 0.7))
        objects = [o for c, (clip, parts) in enumerate(zip(clips, inner, strict=True))
                   for o in self._objects(c, clip, parts, device)]  # fmt: skip
        self._fit_all(objects, seed, device, stage(0.7, 0.3))
        result: list[Mapping[str, bytes]] = []
        for c, parts in enumerate(inner):
            if "object" in parts:
                raise ConfigError(f"codec {self.background.name!r} codes objects itself; it cannot be a background")
            mine = [o for o in objects if o.clip == c]
            result.append({**parts, "background": self._wrap(parts["background"]), "object": self._pack(mine)})
        return result

    def _objects(self, c: int, clip: Clip, parts: Mapping[str, bytes], device: torch.device) -> list[_Object]:
        payload = Payload.of_clip(self.background.name, clip, parts)
        renderer = MixedRenderer(device)
        renderer.add(payload)
        found = []
        for f, frame in enumerate(clip.frames):
            windows = box_windows(payload.boxes[f], clip.width, clip.height)
            if not windows:
                continue
            base = native_frame(renderer, f, payload).clamp(0, 1) * 2
            picture = torch.tensor(frame.image, device=device).permute(2, 0, 1).float() / 127.5
            for x1, y1, x2, y2 in windows:
                pixels = picture[:, y1:y2, x1:x2]
                if self.mode == "residual":
                    target = pixels - base[:, y1:y2, x1:x2]
                    scale = float(round_up_bfloat16(np.array([target.abs().max().item()], np.float32))[0])
                    target = target / (scale or 1.0)
                else:
                    target, scale = pixels - 1, 1.0
                area = (x2 - x1) * (y2 - y1)
                found.append(_Object(c, size_class(area, self.sizes), target.permute(1, 2, 0).contiguous(), scale))
        return found

    def _fit_all(self, objects: list[_Object], seed: int, device: torch.device, progress: Progress | None) -> None:
        """Fit every object's network, grouped by shape, and store it in the object."""
        done = 0
        for kind, (_, hidden, layers) in enumerate(self.sizes):
            shape = SirenShape(hidden, layers, self.w0)
            members = [o for o in objects if o.kind == kind]
            starts = {
                c: initial_bank(
                    shape,
                    self.candidates * sum(o.clip == c for o in members),
                    torch.Generator().manual_seed(seed),
                )
                for c in {o.clip for o in members}
            }
            taken = dict.fromkeys(starts, 0)
            for at in range(0, len(members), _NETWORKS_AT_ONCE):
                chunk = members[at : at + _NETWORKS_AT_ONCE]
                rows = []
                for o in chunk:
                    rows.append((o.clip, taken[o.clip]))
                    taken[o.clip] += self.candidates
                tensors = [
                    torch.cat([starts[c][i][r : r + self.candidates] for c, r in rows])
                    for i in range(len(starts[chunk[0].clip]))
                ]
                share, before = len(chunk) / len(objects), done / len(objects)

                def report(fraction: float, share: float = share, before: float = before) -> None:
                    if progress is not None:
                        progress(before + share * fraction)

                weights = self._fit(chunk, TrainableBank(shape, tensors, self.bits, device), seed, report).quantise()
                for row, o in enumerate(chunk):
                    o.weights = [t.rows(row, row + 1) for t in weights]
                done += len(chunk)

    def _fit(self, objects: Sequence[_Object], bank: TrainableBank, seed: int, progress: Progress) -> TrainableBank:
        schedule = Schedule(self.steps, self.learning_rate)
        generator = torch.Generator().manual_seed(seed)
        flat = torch.cat([o.target.reshape(-1, 3) for o in objects])
        sizes = torch.tensor([[o.target.shape[1], o.target.shape[0]] for o in objects], device=flat.device)
        areas = sizes.prod(dim=1)
        offsets = torch.cumsum(areas, 0) - areas

        def batch(points: int) -> tuple[torch.Tensor, torch.Tensor]:
            drawn = torch.rand(points, 2, generator=generator).to(flat.device)
            pixel = (drawn * sizes[:, None]).long().minimum(sizes[:, None] - 1)
            where = offsets[:, None] + pixel[..., 1] * sizes[:, :1] + pixel[..., 0]
            return (pixel + 0.5) * (2 / sizes[:, None]) - 1, flat[where]

        def loss(step: int) -> torch.Tensor:
            points, target = batch(self.batch_points)
            copies = bank.tensors[0].shape[0] // len(objects)
            error = bank(points.repeat_interleave(copies, 0), quantised=schedule.quantised(step))
            return (error - target.repeat_interleave(copies, 0)).square().mean(dim=(1, 2)).sum()

        trial = round(_TRIAL * self.steps) if self.candidates > 1 else 0
        if trial:
            fit(bank.tensors, loss, schedule, last=trial)
            with torch.no_grad():
                points, target = batch(4 * self.batch_points)
                error = bank(points.repeat_interleave(self.candidates, 0), quantised=False)
                error = (error - target.repeat_interleave(self.candidates, 0)).square().mean(dim=(1, 2))
                best = error.reshape(len(objects), self.candidates).argmin(dim=1)
            bank = bank.select(torch.arange(len(objects), device=flat.device) * self.candidates + best)
        fit(bank.tensors, loss, schedule, first=trial, progress=progress)
        return bank

    def _wrap(self, background: bytes) -> bytes:
        writer = ByteWriter()
        writer.blob(self.background.name.encode("ascii"))
        writer.raw(background)
        return writer.getvalue()

    def _pack(self, objects: Sequence[_Object]) -> bytes:
        writer = ByteWriter()
        writer.u8(self.mode == "residual")
        writer.varint(self.bits)
        writer.varint(len(self.sizes))
        for area, hidden, layers in self.sizes:
            writer.varint(area or 0)
            write_shape(writer, SirenShape(hidden, layers, self.w0))
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


@dataclass
class _Object:
    """One box of one frame while it is encoded: its target in -1..1 (height, width, 3)."""

    clip: int
    kind: int
    target: torch.Tensor
    scale: float
    weights: list[Quantised] = field(default_factory=list)


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
        inner = payload.with_parts(name, {**parts, "background": wrapped.raw(wrapped.left)})
        objects = _read_objects(payload)
        self._background.add(inner)
        for frame in objects:
            self._objects.append(
                [_Resident(w, self._banks.add(shape, bits, tensors)[0], s) for w, shape, bits, tensors, s in frame]
            )

    def render(self, frames: torch.Tensor, view: View) -> torch.Tensor:
        out = self._background.render(frames, view).clamp_(0, 1)
        flat = out.reshape(len(frames), 3, -1)
        points = view.points()
        places, inside, coordinates, targets = [], [], [], []
        for row, frame in enumerate(frames.tolist()):
            objects = self._objects[frame]
            owner = self._owners(objects, points[row])
            for number, o in enumerate(objects):
                where = torch.nonzero(owner == number)[:, 0]
                if len(where):
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

    def _owners(self, objects: Sequence[_Resident], points: torch.Tensor) -> torch.Tensor:
        """Which object each point belongs to, -1 for none; where windows overlap, the last one."""
        owner = torch.full((len(points),), -1, device=self.device)
        for number, o in enumerate(objects):
            x1, y1, x2, y2 = o.window
            x, y = points[:, 0], points[:, 1]
            owner[(x >= x1) & (x < x2) & (y >= y1) & (y < y2)] = number
        return owner

    @property
    def resident_bytes(self) -> int:
        return self._background.resident_bytes + self._banks.resident_bytes


_Network = tuple[Window, SirenShape, int, list[Quantised], float | None]


def _read_objects(payload: Payload) -> list[list[_Network]]:
    """Networks of every frame, in box order."""
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
    kinds = [[size_class((x2 - x1) * (y2 - y1), tuple(sizes)) for x1, y1, x2, y2 in ws] for ws in windows]
    queues: list[list[tuple[list[Quantised], float | None]]] = []
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
        queues.append([([t.rows(i, i + 1) for t in tensors], scales[i]) for i in range(count)])
    reader.end()
    taken = [0] * len(shapes)
    result: list[list[_Network]] = []
    for ws, ks in zip(windows, kinds, strict=True):
        frame: list[_Network] = []
        for window, kind in zip(ws, ks, strict=True):
            weights, scale = queues[kind][taken[kind]]
            taken[kind] += 1
            frame.append((window, shapes[kind], bits, weights, scale))
        result.append(frame)
    return result
