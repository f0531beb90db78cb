"""Closed-form encoding of an analysed clip at given quantiser steps: canvas, residual, objects, in that order.

Each part is coded against what the decoder will have made of the parts before it.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.codecs.scene.decode.build import (
    add_layer,
    base_pose,
    build_layer,
    build_shot,
    canvas_step,
    correction,
    empty_scene,
    residual_step,
    track_boxes,
)
from rinr_flower.codecs.scene.decode.resident import ObjectVolume, OpenScene, Planes, layer_over
from rinr_flower.codecs.scene.decode.sampling import sample, transform
from rinr_flower.codecs.scene.decode.volume import forward, inverse
from rinr_flower.codecs.scene.decode.wavelet import Floats
from rinr_flower.codecs.scene.encode.analysis import Analysis, to_ycc
from rinr_flower.codecs.scene.encode.canvas import Placement, mean_canvas
from rinr_flower.codecs.scene.encode.effort import Effort
from rinr_flower.codecs.scene.encode.objects import apron_of
from rinr_flower.codecs.scene.encode.quantise import LAMBDA, quantise
from rinr_flower.codecs.scene.format.coefficients import encode_bands
from rinr_flower.codecs.scene.format.lattice import Ints
from rinr_flower.codecs.scene.format.shapes import VolumeShape, mask_shape, residual_shape
from rinr_flower.codecs.scene.format.stream import (
    MASK_LEVELS,
    RESIDUAL_SCALES,
    SceneCode,
    ShotCode,
)
from rinr_flower.frames import box_mask

_FINEST_BITS = 2000.0
_ALONE_COARSER = 13  # of the canvas of a frame alone: about half the bytes, and detectors learn as well from it
_STRIDE = 4  # frames looked at for that
_COARSER_MAY_COST = 0.02  # a coarser residual arrives and renders faster
_CPU = torch.device("cpu")


def encode(found: Analysis, step_code: int, object_step_code: int, effort: Effort) -> SceneCode:
    """Code ``found`` with ``effort`` at steps in 1/STEPS_PER_OCTAVE octaves."""
    code = SceneCode(found.size, found.grey, step_code, object_step_code)
    code.shots = [replace(s, coarser=_ALONE_COARSER if s.frames == 1 else 0) for s in found.shots]
    code.parts = found.parts
    scene = empty_scene(code)
    start = 0
    starts = []
    pyramids, steps = [], []
    for shot in code.shots:
        starts.append(start)
        pick = slice(start, start + shot.frames)
        if start not in found.canvases:
            planes = [p[pick] for p in found.planes]
            found.canvases[start] = mean_canvas(Placement(shot, found.size), planes, found.boxes[pick], shot.canvas)
        pyramids += forward(found.canvases[start])
        steps += VolumeShape(1, *shot.canvas, code.grey).steps(canvas_step(code.step, shot.frames, shot.coarser))
        start += shot.frames
    chosen = quantise(pyramids, steps, len(found.planes), effort.quantise_rounds)
    count = len(found.planes)
    for i, shot in enumerate(code.shots):
        shot.canvas_bands = chosen[i * count : (i + 1) * count]
        scene.shots.append(build_shot(code, shot, _CPU))
    _code_residuals(found, code, scene, starts, effort)
    _code_objects(found, code, scene, effort)
    return code


def _centres(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2).float()


def _code_residuals(found: Analysis, code: SceneCode, scene: OpenScene, starts: list[int], effort: Effort) -> None:
    """Residuals of all shots of more than one frame, at the size that costs least in error and bits together."""
    changing = [i for i, shot in enumerate(code.shots) if shot.frames > 1]
    volumes = [_residual(found, scene, code.shots[i], starts[i]) for i in changing]
    planes = len(found.planes)
    worth = LAMBDA * code.step**2  # squared error that a bit is worth
    best: tuple[float, int, list[list[Ints]]] | None = None
    for scale in _scales_to_try(volumes, worth):
        reduced, steps = [], []
        for i, volume in zip(changing, volumes, strict=True):
            shape = residual_shape(code.shots[i].frames, found.size, code.grey, scale)
            reduced += [_resized(p, s) for p, s in zip(volume, shape.planes(), strict=True)]
            steps += shape.steps(residual_step(code.step, scale))
        chosen = quantise(forward(reduced), steps, planes, effort.quantise_rounds)
        restored = inverse(chosen, steps)
        wanted = [p for volume in volumes for p in volume]
        error = sum(float(((a - _resized(b, a.shape[1:])) ** 2).sum()) for a, b in zip(wanted, restored, strict=True))
        cost = error / worth + 8 * len(encode_bands(chosen, planes))
        if best is None or cost < best[0] * (1 + _COARSER_MAY_COST):
            best = cost, scale, chosen
        else:
            break
    assert best is not None
    _, code.residual_scale, chosen = best
    for place, i in enumerate(changing):
        bands = chosen[place * planes : (place + 1) * planes]
        if any(b.any() for p in bands for b in p):
            code.shots[i].residual_bands = bands
            scene.shots[i] = build_shot(code, code.shots[i], _CPU)


def _scales_to_try(volumes: list[list[Floats]], worth: float) -> tuple[int, ...]:
    """Scales, finest first. The full size, which costs time and memory, is left out unless much is lost at half of it:
    more than _FINEST_BITS a frame's worth."""
    lost = 0.0
    for volume in volumes:
        for frame in volume[0][::_STRIDE]:
            size = (max(frame.shape[1] // 2, 1), max(frame.shape[0] // 2, 1))
            half = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
            lost += float((frame**2).sum()) - 4 * float((half**2).sum())
    frames = sum(len(volume[0][::_STRIDE]) for volume in volumes)
    return RESIDUAL_SCALES if lost > _FINEST_BITS * worth * max(frames, 1) else RESIDUAL_SCALES[1:]


def _residual(found: Analysis, scene: OpenScene, shot: ShotCode, start: int) -> list[Floats]:
    """What the canvas lacks outside the boxes: planes (frames, h, w)."""
    height, width = found.size
    points = _centres(height, width)
    shape = residual_shape(shot.frames, found.size, found.grey, RESIDUAL_SCALES[0])
    volume = [np.zeros((shot.frames, *s), np.float32) for s in shape.planes()]
    for k in range(shot.frames):
        background = scene.background(start + k, points).reshape(-1, height, width).numpy()
        keep = np.asarray(~box_mask(found.boxes[start + k], width, height), np.float32)
        for plane, target in enumerate(volume):
            actual = found.planes[plane][start + k]
            size = actual.shape[::-1]
            expected, trust = background[plane], keep
            if plane:
                expected, trust = (cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (expected, keep))
            target[k] = (actual - expected) * trust
    return volume


def _resized(pictures: Floats, size: tuple[int, ...]) -> Floats:
    """``pictures`` (n, h, w) at ``size``: area means of a larger one, bilinear from a smaller one."""
    if pictures.shape[1:] == size:
        return pictures
    method = cv2.INTER_AREA if pictures.shape[2] > size[1] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(p, size[::-1], interpolation=method) for p in pictures])


