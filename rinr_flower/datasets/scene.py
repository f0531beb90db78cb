"""One generated sequence: a moving camera over a photograph, cut-outs moving over it, and its labelled frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rinr_flower.datasets.cutouts import CUP, EYE, HELMET, PATCH, ROCKET, SHUTTLE, SPOON, Cutout, cut, photograph
from rinr_flower.datasets.motion import NOISE_DEVIATION, Path, Stream, Sum, turn
from rinr_flower.datasets.sampling import UNIT, Affine, halve, pack, sample

Family = Literal["devices", "factory"]

BACKGROUNDS: dict[Family, tuple[str, ...]] = {
    "devices": ("astronaut.png", "grass.png", "rocket.jpg", "chelsea.png", "camera.png"),
    "factory": ("brick.png", "hubble_deep_field.jpg", "gravel.png"),
}
DISTRACTORS: dict[Family, tuple[Cutout, ...]] = {
    "devices": (HELMET, SHUTTLE, PATCH),
    "factory": (EYE, ROCKET, SPOON),
}
EXPOSURES = 5
"""Instants averaged into one frame, which makes the motion blur."""
HALVINGS = 5
"""How often a cut-out is halved for small objects; its margin allows for as many."""
VISIBLE = 0.35
"""An object is labelled when at least this share of its area is in the frame and not covered."""
PERMUTATIONS = ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2))


@dataclass(frozen=True, eq=False)
class Sprite:
    """A cut-out with its appearance and motion. Lengths are fractions of the frame's width; size is sqrt(area)."""

    levels: tuple[NDArray[np.uint64], ...]
    outline: tuple[tuple[float, float], ...]
    centre: tuple[float, float]
    area_px: float
    size: float
    labelled: bool
    x: Path | Sum
    y: Path | Sum
    scale: Path
    half_tangent: Path
    light: Path

    def place(self, time: float, frame_width: int, shake: tuple[float, float]) -> tuple[Affine, tuple[float, ...]]:
        """The map from frame to cut-out pixels at ``time``, and the outline's extent x1, y1, x2, y2 in the frame."""
        pixels = self.size * self.scale(time) * frame_width / math.sqrt(self.area_px)
        cos, sin = turn(self.half_tangent(time))
        cx = self.x(time) * frame_width + shake[0]
        cy = self.y(time) * frame_width + shake[1]
        mx, my = self.centre
        xs = [cx + pixels * (cos * (x - mx) - sin * (y - my)) for x, y in self.outline]
        ys = [cy + pixels * (sin * (x - mx) + cos * (y - my)) for x, y in self.outline]
        a, b = cos / pixels, sin / pixels
        affine = (a, b, mx - a * cx - b * cy, -b, a, my + b * cx - a * cy)
        return affine, (min(xs), min(ys), max(xs), max(ys))

    def draw(
        self, canvas: NDArray[np.uint32], affine: Affine, extent: tuple[float, ...], light: int
    ) -> Coverage | None:
        """Paint over ``canvas`` (height, width, 3) in :data:`UNIT` units; where and how much it covers, if anywhere."""
        x1, y1 = int(extent[0]) - 3, int(extent[1]) - 3
        x2, y2 = int(extent[2]) + 4, int(extent[3]) + 4
        height, width = canvas.shape[:2]
        columns, rows = range(max(x1, 0), min(x2, width)), range(max(y1, 0), min(y2, height))
        if not columns or not rows:
            return None
        # Halve the cut-out until one frame pixel covers fewer than 1.5 of its pixels, so that nothing aliases.
        level, step = 0, affine[0] * affine[0] + affine[1] * affine[1]
        while step >= 2.25 and level + 1 < len(self.levels):
            level, step = level + 1, step / 4
        shrink = 2.0**-level
        a, b, c, d, e, f = (value * shrink for value in affine)
        values = sample(self.levels[level], (a, b, c, d, e, f), columns, rows).astype(np.uint32)
        alpha = values[..., 3]
        colour = np.minimum(values[..., :3] * np.uint32(light) >> 8, alpha[..., None])
        window = canvas[rows.start : rows.stop, columns.start : columns.stop]
        window[...] = colour + window * (UNIT - alpha)[..., None] // UNIT
        return Coverage(rows, columns, alpha)


@dataclass(frozen=True, eq=False)
class Coverage:
    """Opacity (rows, columns), 0..UNIT, of one drawn sprite."""

    rows: range
    columns: range
    alpha: NDArray[np.uint32]


