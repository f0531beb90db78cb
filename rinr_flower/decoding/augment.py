"""Augmentation in coordinate space: what a detector's training sees, sampled straight from the frames.

A resident frame can be asked for its colour at any point, so flip, rotation, scale, shear, translation, perspective and
mosaic are not done to pictures but to the coordinates that are looked up. The parameters, their names and their
distribution are those of ultralytics 8.4 (``Mosaic``, ``RandomPerspective``, ``RandomHSV``, ``RandomFlip``), but in
continuous coordinates: a box and its pixels move by the same matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.decoding.colour import jitter
from rinr_flower.decoding.mosaic import Patch, Picture, compose
from rinr_flower.decoding.store import FrameStore
from rinr_flower.errors import ConfigError

Labels = Callable[[int], tuple[NDArray[np.float32], NDArray[np.int64]]]
"""Frame number to its boxes (n, 4) in the frame's pixels and their classes (n,)."""

STRIDE = 32
MIN_SIDE_PX = 2  # a box must stay wider and higher than this,
MIN_AREA_SHARE = 0.1  # keep more than this share of its area,
MAX_ASPECT = 100  # and be less stretched than this


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures and their boxes.

    Attributes
    ----------
    pictures : float32 (batch, 3, height, width), RGB, 0..1.
    boxes : per picture, float32 (n, 4): x1, y1, x2, y2 in pixels of the picture.
    classes : per picture, int64 (n,).
    """

    pictures: torch.Tensor
    boxes: tuple[NDArray[np.float32], ...]
    classes: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True)
class Drawn:
    """The random parameters of one picture.

    Attributes
    ----------
    frames : the one frame shown, or the four of a mosaic: top left, top right, bottom left, bottom right.
    centre : x, y in whole pixels where the four meet, on a canvas of twice the output's sides; None without mosaic.
    perspective : terms of the projective row, per pixel.
    angle_deg, scale, shear_deg : of the picture about its centre; shear is x, y.
    centre_at : where the picture's centre goes, as a share of the output's width and height.
    gains : of hue (share of the colour circle), saturation and value (relative).
    """

    frames: tuple[int, ...]
    centre: tuple[int, int] | None = None
    perspective: tuple[float, float] = (0.0, 0.0)
    angle_deg: float = 0.0
    scale: float = 1.0
    shear_deg: tuple[float, float] = (0.0, 0.0)
    centre_at: tuple[float, float] = (0.5, 0.5)
    gains: tuple[float, float, float] = (0.0, 0.0, 0.0)
    flipud: bool = False
    fliplr: bool = False


@dataclass(frozen=True)
class Augmentation:
    """Hyper-parameters under ultralytics' names, with its defaults.

    Attributes
    ----------
    hsv_h, hsv_s, hsv_v : largest change of hue, saturation and value, as shares, 0..1.
    degrees : largest rotation either way, 0..180.
    translate : largest shift either way as a share of the side, 0..1.
    scale : the picture is shown at 1 - scale to 1 + scale times its size, 0..1.
    shear : largest shear either way in degrees, 0..89.
    perspective : largest projective term either way, per pixel, 0..0.001.
    flipud, fliplr : probability of a vertical and a horizontal flip.
    mosaic : probability that a picture is made of four frames.
    multi_scale : the input's side varies by this share either way from batch to batch, 0..0.9, in steps of 32 px.
    """

    hsv_h: float = 0.015
    hsv_s: float = 0.7
    hsv_v: float = 0.4
    degrees: float = 0.0
    translate: float = 0.1
    scale: float = 0.5
    shear: float = 0.0
    perspective: float = 0.0
    flipud: float = 0.0
    fliplr: float = 0.5
    mosaic: float = 1.0
    multi_scale: float = 0.0

    def __post_init__(self) -> None:
        limits = {"degrees": 180.0, "shear": 89.0, "perspective": 0.001, "multi_scale": 0.9}
        for field in fields(self):
            value, limit = getattr(self, field.name), limits.get(field.name, 1.0)
            if not 0 <= value <= limit:
                raise ConfigError(f"augmentation: {field.name}={value} is not in 0..{limit:g}")

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Augmentation:
        """The augmentation that ultralytics' training settings (``vars(trainer.args)``) ask for."""
        return cls(**{f.name: float(settings[f.name]) for f in fields(cls)})

    def batch(
        self,
        store: FrameStore,
        frames: Sequence[int],
        pool: Sequence[int],
        size: tuple[int, int],
        labels: Labels,
        generator: np.random.Generator,
    ) -> Batch:
        """``frames`` of ``store``, one picture each, of ``size`` = (height, width) px (or about it, multi_scale).

        The other three frames of a mosaic come from ``pool``. Ultralytics' pictures are square.
        """
        size = self.draw_size(size, generator)
        drawn = [self.draw(frame, pool, size, generator) for frame in frames]
        arranged = [arrange(d, [store.frame_size(f) for f in d.frames], size) for d in drawn]
        placed = [place_boxes(d, a, [labels(f) for f in d.frames], size) for d, a in zip(drawn, arranged, strict=True)]
        pictures = jitter(compose(store, arranged, size), torch.tensor([d.gains for d in drawn]))
        return Batch(pictures, tuple(b for b, _ in placed), tuple(c for _, c in placed))

    def draw_size(self, size: tuple[int, int], generator: np.random.Generator) -> tuple[int, int]:
        """Height and width of a batch's pictures in px, multiples of STRIDE."""
        if self.multi_scale == 0:
            return size
        longer = max(size)
        low = max(STRIDE, int(longer * (1 - self.multi_scale)))
        drawn = int(generator.integers(low, int(longer * (1 + self.multi_scale) + STRIDE))) // STRIDE * STRIDE
        height, width = (math.ceil(length * drawn / longer / STRIDE) * STRIDE for length in size)
        return height, width

    def draw(self, frame: int, pool: Sequence[int], size: tuple[int, int], generator: np.random.Generator) -> Drawn:
        """Random parameters for a picture that shows ``frame``."""

        def symmetric(limit: float) -> float:
            return float(generator.uniform(-limit, limit))

        frames: tuple[int, ...] = (frame,)
        centre = None
        if generator.uniform() < self.mosaic:
            others = [int(pool[i]) for i in generator.integers(0, len(pool), 3)]
            frames = (frame, *others)
            height, width = size
            centre = (
                int(generator.uniform(0.5 * width, 1.5 * width)),
                int(generator.uniform(0.5 * height, 1.5 * height)),
            )
        return Drawn(
            frames,
            centre,
            perspective=(symmetric(self.perspective), symmetric(self.perspective)),
            angle_deg=symmetric(self.degrees),
            scale=1 + symmetric(self.scale),
            shear_deg=(symmetric(self.shear), symmetric(self.shear)),
            centre_at=(0.5 + symmetric(self.translate), 0.5 + symmetric(self.translate)),
            gains=(symmetric(self.hsv_h), symmetric(self.hsv_s), symmetric(self.hsv_v)),
            flipud=bool(generator.uniform() < self.flipud),
            fliplr=bool(generator.uniform() < self.fliplr),
        )


