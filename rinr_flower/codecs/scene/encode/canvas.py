"""The canvas of a shot: the mean of its frames, each laid where the camera's motion and its bend say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from rinr_flower.alignment.bend import cell_flow
from rinr_flower.codecs.scene.decode.build import bend_of, canvas_maps, canvas_step, residual_step
from rinr_flower.codecs.scene.decode.volume import forward
from rinr_flower.codecs.scene.decode.wavelet import Floats
from rinr_flower.codecs.scene.encode.quantise import LAMBDA, quantise, worth
from rinr_flower.codecs.scene.format.code import BEND_STEP, BEND_UNIT_PX, ShotCode
from rinr_flower.codecs.scene.format.lattice import Kind
from rinr_flower.codecs.scene.format.shapes import bend_shape, residual_shape
from rinr_flower.frames import box_mask

# To try others: benchmarks/scene_rate.py --constant encode.canvas:NAME=VALUE.
_NOMINAL_SCALE = 2  # set by hand: of the residual, where the ways to place a shot are compared
# Of pixels inside boxes: they show what is behind an object only where nothing else does. Set by hand: more draws
# objects into the canvas, less trusts what few frames show beside them.
OBJECT_WEIGHT = 0.03


class Placement:
    """Where the pixels of a shot's frames lie on its canvas."""

    def __init__(self, shot: ShotCode, size: tuple[int, int]) -> None:
        self._maps = canvas_maps(shot, size)
        self._inverse = np.linalg.inv(self._maps)
        self._bend = bend_of(shot, size)
        self._size, self._canvas = size, shot.canvas

    def onto_canvas(self, k: int, plane: Floats, scale: int) -> Floats:
        """Frame ``k`` (h, w), reduced by ``scale``, resampled to the canvas reduced likewise."""
        shape = (-(-self._canvas[0] // scale), -(-self._canvas[1] // scale))
        bend = None if self._bend is None else self._bend[k]
        if bend is None and np.array_equal(self._maps[k], np.eye(3)) and plane.shape == shape:
            return plane
        if bend is None:
            return _warp(plane, self._maps[k], scale, shape, cv2.INTER_CUBIC)
        x, y = _pixels(shape, scale)
        px, py = _apply(self._inverse[k], x, y)
        dx, dy = _bend_at(bend, px, py, self._size)
        px, py = _apply(self._inverse[k], x - dx, y - dy)
        ratio = np.float32(1 / scale)
        return np.asarray(
            cv2.remap(plane, px * ratio - 0.5, py * ratio - 0.5, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        )

    def seen(self, k: int, trust: Floats, scale: int) -> Floats:
        """``trust`` (h, w) of frame ``k`` on the canvas, 0 where the frame does not reach."""
        shape = (-(-self._canvas[0] // scale), -(-self._canvas[1] // scale))
        if np.array_equal(self._maps[k], np.eye(3)) and trust.shape == shape:
            return trust
        return _warp(trust, self._maps[k], scale, shape, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)

    def from_canvas(self, k: int, canvas: Floats) -> Floats:
        """What the canvas predicts for frame ``k``, at the frame's own pixels."""
        if self._bend is None and canvas.shape == self._size and np.array_equal(self._maps[k], np.eye(3)):
            return canvas
        x, y = _pixels(self._size, 1)
        qx, qy = _apply(self._maps[k], x, y)
        if self._bend is not None:
            dx, dy = _bend_at(self._bend[k], x, y, self._size)
            qx, qy = qx + dx, qy + dy
        return np.asarray(cv2.remap(canvas, qx - 0.5, qy - 0.5, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))

    def bend_plus(self, k: int, flow: Floats) -> Floats:
        """The bend of frame ``k`` once ``flow`` (2, rows, columns), in the frame's pixels, is added to it."""
        rows, columns = flow.shape[1:]
        x, y = _pixels((rows, columns), 1)
        x, y = x * np.float32(self._size[1] / columns), y * np.float32(self._size[0] / rows)
        before = np.zeros_like(flow) if self._bend is None else self._bend[k]
        here, there = _apply(self._maps[k], x, y), _apply(self._maps[k], x + flow[0], y + flow[1])
        return np.asarray(before + np.stack([there[0] - here[0], there[1] - here[1]]), np.float32)


def mean_canvas(
    placement: Placement, plane: Floats, trusts: Sequence[Floats], canvas: tuple[int, int], scale: int = 1
) -> Floats:
    """The aligned mean (h, w) of a ``plane`` (frames, h, w) of one shot, reduced by ``scale``.

    ``trusts`` say for each frame how much its pixels count (:func:`trust_of`): boxes are nearly left out. What no frame
    shows is filled in smoothly.
    """
    shape = (-(-canvas[0] // scale), -(-canvas[1] // scale))
    total, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for k, (frame, trust) in enumerate(zip(plane, trusts, strict=True)):
        seen = placement.seen(k, trust, scale)
        total += placement.onto_canvas(k, frame, scale) * seen
        weight += seen
    return _filled(total, weight)


def best_canvas(
    shot: ShotCode,
    planes: list[Floats],
    boxes: list[NDArray[np.float32]],
    size: tuple[int, int],
    rounds: Sequence[int],
    step: float,
) -> list[Floats]:
    """The canvas (1, h, w) of every plane: the aligned mean, its luma refined so many times as costs least.

    A mean of resampled frames that is resampled again is blurred. A round adds what frames miss when they are rendered
    from the canvas, laid onto it and averaged. Where frames do not lie still on their canvas, as on water, that adds
    noise; so the number of ``rounds`` is chosen by what canvas and residual would cost at a quantiser ``step``.
    """
    placement, luma = Placement(shot, size), planes[0]
    trusts = [trust_of(size, b, 1) for b in boxes]
    canvas, colours = mean_canvas(placement, luma, trusts, shot.canvas), []
    if len(planes) > 1:
        half = [trust_of(planes[1].shape[1:], b, 2) for b in boxes]
        colours = [mean_canvas(placement, plane, half, shot.canvas, 2)[None] for plane in planes[1:]]
    if shot.motion is None and shot.bend_bands is None:
        return [canvas[None], *colours]
    seen = [placement.seen(k, trust, 1) for k, trust in enumerate(trusts)]
    weight = np.maximum(sum(seen), np.float32(1))
    best, done = (np.inf, canvas), 0
    for wanted in sorted(rounds):
        for _ in range(wanted - done):
            total = np.zeros_like(canvas)
            for k, frame in enumerate(luma):
                missing = frame - placement.from_canvas(k, canvas)
                total += placement.onto_canvas(k, missing, 1) * seen[k]
            canvas = canvas + total / weight  # type: ignore[assignment]  # float32; mypy takes the sum for float64
        done = wanted
        cost = sum(Fit(placement, shot, luma, trusts, canvas, size).cost(step))
        if cost < best[0]:
            best = cost, canvas
    return [best[1][None], *colours]


def canvas_weights(
    shot: ShotCode, boxes: list[NDArray[np.float32]], size: tuple[int, int], volume: list[list[Floats]]
) -> list[list[Floats]]:
    """Weights for the canvas' coefficients ``volume``: the share of the shot's frames in which an error is seen.

    Errors that only few frames show, or that objects hide, are worth fewer bits.
    """
    placement = Placement(shot, size)
    seen = sum(placement.seen(k, trust_of(size, b, 1), 1) for k, b in enumerate(boxes)) / np.float32(shot.frames)
    return [[cv2.resize(seen, band.shape[:0:-1], interpolation=cv2.INTER_AREA)[None] for band in p] for p in volume]


def trust_of(shape: tuple[int, ...], boxes: NDArray[np.float32], scale: int) -> Floats:
    """1 outside the boxes, OBJECT_WEIGHT inside; ``shape`` is that of the frame reduced by ``scale``."""
    inside = box_mask(boxes / np.float32(scale), shape[1], shape[0])
    return np.where(inside, np.float32(OBJECT_WEIGHT), np.float32(1))


class Fit:
    """How well a canvas predicts the frames of its shot, luma alone.

    Parameters
    ----------
    placement, shot : where the frames lie on the canvas.
    luma, trusts : of the shot's frames: luma (frames, h, w), and of each how much its pixels count (h, w).
    canvas : (h, w).
    size : (height, width) of the frames.
    bend : look for a further bend too, see :meth:`bent`.
    """

    def __init__(
        self,
        placement: Placement,
        shot: ShotCode,
        luma: Floats,
        trusts: Sequence[Floats],
        canvas: Floats,
        size: tuple[int, int],
        *,
        bend: bool = False,
    ) -> None:
        self.shot, self._canvas = shot, canvas
        half = residual_shape(shot.frames, size, True, _NOMINAL_SCALE)
        self._missing = np.empty((shot.frames, half.height, half.width), np.float32)
        self._finest = 0.0  # squared error that a residual of half the size cannot mend
        self._bends: list[Floats] = []
        for k, (frame, trust) in enumerate(zip(luma, trusts, strict=True)):
            predicted = placement.from_canvas(k, canvas)
            if bend:
                flow = cell_flow(_grey(frame), _grey(predicted), trust, bend_shape(size))
                self._bends.append(placement.bend_plus(k, flow))
            difference = (frame - predicted) * trust
            missing = cv2.resize(difference, (half.width, half.height), interpolation=cv2.INTER_AREA)
            self._finest += float((difference**2).sum()) - _NOMINAL_SCALE**2 * float((missing**2).sum())
            self._missing[k] = missing

    @classmethod
    def of_mean(
        cls, shot: ShotCode, luma: Floats, trusts: Sequence[Floats], size: tuple[int, int], *, bend: bool = False
    ) -> Fit:
        """The fit of the mean canvas of ``shot``."""
        placement = Placement(shot, size)
        return cls(placement, shot, luma, trusts, mean_canvas(placement, luma, trusts, shot.canvas), size, bend=bend)

    def cost(self, step: float) -> tuple[float, float]:
        """About how many bits the canvas and the residual are worth at a quantiser ``step``, errors counted as bits."""
        residual = self._finest / (LAMBDA * step**2) + worth(self._missing, residual_step(step, _NOMINAL_SCALE))
        return worth(self._canvas[None], canvas_step(step, self.shot.frames)), residual

    def bent(self) -> ShotCode:
        """The shot with the bend that fits its frames better to this canvas. Only of a fit made with ``bend``."""
        assert self._bends
        volume = np.stack(self._bends, axis=1) / np.float32(BEND_UNIT_PX)
        bands = quantise(Kind.BEND, [forward(list(volume))], [[BEND_STEP] * 2], 1)[0]
        return replace(self.shot, bend_bands=bands)


def _grey(picture: Floats) -> NDArray[np.uint8]:
    return np.asarray(np.clip(picture + 128.5, 0, 255), np.uint8)


def _pixels(shape: tuple[int, ...], scale: int) -> tuple[Floats, Floats]:
    """Coordinates x (1, w) and y (h, 1) of the pixel centres of a picture reduced by ``scale``, in full pixels."""
    x = (np.arange(shape[1], dtype=np.float32) + 0.5) * scale
    y = (np.arange(shape[0], dtype=np.float32) + 0.5) * scale
    return x[None], y[:, None]


def _apply(matrix: NDArray[np.float64], x: Floats, y: Floats) -> tuple[Floats, Floats]:
    m = matrix.astype(np.float32)
    z = x * m[2, 0] + (y * m[2, 1] + m[2, 2])
    return (x * m[0, 0] + (y * m[0, 1] + m[0, 2])) / z, (x * m[1, 0] + (y * m[1, 1] + m[1, 2])) / z


def _bend_at(bend: Floats, x: Floats, y: Floats, size: tuple[int, int]) -> tuple[Floats, Floats]:
    at_x = x * np.float32(bend.shape[2] / size[1]) - np.float32(0.5)
    at_y = y * np.float32(bend.shape[1] / size[0]) - np.float32(0.5)
    at_x, at_y = (np.ascontiguousarray(v) for v in np.broadcast_arrays(at_x, at_y))
    dx, dy = (cv2.remap(b, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for b in bend)
    return dx, dy


def _warp(
    plane: Floats,
    matrix: NDArray[np.float64],
    scale: int,
    shape: tuple[int, int],
    interpolation: int,
    border: int = cv2.BORDER_REPLICATE,
) -> Floats:
    to_full, to_part = np.diag([scale, scale, 1.0]), np.diag([1 / scale, 1 / scale, 1.0])
    centre, corner = np.eye(3), np.eye(3)
    centre[:2, 2], corner[:2, 2] = 0.5, -0.5
    warp = corner @ to_part @ matrix @ to_full @ centre
    return np.asarray(cv2.warpPerspective(plane, warp, shape[::-1], flags=interpolation, borderMode=border))


def _filled(total: Floats, weight: Floats) -> Floats:
    """``total`` / ``weight``, and where nothing was seen what coarser and coarser means around it say."""
    if weight.min() >= OBJECT_WEIGHT:
        return total / weight
    known = np.minimum(weight, np.float32(1))
    value = total / np.maximum(weight, np.float32(1e-6))
    if max(weight.shape) <= 2:
        return np.where(weight > 0, value, np.float32(value.mean()))
    half = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
    part = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    coarse = _filled(cv2.resize(value * known, half, interpolation=cv2.INTER_AREA), part)
    behind = cv2.resize(coarse, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(known * value + (1 - known) * behind, np.float32)
