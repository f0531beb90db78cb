"""What a scene payload holds, as integers, and how they are written into the payload's parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import decode_ints, encode_ints
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.codecs.scene.format.coefficients import decode_bands, encode_bands
from rinr_flower.codecs.scene.format.lattice import Ints
from rinr_flower.codecs.scene.format.shapes import VolumeShape, bend_shape, mask_shape, residual_shape
from rinr_flower.errors import ConfigError, PayloadError

CORNER_UNIT_PX = 1 / 8  # of camera motion and object poses
MASK_LEVELS = 15
STEPS_PER_OCTAVE = 16
BEND_STEP = 4.0  # in model.BEND_UNIT_PX
RESIDUAL_SCALES = (1, 2, 4, 8)
_TOGETHER = 2 * len(RESIDUAL_SCALES)  # in the form byte: all pyramids of a kind are walked together
MAX_WORKING_SIDE = 4096
MAX_LAYER_SIDE = 1024
MAX_FINER = 4 * STEPS_PER_OCTAVE
MAX_SAMPLES = 1 << 25  # coefficients of all kinds together
MAX_VOLUME_FRAMES = 1 << 11  # the cosine transform along time takes that many multiplications for a sample
CANVAS_LIMIT = 8  # a canvas has at most so many times the pixels of a frame

Pyramids = list[list[Ints]]


@dataclass(eq=False)
class ShotCode:
    """One shot: ``motion`` int64 (frames, 8), corner displacements in CORNER_UNIT_PX, or None if the camera stands;
    ``origin`` (x, y) of the middle frame on the canvas of ``canvas`` (height, width); ``coarser``, by how many
    1/STEPS_PER_OCTAVE octaves the canvas' step is above :func:`build.canvas_step`; coefficient pyramids."""

    frames: int
    canvas: tuple[int, int]
    origin: tuple[int, int]
    motion: NDArray[np.int64] | None
    canvas_bands: Pyramids = field(default_factory=list)
    bend_bands: Pyramids | None = None
    residual_bands: Pyramids | None = None
    coarser: int = 0


@dataclass(eq=False)
class LayerCode:
    """One object: volume ``size`` (height, width) and its ``margins`` (left, top, right, bottom) outside the box, in
    the volume's pixels; ``poses`` int64 (appearances, 6), displacements of three corners in
    CORNER_UNIT_PX from where the box puts them; ``mask`` int64 (h, w) in 0..MASK_LEVELS; ``finer``, by how many
    1/STEPS_PER_OCTAVE octaves its step is below the objects' common step; coefficient pyramids."""

    size: tuple[int, int]
    margins: tuple[int, int, int, int]
    poses: NDArray[np.int64]
    mask: NDArray[np.int64]
    finer: int = 0
    bands: Pyramids = field(default_factory=list)


@dataclass(eq=False)
class SceneCode:
    """All integers of a payload. Steps are in 1/STEPS_PER_OCTAVE octaves; ``parts`` says for each run of an object
    into how many volumes it is cut."""

    size: tuple[int, int]
    grey: bool
    step_code: int
    object_step_code: int
    residual_scale: int = RESIDUAL_SCALES[0]
    shots: list[ShotCode] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    layers: list[LayerCode] = field(default_factory=list)

    @property
    def step(self) -> float:
        """Quantiser step of the background, in grey levels of one frame."""
        return float(2 ** (self.step_code / STEPS_PER_OCTAVE))

    def object_step(self, layer: LayerCode) -> float:
        """Quantiser step of one object."""
        return float(2 ** ((self.object_step_code - layer.finer) / STEPS_PER_OCTAVE))

    def to_parts(self) -> dict[str, bytes]:
        """The payload parts: ``background``, ``motion`` and ``object``. ConfigError if no reader would take them."""
        kinds = [p for s in self.shots for p in (s.canvas_bands, s.bend_bands or [], s.residual_bands or [])]
        bands = [band for pyramids in (*kinds, *(layer.bands for layer in self.layers)) for b in pyramids for band in b]
        samples, longest = sum(b.size for b in bands), max((len(b) for b in bands), default=0)
        if samples > MAX_SAMPLES or longest > MAX_VOLUME_FRAMES:
            raise ConfigError(
                f"a scene of {samples:,} coefficients with a shot of {longest:,} frames; at most {MAX_SAMPLES:,} and "
                f"{MAX_VOLUME_FRAMES:,} are read, split the clip"
            )
        head, motion, layers = ByteWriter(), ByteWriter(), ByteWriter()
        planes = 1 if self.grey else 3
        head.varint(self.size[0])
        head.varint(self.size[1])
        head.u8(int(self.grey) + 2 * RESIDUAL_SCALES.index(self.residual_scale) + _TOGETHER)
        head.u8(self.step_code)
        head.u8(self.object_step_code)
        head.varint(len(self.shots))
        for shot in self.shots:
            head.varint(shot.frames)
            present = (shot.motion is not None, shot.bend_bands is not None, shot.residual_bands is not None)
            head.u8(sum(2**bit for bit, there in enumerate((*present, shot.coarser > 0)) if there))
            if shot.coarser:
                head.u8(shot.coarser)
            if shot.canvas != self.size or shot.origin != (0, 0):
                head.u8(1)
                for value in (*shot.canvas, *shot.origin):
                    head.signed(value)
            else:
                head.u8(0)
        for count in self.parts:
            head.varint(count)
        head.blob(encode_bands([p for s in self.shots for p in s.canvas_bands], planes))
        head.raw(encode_bands([p for s in self.shots for p in s.residual_bands or []], planes))
        moves = [s.motion for s in self.shots if s.motion is not None]
        motion.blob(
            encode_ints(
                np.concatenate([np.diff(m, axis=0, prepend=0).T.reshape(-1) for m in moves]) if moves else np.zeros(0)
            )
        )
        motion.blob(encode_bands([p for s in self.shots for p in s.bend_bands or []], 1))
        poses = [layer.poses for layer in self.layers]
        motion.raw(
            encode_ints(
                np.concatenate([np.diff(p, axis=0, prepend=0).T.reshape(-1) for p in poses]) if poses else np.zeros(0)
            )
        )
        for layer in self.layers:
            layers.varint(layer.size[0])
            layers.varint(layer.size[1])
            layers.signed(layer.finer)
            for margin in layer.margins:
                layers.varint(margin)
        if self.layers:
            layers.blob(encode_ints(np.concatenate([layer.mask.reshape(-1) for layer in self.layers])))
        layers.raw(encode_bands([p for layer in self.layers for p in layer.bands], planes))
        parts = {"background": head.getvalue()}
        if moves or self.layers or any(s.bend_bands for s in self.shots):
            parts["motion"] = motion.getvalue()
        if self.layers:
            parts["object"] = layers.getvalue()
        return parts


