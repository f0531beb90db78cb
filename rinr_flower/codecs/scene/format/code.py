"""The integers of a payload: shots, objects, and the volumes of coefficients that both have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.format.lattice import Ints, Kind, Layout
from rinr_flower.codecs.scene.format.shapes import VolumeShape, bend_shape, mask_shape, residual_shape

# Units and sizes of the format, set by hand: the finer motion, masks and heads are, the more bytes they take.
# To try others: benchmarks/scene_rate.py --constant format.code:NAME=VALUE.
CORNER_UNIT_PX = 1 / 8  # of camera motion and object poses
MASK_LEVELS = 15
STEPS_PER_OCTAVE = 16
BEND_STEP = 4.0  # in BEND_UNIT_PX
BEND_UNIT_PX = 1 / 8
RESIDUAL_SCALES = (1, 2, 4, 8)
HEAD_UNIT = 1 / 32
MAX_HEAD = 255
FEATURES = 13
"""Of a sample: what the trunk gives, and a 1."""

# Chosen by what a detector learns (docs/accuracy.md), not by bytes: with a quarter of the side, 8 pixels at most, it
# lost 6.4 points of mAP50-95 after 600 steps, with these 1.7 (commit b44d678). benchmarks/accuracy.py measures others.
_APRON = 1.5  # of a box's shorter side
_LEAST_APRON_PX, _MOST_APRON_PX = 4, 32
_SMALL_APRON_PX, _FRAME_APRONS = 8, 12  # at most 8 pixels, or one in 12 of a picture's shorter side: they take memory

Head = NDArray[np.int64]
"""Weights (planes, FEATURES) in HEAD_UNIT, from features to quantiser steps."""

Band = TypeVar("Band", bound=NDArray[np.generic])
Pyramids = list[list[Ints]]
"""Bands of every plane of a volume, coarsest first."""


@dataclass(eq=False)
class ShotCode:
    """One shot.

    Attributes
    ----------
    frames : number of its frames.
    canvas : (height, width) of its canvas.
    origin : (x, y) of the middle frame on the canvas.
    motion : int64 (frames, 8), corner displacements in CORNER_UNIT_PX; None if the camera stands.
    canvas_bands, bend_bands, residual_bands : coefficients; None where there is no bend or no residual.
    """

    frames: int
    canvas: tuple[int, int]
    origin: tuple[int, int]
    motion: NDArray[np.int64] | None
    canvas_bands: Pyramids = field(default_factory=list)
    bend_bands: Pyramids | None = None
    residual_bands: Pyramids | None = None


@dataclass(eq=False)
class LayerCode:
    """One volume of an object.

    Attributes
    ----------
    size : (height, width) of the volume.
    margins : left, top, right, bottom: pixels of the volume outside the box.
    poses : int64 (appearances, 6), displacements of three corners in CORNER_UNIT_PX from where the box puts them.
    mask : int64 (h, w) in 0..MASK_LEVELS.
    finer : by how many 1/STEPS_PER_OCTAVE octaves its step is below the objects' common step.
    bands : coefficients.
    """

    size: tuple[int, int]
    margins: tuple[int, int, int, int]
    poses: NDArray[np.int64]
    mask: NDArray[np.int64]
    finer: int = 0
    bands: Pyramids = field(default_factory=list)

    def apron(self, frame: tuple[int, int]) -> int:
        """Pixels at each side of the volume that lie beyond every box: there it fades into the background.

        ``frame`` is the (height, width) of the working picture.
        """
        left, top, right, bottom = self.margins
        return apron_px((self.size[0] - top - bottom, self.size[1] - left - right), frame)


def apron_px(box: tuple[int, int], frame: tuple[int, int]) -> int:
    """Width of the apron around an object whose box is (height, width) pixels of its volume, in pictures ``frame``.

    A volume that ended where the box ends would show a rectangle that the camera never sees, and a detector would
    learn that in place of the object. Where it ended soon after, all that is near the object, its shadow too, would be
    blurred, and a detector would learn that; the camera's frames are sharp there.
    """
    most = min(max(_SMALL_APRON_PX, min(frame) // _FRAME_APRONS), _MOST_APRON_PX)
    return min(max(_LEAST_APRON_PX, round(_APRON * min(box))), most)


@dataclass(eq=False)
class SceneCode:
    """All integers of a payload. Steps are in 1/STEPS_PER_OCTAVE octaves; ``parts`` says for each run of an object
    into how many volumes it is cut; heads are None where the planes are taken as they are."""

    size: tuple[int, int]
    grey: bool
    step_code: int
    object_step_code: int
    residual_scale: int = RESIDUAL_SCALES[0]
    shots: list[ShotCode] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    layers: list[LayerCode] = field(default_factory=list)
    canvas_head: Head | None = None
    object_head: Head | None = None

    @property
    def step(self) -> float:
        """Quantiser step of the background, in grey levels of one frame."""
        return float(2 ** (self.step_code / STEPS_PER_OCTAVE))

    def object_step(self, layer: LayerCode) -> float:
        """Quantiser step of one object."""
        return float(2 ** ((self.object_step_code - layer.finer) / STEPS_PER_OCTAVE))

    def canvas_shape(self, shot: ShotCode) -> VolumeShape:
        return VolumeShape(1, *shot.canvas, self.grey)

    def residual_shape(self, shot: ShotCode) -> VolumeShape:
        return residual_shape(shot.frames, self.size, self.grey, self.residual_scale)

    def layer_shape(self, layer: LayerCode) -> VolumeShape:
        return VolumeShape(len(layer.poses), *layer.size, self.grey, full_chroma=True)

    def volumes(self) -> list[tuple[Layout, Pyramids]]:
        """Layout and coefficients of all volumes in the order in which they are coded, kind by kind."""
        out = [(layout_of(Kind.CANVAS, self.canvas_shape(s)), s.canvas_bands) for s in self.shots]
        out += [
            (layout_of(Kind.RESIDUAL, self.residual_shape(s)), s.residual_bands)
            for s in self.shots
            if s.residual_bands is not None
        ]
        out += [(layout_of(Kind.OBJECT, self.layer_shape(layer)), layer.bands) for layer in self.layers]
        bend = bend_shape(self.size)
        out += [(bend_layout(s.frames, bend), s.bend_bands) for s in self.shots if s.bend_bands is not None]
        return out

    def take(self, bands: list[Ints]) -> None:
        """Fill the coefficients of :meth:`volumes` with ``bands``, those of all planes in order."""
        rest = iter(bands)
        for layout, pyramids in self.volumes():
            pyramids[:] = [[next(rest) for _ in plane] for plane in layout.planes]


def layout_of(kind: Kind, shape: VolumeShape) -> Layout:
    """The layout of a volume of pictures."""
    return Layout(kind, tuple(tuple(bands) for bands in shape.bands()))


def bend_layout(frames: int, cells: tuple[int, int]) -> Layout:
    """The layout of a bend: displacements along x and along y."""
    (bands,) = VolumeShape(frames, *cells, grey=True).bands()
    return Layout(Kind.BEND, (tuple(bands), tuple(bands)))


def flat(pyramids: Sequence[Sequence[Band]]) -> Iterator[Band]:
    """The bands of all planes in order."""
    return (band for plane in pyramids for band in plane)


def blank_mask(size: tuple[int, int]) -> NDArray[np.int64]:
    """A mask of an object of ``size`` that hides nothing."""
    return np.zeros(mask_shape(size), np.int64)