class Scene:
    """Sequence ``number`` of a family, up to ``frames`` frames; a longer one begins with the same frames.

    The same arguments give the same pixels on every machine.
    """

    def __init__(self, family: Family, number: int, seed: int, *, width: int, height: int, frames: int) -> None:
        self._width, self._height = width, height
        self._key = (seed, list(BACKGROUNDS).index(family), number)
        self._frames = frames
        self._channel = 0
        stream = self._stream()
        files = BACKGROUNDS[family]
        picture = photograph(files[number % len(files)])
        if number // len(files) % 2:
            picture = picture[:, ::-1]
        brightness = stream.uniform(0.75, 1.05)
        gains = [round(256 * brightness * stream.uniform(0.93, 1.07)) for _ in range(3)]
        self._background = pack(_tinted(picture, np.diag(gains)))
        self._photo_size = picture.shape[1], picture.shape[0]
        # How many of the photograph's pixels the frame's width shows: never nearly all, nor so many that they alias.
        limit = min(picture.shape[1], picture.shape[0] * width / height, 512)
        self._view = self._path(0.42 * limit, 0.86 * limit, 30)
        self._pan_x, self._pan_y = self._path(-0.1, 1.1, 26), self._path(-0.1, 1.1, 26)
        self._roll = self._path(-0.05, 0.05, 20)
        self._shake_x, self._shake_y = self._path(-0.006, 0.006, 1.7), self._path(-0.006, 0.006, 1.7)
        self._gain = self._path(0.7, 1.05, 12)
        self._exposure = stream.uniform(0.2, 0.6)
        self._noise = round(stream.uniform(2.0, 6.0) * 256 * 256 / NOISE_DEVIATION)
        targets = [self._sprite(CUP, stream, labelled=True) for _ in range(1 + stream.below(2))]
        others = [
            self._sprite(DISTRACTORS[family][(number + i) % len(DISTRACTORS[family])], stream, labelled=False)
            for i in range(3)
        ]
        # The last distractor is nearer to the camera: it passes in front of the first object once in a while.
        self._sprites = [*others[:2], *targets, self._passer(others[2], targets[0])]

    def _stream(self) -> Stream:
        self._channel += 1
        return Stream(*self._key, self._channel)

    def _path(self, low: float, high: float, period: float) -> Path:
        return Path.random(self._stream(), low, high, period=period, frames=self._frames)

    def _sprite(self, cutout: Cutout, stream: Stream, *, labelled: bool) -> Sprite:
        picture, outline = cut(cutout)
        aspect = self._height / self._width
        return Sprite(
            levels=_pyramid(_tinted(picture, _paint(stream))),
            outline=outline,
            centre=_centre(outline),
            area_px=_area(outline),
            size=stream.uniform(0.085, 0.2),
            labelled=labelled,
            x=self._path(-0.16, 1.16, 16),
            y=self._path(-0.16 * aspect, 1.16 * aspect, 16),
            scale=self._path(0.65, 1.3, 18),
            half_tangent=self._path(-0.35, 0.35, 14),
            light=self._path(0.55, 1.2, 10),
        )

    def _passer(self, sprite: Sprite, target: Sprite) -> Sprite:
        """``sprite`` on a path about the target's, so that it comes between it and the camera now and then."""
        near_x, near_y = self._path(-0.45, 0.45, 7), self._path(-0.25, 0.25, 7)
        return replace(sprite, x=Sum(target.x, near_x), y=Sum(target.y, near_y))

    def render(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Frame ``number``: the picture, uint8 (height, width, 3), and its objects' boxes (n, 4) x1, y1, x2, y2."""
        total = np.zeros((self._height, self._width, 3), np.uint32)
        boxes = np.zeros((0, 4))
        for instant in range(EXPOSURES):
            time = number + self._exposure * (instant / (EXPOSURES - 1) - 0.5)
            canvas, extents, shown = self._instant(time)
            total += canvas
            if instant == EXPOSURES // 2:
                boxes = np.array([e for e, s in zip(extents, shown, strict=True) if s >= VISIBLE]).reshape(-1, 4)
        gain = np.uint32(round(256 * self._gain(number)))
        light = (total // EXPOSURES * gain >> 8).astype(np.int32)
        grain = Stream(*self._key, 0, number).noise(light.shape) * self._noise >> 8
        return ((light + grain + 128) >> 8).clip(0, 255).astype(np.uint8), boxes

    def _instant(self, time: float) -> tuple[NDArray[np.uint32], list[tuple[float, ...]], list[float]]:
        """One sharp exposure; the extent of every labelled object and the share of it that can be seen."""
        shake = self._shake_x(time) * self._width, self._shake_y(time) * self._width
        affine = self._camera(time, shake)
        canvas = sample(self._background, affine, range(self._width), range(self._height))[..., :3].astype(np.uint32)
        extents: list[tuple[float, ...]] = []
        seen: list[tuple[NDArray[np.uint32], float]] = []
        for sprite in self._sprites:
            placed, extent = sprite.place(time, self._width, shake)
            coverage = sprite.draw(canvas, placed, extent, round(256 * sprite.light(time)))
            if coverage is not None:
                rows, columns = coverage.rows, coverage.columns
                for opacity, _ in seen:
                    part = opacity[rows.start : rows.stop, columns.start : columns.stop]
                    part[...] = part * (UNIT - coverage.alpha) // UNIT
            if sprite.labelled:
                opacity = np.zeros((self._height, self._width), np.uint32)
                if coverage is not None:
                    opacity[rows.start : rows.stop, columns.start : columns.stop] = coverage.alpha
                extents.append(extent)
                seen.append((opacity, sprite.area_px / (placed[0] * placed[0] + placed[1] * placed[1])))
        return canvas, extents, [int(opacity.sum(dtype=np.int64)) / UNIT / area for opacity, area in seen]

    def _camera(self, time: float, shake: tuple[float, float]) -> Affine:
        """The map from frame pixels to the photograph's pixels."""
        zoom = self._view(time) / self._width
        cos, sin = turn(self._roll(time))
        photo_width, photo_height = self._photo_size
        half_x, half_y = zoom * self._width / 2, zoom * self._height / 2
        x = half_x + (photo_width - 2 * half_x) * min(max(self._pan_x(time), 0.03), 0.97) - zoom * shake[0]
        y = half_y + (photo_height - 2 * half_y) * min(max(self._pan_y(time), 0.03), 0.97) - zoom * shake[1]
        a, b, d, e = zoom * cos, -zoom * sin, zoom * sin, zoom * cos
        u, v = self._width / 2, self._height / 2
        return a, b, x - a * u - b * v, d, e, y - d * u - e * v


def _paint(stream: Stream) -> NDArray[np.int64]:
    """A random change of colour as a matrix in 1/256: channels exchanged, some saturation and light taken away."""
    order = PERMUTATIONS[stream.below(len(PERMUTATIONS))]
    saturation, gain = stream.uniform(0.35, 1.0), stream.uniform(0.75, 1.1)
    matrix = np.zeros((3, 3), np.int64)
    for channel in range(3):
        for source in range(3):
            grey = (1 - saturation) / 3
            matrix[channel, source] = round(256 * gain * (grey + (saturation if source == order[channel] else 0.0)))
    return matrix


def _tinted(picture: NDArray[np.uint8], matrix: NDArray[np.int64]) -> NDArray[np.uint8]:
    """RGB or straight RGBA times a colour matrix in 1/256, as premultiplied RGBA, uint8 (height, width, 4)."""
    red, green, blue = (picture[..., i].astype(np.int64) for i in range(3))
    alpha = picture[..., 3].astype(np.int64) if picture.shape[2] == 4 else np.full(red.shape, 255)
    channels = [
        np.minimum((int(m[0]) * red + int(m[1]) * green + int(m[2]) * blue) >> 8, 255) * alpha // 255 for m in matrix
    ]
    return np.dstack([*channels, alpha]).astype(np.uint8)


def _pyramid(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], ...]:
    """``picture`` and its halvings, packed."""
    levels = [picture]
    for _ in range(HALVINGS):
        levels.append(halve(levels[-1]))
    return tuple(pack(level) for level in levels)


def _area(outline: tuple[tuple[float, float], ...]) -> float:
    area = 0.0
    for (x1, y1), (x2, y2) in zip(outline, (*outline[1:], outline[0]), strict=True):
        area += x1 * y2 - x2 * y1
    return abs(area) / 2


def _centre(outline: tuple[tuple[float, float], ...]) -> tuple[float, float]:
    xs, ys = [x for x, _ in outline], [y for _, y in outline]
    return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
