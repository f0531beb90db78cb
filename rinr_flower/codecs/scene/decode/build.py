"""From the integers of a payload to a scene that can be rendered; the encoder uses the same functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.alignment.geometry import box_pose, from_corners
from rinr_flower.alignment.tracks import Track, link
from rinr_flower.codecs.scene.decode.gradual import GradualPlanes
from rinr_flower.codecs.scene.decode.resident import Background, ObjectVolume, OpenScene
from rinr_flower.codecs.scene.decode.synthesis import synthesise_planes
from rinr_flower.codecs.scene.decode.volume import inverse, resident
from rinr_flower.codecs.scene.format.code import (
    BEND_STEP,
    BEND_UNIT_PX,
    CORNER_UNIT_PX,
    MASK_LEVELS,
    LayerCode,
    SceneCode,
    ShotCode,
)
from rinr_flower.codecs.scene.format.shapes import VolumeShape, residual_shape
from rinr_flower.errors import PayloadError

# Frames; a canvas of fewer is coded as if it were shared by so many: more take more bytes. 12 until commit 8b16ff8. A
# detector learned single images no worse than from canvases as fine as shared ones, which took twice the bytes (one
# seed, docs/scene.md). Part of the format; to try others: benchmarks/scene_rate.py --constant
# decode.build:LEAST_SHARED=VALUE.
LEAST_SHARED = 4


def runs(
    boxes: Sequence[NDArray[np.float32]], classes: Sequence[NDArray[np.int64]], shots: Sequence[int]
) -> list[Track]:
    """Tracks of the payload's boxes, cut where the clip cuts (``shots``: frames of each shot)."""
    shot_of = np.repeat(np.arange(len(shots)), shots)
    return [piece for track in link(boxes, classes) for piece in _pieces(track, _equal(shot_of[list(track.frames)]))]


def _equal(values: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Positions of each run of equal values."""
    return np.split(np.arange(len(values)), np.flatnonzero(np.diff(values)) + 1)


def split_runs(found: Sequence[Track], parts: Sequence[int]) -> list[Track]:
    """Every run cut into its number of ``parts`` of about equal length: one object volume each."""
    return [
        piece
        for run, count in zip(found, parts, strict=True)
        for piece in _pieces(run, np.array_split(np.arange(len(run.frames)), count))
    ]


def _pieces(track: Track, groups: Sequence[NDArray[np.int64]]) -> list[Track]:
    return [
        Track(tuple(track.frames[i] for i in group), tuple(track.rows[i] for i in group))
        for group in groups
        if len(group)
    ]


def base_pose(
    box: NDArray[np.float32], size: tuple[int, int], margins: tuple[int, int, int, int]
) -> NDArray[np.float64]:
    """Where a box (working pixels) puts a volume of ``size`` (height, width), before the pose's correction: the box
    covers the volume but for ``margins`` (left, top, right, bottom) in the volume's pixels."""
    left, top, right, bottom = margins
    shift = np.eye(3)
    shift[:2, 2] = left, top
    return np.asarray(shift @ box_pose(box, (size[0] - top - bottom, size[1] - left - right), 0.0))


def correction(pose: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.float64]:
    """The affine map (3, 3) that displaces the corners (0, 0), (width, 0), (0, height) of a volume by ``pose`` (6,)."""
    height, width = size
    (ax, ay), (bx, by), (cx, cy) = pose.reshape(3, 2) * CORNER_UNIT_PX
    return np.array(
        [[1 + (bx - ax) / width, (cx - ax) / height, ax], [(by - ay) / width, 1 + (cy - ay) / height, ay], [0, 0, 1]]
    )


def quantised_correction(matrix: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.int64]:
    """The integers that :func:`correction` turns into about ``matrix``."""
    height, width = size
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1]], np.float64)
    moved = (corners @ matrix.T)[:, :2] - corners[:, :2]
    return np.rint(moved / CORNER_UNIT_PX).astype(np.int64).reshape(-1)


def canvas_maps(shot: ShotCode, size: tuple[int, int]) -> NDArray[np.float64]:
    """Working pixels to canvas pixels, (frames, 3, 3)."""
    shift = np.eye(3)
    shift[:2, 2] = shot.origin
    if shot.motion is None:
        return np.repeat(shift[None], shot.frames, axis=0)
    height, width = size
    try:
        moves = np.stack([from_corners(m.reshape(4, 2) * CORNER_UNIT_PX, width, height) for m in shot.motion])
    except np.linalg.LinAlgError as error:
        raise PayloadError("scene motion folds the picture") from error
    depths = moves[:, 2] @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    if not np.isfinite(moves).all() or depths.min() <= 0:
        raise PayloadError("scene motion folds the picture")
    return np.asarray(shift @ moves)


