"""What is known of a clip before a bit is spent: working pictures, shots, camera motion, tracks and poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rinr_flower.alignment import camera, geometry
from rinr_flower.alignment.tracks import Track
from rinr_flower.bitstream.entropy import encode_ints
from rinr_flower.codecs.scene.decode.build import runs
from rinr_flower.codecs.scene.decode.wavelet import Floats
from rinr_flower.codecs.scene.encode.canvas import Fit, trust_of
from rinr_flower.codecs.scene.encode.effort import Effort
from rinr_flower.codecs.scene.encode.objects import cut_run
from rinr_flower.codecs.scene.encode.quantise import coded_bytes
from rinr_flower.codecs.scene.format.code import CORNER_UNIT_PX, STEPS_PER_OCTAVE, LayerCode, ShotCode
from rinr_flower.codecs.scene.format.lattice import Kind
from rinr_flower.codecs.scene.format.stream import MAX_WORKING_SIDE
from rinr_flower.frames import Clip

# To try others: benchmarks/scene_rate.py --constant encode.analysis:NAME=VALUE.
_MAX_CANVAS = 2.5  # set by hand: times the area of a frame; a shot that needs more is split
_LONGEST_SHOT = 128  # set by hand: frames; a longer one is split, so that memory is bounded
_SHORTEST_SHOT = 4  # set by hand: frames; one that is split for its cost has no fewer
_MUST_SAVE = 0.98  # set by hand: of the cost, by halves: objects and heads cost more with them, which is not estimated
# Halves are tried if motion and residual cost so many times the canvas: they need about one more. Set by hand: less
# tries more shots, in more time. With 1.5 wakeboard10 takes 5 % more at quality 65, and 34 % more when it is made from
# an upload in roi_jpeg.
_MAY_SPLIT = 1.0
_STANDS_STILL_PX = 0.35  # set by hand: a camera whose corners move less is taken to stand: nothing is resampled


@dataclass(eq=False)
class Analysis:
    """A clip ready to be coded.

    Attributes
    ----------
    size : (height, width) of the working pictures.
    images : the working pictures, RGB uint8.
    planes : luma less 128 (frames, h, w) and, unless grey, blue and red differences (frames, h/2, w/2), float32.
    boxes : of each frame, in working pixels.
    shots, layers : codes with motion and poses in place, coefficients still missing.
    parts : into how many volumes each run of an object is cut.
    tracks : the appearances of each layer.
    canvases : of shots, by their first frame; filled on first use.
    """

    size: tuple[int, int]
    images: list[NDArray[np.uint8]]
    planes: list[Floats]
    boxes: list[NDArray[np.float32]]
    shots: list[ShotCode]
    parts: list[int] = field(default_factory=list)
    layers: list[LayerCode] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)
    canvases: dict[int, list[Floats]] = field(default_factory=dict)

    @property
    def grey(self) -> bool:
        return len(self.planes) == 1


def working_size(width: int, height: int, max_width: int) -> tuple[int, int]:
    """(height, width) of the working pictures of a clip."""
    scale = min(1.0, max_width / width, MAX_WORKING_SIDE / height)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def analyse_clip(
    clip: Clip,
    boxes: Sequence[NDArray[np.float32]],
    max_width: int,
    effort: Effort,
    step_code: int,
    object_step_code: int,
) -> Analysis:
    """Analyse ``clip`` for quantiser steps in 1/STEPS_PER_OCTAVE octaves, by which alternatives are compared.

    ``boxes`` are those of its frames as the payload's container will hand them back.
    """
    step = 2 ** (step_code / STEPS_PER_OCTAVE)
    size = working_size(clip.width, clip.height, max_width)
    images = [scaled(f.image, size) for f in clip.frames]
    planes = _planes(images)
    grey = [np.clip(y + 128.5, 0, 255).astype(np.uint8) for y in planes[0]]
    ratio = np.array([size[1] / clip.width, size[0] / clip.height] * 2, np.float32)
    own = [b * ratio for b in boxes]
    ranges, steps = camera.find_shots(grey, own)
    seen = _Seen(grey, planes[0], own, steps, size, step, effort)
    shots = [placed.shot for frames in ranges for placed in _shots(frames, seen)]
    found = Analysis(size, images, planes, own, shots)
    for run in runs(boxes, [f.classes for f in clip.frames], [s.frames for s in shots]):
        tracks, layers = cut_run(run, planes[0], own, effort, object_step_code)
        found.parts.append(len(tracks))
        found.tracks += tracks
        found.layers += layers
    return found


def to_ycc(image: NDArray[np.uint8]) -> Floats:
    """Luma less 128, blue and red difference (3, h, w) of an RGB picture (BT.601, full range)."""
    r, g, b = (image[..., c].astype(np.float32) for c in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.stack([y - 128, (b - y) / 1.772, (r - y) / 1.402])


def scaled(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """``image`` at ``size`` (height, width), by area."""
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))


def _planes(images: list[NDArray[np.uint8]]) -> list[Floats]:
    height, width = images[0].shape[:2]
    half = ((height + 1) // 2, (width + 1) // 2)
    luma = np.empty((len(images), height, width), np.float32)
    chroma = np.empty((2, len(images), *half), np.float32)
    for i, image in enumerate(images):
        ycc = to_ycc(image)
        luma[i] = ycc[0]
        for plane in range(2):
            chroma[plane, i] = cv2.resize(ycc[plane + 1], half[::-1], interpolation=cv2.INTER_AREA)
    if np.abs(chroma).max() < 3:
        return [luma]
    return [luma, chroma[0], chroma[1]]


@dataclass(frozen=True, eq=False)
class _Seen:
    """Inputs of the search for shots: grey pictures, luma and boxes of all frames, the camera's step into each, their
    (height, width), and the quantiser step at which alternatives are compared."""

    grey: list[NDArray[np.uint8]]
    luma: Floats
    boxes: list[NDArray[np.float32]]
    steps: list[NDArray[np.float64]]
    size: tuple[int, int]
    step: float
    effort: Effort


@dataclass(frozen=True, eq=False)
class _Placed:
    """A shot and what it costs: bits of its canvas, and of motion and residual, errors counted as bits."""

    shot: ShotCode
    canvas_bits: float
    other_bits: float


def _shots(found: range, seen: _Seen) -> list[_Placed]:
    """The shots of consecutive frames ``found``: one, or those of both halves where these cost less.

    Where a camera drives through a scene or turns far, no canvas fits all frames.
    """
    shot = _tracked(found, seen) if len(found) <= _LONGEST_SHOT else None
    if shot is None:
        return _halves(found, seen)
    whole = _cheapest(shot, found, seen)
    if len(found) < 2 * _SHORTEST_SHOT or whole.other_bits < _MAY_SPLIT * whole.canvas_bits:
        return [whole]
    halves = _halves(found, seen)
    split = sum(part.canvas_bits + part.other_bits for part in halves)
    return halves if split < _MUST_SAVE * (whole.canvas_bits + whole.other_bits) else [whole]


def _halves(found: range, seen: _Seen) -> list[_Placed]:
    middle = found.start + len(found) // 2
    return _shots(range(found.start, middle), seen) + _shots(range(middle, found.stop), seen)


def _tracked(found: range, seen: _Seen) -> ShotCode | None:
    """The code of a shot as its camera was tracked; None if its canvas would be too large."""
    height, width = seen.size
    part = slice(found.start, found.stop)
    maps = camera.to_target(seen.grey[part], seen.boxes[part], seen.steps[part], len(found) // 2)
    half = np.eye(3)
    half[:2, 2] = 0.5  # pixel centres at +0.5 instead of 0
    moved = np.stack([geometry.moved_corners(half @ m @ np.linalg.inv(half), width, height) for m in maps])
    if np.abs(moved).max() < _STANDS_STILL_PX:
        return ShotCode(len(found), seen.size, (0, 0), None)
    corners = moved + np.array([[0, 0], [width, 0], [0, height], [width, height]])
    low = np.floor(corners.min(axis=(0, 1))).astype(int)
    high = np.ceil(corners.max(axis=(0, 1))).astype(int)
    canvas = (int(high[1] - low[1]), int(high[0] - low[0]))
    folded = not all(camera.sensible(m, width, height) for m in maps)
    if len(found) > 1 and (folded or canvas[0] * canvas[1] > _MAX_CANVAS * height * width):
        return None
    motion = np.rint(moved / CORNER_UNIT_PX).astype(np.int64).reshape(len(found), 8)
    return ShotCode(len(found), canvas, (int(-low[0]), int(-low[1])), motion)


def _cheapest(shot: ShotCode, found: range, seen: _Seen) -> _Placed:
    """The shot as tracked, with a bend, or with a camera that stands, whichever costs least."""
    if shot.frames == 1:
        return _Placed(shot, 0.0, 0.0)
    part, rounds = slice(found.start, found.stop), seen.effort.bend_rounds
    luma, trusts = seen.luma[part], [trust_of(seen.size, b, 1) for b in seen.boxes[part]]
    fit = Fit.of_mean(shot, luma, trusts, seen.size, bend=rounds > 0)
    fits = [fit]
    if shot.motion is not None:
        fits.append(Fit.of_mean(ShotCode(shot.frames, seen.size, (0, 0), None), luma, trusts, seen.size))
    for left in reversed(range(rounds)):  # each fits a bend to the canvas of the one before; the last is a candidate
        fit = Fit.of_mean(fit.bent(), luma, trusts, seen.size, bend=left > 0)
        if left == 0:
            fits.append(fit)
    placed = []
    for fit in fits:
        canvas, residual = fit.cost(seen.step)
        placed.append(_Placed(fit.shot, canvas, residual + _motion_bits(fit.shot)))
    return min(placed, key=lambda p: p.canvas_bits + p.other_bits)


def _motion_bits(shot: ShotCode) -> float:
    moves = b"" if shot.motion is None else encode_ints(np.diff(shot.motion, axis=0, prepend=0).T)
    return 8.0 * (len(moves) + (coded_bytes(Kind.BEND, [shot.bend_bands]) if shot.bend_bands else 0))