def _code_objects(found: Analysis, code: SceneCode, scene: OpenScene, effort: Effort) -> None:
    for given, track in zip(found.layers, found.tracks, strict=True):
        layer = replace(given)
        boxes = track_boxes(track, found.boxes)
        fading = _fading(layer.size, apron_of(layer))
        sights = [
            Sight(
                found,
                scene,
                correction(pose, layer.size) @ base_pose(box, layer.size, layer.margins),
                fading,
                frame,
            )
            for pose, box, frame in zip(layer.poses, boxes, track.frames, strict=True)
        ]
        seen = torch.stack([s.seen for s in sights])
        below = torch.stack([s.below for s in sights])
        layer.mask = _mask(seen[:, 0].numpy(), below[:, 0].numpy(), layer.size)
        mask = torch.from_numpy((layer.mask / MASK_LEVELS).astype(np.float32))[None]
        volume = np.stack([s.volume(mask, effort.sharpen_rounds) for s in sights], axis=1)
        shape = VolumeShape(len(boxes), *layer.size, code.grey, full_chroma=True)
        layer.bands = quantise(
            forward(list(volume)), shape.steps(code.object_step(layer)), len(volume), effort.quantise_rounds
        )
        code.layers.append(layer)
        add_layer(scene, build_layer(code, layer, boxes, _CPU), track)