def bend_of(shot: ShotCode, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """Displacements (frames, 2, rows, columns) in canvas pixels, in whole BEND_UNIT_PX; None if there are none."""
    if shot.bend_bands is None:
        return None
    units = np.rint(np.stack(inverse(shot.bend_bands, [BEND_STEP] * 2), axis=1)).clip(-127, 127)
    return np.asarray(units * np.float32(BEND_UNIT_PX), np.float32)


def canvas_step(step: float, frames: int) -> float:
    """The step of a canvas that ``frames`` frames share: its error counts in all of them.

    That of fewer than LEAST_SHARED frames would be coarse by this rule, and gets the step of LEAST_SHARED.
    """
    return step / math.sqrt(max(frames, LEAST_SHARED))


def residual_step(step: float, scale: int) -> float:
    """The step of a residual reduced by ``scale``: each of its samples stands for scale x scale pixels."""
    return step / scale


def build_shot(code: SceneCode, shot: ShotCode, device: torch.device) -> Background:
    """One shot ready to render, without the parts that ``shot`` has not got (yet)."""
    canvas = VolumeShape(1, *shot.canvas, code.grey)
    planes = inverse(shot.canvas_bands, canvas.steps(canvas_step(code.step, shot.frames)))
    if code.canvas_head is not None:
        synthesise_planes(planes, code.canvas_head, canvas_step(code.step, shot.frames))
    maps = canvas_maps(shot, code.size)
    built = Background(resident(planes, torch.int8, device), torch.from_numpy(maps.astype(np.float32)))
    bend = bend_of(shot, code.size)
    if bend is not None:
        built.bend = torch.from_numpy(np.rint(bend / BEND_UNIT_PX).astype(np.int8)).to(device)
    if shot.residual_bands is not None:
        volume = residual_shape(shot.frames, code.size, code.grey, code.residual_scale)
        steps = volume.steps(residual_step(code.step, code.residual_scale))
        built.residual = GradualPlanes(shot.residual_bands, steps, volume.planes(), device)
    return built


def build_layer(code: SceneCode, layer: LayerCode, boxes: NDArray[np.float32], device: torch.device) -> ObjectVolume:
    """One object ready to render; ``boxes`` (appearances, 4) in working pixels."""
    maps = [
        correction(pose, layer.size) @ base_pose(box, layer.size, layer.margins)
        for pose, box in zip(layer.poses, boxes, strict=True)
    ]
    volume = VolumeShape(len(boxes), *layer.size, code.grey, full_chroma=True)
    planes = inverse(layer.bands, volume.steps(code.object_step(layer)))
    if code.object_head is not None:
        synthesise_planes(planes, code.object_head, code.object_step(layer), fading(layer, code.size))
    return ObjectVolume(
        torch.from_numpy(np.stack(maps).astype(np.float32)),
        torch.from_numpy((layer.mask / MASK_LEVELS).astype(np.float32))[None].to(device),
        resident(planes, torch.int16, device),
    )


def fading(layer: LayerCode, frame: tuple[int, int]) -> NDArray[np.float32]:
    """How far a volume (height, width) shows what is seen: 1 but for the apron at its borders, where it falls to 0 as
    half a cosine does. ``frame`` is the (height, width) of the working picture."""
    apron = layer.apron(frame)

    def along(side: int) -> NDArray[np.float32]:
        at = np.arange(side, dtype=np.float32) + np.float32(0.5)
        depth = np.minimum(at, side - at) / np.float32(apron)
        return np.asarray((1 - np.cos(np.pi * depth.clip(0, 1))) / 2, np.float32)

    return along(layer.size[0])[:, None] * along(layer.size[1])


def empty_scene(code: SceneCode) -> OpenScene:
    """A scene that knows which frame lies in which shot, and nothing else."""
    scene = OpenScene(code.size)
    for number, shot in enumerate(code.shots):
        scene.place += [(number, k) for k in range(shot.frames)]
    scene.layers_of = [[] for _ in scene.place]
    return scene


def add_layer(scene: OpenScene, layer: ObjectVolume, track: Track) -> None:
    """Lay ``layer`` over what the scene has."""
    for k, frame in enumerate(track.frames):
        scene.layers_of[frame].append((len(scene.layers), k))
    scene.layers.append(layer)


def build(
    code: SceneCode,
    tracks: Sequence[Track],
    boxes: Sequence[NDArray[np.float32]],
    device: torch.device,
    *,
    background: bool = True,
) -> OpenScene:
    """The whole scene, or its objects alone without ``background``; ``boxes`` of every frame in working pixels."""
    scene = empty_scene(code)
    if background:
        scene.shots = [build_shot(code, shot, device) for shot in code.shots]
    for track, layer in zip(tracks, code.layers, strict=True):
        add_layer(scene, build_layer(code, layer, track_boxes(track, boxes), device), track)
    return scene


def track_boxes(track: Track, boxes: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The boxes (appearances, 4) of a track."""
    return np.stack([boxes[f][r] for f, r in zip(track.frames, track.rows, strict=True)])
