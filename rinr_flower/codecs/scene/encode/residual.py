"""Residuals: what the canvases lack outside the boxes, coded at the size that costs least."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from rinr_flower.codecs.scene.decode.build import build_shot, residual_step
from rinr_flower.codecs.scene.decode.resident import OpenScene
from rinr_flower.codecs.scene.decode.sampling import centres
from rinr_flower.codecs.scene.decode.volume import forward, inverse
from rinr_flower.codecs.scene.decode.wavelet import Floats
from rinr_flower.codecs.scene.encode.analysis import Analysis
from rinr_flower.codecs.scene.encode.effort import Effort
from rinr_flower.codecs.scene.encode.quantise import LAMBDA, coded_bytes, quantise
from rinr_flower.codecs.scene.format.code import RESIDUAL_SCALES, Pyramids, SceneCode, ShotCode, flat
from rinr_flower.codecs.scene.format.lattice import Kind
from rinr_flower.codecs.scene.format.shapes import residual_shape
from rinr_flower.frames import box_mask

# To try others: benchmarks/scene_rate.py --constant encode.residual:NAME=VALUE.
_FINEST_BITS = 2000.0  # set by hand: a frame's loss at half the size that is worth the time and memory of the full size
_STRIDE = 4  # set by hand: of the frames looked at for that; a larger one takes less time and may miss a change
_COARSER_MAY_COST = 0.02  # set by hand: of the cost; a coarser residual arrives and renders faster
_CPU = torch.device("cpu")


def code_residuals(found: Analysis, code: SceneCode, scene: OpenScene, starts: list[int], effort: Effort) -> None:
    """Residuals of all shots of more than one frame, at the size that costs least in error and bits together."""
    changing = [i for i, shot in enumerate(code.shots) if shot.frames > 1]
    if not changing:
        return
    volumes = [_residual(found, scene, code.shots[i], starts[i]) for i in changing]
    worth = LAMBDA * code.step**2  # squared error that a bit is worth
    best: tuple[float, int, list[Pyramids]] | None = None
    for scale in _scales_to_try(volumes, worth):
        reduced, steps = [], []
        for i, volume in zip(changing, volumes, strict=True):
            shape = residual_shape(code.shots[i].frames, found.size, code.grey, scale)
            reduced.append(forward([_resized(p, s) for p, s in zip(volume, shape.planes(), strict=True)]))
            steps.append(shape.steps(residual_step(code.step, scale)))
        chosen = quantise(Kind.RESIDUAL, reduced, steps, effort.quantise_rounds)
        error = 0.0
        for volume, bands, own in zip(volumes, chosen, steps, strict=True):
            for wanted, plane in zip(volume, inverse(bands, own), strict=True):
                error += float(((wanted - _resized(plane, wanted.shape[1:])) ** 2).sum())
        cost = error / worth + 8 * coded_bytes(Kind.RESIDUAL, chosen)
        if best is None or cost < best[0] * (1 + _COARSER_MAY_COST):
            best = cost, scale, chosen
        else:
            break
    assert best is not None
    _, code.residual_scale, chosen = best
    for i, bands in zip(changing, chosen, strict=True):
        if any(band.any() for band in flat(bands)):
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
    points = centres(height, width)
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