def _fading(size: tuple[int, int], apron: int) -> torch.Tensor:
    """How far a volume (1, height, width) shows what is seen: 1 but for the ``apron`` at its borders, where it falls
    to 0 as half a cosine does."""

    def along(side: int) -> torch.Tensor:
        at = torch.arange(side) + 0.5
        depth = torch.minimum(at, side - at) / apron
        return (1 - torch.cos(math.pi * depth.clamp(0, 1))) / 2

    return (along(size[0])[:, None] * along(size[1]))[None]


class Sight:
    """One appearance of an object: what is seen of it in a frame, and what the scene has below it.

    ``seen`` and ``below`` are (channels, height, width) on the pixels of the object's volume; where ``fading``
    (1, height, width) is less than 1, what is seen fades into what is below.
    """

    def __init__(
        self, found: Analysis, scene: OpenScene, pose: NDArray[np.float64], fading: torch.Tensor, frame: int
    ) -> None:
        self._size = size = (fading.shape[1], fading.shape[2])
        channels = len(found.planes)
        back = torch.from_numpy(np.linalg.inv(pose).astype(np.float32))
        at = _centres(*size) @ back[:2, :2].T + back[:2, 2]
        low = (at.amin(dim=0).floor() - 2).long().tolist()
        high = (at.amax(dim=0).ceil() + 3).long().tolist()
        x0, y0 = (min(max(v, 0), limit - 1) for v, limit in zip(low, found.size[::-1], strict=True))
        x1, y1 = (max(min(v, limit), k + 1) for v, limit, k in zip(high, found.size[::-1], (x0, y0), strict=True))
        corner = torch.tensor([x0, y0], dtype=torch.float32)
        pixels = _centres(y1 - y0, x1 - x0) + corner
        actual = torch.from_numpy(to_ycc(found.images[frame][y0:y1, x0:x1])[:channels])
        self._below_pixels = scene.at(frame, pixels)
        self._where = transform(pixels, torch.from_numpy(pose.astype(np.float32)))
        self._local = at - corner
        share, below = sample(fading, self._where, "bilinear"), self._below_pixels
        self._patch = (below + share * (actual.reshape(channels, -1) - below)).reshape(actual.shape)
        self.below = scene.at(frame, at).reshape(channels, *size)
        actual = sample(actual, self._local, "bicubic").reshape(channels, *size)
        self.seen = self.below + fading * (actual - self.below)

    def volume(self, mask: torch.Tensor, rounds: int) -> Floats:
        """What the object's volume should hold, (channels, height, width), for a background that stays by 1 - ``mask``.

        A picture sampled twice is blurred: what is missing when it is rendered on the frame's own pixels is sampled
        back and added, ``rounds`` times (Van Cittert).
        """
        stays = 1 - torch.nn.functional.interpolate(mask[None], self._size, mode="bilinear")[0]
        out = self.seen - stays * self.below
        for _ in range(rounds):
            single = ObjectVolume(torch.empty(0), mask, Planes(out[None, :1], out[None, 1:] if len(out) > 1 else None))
            missing = self._patch - layer_over(single, 0, self._where, self._below_pixels).reshape(self._patch.shape)
            out = out + sample(missing, self._local, "bicubic").reshape(out.shape)
        return np.asarray(out.numpy(), np.float32)


def _mask(seen: Floats, below: Floats, size: tuple[int, int]) -> NDArray[np.int64]:
    """How far an object replaces what lies below it, cell by cell.

    The part ``c`` of the background that stays is the regression of what is seen on it: c = cov / var over time, so
    that a still object leaves a residual and a moving one is coded by itself.
    """
    shape = mask_shape(size)

    def cells(values: Floats) -> Floats:
        return np.asarray(cv2.resize(values, shape[::-1], interpolation=cv2.INTER_AREA))

    steadiness = 1.0 / math.sqrt(len(seen))
    a, b = seen - (1 - steadiness) * seen.mean(axis=0), below - (1 - steadiness) * below.mean(axis=0)
    covariance, variance = cells((a * b).mean(axis=0)), cells((b * b).mean(axis=0))
    stays = np.clip(covariance / (variance + 4.0), 0, 1)
    return np.asarray(np.rint((1 - stays) * MASK_LEVELS), np.int64)
