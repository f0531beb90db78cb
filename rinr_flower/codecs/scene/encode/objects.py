"""Objects of a clip before a bit is spent: into how many volumes each run is cut, and where each volume lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rinr_flower.alignment import poses
from rinr_flower.alignment.tracks import Track
from rinr_flower.codecs.scene.decode.build import base_pose, quantised_correction, split_runs, track_boxes
from rinr_flower.codecs.scene.decode.wavelet import Floats
from rinr_flower.codecs.scene.encode.effort import Effort
from rinr_flower.codecs.scene.encode.quantise import worth
from rinr_flower.codecs.scene.format.code import STEPS_PER_OCTAVE, LayerCode, apron_px

# To try others: benchmarks/scene_rate.py --constant encode.objects:NAME=VALUE.
LONGEST = 32  # set by hand: appearances that one volume spans at most; longer ones share more and fit worse
_SHORTEST = 8  # set by hand: and at least, where a run is cut for a better fit
_MAX_SIDE = 192  # set by hand: pixels; a larger object is coded at this size, which bounds time and memory
_POSE_BITS = 1.2  # set by hand: of a difference d of poses, times log2(1 + 2 d^2): about what their coder takes
_BITS_PER_VOLUME = 100.0  # set by hand: about what a volume takes beside coefficients and poses; more cut runs less
_TYPICAL_AREA = 0.01  # of a frame; an object of this area gets object_weight as it is: what that option means
_MOST_FINER = 12  # set by hand: sixteenths of an octave that an object's size adds to or takes from its step at most


def cut_run(
    run: Track, luma: Floats, boxes: list[NDArray[np.float32]], effort: Effort, step_code: int
) -> tuple[list[Track], list[LayerCode]]:
    """The volumes of one run of an object: as many as cost least by a quick estimate.

    A short volume fits an object better that turns or comes nearer, a long one says once what does not change.
    ``luma`` (frames, h, w) and ``boxes`` are those of the whole clip, in working pixels; ``step_code`` is the quantiser
    step of an object of typical size.
    """
    least = -(-len(run.frames) // LONGEST)
    best: tuple[float, list[Track], list[LayerCode]] | None = None
    for factor in effort.run_cuts:
        count = least * factor
        if best is not None and len(run.frames) < count * _SHORTEST:
            break
        tracks = split_runs([run], [count])
        found = [_volume(t, luma, track_boxes(t, boxes), effort.align_rounds, step_code) for t in tracks]
        bits = sum(b for b, _ in found) + _BITS_PER_VOLUME * count
        if best is None or bits < best[0]:
            best = bits, tracks, [layer for _, layer in found]
    assert best is not None
    return best[1], best[2]


def _finer(size: tuple[int, int], frame_px: int) -> int:
    """By how much an object's step is below the common one: weights go with one over the square root of the area, so
    that a small object has a say that its few pixels do not give it."""
    finer = STEPS_PER_OCTAVE / 4 * np.log2(_TYPICAL_AREA * frame_px / (size[0] * size[1]))
    return int(np.rint(np.clip(finer, -_MOST_FINER, _MOST_FINER)))


def _volume(
    track: Track, luma: Floats, boxes: NDArray[np.float32], align_rounds: int, step_code: int
) -> tuple[float, LayerCode]:
    """Estimated bits, and size, step and poses of one volume.

    Poses start from the boxes, or from their centres alone; both are tried as they are and aligned.
    """
    wanted = np.median(boxes[:, 2:] - boxes[:, :2], axis=0)
    height, width = (int(np.clip(np.ceil(s), 4, _MAX_SIDE)) for s in wanted[::-1])
    size, none = (height, width), (0, 0, 0, 0)
    frames = [luma[f] for f in track.frames]
    base = [base_pose(b, size, none) for b in boxes]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    fixed = [base_pose(np.concatenate([c - wanted / 2, c + wanted / 2]), size, none) for c in centre]
    candidates = [base, fixed]
    if align_rounds and len(frames) > 1:
        candidates += [poses.align(frames, start, size, align_rounds) for start in (base, fixed)]
    apron = apron_px(size, frames[0].shape)
    layers = [_placed(found, boxes, size, apron) for found in candidates]
    for layer in layers:
        core = (layer.size[0] - 2 * apron, layer.size[1] - 2 * apron)
        layer.finer = _finer(core, frames[0].size)
    costs = [
        _bits(np.stack([poses.crop(f, m, size) for f, m in zip(frames, found, strict=True)]), step_code - layer.finer)
        + _POSE_BITS * float(np.log2(1 + 2 * np.diff(layer.poses, axis=0, prepend=0) ** 2).sum())
        for found, layer in zip(candidates, layers, strict=True)
    ]
    best = int(np.argmin(costs))
    return costs[best], layers[best]


def _placed(
    found: list[NDArray[np.float64]], boxes: NDArray[np.float32], size: tuple[int, int], apron: int
) -> LayerCode:
    """A volume around ``size`` that reaches as far as the boxes do once their pixels are aligned, and its ``apron``."""
    height, width = size
    corners = np.concatenate([_corners(b) @ m.T for b, m in zip(boxes, found, strict=True)])[:, :2]
    over = np.concatenate([-corners.min(axis=0), corners.max(axis=0) - (width, height)])
    left, top, right, bottom = (
        int(np.clip(np.ceil(v), 0, side // 2)) + apron for v, side in zip(over, (width, height) * 2, strict=True)
    )
    margins = (left, top, right, bottom)
    whole = (height + top + bottom, width + left + right)
    shift = np.eye(3)
    shift[:2, 2] = left, top
    code = [
        quantised_correction(shift @ m @ np.linalg.inv(base_pose(b, whole, margins)), whole)
        for m, b in zip(found, boxes, strict=True)
    ]
    return LayerCode(whole, margins, np.stack(code), np.zeros((2, 2), np.int64))


def _bits(crops: Floats, step_code: int) -> float:
    """About how many bits crops (appearances, h, w) are worth, errors counted as bits."""
    return worth(crops - crops.mean(), 2 ** (step_code / STEPS_PER_OCTAVE))


def _corners(box: NDArray[np.float32]) -> NDArray[np.float64]:
    x1, y1, x2, y2 = box.tolist()
    return np.array([[x1, y1, 1], [x2, y1, 1], [x1, y2, 1], [x2, y2, 1]], np.float64)