def read_parts(
    parts: Mapping[str, bytes], frames: int, picture: tuple[int, int], run_lengths: Callable[[list[int]], list[int]]
) -> SceneCode:
    """Read a payload's parts.

    Parameters
    ----------
    parts : the payload's parts.
    frames : frames of the payload.
    picture : (height, width) of the payload's frames; the working size is at most that.
    run_lengths : from the frames of each shot to the appearances of each object's run (the boxes say that).

    Raises
    ------
    PayloadError
        If the parts are truncated or altered, or declare more samples than MAX_SAMPLES or more frames of a volume than
        MAX_VOLUME_FRAMES; that is checked before anything is allocated.
    """
    head = ByteReader(parts.get("background", b""), "scene background")
    size = (head.varint(MAX_WORKING_SIDE), head.varint(MAX_WORKING_SIDE))
    if min(size) < 1 or size[0] > picture[0] or size[1] > picture[1]:
        raise PayloadError(
            f"scene has a working size of {size[1]}x{size[0]} pixels for frames of {picture[1]}x{picture[0]}"
        )
    limit_px = CANVAS_LIMIT * max(size[0] * size[1], 4096)
    form = head.u8()
    if form >= 2 * _TOGETHER:
        raise PayloadError(f"scene is of an unknown form {form}: altered, or written by a later version")
    together, scale = bool(form & _TOGETHER), RESIDUAL_SCALES[form % _TOGETHER >> 1]
    code = SceneCode(size, bool(form & 1), head.u8(), head.u8(), scale)
    planes = 1 if code.grey else 3
    flags = []
    for _ in range(head.varint(frames)):
        count, flag = head.varint(frames), head.u8()
        coarser = head.u8() if flag & 8 else 0
        canvas, origin = size, (0, 0)
        if head.u8():
            canvas = (head.signed(MAX_WORKING_SIDE * 4), head.signed(MAX_WORKING_SIDE * 4))
            origin = (head.signed(MAX_WORKING_SIDE * 4), head.signed(MAX_WORKING_SIDE * 4))
        if min(canvas) < 1 or canvas[0] * canvas[1] > limit_px or count < 1:
            raise PayloadError(f"scene declares a shot of {count} frames on a canvas of {canvas[1]}x{canvas[0]} pixels")
        code.shots.append(ShotCode(count, canvas, origin, None, coarser=coarser))
        flags.append(flag)
    if sum(s.frames for s in code.shots) != frames:
        raise PayloadError(f"scene has shots of {sum(s.frames for s in code.shots)} frames; the payload has {frames}")
    counts = []
    for length in run_lengths([s.frames for s in code.shots]):
        code.parts.append(head.varint(length))
        if code.parts[-1] < 1:
            raise PayloadError("scene cuts the run of an object into no parts")
        counts += [len(part) for part in np.array_split(np.arange(length), code.parts[-1])]
    declared: list[VolumeShape] = []

    def read(data: bytes, volumes: list[VolumeShape], planes: int) -> Pyramids:
        return decode_bands(data, _shapes(volumes, declared), planes, together=together)

    canvases = [VolumeShape(1, *s.canvas, code.grey) for s in code.shots]
    for shot, bands in zip(code.shots, _split(read(head.blob(), canvases, planes), canvases), strict=True):
        shot.canvas_bands = bands
    changing = [s for s, flag in zip(code.shots, flags, strict=True) if flag & 4]
    volumes = [residual_shape(s.frames, size, code.grey, code.residual_scale) for s in changing]
    for shot, bands in zip(changing, _split(read(head.raw(head.left), volumes, planes), volumes), strict=True):
        shot.residual_bands = bands
    motion = ByteReader(parts.get("motion", encode_nothing()), "scene motion")
    moving = [s for s, flag in zip(code.shots, flags, strict=True) if flag & 1]
    moves = decode_ints(motion.blob(), sum(s.frames for s in moving) * 8, "camera motion")
    for shot in moving:
        shot.motion, moves = _undelta(moves, shot.frames, 8)
    bent = [s for s, flag in zip(code.shots, flags, strict=True) if flag & 2]
    bends = [VolumeShape(s.frames, *bend_shape(size), grey=True) for s in bent for _ in "xy"]
    pyramids = read(motion.blob(), bends, 1)
    for number, shot in enumerate(bent):
        shot.bend_bands = pyramids[2 * number : 2 * number + 2]
    poses = decode_ints(motion.raw(motion.left), sum(counts) * 6, "object poses")
    if not counts:
        return code
    layers = ByteReader(parts.get("object", b""), "scene objects")
    for seen in counts:
        layer_size = (layers.varint(MAX_LAYER_SIDE), layers.varint(MAX_LAYER_SIDE))
        finer = layers.signed(MAX_FINER)
        margins = tuple(layers.varint(MAX_LAYER_SIDE) for _ in range(4))
        left, top, right, bottom = margins
        if left + right >= layer_size[1] or top + bottom >= layer_size[0] or layer_size[0] * layer_size[1] > limit_px:
            raise PayloadError(f"scene declares an object of {layer_size[1]}x{layer_size[0]} pixels")
        pose, poses = _undelta(poses, seen, 6)
        code.layers.append(
            LayerCode(layer_size, (left, top, right, bottom), pose, np.zeros(mask_shape(layer_size), np.int64), finer)
        )
    masks = decode_ints(layers.blob(), sum(layer.mask.size for layer in code.layers), "object masks")
    if masks.min() < 0 or masks.max() > MASK_LEVELS:
        raise PayloadError(f"an object mask holds {int(masks.max())}; it goes from 0 to {MASK_LEVELS}")
    for layer in code.layers:
        layer.mask, masks = masks[: layer.mask.size].reshape(layer.mask.shape), masks[layer.mask.size :]
    objects = [
        VolumeShape(n, *layer.size, code.grey, full_chroma=True) for n, layer in zip(counts, code.layers, strict=True)
    ]
    pyramids = read(layers.raw(layers.left), objects, planes)
    for layer, bands in zip(code.layers, _split(pyramids, objects), strict=True):
        layer.bands = bands
    return code