def arrange(drawn: Drawn, frame_sizes: Sequence[tuple[int, int]], size: tuple[int, int]) -> Picture:
    """Where each pixel of an output (height, width) looks, given the frames' sizes (width, height)."""
    resized = [_resized(frame_size, size) for frame_size in frame_sizes]
    canvas = resized[0] if drawn.centre is None else (2 * size[1], 2 * size[0])
    corners = [(0, 0)] if drawn.centre is None else _corners(drawn.centre, resized)
    to_canvas = inverse(_warp(drawn, canvas, size))
    patches = []
    for frame, (width, height), new, (x, y) in zip(drawn.frames, frame_sizes, resized, corners, strict=True):
        zoom = np.diag([width / new[0], height / new[1], 1.0])
        shown = (max(x, 0), max(y, 0), min(x + new[0], canvas[0]), min(y + new[1], canvas[1]))
        patches.append(Patch(frame, zoom @ _shift(-x, -y) @ to_canvas, shown))
    return Picture(tuple(patches), to_canvas)


def _resized(frame_size: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Whole width and height of a frame (width, height) made to fit an output (height, width)."""
    ratio = min(size[1] / frame_size[0], size[0] / frame_size[1])
    return min(math.ceil(frame_size[0] * ratio), size[1]), min(math.ceil(frame_size[1] * ratio), size[0])


def _corners(centre: tuple[int, int], resized: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Top left corners on the canvas of the four frames that meet in ``centre``."""
    (x, y), ((w0, h0), (_, h1), (w2, _), _) = centre, resized
    return [(x - w0, y - h0), (x, y - h1), (x - w2, y), (x, y)]


def _warp(drawn: Drawn, canvas: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float64]:
    """Canvas pixels to output pixels: centre, perspective, rotation and scale, shear, translation, flips."""
    perspective, rotate, shear = np.eye(3), np.eye(3), np.eye(3)
    perspective[2, :2] = drawn.perspective
    angle = math.radians(drawn.angle_deg)
    cos, sin = drawn.scale * math.cos(angle), drawn.scale * math.sin(angle)
    rotate[:2, :2] = [[cos, sin], [-sin, cos]]
    shear[0, 1], shear[1, 0] = (math.tan(math.radians(s)) for s in drawn.shear_deg)
    place = _shift(drawn.centre_at[0] * size[1], drawn.centre_at[1] * size[0])
    flip = np.eye(3)
    if drawn.fliplr:
        flip[0] = [-1, 0, size[1]]
    if drawn.flipud:
        flip[1] = [0, -1, size[0]]
    return flip @ place @ shear @ rotate @ perspective @ _shift(-canvas[0] / 2, -canvas[1] / 2)


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix that undoes ``matrix``."""
    return np.asarray(np.linalg.inv(matrix), np.float64)


def _shift(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def place_boxes(
    drawn: Drawn,
    picture: Picture,
    labels: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]],
    size: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The boxes that the picture shows, in its pixels, clipped to it, and their classes.

    Dropped are boxes that the mosaic's canvas cuts off, and those of which the picture leaves too little: at most
    MIN_SIDE_PX wide or high, at most MIN_AREA_SHARE of the area, or stretched beyond MAX_ASPECT.
    """
    kept, kinds = [], []
    to_output = inverse(picture.to_canvas)
    limit = np.array([size[1], size[0]] * 2, np.float64)
    for patch, (boxes, classes) in zip(picture.patches, labels, strict=True):
        on_canvas = transform_boxes(boxes, picture.to_canvas @ inverse(patch.to_frame))
        if drawn.centre is not None:
            on_canvas = on_canvas.clip(0, 2 * limit)
        before = on_canvas[:, 2:] - on_canvas[:, :2]
        there = before.prod(axis=1) > 0
        shown = transform_boxes(on_canvas, to_output).clip(0, limit)
        after = shown[:, 2:] - shown[:, :2]
        area = (before * drawn.scale).prod(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            aspect = np.maximum(after[:, 0] / after[:, 1], after[:, 1] / after[:, 0])
        keep = there & (after > MIN_SIDE_PX).all(axis=1)
        keep &= (after.prod(axis=1) > MIN_AREA_SHARE * area) & (aspect < MAX_ASPECT)
        kept.append(shown[keep].astype(np.float32))
        kinds.append(classes[keep])
    return np.concatenate(kept), np.concatenate(kinds)


def transform_boxes(boxes: NDArray[np.floating], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The upright boxes around the four corners of ``boxes`` (n, 4) seen through a 3x3 ``matrix``."""
    corners = np.asarray(boxes, np.float64)[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    points = np.concatenate([corners, np.ones((len(corners), 4, 1))], axis=2) @ matrix.T
    flat = points[..., :2] / points[..., 2:]
    return np.concatenate([flat.min(axis=1), flat.max(axis=1)], axis=1)
