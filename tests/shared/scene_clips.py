"""A textured scene that a camera pans over, an object that moves against it, payloads of it, and payloads by chance."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.entropy import encode_ints
from rinr_flower.bitstream.stream import ByteWriter
from rinr_flower.codecs.scene.decode.build import runs
from rinr_flower.codecs.scene.format.code import FEATURES, LayerCode, Pyramids, SceneCode, ShotCode, flat
from rinr_flower.codecs.scene.format.network import shipped
from rinr_flower.codecs.scene.format.shapes import VolumeShape, bend_shape, mask_shape, residual_shape
from rinr_flower.codecs.scene.format.stream import read_parts, to_parts
from rinr_flower.codecs.scene.format.trunk import shipped_trunk
from rinr_flower.frames import Clip, Frame

SIZE = (96, 128)  # height, width


def texture(height: int, width: int, seed: int, cell: int = 8) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30, 225, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def clip_of(frames: int, *, pan: float = 1.0, seed: int = 0, boxed: bool = True, grey: bool = False) -> Clip:
    """A textured scene that a camera pans over, and an object that moves against it."""
    height, width = SIZE
    scene, thing = texture(height, width + 80, seed), texture(30, 22, seed + 1, cell=5)
    made = []
    for t in range(frames):
        shift = np.array([[1, 0, -pan * t], [0, 1, 0]], np.float32)
        image = cv2.warpAffine(scene, shift, (width, height), flags=cv2.INTER_CUBIC)
        left, top = 10 + 2 * t, 40 + t // 2
        image[top : top + 30, left : left + 22] = thing
        if grey:
            image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
        box = np.array([[left, top, left + 22, top + 30]], np.float32) if boxed else np.zeros((0, 4), np.float32)
        made.append(Frame(image.clip(0, 255).astype(np.uint8), box, np.zeros(len(box), np.int64)))
    return Clip("made", tuple(made))


def squares(frames: int) -> Clip:
    """A camera that pans over squares of one colour each: edges are what heads of the synthesis can mend."""
    height, width = SIZE
    colours = np.random.default_rng(0).uniform(20, 235, (30, 40, 3)).astype(np.uint8)
    scene = colours.repeat(9, axis=0).repeat(9, axis=1)
    box = np.array([[40, 20, 80, 70]], np.float32)
    images = [np.ascontiguousarray(scene[:height, 2 * t : 2 * t + width]) for t in range(frames)]
    return Clip("squares", tuple(Frame(image, box, np.zeros(1, np.int64)) for image in images))


def with_heads(data: bytes, *, grey: bool = False) -> bytes:
    """A payload of ``scene`` with heads for canvases and objects, as a clip has that is worth them."""
    payload = Payload.from_bytes(data)
    rows = 2 if grey else 4
    weights = np.random.default_rng(0).integers(-6, 7, (rows, FEATURES))
    part = ByteWriter()
    part.varint(shipped_trunk().digest & 0xFFFF)
    part.u8(1 + 4 * (rows - 1))
    part.blob(encode_ints(weights))
    return replace(payload, parts={**payload.parts, "heads": part.getvalue()}).to_bytes()


def code_of(data: bytes) -> SceneCode:
    """The integers of a payload of ``scene``."""
    payload = Payload.from_bytes(data)

    def lengths(shots: list[int]) -> list[int]:
        return [len(run.frames) for run in runs(payload.boxes, payload.classes, shots)]

    return read_parts(payload.parts, len(payload), (payload.height, payload.width), lengths)


def coefficients_digest(data: bytes) -> str:
    """Hash of all coefficients of a payload of ``scene``."""
    bands = [band.tobytes() for _, pyramids in code_of(data).volumes() for band in flat(pyramids)]
    return hashlib.sha256(b"".join(bands)).hexdigest()


def crafted(
    clip: Clip,
    size: tuple[int, int],
    shots: list[int],
    seed: int,
    *,
    canvas: tuple[int, int] = (44, 60),
    grey: bool = False,
    residual_scale: int = 1,
) -> bytes:
    """A payload with all that the format of ``scene`` has, by chance: of ``clip``'s frames and boxes, not its pictures.

    The camera of every shot moves over a ``canvas`` (height, width) that does not hold all its frames, and bends; every
    shot has a residual; every run of an object is cut in two where it can be; canvases and objects have heads. Every
    volume has a value beyond the tables of magnitudes.
    """
    rng = np.random.default_rng(seed)

    def volume(shape: VolumeShape, spread: float) -> Pyramids:
        """Values as wavelets have them: fewer and smaller in finer bands and at higher time frequencies."""
        planes = [
            [
                np.rint(rng.laplace(0, spread / 2**n / (1 + np.arange(band[0]))[:, None, None], band)).astype(np.int32)
                for n, band in enumerate(plane)
            ]
            for plane in shape.bands()
        ]
        planes[0][0][0, 0, 0] = shipped().last + rng.integers(0, 12)
        return planes

    code = SceneCode(size, grey, 72, 60, residual_scale)
    for frames in shots:
        shot = ShotCode(frames, canvas, (3, 4), rng.integers(-8, 9, (frames, 8)))
        shot.canvas_bands = volume(VolumeShape(1, *canvas, grey), 16)
        shot.residual_bands = volume(residual_shape(frames, size, grey, residual_scale), 5)
        cells = VolumeShape(frames, *bend_shape(size), grey=True)
        shot.bend_bands = [*volume(cells, 6), *volume(cells, 6)]
        code.shots.append(shot)
    payload = Payload.from_bytes(Payload.of_clip("scene", clip, {}).to_bytes())  # boxes as a decoder has them
    for run in runs(payload.boxes, payload.classes, shots):
        code.parts.append(min(2, len(run.frames)))
        for piece in np.array_split(run.frames, code.parts[-1]):
            sides = (int(rng.integers(14, 36)), int(rng.integers(14, 36)))
            poses, mask = rng.integers(-6, 7, (len(piece), 6)), rng.integers(0, 16, mask_shape(sides))
            layer = LayerCode(sides, (3, 4, 5, 2), poses, mask, int(rng.integers(-5, 6)))
            layer.bands = volume(VolumeShape(len(piece), *sides, grey, full_chroma=True), 9)
            code.layers.append(layer)
    code.canvas_head = rng.integers(-6, 7, (1, FEATURES))
    code.object_head = rng.integers(-6, 7, (1 if grey else 3, FEATURES))
    return Payload.of_clip("scene", clip, to_parts(code)).to_bytes()