def encode_nothing() -> bytes:
    """The motion part of a scene in which nothing moves."""
    writer = ByteWriter()
    writer.blob(b"")
    writer.blob(b"")
    return writer.getvalue()


def _shapes(volumes: list[VolumeShape], declared: list[VolumeShape]) -> list[list[tuple[int, int, int]]]:
    """The band shapes of ``volumes``, which are added to those ``declared`` before."""
    declared += volumes
    samples = sum(v.frames * h * w for v in declared for h, w in v.planes())
    if samples > MAX_SAMPLES:
        raise PayloadError(f"scene declares {samples:,} coefficients; at most {MAX_SAMPLES:,} are read")
    if (longest := max((v.frames for v in volumes), default=0)) > MAX_VOLUME_FRAMES:
        raise PayloadError(f"scene declares a volume of {longest:,} frames; at most {MAX_VOLUME_FRAMES:,} are read")
    return [bands for volume in volumes for bands in volume.bands()]


def _split(pyramids: Pyramids, volumes: list[VolumeShape]) -> list[Pyramids]:
    out, at = [], 0
    for volume in volumes:
        count = len(volume.planes())
        out.append(pyramids[at : at + count])
        at += count
    return out


def _undelta(values: NDArray[np.int64], rows: int, columns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first ``rows`` x ``columns`` of ``values`` as running sums down the rows, and the rest."""
    table = np.cumsum(values[: rows * columns].reshape(columns, rows).T, axis=0)
    if np.abs(table).max(initial=0) > 1 << 24:
        raise PayloadError("scene motion is out of range")
    return table, values[rows * columns :]
