"""Appearances of objects: what is seen of an object in each frame, and the volume that shows it."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.codecs.scene.decode.build import add_layer, base_pose, build_layer, correction, fading, track_boxes
from rinr_flower.codecs.scene.decode.resident import ObjectVolume, OpenScene, Planes, layer_over
from rinr_flower.codecs.scene.decode.sampling import centres, sample, transform
from rinr_flower.codecs.scene.decode.volume import forward, inverse
from rinr_flower.codecs.scene.decode.wavelet import Floats
from rinr_flower.codecs.scene.encode.analysis import Analysis, to_ycc
from rinr_flower.codecs.scene.encode.effort import Effort
from rinr_flower.codecs.scene.encode.heads import Coded, solved
from rinr_flower.codecs.scene.encode.quantise import quantise
from rinr_flower.codecs.scene.format.code import MASK_LEVELS, STEPS_PER_OCTAVE, SceneCode
from rinr_flower.codecs.scene.format.lattice import Kind
from rinr_flower.codecs.scene.format.shapes import VolumeShape, mask_shape

_CPU = torch.device("cpu")


def code_objects(found: Analysis, code: SceneCode, scene: OpenScene, effort: Effort) -> list[Coded]:
    """Code the volumes of all objects, each over what the scene has, and lay them over it. Returns the volumes."""
    volumes: list[Coded] = []
    for given, track in zip(found.layers, found.tracks, strict=True):
        layer = replace(given)
        boxes = track_boxes(track, found.boxes)
        share = fading(layer, code.size)
        shown = torch.from_numpy(share)[None]
        sights = [
            Sight(
                found,
                scene,
                correction(pose, layer.size) @ base_pose(box, layer.size, layer.margins),
                shown,
                frame,
                row,
            )
            for pose, box, frame, row in zip(layer.poses, boxes, track.frames, track.rows, strict=True)
        ]
        seen = torch.stack([s.seen for s in sights])
        below = torch.stack([s.below for s in sights])
        layer.mask = _mask(seen[:, 0].numpy(), below[:, 0].numpy(), layer.size)
        mask = torch.from_numpy((layer.mask / MASK_LEVELS).astype(np.float32))[None]
        volume = np.stack([s.volume(mask, effort.sharpen_rounds) for s in sights], axis=1)
        shape = VolumeShape(len(boxes), *layer.size, code.grey, full_chroma=True)
        steps = shape.steps(code.object_step(layer))
        (layer.bands,) = quantise(Kind.OBJECT, [forward(list(volume))], [steps], effort.quantise_rounds)
        volumes.append(Coded(inverse(layer.bands, steps), list(volume), steps[0], share))
        code.layers.append(layer)
        add_layer(scene, build_layer(code, layer, boxes, _CPU), track)
    code.object_head = solved(volumes, 2 ** (code.object_step_code / STEPS_PER_OCTAVE))
    return volumes


class Sight:
    """One appearance of an object: what is seen of it in a frame, and what the scene has below it.

    ``seen`` and ``below`` are (channels, height, width) on the pixels of the object's volume; where ``fading``
    (1, height, width) is less than 1, what is seen fades into what is below. So it does where other objects are, which
    have volumes of their own. The object is ``row`` of the frame's boxes.
    """

    def __init__(
        self, found: Analysis, scene: OpenScene, pose: NDArray[np.float64], fading: torch.Tensor, frame: int, row: int
    ) -> None:
        self._size = size = (fading.shape[1], fading.shape[2])
        channels = len(found.planes)
        back = torch.from_numpy(np.linalg.inv(pose).astype(np.float32))
        at = centres(*size) @ back[:2, :2].T + back[:2, 2]
        low = (at.amin(dim=0).floor() - 2).long().tolist()
        high = (at.amax(dim=0).ceil() + 3).long().tolist()
        x0, y0 = (min(max(v, 0), limit - 1) for v, limit in zip(low, found.size[::-1], strict=True))
        x1, y1 = (max(min(v, limit), k + 1) for v, limit, k in zip(high, found.size[::-1], (x0, y0), strict=True))
        corner = torch.tensor([x0, y0], dtype=torch.float32)
        pixels = centres(y1 - y0, x1 - x0) + corner
        actual = torch.from_numpy(to_ycc(found.images[frame][y0:y1, x0:x1])[:channels])
        self._below_pixels = scene.at(frame, pixels)
        self._where = transform(pixels, torch.from_numpy(pose.astype(np.float32)))
        self._local = at - corner
        fading = fading * _alone(at, found.boxes[frame], row).reshape(size)
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


def _alone(points: torch.Tensor, boxes: Floats, row: int) -> torch.Tensor:
    """False at those of ``points`` (n, 2) that lie in another of the ``boxes`` and not in the one of ``row``."""
    corners = torch.from_numpy(boxes)
    near = ((corners[:, :2] < points.amax(dim=0)) & (corners[:, 2:] > points.amin(dim=0))).all(dim=1)

    def inside(these: torch.Tensor) -> torch.Tensor:
        return ((points[:, None] >= these[:, :2]) & (points[:, None] < these[:, 2:])).all(dim=2).any(dim=1)

    return inside(corners[[row]]) | ~inside(corners[near])


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
    # 4 squared grey levels, set by hand: a background that varies less is as good as flat, and the volume replaces it
    stays = np.clip(covariance / (variance + 4.0), 0, 1)
    return np.asarray(np.rint((1 - stays) * MASK_LEVELS), np.int64)
