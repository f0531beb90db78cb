"""Training clips: photographs under a moving camera, with labelled cut-outs of other photographs moving over them.

Cameras stand, pan, shake, zoom or drive in; some scenes have a nearer plane that moves more, parts of some sway as
water and leaves do; objects turn, come nearer and change their shape as walking people do, and some have no box.
Sensors are noisy, most in low light, and every frame passes through a camera's JPEG.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from rinr_flower.frames import Clip, Frame, clean_boxes, read_image, write_jpeg

# Set by hand, as all ranges below: what cameras, scenes and objects do. A try is a training, see context.py.
SIZES = ((320, 180), (360, 240), (352, 288), (480, 270), (480, 360), (640, 360))
LENGTHS = (1, 8, 16, 16, 24, 32)

Floats = NDArray[np.float32]


def training_clip(photographs: Sequence[NDArray[np.uint8]], seed: int) -> Clip:
    """Clip number ``seed``, the same in every run."""
    rng = np.random.default_rng(seed)
    width, height = SIZES[rng.integers(len(SIZES))]
    frames = int(LENGTHS[rng.integers(len(LENGTHS))])
    scene = _scene(photographs[rng.integers(len(photographs))], width, height, rng)
    far, near = _camera(frames, width, height, rng)
    front = _scene(photographs[rng.integers(len(photographs))], width, height, rng) if rng.random() < 0.3 else None
    shape = _foreground(scene.shape[:2], rng)
    sway = rng.uniform(0.3, 1.5) if rng.random() < 0.3 else 0.0
    things, unnamed = (
        [_Thing(photographs[rng.integers(len(photographs))], width, height, rng) for _ in range(count)]
        for count in (rng.integers(1, 6), max(int(rng.integers(-3, 4)), 0))
    )
    dark = rng.random() < 0.2
    gain = rng.uniform(0.12, 0.4) if dark else rng.uniform(0.6, 1.1)
    light = gain * (1 + rng.uniform(0, 0.06) * np.sin(np.arange(frames) * rng.uniform(0.05, 0.5)))
    noise, quality = rng.uniform(1.5, 5.0) if dark else rng.uniform(0.3, 3.5), int(rng.integers(50, 97))
    grey = rng.random() < 0.08
    made = []
    for t in range(frames):
        picture = _seen(scene, far[t], width, height, sway, t)
        if front is not None:
            over = _seen(shape, near[t], width, height, 0.0, t)[..., None]
            picture += over * (_seen(front, near[t], width, height, 0.0, t) - picture)
        for thing in unnamed:
            thing.draw(picture, t)
        boxes = [thing.draw(picture, t) for thing in things]
        if rng.random() < 0.2:
            picture = cv2.GaussianBlur(picture, (0, 0), 0.6)
        picture = picture * np.float32(light[t]) + rng.normal(0, noise, picture.shape).astype(np.float32)
        if grey:
            picture = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
        file = write_jpeg(np.clip(picture, 0, 255).astype(np.uint8), quality)
        jitter = rng.normal(0, 0.7, (len(boxes), 4))
        kept, classes, _ = clean_boxes(np.array(boxes) + jitter, [0] * len(boxes), width, height)
        made.append(Frame(read_image(file, name="training clip"), kept, classes))
    return Clip(f"training-{seed}", tuple(made))


def _scene(photograph: NDArray[np.uint8], width: int, height: int, rng: np.random.Generator) -> Floats:
    """A cut of the photograph, half as large again as a frame on each side of its centre, at a random scale."""
    least = max(1.6 * width / photograph.shape[1], 1.6 * height / photograph.shape[0])
    scale = max(least, rng.uniform(0.35, 1.0))
    size = (round(photograph.shape[1] * scale), round(photograph.shape[0] * scale))
    picture = cv2.resize(photograph, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    x = int(rng.integers(0, size[0] - round(1.6 * width) + 1))
    y = int(rng.integers(0, size[1] - round(1.6 * height) + 1))
    return picture[y : y + round(1.6 * height), x : x + round(1.6 * width)].astype(np.float32)


def _foreground(size: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """How far a nearer plane hides the scene: smooth blobs over a third of it, soft at their edges."""
    coarse = rng.normal(size=(6, 6)).astype(np.float32)
    field = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip((field - np.quantile(field, 0.67)) * 60 + 0.5, 0, 1), np.float32)


def _camera(frames: int, width: int, height: int, rng: np.random.Generator) -> tuple[list[Floats], list[Floats]]:
    """Homographies from frame to scene pixels, of the scene and of a nearer plane."""
    kind = rng.choice(["stand", "pan", "pan", "shake", "zoom", "drive"])
    t = np.linspace(0, 1, frames)
    reach = min(width, height) * 0.25
    shift, scale, tilt = np.zeros((frames, 2)), np.ones(frames), np.zeros(frames)
    if kind in ("pan", "zoom", "drive"):
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 1.0) * reach
        shift += np.outer(t - 0.5, [np.cos(angle), np.sin(angle)]) * far
    if kind in ("shake", "pan"):
        shift += np.cumsum(rng.normal(0, rng.uniform(0.1, 1.2), (frames, 2)), axis=0)
    if kind in ("zoom", "drive"):
        scale = np.exp((t - 0.5) * rng.uniform(-0.35, 0.35))
    if kind == "drive":
        tilt = (t - 0.5) * rng.uniform(-2e-4, 2e-4)
    turn = np.cumsum(rng.normal(0, 0.0008, frames)) if kind != "stand" else np.zeros(frames)
    nearer = rng.uniform(1.1, 2.0)

    def maps(factor: float) -> list[Floats]:
        out = []
        for i in range(frames):
            c, s = np.cos(turn[i]) * scale[i] ** factor, np.sin(turn[i]) * scale[i] ** factor
            x, y = np.array([0.8 * width, 0.8 * height]) + (shift[i] * factor).clip(-reach, reach)
            centre = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
            out.append((np.array([[c, -s, x], [s, c, y], [tilt[i], 0, 1]]) @ centre).astype(np.float32))
        return out

    return maps(1.0), maps(nearer)


def _seen(scene: Floats, matrix: Floats, width: int, height: int, sway: float, t: int) -> Floats:
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    picture = cv2.warpPerspective(scene, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
    if sway:
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        much = np.float32(sway) * np.clip((y - height / 2) / (height / 4), 0, 1)
        dx = much * np.sin(y / 7 + 0.9 * t) + much * np.sin(x / 13 - 0.5 * t)
        dy = much * np.sin(x / 9 + 0.7 * t)
        picture = cv2.remap(picture, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(picture, np.float32)


class _Thing:
    """A cut-out with a soft outline that moves over the frames."""

    def __init__(self, photograph: NDArray[np.uint8], width: int, height: int, rng: np.random.Generator) -> None:
        self.h = int(np.exp(rng.uniform(np.log(0.06), np.log(0.5))) * height)
        self.w = max(int(self.h * rng.uniform(0.4, 2.0)), 6)
        self.h = max(self.h, 6)
        side = min(photograph.shape[:2])
        cut = int(rng.uniform(0.2, 0.6) * side)
        y, x = (int(rng.integers(0, n - cut)) for n in photograph.shape[:2])
        self.texture = photograph[y : y + cut, x : x + cut].astype(np.float32)
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        radius = 0.5 + 0.2 * rng.normal(size=24).cumsum() / 5
        radius = np.clip((radius + radius[::-1]) / 2, 0.3, 0.5)
        self.outline = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        self.at = rng.uniform(0.15, 0.85, 2) * (width, height)
        self.speed = rng.normal(0, 2.0, 2) * (rng.random() < 0.8)
        self.turn, self.grow = rng.normal(0, 0.01), rng.normal(0, 0.006)
        self.limp, self.pace = rng.uniform(0, 0.08) * (rng.random() < 0.6), rng.uniform(0.2, 0.9)

    def draw(self, picture: Floats, t: int) -> tuple[float, float, float, float]:
        """Draw the thing into ``picture`` and return its box."""
        grown = np.exp(self.grow * t)
        c, s = np.cos(self.turn * t) * grown, np.sin(self.turn * t) * grown
        bent = self.outline + self.limp * np.sin(self.pace * t + 6 * self.outline[:, ::-1])
        shape = bent * (self.w, self.h) @ np.array([[c, s], [-s, c]]) + self.at + self.speed * t
        low, high = shape.min(axis=0), shape.max(axis=0)
        x0, y0 = np.floor(low).astype(int) - 2
        w, h = np.ceil(high - low).astype(int) + 5
        mask = np.zeros((h, w), np.uint8)
        cv2.fillPoly(mask, [np.rint((shape - (x0, y0)) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.8)[..., None]
        scale = np.float32(self.texture.shape[0] / max(self.w, self.h))
        y, x = np.mgrid[0:h, 0:w].astype(np.float32)
        u, v = x - np.float32(w / 2), y - np.float32(h / 2)
        u += np.float32(self.limp * self.h) * np.sin(np.float32(self.pace * t) + v / np.float32(max(self.h / 5, 2)))
        a, b = np.float32(np.cos(self.turn * t) / grown) * scale, np.float32(np.sin(self.turn * t) / grown) * scale
        half = np.float32(self.texture.shape[0] / 2)
        mapped = (half + a * u + b * v, half - b * u + a * v)
        seen = cv2.remap(self.texture, *mapped, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        top, left = max(y0, 0), max(x0, 0)
        bottom, right = min(y0 + h, picture.shape[0]), min(x0 + w, picture.shape[1])
        if bottom > top and right > left:
            part = (slice(top - y0, bottom - y0), slice(left - x0, right - x0))
            below = picture[top:bottom, left:right]
            below += soft[part] * (seen[part] - below)
        return low[0], low[1], high[0], high[1]
